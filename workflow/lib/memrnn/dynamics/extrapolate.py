"""How long trained networks hold a class: accuracy against delay (docs/method.md, Extrapolation)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from memrnn.core import streams
from memrnn.data.images import ImageSet
from memrnn.models.cell import State
from memrnn.models.networks import Networks
from memrnn.tasks import delayed_classification as task


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
        a row per network, class and delay: phase, seed, label, delay, accuracy (share of trials whose largest of all
        outputs at the trigger is the class), trials, false_response (share of the d noise frames with an output other
        than null).
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
                right = task.answers(networks.logits(after)) == label
                rows += _rows(
                    networks.labels, delay, right.view(count, classes, trials), false.view(count, classes, trials)
                )
    return pd.DataFrame(rows).sort_values(["phase", "seed", "label", "delay"], ignore_index=True)


def _rows(labels: Sequence[dict[str, Any]], delay: int, right: Tensor, false: Tensor) -> list[dict[str, Any]]:
    accuracy, rate = right.float().mean(-1), false.mean(-1) / delay  # (networks, classes)
    return [
        {
            **labels[network], "label": label, "delay": delay, "accuracy": accuracy[network, label].item(),
            "trials": right.shape[2], "false_response": rate[network, label].item(),
        }
        for network in range(len(labels))
        for label in range(right.shape[1])
    ]  # fmt: skip
