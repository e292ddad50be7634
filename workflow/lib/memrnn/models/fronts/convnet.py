"""A convolutional front end.

Convolutions are stored as they are trained: weights drawn from a standard normal distribution cut at two standard
deviations, biases at 0.1; and divided wherever they are used, weights by sqrt(channels * filters), biases by
sqrt(filters). Adam moves every stored number by about the learning rate, and so the effective ones by a share of it: at
the paper's sizes a 20th to a 128th for weights, an 11th for biases. The published training does the same; its
regularisation starts from the divided weights and trains those, at another rate. Ours has one parametrisation in
training and in regularisation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from memrnn.core import streams
from memrnn.models.fronts.front import Front

SETTINGS = {
    "filters": {
        "description": "filters of each convolution, which halves height and width",
        "type": "array",
        "minItems": 1,
        "items": {"description": "filters", "type": "integer", "minimum": 1, "maximum": 100000},
    },
    "kernel": {"description": "height and width of a filter", "enum": [1, 3, 5, 7]},
    "dense": {
        "description": "units of each dense layer; the last one's are the features",
        "type": "array",
        "minItems": 1,
        "items": {"description": "units", "type": "integer", "minimum": 1, "maximum": 100000},
    },
    "leak": {"description": "slope of the ReLU below 0", "type": "number", "minimum": 0, "maximum": 1},
}
FIRST_BIAS = 0.1  # of convolutions, as stored; published
CUT = 2.0  # standard deviations at which the normal distribution of convolution weights ends; published
NUMBERS_AT_ONCE = 2**23  # of a layer's output, where no gradient is wanted: bounds memory, and stays near the processor


@dataclass(frozen=True)
class Convnet(Front):
    """Convolutions, each followed by a leaky ReLU and 2 x 2 max pooling; then dense layers, each with a leaky ReLU.

    Convolutions keep height and width ("same" padding with zeros); pooling halves them, and a last odd row or column is
    left out. Dense weights begin as N(0, 1 / fan_in), biases as 0.01 N(0, 1); see the module's text for the rest.

    Attributes:
        shape: (height, width, channels) of a frame; its pixels lie flattened in this order.
        filters: number of filters of each convolution.
        kernel: height and width of a filter, odd.
        dense: units of each dense layer; the last one's are the features.
        leak: slope of the ReLU below 0.
    Raises:
        ValueError: pooling leaves nothing of a frame.
    """

    name: ClassVar[str] = "convnet"

    shape: tuple[int, int, int]
    filters: tuple[int, ...]
    kernel: int
    dense: tuple[int, ...]
    leak: float

    def __post_init__(self) -> None:
        if min(self.shape[:2]) < 2 ** len(self.filters):
            raise ValueError(
                f"network.convnet.filters: found {len(self.filters)} convolutions, each of which halves height and "
                f"width; images of {self.shape[0]} x {self.shape[1]} pixels allow for "
                f"{int(math.log2(min(self.shape[:2])))}. Leave some out."
            )

    @property
    def parameter_names(self) -> tuple[str, ...]:
        layers = {"filters": self.filters, "dense": self.dense}
        return tuple(
            f"front.{kind}{layer}{what}"
            for kind, sizes in layers.items()
            for layer in range(len(sizes))
            for what in ("", ".bias")
        )

    def width(self, pixels: int) -> int:
        if pixels != math.prod(self.shape):
            raise ValueError(f"found frames of {pixels} pixels; the front end was made for {self.shape}")
        return self.dense[-1]

    def pixels(self, width: int) -> int:
        return math.prod(self.shape)

    def initial(self, seed: int) -> dict[str, Tensor]:
        generator = streams.generator(seed, "weights", "front")
        found = {}
        height, width, channels = self.shape
        for layer, filters in enumerate(self.filters):
            weight = torch.empty(filters, self.kernel, self.kernel, channels)
            torch.nn.init.trunc_normal_(weight, 0.0, 1.0, -CUT, CUT, generator=generator)
            found |= {f"front.filters{layer}": weight, f"front.filters{layer}.bias": torch.full((filters,), FIRST_BIAS)}
            height, width, channels = height // 2, width // 2, filters
        inputs = height * width * channels
        for layer, units in enumerate(self.dense):
            weight = torch.randn(inputs, units, generator=generator) / inputs**0.5
            bias = torch.randn(units, generator=generator) * 0.01
            found |= {f"front.dense{layer}": weight, f"front.dense{layer}.bias": bias}
            inputs = units
        return found

    def features(self, parameters: Mapping[str, Tensor], frames: Tensor, products: torch.dtype | None = None) -> Tensor:
        own = [parameters[name] for name in self.parameter_names]
        networks = [self._one(*each, products) for each in zip(frames, zip(*own, strict=True), strict=True)]
        return torch.stack(networks)

    def _one(self, frames: Tensor, parameters: Sequence[Tensor], products: torch.dtype | None) -> Tensor:
        """Features (frames, features) of one network. Networks take turns: grouped convolutions are slower on a CPU,
        and a network's work is enough for a GPU."""
        products = products or parameters[0].dtype
        layers, convolutions = list(zip(parameters[::2], parameters[1::2], strict=True)), len(self.filters)
        layers[:convolutions] = [effective(*layer) for layer in layers[:convolutions]]
        layers = [(weight.to(products), bias.to(products)) for weight, bias in layers]
        kernels, dense = layers[:convolutions], layers[convolutions:]
        if torch.is_grad_enabled():
            return self._forward(frames, kernels, dense, products)
        at_once = max(1, NUMBERS_AT_ONCE // (self.shape[0] * self.shape[1] * max(self.filters[0], self.shape[2])))
        return torch.cat([self._forward(part, kernels, dense, products) for part in frames.split(at_once)])

    def _forward(
        self,
        frames: Tensor,
        kernels: Sequence[tuple[Tensor, Tensor]],
        dense: Sequence[tuple[Tensor, Tensor]],
        products: torch.dtype,
    ) -> Tensor:
        """Features of frames (frames, pixels)."""
        # Pixels lie flattened with channels last, which is the order that convolutions are quickest in.
        values = frames.to(products).contiguous().unflatten(1, self.shape).permute(0, 3, 1, 2)
        for weight, bias in kernels:
            # Pooling comes before the ReLU, which it commutes with: it leaves a quarter of the work.
            values = functional.conv2d(values, weight, bias, padding=self.kernel // 2)
            values = functional.leaky_relu_(functional.max_pool2d(values, 2), self.leak)
        values = values.permute(0, 2, 3, 1).flatten(1)
        for weight, bias in dense:
            values = functional.leaky_relu_(torch.addmm(bias, values, weight), self.leak)
        return values

    def settings(self) -> dict[str, Any]:
        return super().settings() | asdict(self)


def effective(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """A convolution's weights and biases as they are used.

    Args:
        weight: one network's as they are stored, (filters, kernel, kernel, channels).
        bias: (filters,), as stored.
    Returns:
        weights (filters, channels, kernel, kernel), channels last in memory, and biases (filters,).
    """
    filters, _, _, channels = weight.shape
    return (weight / math.sqrt(channels * filters)).permute(0, 3, 1, 2), bias / math.sqrt(filters)
