"""Memory in recurrent neural networks: the science behind the workflow, and a finder of fixed points for any network.

The finder's names can be imported from here; they are loaded when first asked for, since torch takes a second.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memrnn.dynamics.finder import find_fixed_points
    from memrnn.dynamics.fixed_points import FixedPoints
    from memrnn.dynamics.sampling import sample_states, visited_states
    from memrnn.dynamics.search import search

__version__ = "0.1.0"
__all__ = ["FixedPoints", "find_fixed_points", "sample_states", "search", "visited_states"]

_HOMES = {"find_fixed_points": "finder", "FixedPoints": "fixed_points", "search": "search"}
_HOMES |= dict.fromkeys(["sample_states", "visited_states"], "sampling")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'memrnn' has no attribute {name!r}")
    return getattr(importlib.import_module(f"memrnn.dynamics.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
