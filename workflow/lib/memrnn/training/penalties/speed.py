"""Speed at given states under noisy input: the paper's regulariser, and the two parts that its square has."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from memrnn.models.cell import squared_change
from memrnn.models.networks import Networks
from memrnn.tasks.delayed_classification import seen_noise
from memrnn.training.engine import Batch, Penalty
from memrnn.training.known import Known

SETTINGS = {
    "at": {
        "description": "states that are slowed, one of each class",
        "enum": ["centroids", "points", "relaxed"],
    },
    "noise_draws": {
        "description": "noisy inputs per state and update",
        "type": "integer",
        "minimum": 1,
        "maximum": 1000000,
    },
}


def make(known: Known, at: str, noise_draws: int) -> Penalty:
    """Sum of S^2 over states and draws, the step inside S taken under noise of full standard deviation, trigger 0.

    The states are held fixed. Noise goes through the front end, whose weights have a part in the speed and get a
    gradient, too.

    Args:
        at: a place of `PLACES`.
        noise_draws: noisy inputs per state and call.
    Source: Haviv et al. 2019.
    """
    repeated = tuple(part.repeat_interleave(noise_draws, dim=1) for part in known.states(at))
    mean, std = known.images.mean, known.images.std

    def penalty(networks: Networks, batch: Batch, hidden: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        x = seen_noise(networks, generators, repeated[0].shape[1], mean, std)
        return squared_change(networks.cell, repeated, networks.step(repeated, x)).sum(1)

    return penalty
