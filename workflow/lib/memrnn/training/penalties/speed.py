"""Speed at given states under noisy input: the paper's regulariser, and the two parts that its square has."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from memrnn.models.cell import squared_change
from memrnn.models.networks import Networks
from memrnn.tasks.delayed_classification import held_input, seen_noise
from memrnn.training.engine import Batch, Penalty
from memrnn.training.known import Known

SETTINGS = {
    "part": {
        "description": "all of S^2, that under the mean input alone, or only the variance that noise adds",
        "enum": ["all", "noise_free", "noise_gain"],
    },
    "at": {
        "description": "states that are slowed, one of each class",
        "enum": ["centroids", "points", "relaxed", "before_image"],
    },
    "noise_draws": {
        "description": "noisy inputs per state and update",
        "type": "integer",
        "minimum": 2,
        "maximum": 1000000,
    },
}


def make(known: Known, part: str, at: str, noise_draws: int) -> Penalty:
    """Sum of S^2 over states and draws, the step inside S taken under noise of full standard deviation, trigger 0.

    The states are held fixed. Noise goes through the front end, whose weights have a part in the speed and get a
    gradient, too.

    With f the noisy step of a state s, the mean of S^2 = ||f - s||^2 is ||mean f - s||^2 plus the variance of f. Part
    `noise_free` has S^2 of the step under the mean input in place of the first, `noise_gain` the second alone, as the
    draws estimate it without bias; each as many times as there are draws, so that one strength means the same in all.
    Behind a front end the mean input is the mean of what it makes of the draws.

    Args:
        part: `all`, `noise_free` or `noise_gain`.
        at: a place of `PLACES`.
        noise_draws: noisy inputs per state and call, 2 or more for `noise_gain`.
    Source: Haviv et al. 2019 (`all`).
    """
    states = known.states(at)
    repeated = tuple(each.repeat_interleave(noise_draws, dim=1) for each in states)
    mean, std = known.images.mean, known.images.std
    count = repeated[0].shape[1]

    def everything(networks: Networks, batch: Batch, hidden: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        x = seen_noise(networks, generators, count, mean, std)
        return squared_change(networks.cell, repeated, networks.step(repeated, x)).sum(1)

    def noise_free(networks: Networks, batch: Batch, hidden: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        known_mean = networks.front.expected(mean, std)
        if known_mean is None:
            x = seen_noise(networks, generators, count, mean, std).mean(1, keepdim=True)
        else:
            x = held_input(networks, known_mean)
        return noise_draws * squared_change(networks.cell, states, networks.step(states, x)).sum(1)

    def noise_gain(networks: Networks, batch: Batch, hidden: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        x = seen_noise(networks, generators, count, mean, std)
        after = networks.cell.observe(networks.step(repeated, x))
        spread = [each.unflatten(1, (-1, noise_draws)).var(2).sum((1, 2)) for each in after]
        return noise_draws * torch.stack(spread).sum(0)

    return {"all": everything, "noise_free": noise_free, "noise_gain": noise_gain}[part]
