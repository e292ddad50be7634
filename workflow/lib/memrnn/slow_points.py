"""Slow points: where memories sit, found by lowering the speed from each class's centroid (section 7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from memrnn import record
from memrnn.cells import State, check_state, speed
from memrnn.images import ImageSet
from memrnn.networks import Networks

IMAGES_AT_ONCE = 500  # per network: bounds the memory that centroids of thousands of images need
NO_CLASS = -1  # read-out of a state that answers the trigger with the null output

SquaredSpeed = Callable[[State], tuple[Tensor, State]]


class Centroids(NamedTuple):
    """Mean states of the classes after a short noisy delay, and the number of correct trials they rest on.

    Attributes:
        state: h, or (h, c), each (networks, classes, units).
        trials: (networks, classes), int64; 0 where no trial was read out correctly and the plain mean stands in.
    """

    state: State
    trials: Tensor


def held_input(networks: Networks, mean: float, trigger: float = 0.0) -> Tensor:
    """The mean input under which speed is defined: every pixel `mean`; (networks, 1, inputs)."""
    x = networks.readout.new_full((len(networks.seeds), 1, networks.weights.inputs.shape[1]), mean)
    x[..., -1] = trigger
    return x


def read_out(networks: Networks, state: State, mean: float) -> Tensor:
    """Class that a triggered step from each state answers with, or `NO_CLASS`; (networks, points), int64."""
    after = networks.step(state, held_input(networks, mean, trigger=1.0))
    return networks.logits(after[0]).argmax(-1) - 1


def centroids(networks: Networks, images: ImageSet, noise_steps: int, noise_scale: float) -> Centroids:
    """Where each class's memory is found: the mean state of its training images after a short delay.

    A trial shows the image at its first step and then `noise_steps` noise frames with `noise_scale` times the noise's
    standard deviation, one noise sequence for all trials of a network. Trials count that a triggered step reads out
    correctly; where there is none, all count.
    """
    count, width = len(networks.seeds), networks.weights.inputs.shape[1]
    noise = torch.stack(
        [
            torch.randn(noise_steps, width - 1, generator=record.generator(s, "slow_points", "noise"))
            for s in networks.seeds
        ]
    ).to(networks.device)
    frames = noise.new_zeros(noise_steps, count, 1, width)
    frames[..., 0, :-1] = images.mean + noise_scale * images.std * noise.transpose(0, 1)
    counts, offsets = images.counts("train").tolist(), images.offsets("train").tolist()
    means, kept = [], []
    with torch.no_grad():
        for label, (number, offset) in enumerate(zip(counts, offsets, strict=True)):
            chosen, every, correct = 0, 0, 0  # sums of states, (parts, networks, units), and number of correct trials
            for shown in images.train_images[offset : offset + number].split(IMAGES_AT_ONCE):
                image = noise.new_zeros(count, len(shown), width)
                image[..., :-1] = shown.to(networks.device)
                state = networks.cell.initial_state(count, len(shown), networks.readout.shape[1], image)
                state = networks.step(state, image)
                for frame in frames:
                    state = networks.step(state, frame)
                right = read_out(networks, state, images.mean) == label  # (networks, trials)
                correct += right.sum(1)
                chosen += torch.stack([torch.einsum("nt,ntu->nu", right.to(part.dtype), part) for part in state])
                every += torch.stack([part.sum(1) for part in state])
            kept.append(correct)
            means.append(torch.where(correct[:, None] > 0, chosen / correct[:, None].clamp(min=1), every / number))
    return Centroids(tuple(torch.stack(parts, 1) for parts in zip(*means, strict=True)), torch.stack(kept, 1))


def search(
    squared_speed: SquaredSpeed,
    start: State,
    budgets: Sequence[int],
    learning_rate: float,
    drop_step: int,
    drop_factor: float,
) -> list[State]:
    """Lower S^2 of every point by Adam, and keep the states at several budgets.

    Points do not interact: Adam works on each coordinate alone, so a point's path depends on no other point. After
    each step h is clipped to [-1, 1], the states a network can reach; further parts of a state (an LSTM's c) are free.

    Args:
        squared_speed: S^2 of a state, (networks, points), and its gradient with respect to the state.
        start: h, or (h, c), each (networks, points, units); not changed.
        budgets: increasing numbers of steps after which states are kept.
        learning_rate: of Adam, up to step `drop_step`; times `drop_factor` from there on.
    Returns:
        the states, one for each budget.
    Source: the published search (Adam on the sum of S^2, h clipped).
    """
    # Fused Adam goes through memory, whatever the strides: state and gradient must lie alike.
    state = tuple(part.clone(memory_format=torch.contiguous_format) for part in start)
    optimiser = torch.optim.Adam(state, lr=learning_rate, fused=True)
    found = []
    for step in range(max(budgets)):
        if step == drop_step:
            for group in optimiser.param_groups:
                group["lr"] = learning_rate * drop_factor
        _, gradient = squared_speed(state)
        for part, slope in zip(state, gradient, strict=True):
            part.grad = slope.contiguous()
        optimiser.step()
        state[0].clamp_(-1, 1)
        if step + 1 in budgets:
            found.append(tuple(part.detach().clone() for part in state))
    return found


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
        the point itself), distance (from the centroid), readout, start_speed, start_trials, start_readout,
        nearest_distance and nearest_label (of the closest other class's point). Distances are Euclidean in what
        the speed is measured in: h, and tanh c for an LSTM.
    Raises:
        ValueError: a centroid is not finite.
    """
    x = held_input(networks, images.mean)
    recurrent, drive = networks.weights.recurrent, networks.weights.drive(x)
    check_state(networks.weights, start.state, x)
    with torch.no_grad():
        found = search(
            lambda state: networks.cell.squared_speed_gradient(recurrent, state, drive),
            start.state, budgets, learning_rate, drop_step, drop_factor,
        )  # fmt: skip
        first = {
            "start_speed": speed(networks.cell, networks.weights, start.state, x),
            "start_trials": start.trials,
            "start_readout": read_out(networks, start.state, images.mean),
        }
        origin = _position(networks, start.state)
        rows = []
        for budget, state in zip(budgets, found, strict=True):
            position = _position(networks, state)
            # (networks, classes, classes); cdist's shortcut for many points would blur distances below 0.01
            apart = torch.cdist(position, position, compute_mode="donot_use_mm_for_euclid_dist")
            apart.diagonal(dim1=1, dim2=2).fill_(torch.inf)
            nearest = apart.min(-1)
            columns = {
                "speed": speed(networks.cell, networks.weights, state, x),
                "distance": (position - origin).norm(dim=-1),
                "readout": read_out(networks, state, images.mean),
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


def _position(networks: Networks, state: State) -> Tensor:
    return torch.cat(networks.cell.observe(state), -1)
