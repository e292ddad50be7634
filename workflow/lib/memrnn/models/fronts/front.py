"""What a front end is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor


class Front:
    """One kind of front end; without parameters unless a subclass says otherwise.

    Attributes:
        name: key in `FRONTS`.
        parameter_names: of its trained tensors, each with a leading axis of networks.
    """

    name: ClassVar[str]
    parameter_names: tuple[str, ...] = ()

    def width(self, pixels: int) -> int:
        """Number of features of a frame with so many pixels.

        Raises:
            ValueError: the front end was made for other frames.
        """
        raise NotImplementedError

    def pixels(self, width: int) -> int:
        """Number of pixels of a frame with so many features; the inverse of `width`."""
        raise NotImplementedError

    def initial(self, seed: int) -> dict[str, Tensor]:
        """Untrained parameters of one network, without the axis of networks."""
        return {}

    def features(self, parameters: Mapping[str, Tensor], frames: Tensor, products: torch.dtype | None = None) -> Tensor:
        """Features of frames, differentiable with respect to the parameters.

        Args:
            parameters: at least those named in `parameter_names`.
            frames: (networks, frames, pixels), in pixel units.
            products: type of the factors and results of products; None for that of the parameters.
        Returns:
            (networks, frames, features).
        """
        raise NotImplementedError

    def expected(self, mean: float, std: float) -> float | None:
        """Mean feature under noise frames, i.i.d. N(mean, std^2) per pixel; None where it is to be found by drawing."""
        return None

    def settings(self) -> dict[str, Any]:
        """What `from_settings` wants, for a file."""
        return {"name": self.name}
