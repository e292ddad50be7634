"""Ensembles of networks: weights, initialisation, outputs, and their files (docs/method.md, Cells)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memrnn.core import streams
from memrnn.core.files import load_arrays, save_arrays
from memrnn.models.cell import Cell, State
from memrnn.models.cells import CELLS
from memrnn.models.fronts import PIXELS, Front, from_settings


class _ReadOut(torch.autograd.Function):
    """h @ weight + bias, with factors in the order that is quick where outputs are few: four times quicker on a CPU."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(h, weight)
        return torch.baddbmm(bias.unsqueeze(2), weight.mT, h.mT).mT

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h, weight = ctx.saved_tensors
        return grad @ weight.mT, (grad.mT @ h).mT, grad.sum(1)


@dataclass(frozen=True)
class Networks:
    """Networks of one cell, side by side.

    Attributes:
        cell: their architecture.
        weights: recurrent layer, of the cell's `weights_type`. What is put in beside features, the task says.
        readout: (networks, units, outputs).
        readout_bias: (networks, outputs).
        seeds: one per network.
        phases: one per network: how its last training was done ("trained", or a mode of regularisation).
        front: front end through which frames reach the recurrent layer.
        front_parameters: its trained tensors by name, each (networks, ...).
    """

    cell: Cell
    weights: Any
    readout: Tensor
    readout_bias: Tensor
    seeds: tuple[int, ...]
    phases: tuple[str, ...]
    front: Front = PIXELS
    front_parameters: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def labels(self) -> list[dict[str, Any]]:
        """What tells the networks apart in tables, a dictionary per network."""
        return [{"phase": phase, "seed": seed} for phase, seed in zip(self.phases, self.seeds, strict=True)]

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Every trained tensor by name."""
        own = {**self.weights._asdict(), "readout": self.readout, "readout_bias": self.readout_bias}
        return {**own, **self.front_parameters}

    @property
    def device(self) -> torch.device:
        """Where all tensors lie."""
        return self.readout.device

    def to(self, target: torch.device | torch.dtype) -> Networks:
        """The same networks on another device, or with weights of another type."""
        return self.like({name: values.to(target) for name, values in self.parameters.items()})

    def like(
        self, parameters: Mapping[str, Tensor], seeds: Sequence[int] | None = None, phases: Sequence[str] | None = None
    ) -> Networks:
        """Networks of the same architecture with other parameters; with seeds and phases, of another number."""
        return from_parameters(self.cell.name, parameters, seeds or self.seeds, phases or self.phases, self.front)

    def only(self, network: int) -> Networks:
        """One of the networks, as an ensemble of one."""
        part = slice(network, network + 1)
        own = {name: values[part] for name, values in self.parameters.items()}
        return self.like(own, self.seeds[part], self.phases[part])

    def features(self, frames: Tensor, products: torch.dtype | None = None) -> Tensor:
        """What the front end makes of frames (networks, frames, pixels); see `Front.features`."""
        return self.front.features(self.front_parameters, frames, products)

    def drive(self, x: Tensor) -> Tensor:
        """What inputs (networks, batch, inputs) give the cell, (networks, batch, gates * units); see `Cell.drive`."""
        return self.cell.drive(self.weights, x)

    def step(self, state: State, x: Tensor) -> State:
        """State after one step of input x, (networks, batch or 1, inputs)."""
        return self.cell.step(self.weights, state, self.drive(x))

    def logits(self, h: Tensor) -> Tensor:
        """Outputs before the logistic function, (networks, ..., outputs), of hidden states (networks, ..., units)."""
        return _ReadOut.apply(h.flatten(1, -2), self.readout, self.readout_bias).unflatten(1, h.shape[1:-1])


def from_parameters(
    cell: str,
    parameters: Mapping[str, Tensor],
    seeds: Sequence[int],
    phases: Sequence[str],
    front: Front = PIXELS,
) -> Networks:
    """Networks of named tensors, the inverse of `Networks.parameters`."""
    kind = CELLS[cell].weights_type
    weights = kind(*(parameters[name] for name in kind._fields))
    readout, readout_bias = parameters["readout"], parameters["readout_bias"]
    of_front = {name: parameters[name] for name in front.parameter_names}
    return Networks(CELLS[cell], weights, readout, readout_bias, tuple(seeds), tuple(phases), front, of_front)


def initial(cell: str, seeds: Sequence[int], inputs: int, units: int, outputs: int, front: Front = PIXELS) -> Networks:
    """Untrained networks, each seed from its own stream: of the cell and the front end what they begin with, and a
    read-out with weights N(0, 1 / units) and biases 0.01 N(0, 1).

    Args:
        inputs: of the recurrent layer.
    """

    def draw(seed: int) -> dict[str, Tensor]:
        generator = streams.generator(seed, "weights")
        return {
            **CELLS[cell].initial(inputs, units, generator)._asdict(),
            "readout": torch.randn(units, outputs, generator=generator) / units**0.5,
            "readout_bias": torch.randn(outputs, generator=generator) * 0.01,
            **front.initial(seed),
        }

    drawn = [draw(seed) for seed in seeds]
    parameters = {name: torch.stack([each[name] for each in drawn]) for name in drawn[0]}
    return from_parameters(cell, parameters, seeds, ["trained"] * len(seeds), front)


def save(path: str | Path, networks: Networks, meta: Mapping[str, Any]) -> None:
    """Write networks with their cell, seeds, phases, front end and further `meta` (dataset, curriculum)."""
    own = {"cell": networks.cell.name, "seeds": networks.seeds, "phases": networks.phases}
    save_arrays(path, networks.parameters, {**meta, **own, "front": networks.front.settings()})


def load(path: str | Path) -> tuple[Networks, dict[str, Any]]:
    """Read networks and their metadata.

    Raises:
        ValueError: the file is missing, corrupt, or holds something else; or a weight is not finite.
    """
    arrays, meta = load_arrays(path)
    try:
        networks = from_parameters(meta["cell"], arrays, meta["seeds"], meta["phases"], from_settings(meta["front"]))
        if not _fit(networks):
            raise TypeError("tensors that fit each other")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: expected networks, found no {error}. Delete the file and run again.") from error
    for name, values in arrays.items():
        if not values.isfinite().all():
            raise ValueError(f"{path}: {name} has values that are not finite. Delete the file and train again.")
    return networks, meta


def _fit(networks: Networks) -> bool:
    """Whether the tensors have shapes of one ensemble, one network for each seed and phase."""
    readout, weights = networks.readout, networks.weights
    if readout.ndim != 3 or weights.inputs.ndim != 3:
        return False
    count, units, outputs = readout.shape
    shapes = networks.cell.shapes(weights.inputs.shape[1], units)
    return (
        count == len(networks.seeds) == len(networks.phases)
        and networks.readout_bias.shape == (count, outputs)
        and all(part.shape == (count, *shape) for part, shape in zip(weights, shapes, strict=True))
    )
