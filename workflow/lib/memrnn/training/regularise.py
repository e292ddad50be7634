"""Training on with slow points slowed further (section 9 of the science)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from memrnn.dynamics.points import stored
from memrnn.models.cell import State, squared_change
from memrnn.models.networks import Networks

# Where the speed is lowered in each mode: at which stored points, or nowhere. A new mode is one entry here and its name
# in the schema.
MODES: dict[str, str | None] = {"control": None, "centroid": "centroid", "slow_points": "points"}


def in_modes(trained: Networks, modes: Sequence[str]) -> Networks:
    """Every network once for each mode, the modes one after the other along the axis of networks."""
    repeated = {name: torch.cat([values] * len(modes)) for name, values in trained.parameters.items()}
    phases = [mode for mode in modes for _ in trained.seeds]
    return trained.like(repeated, trained.seeds * len(modes), phases)


def points_of_modes(path: str | Path, modes: Sequence[str], search_steps: int, seeds: Sequence[int]) -> State:
    """Points at which each network of `in_modes` is to be slowed; where a mode slows none, zeros hold the place.

    Args:
        path: what the slow-point stage wrote for the trained networks.
        search_steps: budget of the search whose points are wanted (centroids have none).
        seeds: of the trained networks.
    Raises:
        ValueError: the file holds points of other networks or not of this budget.
    """
    points, centroids = stored(path, search_steps, seeds)
    sets = {"centroid": centroids, "points": points, None: tuple(torch.zeros_like(part) for part in centroids)}
    return tuple(torch.cat([sets[MODES[mode]][part] for mode in modes]) for part in range(len(points)))


def speed_penalty(
    points: State, strengths: Sequence[float], draws: int, mean: float, std: float
) -> Callable[[Networks, Sequence[torch.Generator]], Tensor]:
    """Term that punishes speed at fixed points under noisy input.

    Args:
        points: h, or (h, c), each (networks, classes, units); held fixed.
        strengths: lambda of each network; 0 where nothing is punished.
        draws: noisy inputs per class and call.
        mean, std: of the noise, in pixel units; its full standard deviation, trigger 0.
    Returns:
        function of networks and one noise generator per network: lambda times the sum of S^2 over classes and draws,
        (networks,), differentiable with respect to the networks' weights. Noise goes through the front end, whose
        weights have a part in the speed and get a gradient, too.
    """
    repeated = tuple(part.repeat_interleave(draws, dim=1) for part in points)  # (networks, classes * draws, units)
    weight = torch.tensor(strengths, device=points[0].device)

    def penalty(networks: Networks, generators: Sequence[torch.Generator]) -> Tensor:
        x = repeated[0].new_zeros(*repeated[0].shape[:2], networks.pixels + 1)
        for network, generator in enumerate(generators):
            x[network, :, :-1] = x.new_empty(x.shape[1], x.shape[2] - 1).normal_(mean, std, generator=generator)
        return weight * squared_change(networks.cell, repeated, networks.step(repeated, networks.seen(x))).sum(1)

    return penalty
