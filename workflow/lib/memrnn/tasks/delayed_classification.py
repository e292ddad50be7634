"""The delayed-classification task: drawing trials, what the network sees, what it should say (sections 2 and 4)."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from memrnn.core import streams
from memrnn.data.images import ImageSet
from memrnn.models.cell import State
from memrnn.models.fronts import Mean
from memrnn.models.networks import Networks
from memrnn.tasks.protocols import Stage

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
    uniform = torch.stack(
        [torch.rand(4, batch, dtype=torch.float64, generator=g, device=counts.device) for g in generators], 1
    )
    stimulus = (uniform[0] * room).long()
    response = stimulus + min_delay + (uniform[1] * (room - stimulus)).long()
    label = (uniform[2] * stage.classes).long()
    image = offsets[label] + (uniform[3] * counts[label]).long()
    return Trials(stimulus, response, label, image)


class Inputs(NamedTuple):
    """What an ensemble sees in one batch of trials: frames, and which of them each trial sees when.

    Attributes:
        frames: (networks, frames, pixels), in pixel units.
        index: (networks, time, batch), int64, the frame that a trial sees at a step; None where every trial has frames
            of its own, which then lie in the order (time, batch).
        response: (networks, batch), int64, the step at which the trigger is 1.
        steps: time steps of a trial.
    """

    frames: Tensor
    index: Tensor | None
    response: Tensor
    steps: int

    def dense(self) -> Tensor:
        """The same written out, (networks, time, batch, pixels + 1); the last channel is the trigger."""
        networks, batch = self.response.shape
        shown = self.frames
        if self.index is not None:
            shown = torch.stack([each[index] for each, index in zip(shown, self.index.flatten(1), strict=True)])
        shown = shown.view(networks, self.steps, batch, -1)
        time = torch.arange(self.steps, device=shown.device).view(1, -1, 1)
        return torch.cat([shown, (time == self.response.unsqueeze(1)).unsqueeze(-1).to(shown.dtype)], -1)


def inputs(
    trials: Trials,
    generators: Sequence[torch.Generator],
    images: Tensor,
    mean: float,
    std: float,
    steps: int,
    shared: int | None = None,
    room: Tensor | None = None,
) -> Inputs:
    """Noise frames, the clean image at t_s, and the trigger at t_a.

    With `shared` frames, a network's trials take their noise from one small set, drawn anew for every batch. No trial
    sees a frame twice, so the frames of a trial are independent, as they are without sharing: every trial has the
    distribution of the paper's, and the expected gradient is the same. Only trials of one batch are no longer
    independent of each other.

    Args:
        generators: one per network, for the noise; on the device of the images.
        images: (images, pixels), the split that `trials.image` counts in.
        mean, std: of the noise, in pixel units.
        steps: time steps of a trial.
        shared: number of noise frames of a network that its trials share; None for noise of their own.
        room: tensor for the frames, from an earlier call's result with the same sizes; overwritten.
    Raises:
        ValueError: fewer shared frames than steps.
    """
    networks, batch = trials.stimulus.shape
    drawn = steps * batch if shared is None else shared
    if room is None:
        room = images.new_empty(networks, drawn + (0 if shared is None else batch), images.shape[1])
    for frames, generator in zip(room[:, :drawn], generators, strict=True):
        frames.normal_(generator=generator)
    room[:, :drawn].mul_(std).add_(mean)
    which = torch.arange(networks, device=room.device).unsqueeze(1)
    trial = torch.arange(batch, device=room.device).unsqueeze(0)
    if shared is None:
        room[which, trials.stimulus * batch + trial] = images[trials.image]
        return Inputs(room, None, trials.response, steps)
    room[:, shared:] = images[trials.image]
    index = torch.stack([_frames_of_trials(generator, shared, steps, batch, room.device) for generator in generators])
    index[which, trials.stimulus, trial] = shared + trial
    return Inputs(room, index, trials.response, steps)


def _frames_of_trials(generator: torch.Generator, frames: int, steps: int, batch: int, device: torch.device) -> Tensor:
    """Frames that each trial sees, (time, batch): from a random one on, in random strides that meet none twice."""
    if frames < steps:
        raise ValueError(f"found {frames} shared noise frames, too few for trials of {steps} steps; expected {steps}")
    strides = _strides(frames, device)
    uniform = torch.rand(2, batch, dtype=torch.float64, generator=generator, device=device)
    first, stride = (uniform[0] * frames).long(), strides[(uniform[1] * len(strides)).long()]
    return (first + torch.arange(steps, device=device).unsqueeze(1) * stride) % frames


@functools.cache
def _strides(frames: int, device: torch.device) -> Tensor:
    """Strides that go through all frames before they meet one again; kept, as a CUDA graph cannot fetch them anew."""
    return torch.tensor([stride for stride in range(1, frames + 1) if math.gcd(stride, frames) == 1], device=device)


def targets(trials: Trials, steps: int) -> Tensor:
    """Output that should be active at each of the first `steps` time steps, (networks, time, batch), int64."""
    time = torch.arange(steps, device=trials.response.device).view(1, steps, 1)
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
    # Classes not in play have no share in the softmax. Outputs lie between 0 and 1, so their exponentials are safe.
    y = torch.sigmoid(logits[..., : stage.classes + 1])
    target = targets(trials, steps)
    p = y.gather(-1, target.unsqueeze(-1)).squeeze(-1).exp() / y.exp().sum(-1)
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
    generator = streams.generator(networks.seeds[0], "trials", "example")
    stage = Stage(len(images.classes), full_steps)
    drawn = draw([generator], 1, stage, min_delay, images.offsets("test"), images.counts("test"))
    x = inputs(drawn, [generator], images.test_images, images.mean, images.std, full_steps).dense()
    with torch.no_grad():
        first = x.expand(len(networks.seeds), -1, -1, -1)
        output = torch.sigmoid(networks.logits(networks.cell.sequence(networks.weights, networks.seen(first))))
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


NO_CLASS = -1  # read-out of a state that answers the trigger with the null output


def mean_input(networks: Networks, images: ImageSet) -> Mean:
    """Mean of what the recurrent layer is given under noise: the mean pixel, or the front end's mean features.

    It belongs to these networks: at another checkpoint the same front end has other means.
    """
    return networks.front.mean(networks.front_parameters, networks.seeds, images.mean, images.std)


def held_input(networks: Networks, mean: Mean, trigger: float = 0.0) -> Tensor:
    """The mean input under which speed is defined: `mean`, and no trigger; (networks, 1, inputs)."""
    x = networks.readout.new_empty(len(networks.seeds), 1, networks.weights.inputs.shape[1])
    x[..., :-1] = mean
    x[..., -1] = trigger
    return x


def read_out(networks: Networks, state: State, mean: Mean, classes: int | None = None) -> Tensor:
    """Class that a triggered step from each state answers with, or `NO_CLASS`; (networks, points), int64.

    Args:
        mean: see `mean_input`.
        classes: how many classes may be answered, the first ones; None for all.
    """
    after = networks.step(state, held_input(networks, mean, trigger=1.0))
    outputs = networks.logits(after[0])
    return (outputs if classes is None else outputs[..., : classes + 1]).argmax(-1) - 1
