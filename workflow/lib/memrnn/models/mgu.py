"""Minimal gated unit."""

from __future__ import annotations

import torch
from torch import Tensor

from memrnn.models.cell import Cell, State, Weights


class MGU(Cell):
    """Minimal gated unit (Zhou et al. 2016): one gate, which both forgets and lets in.

    f = s(W_f x + U_f h + b_f), n = tanh(W_n x + U_n (f * h) + b_n), h' = (1 - f) h + f n. The published search has a
    cell of this name in which f keeps, h' = f h + (1 - f) n: another cell, which was trained nowhere.

    Columns of weights and drive: forget f, candidate n.
    """

    name = "mgu"
    gates = 2
    bounds = (1.0,)  # h is a mean of a hyperbolic tangent and of h before

    def step(self, weights: Weights, state: State, drive: Tensor) -> State:
        (h,) = state
        f_drive, n_drive = drive.chunk(2, -1)
        f_weight, n_weight = weights.recurrent.chunk(2, -1)
        f = torch.sigmoid(f_drive + h @ f_weight)
        n = torch.tanh(n_drive + (f * h) @ n_weight)
        return ((1 - f) * h + f * n,)
