"""The delayed-classification task: what networks are shown, should say, and have said (docs/method.md, Task).

Everything that is known about a trial is known here: what a frame looks like, how noise is drawn, which channel of the
recurrent layer is the trigger, the inputs under which points are held and read out, targets, loss and read-out. Other
modules ask for inputs and hand back states or outputs.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from memrnn.core import streams
from memrnn.data.images import ImageSet
from memrnn.models import networks as nets
from memrnn.models.cell import State, unroll_from
from memrnn.models.fronts import PIXELS, Front
from memrnn.models.networks import Networks
from memrnn.models.unrolling import sum_rows
from memrnn.tasks.protocols import Lesson

Mean = float | Tensor  # of the features under noise: a number for all of them, or (networks, 1, features)

NULL = 0  # output 0 is the null response, output k + 1 is class k
NO_CLASS = -1  # read-out of a state that answers the trigger with the null output
MEAN_FRAMES = 1000  # noise images behind the mean features; published
FEATURES, TRIGGER = slice(None, -1), slice(-1, None)  # channels of the recurrent layer's input


def untrained(
    cell: str, seeds: Sequence[int], pixels: int, units: int, classes: int, front: Front = PIXELS
) -> Networks:
    """Networks for the task before any training: features and trigger go in, null and classes come out.

    Args:
        pixels: of a frame.
        front: front end.
    Raises:
        ValueError: the front end was made for other frames.
    """
    return nets.initial(cell, seeds, front.width(pixels) + 1, units, classes + 1, front)


def pixels(networks: Networks) -> int:
    """Number of pixels of a frame that the networks are made for."""
    return networks.front.pixels(networks.weights.inputs.shape[1] - 1)


# --------------------------------------------------------------------------------------------------------- drawing


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
    generators: Sequence[torch.Generator], batch: int, lesson: Lesson, min_delay: int, offsets: Tensor, counts: Tensor
) -> Trials:
    """Draw trials uniformly, each network from its own generator.

    Args:
        generators: one per network.
        min_delay: least steps from stimulus to response, delta.
        offsets, counts: (classes,), first image and number of images of each class in a split sorted by class.
    Raises:
        ValueError: the lesson leaves no room for stimulus, delay and response.
    """
    room = latest_stimulus(lesson.steps, min_delay) + 1
    if room < 1:
        raise ValueError(f"a trial of {lesson.steps} steps has no room for a delay of {min_delay}")
    # float64 draws times a small count, cut to integers: uniform to 2^-53.
    uniform = torch.stack(
        [torch.rand(4, batch, dtype=torch.float64, generator=g, device=counts.device) for g in generators], 1
    )
    stimulus = (uniform[0] * room).long()
    response = stimulus + min_delay + (uniform[1] * (room - stimulus)).long()
    label = (uniform[2] * lesson.classes).long()
    image = offsets[label] + (uniform[3] * counts[label]).long()
    return Trials(stimulus, response, label, image)


def latest_stimulus(steps: int, min_delay: int) -> int:
    """Last time step at which a trial of so many steps can show its image."""
    return steps - min_delay - 1


# ----------------------------------------------------------------------------------------- what the networks are shown


def noise(
    generators: Sequence[torch.Generator], frames: int, pixels: int, mean: float, std: float, like: Tensor
) -> Tensor:
    """Noise frames, i.i.d. N(mean, std^2) per pixel and not clipped, each network's from its own generator.

    Args:
        generators: one per network, on the device of `like`.
        mean, std: in pixel units.
        like: whose type and device are wanted.
    Returns:
        (networks, frames, pixels).
    """
    room = like.new_empty(len(generators), frames, pixels)
    for own, generator in zip(room, generators, strict=True):
        own.normal_(mean, std, generator=generator)
    return room


def noise_on_cpu(generators: Sequence[torch.Generator], frames: int, pixels: int, mean: float, std: float) -> Tensor:
    """`noise` in float32 that is the same wherever the networks lie: what slow points rest on."""
    return mean + std * torch.stack([torch.randn(frames, pixels, generator=each) for each in generators])


def seen(networks: Networks, frames: Tensor, trigger: float | Tensor = 0.0) -> Tensor:
    """What the recurrent layer is given of frames: what the front end makes of them, and the trigger.

    Args:
        frames: (networks, ..., pixels), in pixel units.
        trigger: of all frames, or (networks, ..., 1).
    Returns:
        (networks, ..., inputs).
    """
    features = networks.features(frames.flatten(1, -2))
    return _joined(features.unflatten(1, frames.shape[1:-1]), trigger)


def seen_noise(
    networks: Networks, generators: Sequence[torch.Generator], frames: int, mean: float, std: float
) -> Tensor:
    """What the recurrent layer is given of fresh `noise` without trigger, (networks, frames, inputs)."""
    return seen(networks, noise(generators, frames, pixels(networks), mean, std, networks.readout))


def after_noise(
    networks: Networks, generators: Sequence[torch.Generator], state: State, frames: Tensor, mean: float, std: float
) -> State:
    """States after so many frames of fresh `noise_on_cpu` without trigger, each state its own number.

    Args:
        state: h, or (h, c), each (networks, states, units).
        frames: (networks or 1, states, 1), 0 or more.
    """
    kept = state
    for step in range(1, int(frames.max()) + 1):
        shown = noise_on_cpu(generators, frames.shape[1], pixels(networks), mean, std)
        state = networks.step(state, seen(networks, shown.to(networks.readout)))
        kept = tuple(torch.where(step <= frames, new, old) for new, old in zip(state, kept, strict=True))
    return kept


def _joined(features: Tensor, trigger: float | Tensor) -> Tensor:
    x = features.new_empty(*features.shape[:-1], features.shape[-1] + 1)
    x[..., FEATURES], x[..., TRIGGER] = features, trigger
    return x


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

    def written_out(self) -> tuple[Tensor, Tensor]:
        """The same written out: frames (networks, time, batch, pixels), and the trigger (networks, time, batch, 1)."""
        networks, batch = self.response.shape
        frames = self.frames
        if self.index is not None:
            frames = torch.stack([each[index] for each, index in zip(frames, self.index.flatten(1), strict=True)])
        time = torch.arange(self.steps, device=frames.device).view(1, -1, 1)
        trigger = (time == self.response.unsqueeze(1)).unsqueeze(-1)
        return frames.view(networks, self.steps, batch, -1), trigger.to(frames.dtype)


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


# ------------------------------------------------------------------------------------------------ what is made of it


class _Table(torch.autograd.Function):
    """Drives of frames, and of frames seen together with the trigger.

    The drives of the frames are the rows of a table. Where a trial sees frame `seen[..., trial]` with the trigger, the
    drive of both is put in the frame's place, or with `below` in a row of its own below all frames. Frames get a
    gradient where they are features that have one.
    """

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, bias: Tensor, frames: Tensor, seen: Tensor, below: bool, products: torch.dtype
    ) -> Tensor:
        factor = frames.to(products)
        table = torch.bmm(factor, weight[:, FEATURES].to(products)) + bias.unsqueeze(1)
        which = torch.arange(len(seen), device=seen.device).unsqueeze(1)
        triggered = table[which, seen] + weight[:, TRIGGER]
        ctx.save_for_backward(factor, which, seen, weight)
        ctx.below, ctx.frames_dtype = below, frames.dtype
        if below:
            return torch.cat([table, triggered], 1)
        table[which, seen] = triggered
        return table

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None, None, None]:
        factor, which, seen, old_weight = ctx.saved_tensors
        count = factor.shape[1]
        if ctx.below:
            triggered = grad[:, count:]
            table = grad[:, :count] + sum_rows(triggered, seen, count)
        else:
            triggered, table = grad[which, seen], grad
        weight = grad.new_empty(len(grad), factor.shape[2] + 1, grad.shape[2])
        short = table.to(factor.dtype)
        weight[:, FEATURES] = torch.bmm(factor.mT, short)
        weight[:, TRIGGER] = triggered.sum(1, keepdim=True)
        frames = None
        if ctx.needs_input_grad[2]:
            frames = torch.bmm(short, old_weight[:, FEATURES].mT.to(factor.dtype)).to(ctx.frames_dtype)
        return weight, table.sum(1), frames, None, None, None


def drive(weights: Any, inputs: Inputs, products: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """What `Cell.unroll` wants: the drives of whole trials, or a table of drives and its index.

    Every frame is projected once, however many trials see it.

    Args:
        weights: of a cell; see `Cell.weights_type`.
        inputs: whose frames are what the front end made of them.
    """
    frames, index, response, steps = inputs
    networks, batch = response.shape
    trial = torch.arange(batch, device=response.device)
    if index is None:
        seen = response * batch + trial
        table = _Table.apply(weights.inputs, weights.bias, frames, seen, False, products)
        return table.unflatten(1, (steps, batch)), None
    which = torch.arange(networks, device=response.device).unsqueeze(1)
    seen = index[which, response, trial]
    index = index.clone()
    index[which, response, trial] = frames.shape[1] + trial
    return _Table.apply(weights.inputs, weights.bias, frames, seen, True, products), index


def hidden_states(networks: Networks, inputs: Inputs, products: torch.dtype = torch.float32) -> Tensor:
    """Hidden states after each step, (networks, time, batch, units).

    Args:
        products: type of the factors and results of the large products.
    """
    table, index = _drive_of_frames(networks, inputs, products)
    return networks.cell.unroll(networks.weights, table, index, products)


def hidden_states_from(
    networks: Networks, inputs: Inputs, start: State, products: torch.dtype = torch.float32
) -> tuple[Tensor, State]:
    """`hidden_states` of trials that start from other states than 0, and the states that they end in.

    Slower: step by step under automatic differentiation, with recurrent products in the states' own type.
    """
    table, index = _drive_of_frames(networks, inputs, products)
    return unroll_from(networks.cell, networks.weights, start, table, index)


def _drive_of_frames(networks: Networks, inputs: Inputs, products: torch.dtype) -> tuple[Tensor, Tensor | None]:
    # Like drives, features are computed once for each frame.
    return drive(networks.weights, inputs._replace(frames=networks.features(inputs.frames, products)), products)


def forward(networks: Networks, inputs: Inputs, products: torch.dtype = torch.float32) -> Tensor:
    """Outputs before the logistic function, (networks, time, batch, outputs); arguments as for `hidden_states`."""
    return networks.logits(hidden_states(networks, inputs, products))


def targets(trials: Trials, steps: int) -> Tensor:
    """Output that should be active at each of the first `steps` time steps, (networks, time, batch), int64."""
    time = torch.arange(steps, device=trials.response.device).view(1, steps, 1)
    return torch.where(time == trials.response.unsqueeze(1), trials.label.unsqueeze(1) + 1, NULL)


def loss(logits: Tensor, trials: Trials, lesson: Lesson, full_steps: int) -> Tensor:
    """Training loss of every network: cross-entropy of a softmax over the sigmoid outputs.

    Args:
        logits: outputs before the logistic function, (networks, lesson.steps, batch, outputs); later steps of a trial
            have no weight and need not be computed.
        full_steps: time steps of the full task, T.
    Returns:
        (networks,).
    Source: docs/method.md, Loss and optimiser.
    """
    _, steps, batch, outputs = logits.shape
    # Classes not in play have no share in the softmax. Outputs lie between 0 and 1, so their exponentials are safe.
    y = torch.sigmoid(logits[..., : lesson.classes + 1])
    target = targets(trials, steps)
    p = y.gather(-1, target.unsqueeze(-1)).squeeze(-1).exp() / y.exp().sum(-1)
    weight = (target != NULL) * (full_steps - 1.0) + lesson.alpha
    return -(weight * torch.log(p + 1e-4)).sum((1, 2)) / (batch * outputs * full_steps)


def accuracies(logits: Tensor, trials: Trials, lesson: Lesson) -> tuple[Tensor, Tensor]:
    """Share of right responses at t_a, and of null outputs at all other steps, each (networks,).

    Only outputs in play compete.
    """
    choice = logits[..., : lesson.classes + 1].argmax(-1)  # (networks, time, batch)
    target = targets(trials, logits.shape[1])
    right = choice == target
    asked = target != NULL
    return (right & asked).sum((1, 2)) / asked.sum((1, 2)), (right & ~asked).sum((1, 2)) / (~asked).sum((1, 2))


def answers(logits: Tensor, classes: int | None = None) -> Tensor:
    """Class of the largest output, or `NO_CLASS` where that is null, (...), int64.

    Args:
        logits: (..., outputs).
        classes: how many classes may be answered, the first ones; None for all.
    """
    return (logits if classes is None else logits[..., : classes + 1]).argmax(-1) - 1


def speaks(logits: Tensor) -> Tensor:
    """Whether the largest output is another than null, (...)."""
    return logits[..., NULL + 1 :].amax(-1) > logits[..., NULL]


def answered_class(logits: Tensor, trials: Trials, classes: int) -> Tensor:
    """Which of the first classes each trial is taken for at its response, null left out; (networks, batch), int64.

    Args:
        logits: (networks, time, batch, outputs).
    """
    asked = trials.response[:, None, :, None].expand(-1, 1, -1, classes)
    return logits[..., NULL + 1 : classes + 1].gather(1, asked).squeeze(1).argmax(-1)


# ------------------------------------------------------------------------------------- held inputs and the read-out


def mean_input(networks: Networks, images: ImageSet) -> Mean:
    """Mean of what the recurrent layer is given under noise: the mean pixel, or the front end's mean features.

    It belongs to these networks: at another checkpoint the same front end has other means. Where the front end knows no
    better, the mean is that over `MEAN_FRAMES` noise frames of full standard deviation, the same for each seed.
    """
    known = networks.front.expected(images.mean, images.std)
    if known is not None:
        return known
    means = []
    with torch.no_grad():
        for network, seed in enumerate(networks.seeds):
            own = [streams.generator(seed, "held_input")]
            frames = noise_on_cpu(own, MEAN_FRAMES, pixels(networks), images.mean, images.std).to(networks.readout)
            means.append(networks.only(network).features(frames).mean(1, keepdim=True))
    return torch.cat(means)


def held_input(networks: Networks, mean: Mean, trigger: float = 0.0) -> Tensor:
    """The mean input under which speed is defined: `mean`, and no trigger; (networks, 1, inputs)."""
    x = networks.readout.new_empty(len(networks.seeds), 1, networks.weights.inputs.shape[1])
    x[..., FEATURES], x[..., TRIGGER] = mean, trigger
    return x


def read_out(networks: Networks, state: State, mean: Mean, classes: int | None = None) -> Tensor:
    """Class that a triggered step from each state answers with, or `NO_CLASS`; (networks, points), int64.

    Args:
        mean: see `mean_input`.
        classes: how many classes may be answered, the first ones; None for all.
    """
    after = networks.step(state, held_input(networks, mean, trigger=1.0))
    return answers(networks.logits(after[0]), classes)


# ------------------------------------------------------------------------------------------------ a trial to look at


def example(networks: Networks, images: ImageSet, full_steps: int, min_delay: int) -> pd.DataFrame:
    """One held-out trial of the full task with the first network's outputs, as a table.

    Returns:
        rows step, quantity, index, value. Quantities: pixel (index as they lie flattened); trigger and stimulus (index
        0, value 1 at their step); target and output (index 0 the null response, k + 1 class k; outputs are after the
        logistic function); and, at step 0 only, the shape of an image (index 0 height, 1 width, 2 channels).
    """
    generator = streams.generator(networks.seeds[0], "trials", "example")
    lesson = Lesson(len(images.classes), full_steps)
    drawn = draw([generator], 1, lesson, min_delay, images.offsets("test"), images.counts("test"))
    frames, trigger = inputs(drawn, [generator], images.test_images, images.mean, images.std, full_steps).written_out()
    count = len(networks.seeds)
    with torch.no_grad():
        x = seen(networks, frames.expand(count, -1, -1, -1), trigger.expand(count, -1, -1, -1))
        output = torch.sigmoid(networks.logits(networks.cell.sequence(networks.weights, x)))
    quantities = {
        "pixel": frames[0, :, 0],
        "trigger": trigger[0, :, 0],
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
