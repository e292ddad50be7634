"""The cells there are. A new one is a file of its own and a line here."""

from __future__ import annotations

from collections import UserDict
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memrnn.models.cell import Cell


class _Cells(UserDict[str, "Cell"]):
    """Cells by name. A cell is imported when it is first asked for: names and titles come without torch."""

    def __getitem__(self, name: str) -> Cell:
        found = self.data[name]
        if isinstance(found, str):
            module, kind = found.split(":")
            found = self.data[name] = getattr(import_module(module), kind)()
        return found

    def title(self, name: str) -> str:
        """What people call a cell, the name of its class; of one that is not listed, its name."""
        found = self.data.get(name, name)
        return found.rpartition(":")[2] if isinstance(found, str) else type(found).__name__


# Name in the configuration, and where the cell is.
CELLS = _Cells(
    gru="memrnn.models.gru:GRU",
    lstm="memrnn.models.lstm:LSTM",
    rnn="memrnn.models.rnn:RNN",
    mgu="memrnn.models.mgu:MGU",
)
