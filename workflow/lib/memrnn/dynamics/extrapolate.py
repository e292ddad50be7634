"""How long trained networks hold a class: answers at the delays of training and beyond (docs/method.md, Extrapolation).

An answer that is given whatever was shown is right for its class and tells nothing. So beside the accuracy of a class,
P(answer k | shown k), stands its false alarm, P(answer k | shown another), and the difference, its informedness.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from memrnn.core import streams
from memrnn.data.images import ImageSet
from memrnn.models.cell import State
from memrnn.models.networks import Networks
from memrnn.tasks import delayed_classification as task
from memrnn.tasks.protocols import Lesson

AT_ONCE = 1000  # frames of a network's nominal trials that are in memory at a time


def extrapolate(
    networks: Networks, images: ImageSet, delays: Sequence[int], trials: int, full_steps: int, min_delay: int
) -> pd.DataFrame:
    """Accuracy of every network and class at every delay, from one roll-out.

    A trial has t_s noise frames, t_s drawn as in training, the image, d noise frames, and a noise frame with the
    trigger. Trials are aligned at the image; at each delay the trigger's step branches off a copy of the state, so
    that one roll-out of the longest delay serves all.

    Args:
        delays: increasing numbers d of noise frames between image and trigger.
        trials: per class; the held-out images of a class take turns.
        full_steps: time steps of a training trial, T.
        min_delay: least steps from stimulus to response in training, delta.
    Returns:
        the table `extrapolation`, without dataset, cell and curriculum: a row per network, class and delay. The answer
        of a trial is the largest of all outputs at the trigger.
    """
    classes, count, device = len(images.classes), len(networks.seeds), networks.device
    # Streams by purpose: a seed meets the same trials and noise in every phase, cell and protocol.
    seeds = list(dict.fromkeys(networks.seeds))
    seed_of = torch.tensor([seeds.index(seed) for seed in networks.seeds])  # place in `seeds` of each network's seed
    onset = [streams.generator(seed, "extrapolate", "onset") for seed in seeds]
    noise, trigger = (
        [streams.generator(seed, "extrapolate", name, device=device) for seed in seeds] for name in ("noise", "trigger")
    )
    label = torch.arange(classes).repeat_interleave(trials)  # (batch,)
    image = torch.stack([images.turns("test", g, trials) for g in onset])  # (seeds, batch)
    latest = task.latest_stimulus(full_steps, min_delay)
    before = torch.stack([torch.randint(latest + 1, label.shape, generator=g) for g in onset])  # (seeds, batch)
    shown = images.test_images[image].to(device)
    label, before, seed_at = label.to(device), before[seed_of].to(device), seed_of.to(device)
    batch = classes * trials
    singles = [networks.only(n) for n in range(count)]

    def noise_from(generators: Sequence[torch.Generator]) -> Tensor:
        return task.noise(generators, batch, shown.shape[2], images.mean, images.std, shown)

    def advance(state: State, frames: Tensor, trigger: float = 0.0) -> State:
        """Every network's state after its seed's frames, (seeds, batch, pixels)."""
        if device.type == "cuda":
            x = task.seen(networks, frames[seed_at], trigger)
            return networks.cell.advance(networks.weights, state, x)
        # One network after the other: what one works on stays in the processor's cache.
        after = [
            one.cell.advance(
                one.weights, tuple(part[n : n + 1] for part in state), task.seen(one, frames[at : at + 1], trigger)
            )
            for n, (one, at) in enumerate(zip(singles, seed_of.tolist(), strict=True))
        ]
        return tuple(torch.cat(parts) for parts in zip(*after, strict=True))

    rows = []
    with torch.no_grad():
        state = networks.cell.initial_state(count, batch, networks.readout.shape[1], shown)
        for step in range(latest):
            begun = (step >= latest - before).unsqueeze(-1)  # trials with fewer frames before the image start later
            state = tuple(part * begun for part in advance(state, noise_from(noise)))
        noise_from(noise)  # a frame that the image stands in the place of
        state = advance(state, shown)
        false = torch.zeros(count, batch, device=device)
        for delay in range(1, max(delays) + 1):
            state = advance(state, noise_from(noise))
            false += task.speaks(networks.logits(state[0]))
            if delay in delays:
                after, *_ = advance(state, noise_from(trigger), trigger=1.0)
                answer = task.answers(networks.logits(after))
                rate = false.view(count, classes, trials).mean(-1) / delay  # (networks, classes)
                rows += [
                    row | {"delay": delay, "false_response": rate[at, row["label"]].item()}
                    for at, rows_of in enumerate(_answers(networks.labels, label.expand(count, -1), answer, classes))
                    for row in rows_of
                ]
    return pd.DataFrame(rows).sort_values(["phase", "seed", "label", "delay"], ignore_index=True)


def nominal(networks: Networks, images: ImageSet, trials: int, full_steps: int, min_delay: int) -> pd.DataFrame:
    """Answers of every network in the task that it was trained on, with held-out images.

    Args:
        trials: per class, on average; the class of a trial is drawn as in training.
        full_steps: time steps of a trial, T.
        min_delay: least steps from stimulus to response, delta.
    Returns:
        the table `nominal`, without dataset, cell and curriculum: a row per network and class.
    """
    classes, device = len(images.classes), networks.device
    images, lesson = images.to(device), Lesson(len(images.classes), full_steps)
    generators = [streams.generator(seed, "extrapolate", "nominal", device=device) for seed in networks.seeds]
    shown, answered = [], []
    left, at_once = trials * classes, max(1, AT_ONCE // full_steps)
    with torch.no_grad():
        while left > 0:
            offsets, counts = images.offsets("test"), images.counts("test")
            drawn = task.draw(generators, min(left, at_once), lesson, min_delay, offsets, counts)
            seen = task.inputs(drawn, generators, images.test_images, images.mean, images.std, full_steps)
            hidden = task.hidden_states(networks, seen)  # (networks, time, trials, units)
            asked = drawn.response[:, None, :, None].expand(-1, 1, -1, hidden.shape[-1])
            answered.append(task.answers(networks.logits(hidden.gather(1, asked).squeeze(1))))
            shown.append(drawn.label)
            left -= at_once
    found = _answers(networks.labels, torch.cat(shown, 1), torch.cat(answered, 1), classes)
    rows = [row for rows_of in found for row in rows_of]
    return pd.DataFrame(rows).sort_values(["phase", "seed", "label"], ignore_index=True)


def _answers(
    labels: Sequence[dict[str, Any]], shown: Tensor, answer: Tensor, classes: int
) -> Iterator[list[dict[str, Any]]]:
    """Of each network, a row per class: how often it was answered where it was shown, and where another was.

    Args:
        labels: phase and seed of each network.
        shown: (networks, trials), the class of each trial.
        answer: (networks, trials), the class answered, or another number where none was.
    """
    for label, seen, said in zip(labels, shown.cpu(), answer.cpu(), strict=True):
        rows = []
        for k in range(classes):
            right, wrong = said[seen == k] == k, said[seen != k] == k
            false_alarm = wrong.double().mean().item()
            rows.append(
                {**label, "label": k, "accuracy": right.float().mean().item(), "trials": len(right)}
                | {"false_alarm": false_alarm, "informedness": right.double().mean().item() - false_alarm}
            )
        yield rows
