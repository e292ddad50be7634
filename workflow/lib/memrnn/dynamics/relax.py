"""Noise-free relaxation of each class's state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from memrnn.data.images import ImageSet
from memrnn.models.cell import State, check_state, squared_change
from memrnn.models.networks import Networks
from memrnn.tasks.delayed_classification import Mean, held_input, mean_input, read_out

# ------------------------------------------------------------------------------------------------------- relaxation


def relaxed(networks: Networks, images: ImageSet, centroids: State, times: Sequence[int]) -> pd.DataFrame:
    """Speed and read-out of every network and class after fixed numbers of noise-free steps from the centroid.

    Args:
        centroids: h, or (h, c), each (networks, classes, units).
        times: ascending numbers of time steps under the held mean input.
    Returns:
        the table `relaxed`, without dataset, cell and curriculum: a row per network, class and time.
    """
    mean = mean_input(networks, images)
    networks = networks.to(torch.float64)
    state = tuple(part.to(networks.readout) for part in centroids)
    x = held_input(networks, mean)
    check_state(networks.cell, networks.weights, state, x)
    rows = []
    with torch.no_grad():
        for t in range(times[-1] + 1):
            after = networks.step(state, x)
            if t in times:
                speed = squared_change(networks.cell, state, after).sqrt().tolist()
                readout = read_out(networks, state, mean).tolist()
                rows += [
                    {**label, "label": k, "time": t, "speed": speed[at][k], "readout": readout[at][k]}
                    for at, label in enumerate(networks.labels)
                    for k in range(len(images.classes))
                ]
            state = after
    return pd.DataFrame(rows).sort_values(["phase", "seed", "label", "time"], ignore_index=True)


class Relaxation(NamedTuple):
    """The noise-free way of each class's state, each (networks, classes).

    Attributes:
        speed: least speed over the start and the steps kept; that of the start where the class is lost there. It holds
            the outcome: the longer a class is kept, the more speeds it is the least of.
        kept: number of steps after which a triggered step still answered the class at every step so far, int64: the
            noise-free lifetime.
        readout: what a triggered step answers at the end, int64; -1 is null.
        window_speed: least speed over the start and a window of first steps, whatever is answered there, so that it
            cannot hold the outcome.
        state: at the end, h, or (h, c), each (networks, classes, units).
        end_speed: at that state. Where it is next to nothing and no eigenvalue lies outside the unit circle, an
            attractor has been reached.
    """

    speed: Tensor
    kept: Tensor
    readout: Tensor
    window_speed: Tensor
    state: State
    end_speed: Tensor


def relax(networks: Networks, start: State, mean: Mean, steps: int, window: int) -> Relaxation:
    """Let each class's state run without noise.

    Args:
        start: h, or (h, c), each (networks, classes, units).
        steps: under the held mean input.
        window: steps of the window, cut to `steps`.
    """
    x = held_input(networks, mean)
    label = torch.arange(start[0].shape[1], device=networks.device)
    state, after = start, networks.step(start, x)
    least = squared_change(networks.cell, state, after)
    early = least
    kept = read_out(networks, state, mean) == label
    count = torch.zeros_like(kept, dtype=torch.int64)
    for t in range(1, steps + 1):
        state, after = after, networks.step(after, x)
        change = squared_change(networks.cell, state, after)
        if t <= window:
            early = torch.minimum(early, change)
        if kept.any():
            kept &= read_out(networks, state, mean) == label
            count += kept
            least = torch.where(kept, torch.minimum(least, change), least)
    return Relaxation(least.sqrt(), count, read_out(networks, state, mean), early.sqrt(), state, change.sqrt())
