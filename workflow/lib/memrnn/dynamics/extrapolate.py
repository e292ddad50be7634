"""How long trained networks hold a class: accuracy against delay on held-out images (section 6 of the science)."""

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
    latest = full_steps - min_delay - 1
    before = torch.stack([torch.randint(latest + 1, label.shape, generator=g) for g in onset])  # (seeds, batch)
    shown = images.test_images[image].to(device)
    label, before, seed_at = label.to(device), before[seed_of].to(device), seed_of.to(device)
    batch = classes * trials
    x = torch.empty(len(seeds), batch, images.train_images.shape[1] + 1, device=device)
    singles = [networks.only(n) for n in range(count)]

    def frame(generators: Sequence[torch.Generator], triggered: float = 0.0) -> Tensor:
        for each, generator in zip(x, generators, strict=True):
            each[:, :-1] = x.new_empty(batch, x.shape[2] - 1).normal_(images.mean, images.std, generator=generator)
        x[..., -1] = triggered
        return x

    def advance(state: State) -> State:
        if device.type == "cuda":
            return networks.cell.advance(networks.weights, state, networks.seen(x[seed_at]))
        # One network after the other: what one works on stays in the processor's cache.
        after = [
            one.cell.advance(one.weights, tuple(part[n : n + 1] for part in state), one.seen(x[at : at + 1]))
            for n, (one, at) in enumerate(zip(singles, seed_of.tolist(), strict=True))
        ]
        return tuple(torch.cat(parts) for parts in zip(*after, strict=True))

    rows = []
    with torch.no_grad():
        state = networks.cell.initial_state(count, batch, networks.readout.shape[1], x)
        for step in range(latest):
            frame(noise)
            begun = (step >= latest - before).unsqueeze(-1)  # trials with fewer frames before the image start later
            state = tuple(part * begun for part in advance(state))
        frame(noise)[..., :-1] = shown
        state = advance(state)
        false = torch.zeros(count, batch, device=device)
        for delay in range(1, max(delays) + 1):
            frame(noise)
            state = advance(state)
            logits = networks.logits(state[0])
            false += logits[..., 1:].amax(-1) > logits[..., 0]
            if delay in delays:
                frame(trigger, 1.0)
                right = networks.logits(advance(state)[0]).argmax(-1) == label + 1
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
