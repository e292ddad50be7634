"""The front end of those who need none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from memrnn.models.fronts.front import Front

SETTINGS = {}


@dataclass(frozen=True)
class Pixels(Front):
    """No front end: the recurrent layer is given the pixels."""

    name: ClassVar[str] = "pixels"

    def width(self, pixels: int) -> int:
        return pixels

    def pixels(self, width: int) -> int:
        return width

    def features(self, parameters: Mapping[str, Tensor], frames: Tensor, products: torch.dtype | None = None) -> Tensor:
        return frames

    def expected(self, mean: float, std: float) -> float:
        return mean
