"""What tests share: one step of a network, plainly from docs/method.md, Cells; a new cell; helpers."""

import logging
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from memrnn.data.images import ImageSet
from memrnn.models.cell import Cell, State
from memrnn.models.networks import Networks, initial
from memrnn.tasks.delayed_classification import Inputs
from memrnn.training.engine import Penalty
from memrnn.training.known import Known
from memrnn.training.regularise import penalty_of_modes


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


Gate = Callable[[int, np.ndarray], np.ndarray]  # number of a gate, and what stands behind U -> W x + U h + b


def plain_gru(gate: Gate, h: np.ndarray) -> list[np.ndarray]:
    z, r = sigmoid(gate(0, h)), sigmoid(gate(1, h))
    return [(1 - z) * h + z * np.tanh(gate(2, r * h))]


def plain_lstm(gate: Gate, h: np.ndarray, c: np.ndarray) -> list[np.ndarray]:
    f, i, o = (sigmoid(gate(k, h)) for k in range(3))
    c = f * c + i * np.tanh(gate(3, h))
    return [o * np.tanh(c), c]


def plain_rnn(gate: Gate, h: np.ndarray) -> list[np.ndarray]:
    return [np.tanh(gate(0, h))]


def plain_mgu(gate: Gate, h: np.ndarray) -> list[np.ndarray]:
    f = sigmoid(gate(0, h))
    return [(1 - f) * h + f * np.tanh(gate(1, f * h))]


# Every cell's definition a second time; a new cell adds its own.
PLAIN = {"gru": plain_gru, "lstm": plain_lstm, "rnn": plain_rnn, "mgu": plain_mgu}


def plain_step(cell: str, weights: dict[str, np.ndarray], state: list[np.ndarray], x: np.ndarray) -> list[np.ndarray]:
    """One step of one network from one state, in float64, as docs/method.md defines it."""
    units = len(state[0])

    def gate(k: int, h: np.ndarray) -> np.ndarray:
        columns = slice(k * units, (k + 1) * units)
        return x @ weights["inputs"][:, columns] + h @ weights["recurrent"][:, columns] + weights["bias"][columns]

    return PLAIN[cell](gate, *state)


def plain_speed(cell: str, weights: dict[str, np.ndarray], state: list[np.ndarray], x: np.ndarray) -> float:
    """Speed of one state of one network, as defined in docs/method.md, Speed."""
    after = plain_step(cell, weights, state, x)
    squared = ((after[0] - state[0]) ** 2).sum()
    if cell == "lstm":
        squared += ((np.tanh(after[1]) - np.tanh(state[1])) ** 2).sum()
    return float(np.sqrt(squared))


def random_networks(
    cell: str, seeds: tuple[int, ...] = (0, 4), inputs: int = 6, units: int = 6, scale: float = 2.0
) -> Networks:
    """New networks with weights large enough for slow points of several kinds."""
    new = initial(cell, seeds, inputs, units, 4)
    return new.like({name: scale * values for name, values in new.parameters.items()})


def weights_of(networks: Networks, network: int = 0) -> dict[str, np.ndarray]:
    """Weights of one network, as `plain_step` takes them."""
    return {name: values[network].double().numpy() for name, values in networks.parameters.items()}


def slowing(networks: Networks, images: ImageSet, points: State, *strengths: float, draws: int = 2) -> Penalty:
    """The penalty on the speed at points, for as many modes of the networks as there are strengths."""
    known = Known(networks, images, points, points, relaxed_steps=1, latest_image=1)
    speed = {"penalty": "speed", "part": "all", "at": "points", "noise_draws": draws}
    return penalty_of_modes({str(n): speed | {"strength": each} for n, each in enumerate(strengths)}, known)


def dense(shown: Inputs) -> Tensor:
    """What networks without a front end are given, (networks, time, batch, pixels + 1); the trigger stands last."""
    return torch.cat(shown.written_out(), -1)


class LeakyWeights(NamedTuple):
    inputs: Tensor
    recurrent: Tensor
    bias: Tensor
    rate: Tensor  # (networks, units)


class Leaky(Cell):
    """A cell as a user may add one, by its step and with a parameter of its own: units that learn how fast they are.

    h' = h + s(a) (tanh(W x + U h + b) - h).
    """

    name = "leaky"
    gates = 1
    bounds = (1.0,)
    weights_type = LeakyWeights

    def shapes(self, inputs, units):
        return LeakyWeights(*super().shapes(inputs, units), (units,))

    def step(self, weights, state, drive):
        (h,) = state
        return (torch.lerp(h, torch.tanh(drive + h @ weights.recurrent), torch.sigmoid(weights.rate).unsqueeze(1)),)


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


class Breaking(logging.Handler):
    """Interrupts when a line with the given text is logged."""

    def __init__(self, text: str):
        super().__init__()
        self.text = text

    def emit(self, entry: logging.LogRecord) -> None:
        if self.text in entry.getMessage():
            raise KeyboardInterrupt
