"""Activity: the mean squared hidden state over the trials of an update and their time steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from memrnn.models.networks import Networks
from memrnn.training.engine import Batch, Penalty
from memrnn.training.known import Known

SETTINGS = {}


def make(known: Known) -> Penalty:
    """The mean over trials, time steps and units."""

    def penalty(networks: Networks, batch: Batch, hidden: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        return hidden.square().mean((1, 2, 3))

    return penalty
