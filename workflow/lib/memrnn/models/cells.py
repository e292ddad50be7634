"""The cells there are. A new cell is a file of its own and an entry here."""

from __future__ import annotations

from memrnn.models.cell import Cell
from memrnn.models.gru import GRU
from memrnn.models.lstm import LSTM

CELLS: dict[str, Cell] = {cell.name: cell for cell in (GRU(), LSTM())}
