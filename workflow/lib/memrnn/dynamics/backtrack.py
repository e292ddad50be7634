"""Back-tracking: slow points followed from the end of training to its beginning (docs/method.md, Back-tracking).

The points of the last checkpoint are those of the slow-point stage. From there to the first checkpoint, each one's
search starts from the points found at the next later one, so that a class's point has a history: where it was, how
slow, what it was read out as, and whose point it was before it became its class's own.

- In play at a checkpoint are the classes that took part in the training up to it. A class introduced at the very step
  of a checkpoint is not in play there: those weights have not met it.
- The read-out of a point is the largest of the outputs in play (null, and the classes in play), as in training, where
  the others are masked: an output that was never trained has no say.
- A point is its class's own if its read-out is that class.
- The parent of a point that is not its own is the class whose memory it is part of at that checkpoint: the class it is
  read out as; where it is read out as null, the class in play whose point is nearest, if that is closer than a
  tolerance; else there is none. A point that is its own has no parent, not even if another class's point lies on it:
  of two points in one place, which have one read-out, the read-out says whose the place is, and the other class is the
  one that has no point of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from memrnn.core import streams
from memrnn.core.files import load_arrays
from memrnn.core.tables import columns_of
from memrnn.data.images import ImageSet
from memrnn.dynamics.points import apart, position
from memrnn.models.cell import State, speed
from memrnn.models.fronts import from_settings
from memrnn.models.networks import Networks, from_parameters
from memrnn.tasks import delayed_classification as task
from memrnn.tasks.delayed_classification import NO_CLASS, Mean, held_input, read_out
from memrnn.tasks.protocols import Lesson, Schedule

Search = Callable[[Networks, State], State]


class Checkpoint(NamedTuple):
    """Networks as they were after some training.

    Attributes:
        step: training steps done.
        classes: number of classes in play up to then.
        networks: the ensemble.
    """

    step: int
    classes: int
    networks: Networks


def load_checkpoints(
    path: str | Path, cell: str, schedule: Schedule, device: torch.device
) -> tuple[list[Checkpoint], dict[str, Any]]:
    """Checkpoints that the training of one block has left, from the first to the last, and the file's metadata.

    Args:
        cell: of the networks.
        schedule: of the protocol they were trained under.
        device: where they are wanted.
    Raises:
        ValueError: the file is missing or damaged, or holds something else.
    """
    arrays, meta = load_arrays(path)
    try:
        steps, seeds = meta["steps"], meta["seeds"]
        phases, front = ["trained"] * len(seeds), from_settings(meta["front"])
        weights = [{name: values[at].to(device) for name, values in arrays.items()} for at in range(len(steps))]
        return [
            Checkpoint(
                step,
                schedule.at(max(step - 1, 0)).classes,
                from_parameters(cell, parameters, seeds, phases, front),
            )
            for step, parameters in zip(steps, weights, strict=True)
        ], meta
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(
            f"{path}: expected checkpoints of a {cell}, found other contents ({error}). Train again."
        ) from error


def introductions(schedule: Schedule, classes: int) -> list[int]:
    """Training step at which each class enters play."""
    opened = list(zip(schedule.starts, schedule.lessons, strict=True))
    return [next(start for start, lesson in opened if lesson.classes > label) for label in range(classes)]


def follow(checkpoints: Sequence[Checkpoint], points: State, search: Search) -> list[State]:
    """Points at every checkpoint.

    Args:
        checkpoints: in order of training.
        points: at the last of them; h, or (h, c), each (networks, classes, units).
        search: networks and states to start from -> points of these networks.
    Returns:
        the points, in the order of the checkpoints.
    """
    found = [points]
    for checkpoint in reversed(checkpoints[:-1]):
        found.append(search(checkpoint.networks, found[-1]))
    return found[::-1]


def parents(read: Tensor, distances: Tensor, classes: int, coincide_distance: float) -> Tensor:
    """Parent of every point by the rule of the module's text, (networks, labels), int64; NO_CLASS for none.

    Args:
        read: class that each point is read out as, or NO_CLASS; (networks, labels), int64.
        distances: between points, infinite to itself; (networks, labels, labels).
        classes: number of classes in play.
        coincide_distance: points closer than this coincide.
    """
    labels = torch.arange(read.shape[1], device=read.device)
    nearest = distances.masked_fill(labels >= classes, torch.inf).min(-1)
    shared = torch.where(nearest.values < coincide_distance, nearest.indices, NO_CLASS)
    return torch.where(read == labels, NO_CLASS, torch.where(read == NO_CLASS, shared, read))


def table(
    checkpoints: Sequence[Checkpoint],
    found: Sequence[State],
    introduced: Sequence[int],
    means: Sequence[Mean],
    coincide_distance: float,
    budgets: tuple[int, int],
) -> pd.DataFrame:
    """What the points are like at every checkpoint.

    Args:
        found: what `follow` returned.
        introduced: training step at which each class enters play.
        means: the mean input of each checkpoint's networks; see `mean_input`.
        coincide_distance: points closer than this coincide.
        budgets: steps of the search behind the last checkpoint's points, and behind every other's.
    Returns:
        a row per network, class and checkpoint: phase, seed, label, step, speed, distance_to_next (moved from the next
        later checkpoint's point; empty at the last checkpoint, which has no next), readout, parent, search_steps,
        in_play, introduced, nearest_distance and nearest_label (of the closest other class's point, in play or not),
        parent_distance (of the parent's point; empty where there is no parent). Distances are Euclidean in what the
        speed is measured in: h, and tanh c for an LSTM.
    """
    rows = []
    with torch.no_grad():
        for at, (checkpoint, state, mean) in enumerate(zip(checkpoints, found, means, strict=True)):
            networks, last = checkpoint.networks, at == len(found) - 1
            place = position(networks, state)
            moved = torch.full_like(place[..., 0], torch.nan)
            if not last:
                moved = (position(networks, found[at + 1]) - place).norm(dim=-1)
            distances = apart(networks, state)
            read = read_out(networks, state, mean, checkpoint.classes)
            parent = parents(read, distances, checkpoint.classes, coincide_distance)
            to_parent = distances.gather(-1, parent.clamp(min=0).unsqueeze(-1)).squeeze(-1)
            nearest = distances.min(-1)
            columns = {
                "speed": speed(networks.cell, networks.weights, state, held_input(networks, mean)),
                "distance_to_next": moved,
                "readout": read,
                "parent": parent,
                "nearest_distance": nearest.values,
                "nearest_label": nearest.indices,
                "parent_distance": torch.where(parent == NO_CLASS, torch.nan, to_parent),
            }
            values = {name: column.tolist() for name, column in columns.items()}
            rows += [
                {
                    **labels, "label": label, "step": checkpoint.step,
                    **{name: column[network][label] for name, column in values.items()},
                    "search_steps": budgets[0] if last else budgets[1],
                    "in_play": label < checkpoint.classes, "introduced": step,
                }
                for network, labels in enumerate(networks.labels)
                for label, step in enumerate(introduced)
            ]  # fmt: skip
    return pd.DataFrame(rows).sort_values(["phase", "seed", "label", "step"], ignore_index=True)


def confusions(
    checkpoints: Sequence[Checkpoint],
    images: ImageSet,
    introduced: Sequence[int],
    full_steps: int,
    min_delay: int,
    trials_per_class: int,
) -> pd.DataFrame:
    """Which class in play networks take the images of a new class for, before they ever met it.

    Networks are those of the last checkpoint at or before the class's introduction; trials are those of the full task
    on held-out images of the new class; the answer is the largest output, at the response, of the classes introduced
    before it (null is no class to be confused with).

    Args:
        introduced: training step at which each class enters play.
        full_steps: time steps of a trial, T.
        min_delay: least steps from stimulus to response, delta.
        trials_per_class: for each network and new class.
    Returns:
        a row per network, new class and class before it: phase, seed, label, other, step (of the checkpoint), confusion
        (share of trials taken for `other`; the shares of a class sum to 1), trials. Without rows where the vocabulary
        does not grow.
    """
    rows = []
    offsets, counts = images.offsets("test"), images.counts("test")
    for label, start in enumerate(introduced):
        known = sum(step < start for step in introduced)
        if not known:
            continue
        checkpoint = max((each for each in checkpoints if each.step <= start), key=lambda each: each.step)
        networks = checkpoint.networks
        # Named by the class, so that a class's trials do not depend on which others there are.
        draws = [
            streams.generator(seed, "backtrack", "confusion", str(label), device=networks.device)
            for seed in networks.seeds
        ]
        one = slice(label, label + 1)
        drawn = task.draw(draws, trials_per_class, Lesson(1, full_steps), min_delay, offsets[one], counts[one])
        with torch.no_grad():
            shown = task.inputs(drawn, draws, images.test_images, images.mean, images.std, full_steps)
            answer = task.answered_class(task.forward(networks, shown), drawn, known)
        shares = torch.nn.functional.one_hot(answer, known).float().mean(1).tolist()
        rows += [
            {
                **labels, "label": label, "other": other, "step": checkpoint.step, "confusion": share,
                "trials": trials_per_class,
            }
            for labels, of_network in zip(networks.labels, shares, strict=True)
            for other, share in enumerate(of_network)
        ]  # fmt: skip
    if not rows:
        return pd.DataFrame(columns=columns_of("confusion"))
    return pd.DataFrame(rows).sort_values(["phase", "seed", "label", "other"], ignore_index=True)
