"""Vanilla recurrent network."""

from __future__ import annotations

import torch
from torch import Tensor

from memrnn.models.cell import Cell, State, Weights


class RNN(Cell):
    """Hyperbolic tangent of input and state, without gates (Elman 1990): h' = tanh(W x + U h + b)."""

    name = "rnn"
    gates = 1
    bounds = (1.0,)

    def step(self, weights: Weights, state: State, drive: Tensor) -> State:
        (h,) = state
        return (torch.tanh(drive + h @ weights.recurrent),)
