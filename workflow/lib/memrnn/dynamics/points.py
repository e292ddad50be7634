"""Slow points of ensembles: centroids, the search from them, and what the points are like."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from memrnn.core import streams
from memrnn.core.files import load_arrays
from memrnn.data.images import ImageSet
from memrnn.dynamics.search import SlowPoints, slow_points
from memrnn.models.cell import SquaredSpeed, State, check_state, speed, squared_change
from memrnn.models.networks import Networks
from memrnn.tasks.delayed_classification import (
    Mean,
    after_noise,
    held_input,
    mean_input,
    noise_on_cpu,
    pixels,
    read_out,
    seen,
)

NOISY_STEPS, STEPS_AT_ONCE = 100, 10  # behind a noisy speed, per point; and of them side by side, to bound memory
IMAGES_AT_ONCE = 500  # per network: bounds the memory that centroids of thousands of images need


class Centroids(NamedTuple):
    """Mean states of the classes after a short noisy delay, and the number of correct trials they rest on.

    Attributes:
        state: h, or (h, c), each (networks, classes, units).
        trials: (networks, classes), int64; 0 where no trial was read out correctly and the plain mean stands in.
    """

    state: State
    trials: Tensor


def centroids(networks: Networks, images: ImageSet, noise_steps: int, noise_scale: float) -> Centroids:
    """Where each class's memory is found: the mean state of its training images after a short delay.

    A trial shows the image at its first step and then `noise_steps` noise frames with `noise_scale` times the noise's
    standard deviation, one noise sequence for all trials of a network. Trials count that a triggered step reads out
    correctly; where there is none, all count.
    """
    count, mean = len(networks.seeds), mean_input(networks, images)
    generators = [streams.generator(seed, "slow_points", "noise") for seed in networks.seeds]
    noise = noise_on_cpu(generators, noise_steps, pixels(networks), images.mean, noise_scale * images.std)
    counts, offsets = images.counts("train").tolist(), images.offsets("train").tolist()
    means, kept = [], []
    with torch.no_grad():
        frames = seen(networks, noise.to(networks.device)).split(1, 1)
        for label, (number, offset) in enumerate(zip(counts, offsets, strict=True)):
            chosen, every, correct = 0, 0, 0  # sums of states, (parts, networks, units), and number of correct trials
            for shown in images.train_images[offset : offset + number].split(IMAGES_AT_ONCE):
                image = shown.to(networks.device).expand(count, -1, -1)
                state = networks.cell.initial_state(count, len(shown), networks.readout.shape[1], image)
                state = networks.step(state, seen(networks, image))
                for frame in frames:
                    state = networks.step(state, frame)
                right = read_out(networks, state, mean) == label  # (networks, trials)
                correct += right.sum(1)
                chosen += torch.stack([torch.einsum("nt,ntu->nu", right.to(part.dtype), part) for part in state])
                every += torch.stack([part.sum(1) for part in state])
            kept.append(correct)
            means.append(torch.where(correct[:, None] > 0, chosen / correct[:, None].clamp(min=1), every / number))
    return Centroids(tuple(torch.stack(parts, 1) for parts in zip(*means, strict=True)), torch.stack(kept, 1))


def trial_states(networks: Networks, images: ImageSet, max_delay: int) -> Centroids:
    """For every class, the state of one trial after a training image and 1 to `max_delay` noise frames, all at random.

    Such a state is a start of the search like a centroid, but no mean, and nobody asks what is read out of it.
    """
    counts, offsets = images.counts("train"), images.offsets("train")
    generators = [streams.generator(seed, "slow_points", "trial_states") for seed in networks.seeds]
    chosen = [offsets + (torch.rand(len(counts), generator=each) * counts).long() for each in generators]
    delays = [torch.randint(1, max_delay + 1, (len(counts),), generator=each) for each in generators]
    delay = torch.stack(delays).to(networks.device).unsqueeze(-1)  # (networks, classes, 1)
    shown = images.train_images[torch.stack(chosen)].to(networks.device)
    with torch.no_grad():
        state = networks.cell.initial_state(len(generators), len(counts), networks.readout.shape[1], shown)
        state = networks.step(state, seen(networks, shown))
        state = after_noise(networks, generators, state, delay, images.mean, images.std)
    return Centroids(state, torch.ones_like(delay).squeeze(-1))


def descend(
    networks: Networks,
    mean: Mean,
    start: State,
    budgets: Sequence[int],
    learning_rate: float,
    drop_step: int,
    drop_factor: float,
) -> list[State]:
    """`search` in ensembles of ours, under the held mean input, within the cell's bounds; no point is stopped.

    Args:
        mean: see `mean_input`.
        start: h, or (h, c), each (networks, points, units); not changed.
        budgets, learning_rate, drop_step, drop_factor: as for `search`.
    Returns:
        the states, one for each budget.
    Raises:
        ValueError: a start is not finite or does not fit the networks.
    Source: the published search (Adam on the sum of S^2, h clipped).
    """
    x = held_input(networks, mean)
    found = search_ensemble(networks, x, start, budgets, learning_rate, drop_step, drop_factor)
    return [part.state for part in found]


def search_ensemble(
    networks: Networks,
    x: Tensor,
    start: State,
    budgets: Sequence[int],
    learning_rate: float = 1e-3,
    drop_step: int = 40_000,
    drop_factor: float = 0.1,
    tolerance: float | None = None,
) -> list[SlowPoints]:
    """The same under any held input x, (networks, 1, inputs), with what is known of the points; see `search`."""
    check_state(networks.cell, networks.weights, start, x)
    squared_speed, bounds = ensemble_speed(networks, x, start[0].shape[1]), networks.cell.bounds
    observe = networks.cell.observe
    return slow_points(squared_speed, observe, start, budgets, learning_rate, drop_step, drop_factor, bounds, tolerance)


def multiplications(networks: Networks, points: int) -> int:
    """Of one recurrent product of the search from so many points of each network, for `core.jobs.float32_library`."""
    return len(networks.seeds) * points * networks.readout.shape[1] ** 2


@torch.no_grad()
def ensemble_speed(networks: Networks, x: Tensor, points: int) -> SquaredSpeed:
    """S^2 and its gradient in an ensemble under held inputs (networks, 1, inputs)."""
    return networks.cell.squared_speed(networks.weights, networks.drive(x), points)


def find(
    networks: Networks,
    images: ImageSet,
    start: Centroids,
    budgets: Sequence[int],
    learning_rate: float,
    drop_step: int,
    drop_factor: float,
) -> tuple[list[State], pd.DataFrame]:
    """Slow points of every network and class, at every budget of the search.

    Returns:
        the points at each budget, and a row per network, class and budget: phase, seed, label, search_steps, speed (at
        the point itself), noisy_speed, distance (from the centroid), readout, start_speed, start_trials, start_readout,
        nearest_distance and nearest_label (of the closest other class's point). Distances are Euclidean in what
        the speed is measured in: h, and tanh c for an LSTM.
    Raises:
        ValueError: a centroid is not finite.
    """
    mean = mean_input(networks, images)
    x = held_input(networks, mean)
    found = descend(networks, mean, start.state, budgets, learning_rate, drop_step, drop_factor)
    with torch.no_grad():
        first = {
            "start_speed": speed(networks.cell, networks.weights, start.state, x),
            "start_trials": start.trials,
            "start_readout": read_out(networks, start.state, mean),
        }
        origin = position(networks, start.state)
        rows = []
        for budget, state in zip(budgets, found, strict=True):
            nearest = apart(networks, state).min(-1)
            columns = {
                "speed": speed(networks.cell, networks.weights, state, x),
                "noisy_speed": noisy_speed(networks, images, state),
                "distance": (position(networks, state) - origin).norm(dim=-1),
                "readout": read_out(networks, state, mean),
                **first,
                "nearest_distance": nearest.values,
                "nearest_label": nearest.indices,
            }
            rows += [
                {**networks.labels[network], "label": label, "search_steps": budget}
                | {name: values[network, label].item() for name, values in columns.items()}
                for network in range(len(networks.seeds))
                for label in range(len(images.classes))
            ]
    return found, pd.DataFrame(rows).sort_values(["phase", "seed", "label", "search_steps"], ignore_index=True)


@torch.no_grad()
def noisy_speed(networks: Networks, images: ImageSet, state: State) -> Tensor:
    """Root mean square of the distance that a state moves in one step under noise as in the task, without trigger.

    Its square is that of the mean step plus the variance that noise adds: what the paper's penalty lowers.

    Args:
        state: h, or (h, c), each (networks, points, units).
    Returns:
        (networks, points), state units per time step, from NOISY_STEPS draws; networks of one seed see the same noise.
    """
    generators = [streams.generator(seed, "slow_points", "noisy_speed") for seed in networks.seeds]
    points = state[0].shape[1]
    repeated = tuple(part.repeat_interleave(STEPS_AT_ONCE, 1) for part in state)
    total = 0
    for _ in range(NOISY_STEPS // STEPS_AT_ONCE):
        frames = noise_on_cpu(generators, points * STEPS_AT_ONCE, pixels(networks), images.mean, images.std)
        after = networks.step(repeated, seen(networks, frames.to(networks.device)))
        total += squared_change(networks.cell, repeated, after).unflatten(1, (points, -1)).sum(2)
    return (total / NOISY_STEPS).sqrt()


def position(networks: Networks, state: State) -> Tensor:
    """Where states are in what the speed is measured in, h and tanh c for an LSTM; (networks, points, coordinates)."""
    return torch.cat(networks.cell.observe(state), -1)


def apart(networks: Networks, state: State) -> Tensor:
    """Euclidean distances between the points of a network, infinite to itself; (networks, points, points)."""
    place = position(networks, state)
    # cdist's shortcut for many points would blur distances below 0.01
    distances = torch.cdist(place, place, compute_mode="donot_use_mm_for_euclid_dist")
    distances.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    return distances


def stored(path: str | Path, search_steps: int, seeds: Sequence[int]) -> tuple[State, State]:
    """Points of one budget, and the centroids, from a file that the slow-point stage wrote.

    Args:
        seeds: of the networks whose points they must be.
    Returns:
        both as h, or (h, c), each (networks, classes, units).
    Raises:
        ValueError: the file holds points of other networks or not of this budget.
    """
    arrays, meta = load_arrays(path)
    if meta["seeds"] != list(seeds) or search_steps not in meta["search_steps"]:
        raise ValueError(
            f"{path}: holds points of the seeds {meta['seeds']} after {meta['search_steps']} search steps; expected "
            f"the seeds {list(seeds)} and {search_steps} steps. Run slow_points_block again."
        )
    budget = meta["search_steps"].index(search_steps)
    parts = range(sum(key.startswith("centroid.") for key in arrays))
    return tuple(arrays[f"points.{part}"][budget] for part in parts), tuple(arrays[f"centroid.{p}"] for p in parts)
