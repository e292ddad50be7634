"""The delayed-classification task: drawing trials, what the network sees, what it should say (sections 2 and 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from memrnn import record
from memrnn.images import ImageSet
from memrnn.networks import Networks
from memrnn.protocols import Stage

NULL = 0  # output 0 is the null response, output k + 1 is class k


class Trials(NamedTuple):
    """Trials of an ensemble; every tensor is (networks, batch), int64.

    Attributes:
        stimulus: time step of the image, t_s.
        response: time step of the trigger, t_a.
        label: class of the image.
        image: index of the image in its split.
    """

    stimulus: Tensor
    response: Tensor
    label: Tensor
    image: Tensor


def draw(
    generators: Sequence[torch.Generator], batch: int, stage: Stage, min_delay: int, offsets: Tensor, counts: Tensor
) -> Trials:
    """Draw trials uniformly, each network from its own generator.

    Args:
        generators: one per network.
        min_delay: least steps from stimulus to response, delta.
        offsets, counts: (classes,), first image and number of images of each class in a split sorted by class.
    Raises:
        ValueError: the stage leaves no room for stimulus, delay and response.
    """
    room = stage.steps - min_delay
    if room < 1:
        raise ValueError(f"a trial of {stage.steps} steps has no room for a delay of {min_delay}")
    # float64 draws times a small count, cut to integers: uniform to 2^-53.
    uniform = torch.stack([torch.rand(4, batch, dtype=torch.float64, generator=g) for g in generators], 1)
    stimulus = (uniform[0] * room).long()
    response = stimulus + min_delay + (uniform[1] * (room - stimulus)).long()
    label = (uniform[2] * stage.classes).long()
    image = offsets[label] + (uniform[3] * counts[label]).long()
    return Trials(stimulus, response, label, image)


def inputs(
    trials: Trials, generators: Sequence[torch.Generator], images: Tensor, mean: float, std: float, out: Tensor
) -> Tensor:
    """Fill `out` with what the networks see: noise frames, the clean image at t_s, the trigger at t_a.

    Args:
        generators: one per network, for the noise.
        images: (images, pixels), the split that `trials.image` counts in.
        mean, std: of the noise, in pixel units.
        out: (networks, time, batch, pixels + 1); the last channel is the trigger.
    Returns:
        out.
    """
    networks, steps, batch, width = out.shape
    noise = out.new_empty(steps, batch, width - 1)
    for network, generator in enumerate(generators):
        noise.normal_(generator=generator)
        torch.add(torch.full((), mean), noise, alpha=std, out=out[network, ..., :-1])
    out[..., -1] = 0
    network_index = torch.arange(networks).unsqueeze(1)
    trial_index = torch.arange(batch).unsqueeze(0)
    out[network_index, trials.stimulus, trial_index, :-1] = images[trials.image]
    out[network_index, trials.response, trial_index, -1] = 1
    return out


def targets(trials: Trials, steps: int) -> Tensor:
    """Output that should be active at each of the first `steps` time steps, (networks, time, batch), int64."""
    time = torch.arange(steps).view(1, steps, 1)
    return torch.where(time == trials.response.unsqueeze(1), trials.label.unsqueeze(1) + 1, NULL)


def loss(logits: Tensor, trials: Trials, stage: Stage, full_steps: int) -> Tensor:
    """Training loss of every network (section 4): cross-entropy of a softmax over the sigmoid outputs.

    Args:
        logits: outputs before the logistic function, (networks, stage.steps, batch, outputs); later steps of a trial
            have no weight and need not be computed.
        full_steps: time steps of the full task, T.
    Returns:
        (networks,).
    """
    _, steps, batch, outputs = logits.shape
    y = torch.sigmoid(logits[..., : stage.classes + 1])  # classes not in play have no share in the softmax
    target = targets(trials, steps)
    p = y.softmax(-1).gather(-1, target.unsqueeze(-1)).squeeze(-1)
    weight = (target != NULL) * (full_steps - 1.0) + stage.alpha
    return -(weight * torch.log(p + 1e-4)).sum((1, 2)) / (batch * outputs * full_steps)


def accuracies(logits: Tensor, trials: Trials, stage: Stage) -> tuple[Tensor, Tensor]:
    """Share of right responses at t_a, and of null outputs at all other steps, each (networks,).

    Only outputs in play compete.
    """
    choice = logits[..., : stage.classes + 1].argmax(-1)  # (networks, time, batch)
    target = targets(trials, logits.shape[1])
    right = choice == target
    asked = target != NULL
    return (right & asked).sum((1, 2)) / asked.sum((1, 2)), (right & ~asked).sum((1, 2)) / (~asked).sum((1, 2))


def example(networks: Networks, images: ImageSet, full_steps: int, min_delay: int) -> pd.DataFrame:
    """One held-out trial of the full task with the first network's outputs, as a table.

    Returns:
        rows step, quantity, index, value. Quantities: pixel (index as they lie flattened); trigger and stimulus (index
        0, value 1 at their step); target and output (index 0 the null response, k + 1 class k; outputs are after the
        logistic function); and, at step 0 only, the shape of an image (index 0 height, 1 width, 2 channels).
    """
    generator = record.generator(networks.seeds[0], "trials", "example")
    stage = Stage(len(images.classes), full_steps)
    drawn = draw([generator], 1, stage, min_delay, images.offsets("test"), images.counts("test"))
    x = torch.empty(1, full_steps, 1, networks.weights.inputs.shape[1])
    inputs(drawn, [generator], images.test_images, images.mean, images.std, x)
    with torch.no_grad():
        first = x.expand(len(networks.seeds), -1, -1, -1)
        output = torch.sigmoid(networks.logits(networks.cell.sequence(networks.weights, first)))
    quantities = {
        "pixel": x[0, :, 0, :-1],
        "trigger": x[0, :, 0, -1:],
        "stimulus": (torch.arange(full_steps) == drawn.stimulus[0, 0]).float().unsqueeze(-1),
        "target": torch.nn.functional.one_hot(targets(drawn, full_steps)[0, :, 0], output.shape[-1]),
        "output": output[0, :, 0],
        "shape": torch.tensor([images.shape]),
    }
    return pd.concat(
        [
            pd.DataFrame(values.numpy())
            .rename_axis("step")
            .reset_index()
            .melt("step", var_name="index")
            .assign(quantity=name)
            for name, values in quantities.items()
        ],
        ignore_index=True,
    )[["step", "quantity", "index", "value"]]
