"""The cells there are. A new one is a file of its own and a line here.

Names and titles come without torch, for planning and figures; a cell is imported when it is first asked for.
"""

from __future__ import annotations

from collections import UserDict
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memrnn.models.cell import Cell

# Name in the configuration: module and class. People call a cell by the name of its class.
CLASSES = {
    "gru": "memrnn.models.gru:GRU",
    "lstm": "memrnn.models.lstm:LSTM",
    "rnn": "memrnn.models.rnn:RNN",
    "mgu": "memrnn.models.mgu:MGU",
}
TITLES = {name: where.partition(":")[2] for name, where in CLASSES.items()}


class _Cells(UserDict[str, "Cell"]):
    """A cell for each name."""

    def __getitem__(self, name: str) -> Cell:
        if isinstance(found := self.data[name], str):
            module, _, kind = found.partition(":")
            self.data[name] = getattr(import_module(module), kind)()
        return self.data[name]


CELLS = _Cells(CLASSES)
