"""Norm stabiliser: squared changes of the hidden state's norm from one time step to the next."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from memrnn.models.networks import Networks
from memrnn.training.engine import Batch, Penalty
from memrnn.training.known import Known

SETTINGS = {}


def make(known: Known) -> Penalty:
    """The mean of (||h_t|| - ||h_(t-1)||)^2 over trials and time steps, the step out of the initial state left out.

    Source: Krueger & Memisevic 2016.
    """

    def penalty(networks: Networks, batch: Batch, hidden: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        return hidden.norm(dim=-1).diff(dim=1).square().mean((1, 2))

    return penalty
