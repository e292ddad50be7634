"""Front ends: the convolutional one against torch's layers, and every stage with a front end whose effect is known."""

import dataclasses
import json
import logging
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from reference import same, slowing
from torch import Tensor

from memrnn.core import streams
from memrnn.core.files import load_arrays, save_arrays
from memrnn.data.images import ImageSet
from memrnn.dynamics import backtrack
from memrnn.dynamics.extrapolate import extrapolate
from memrnn.dynamics.points import centroids, descend, find
from memrnn.dynamics.portraits import portrait
from memrnn.dynamics.spectrum import examine
from memrnn.models import fronts
from memrnn.models import networks as nets
from memrnn.models.cell import State
from memrnn.models.fronts import FRONTS, Convnet, Front, Pixels, convnet
from memrnn.models.fronts.convnet import effective
from memrnn.models.networks import Networks
from memrnn.tasks import delayed_classification as task
from memrnn.tasks.delayed_classification import (
    draw,
    example,
    forward,
    held_input,
    inputs,
    mean_input,
    pixels,
    seen,
    untrained,
)
from memrnn.tasks.protocols import Lesson, Schedule
from memrnn.training import train
from memrnn.training.engine import Engine, Update
from memrnn.training.known import Known
from memrnn.training.penalties import PENALTIES
from memrnn.training.regularise import in_modes

SHAPE, CLASSES, UNITS, SEEDS = (6, 9, 3), 3, 7, (4, 9)
PIXELS = 6 * 9 * 3
FRONT = Convnet(SHAPE, filters=(5, 6), kernel=3, dense=(8, 4), leak=0.2)
CPU = torch.device("cpu")
EXACT, FAST = Engine(CPU, torch.float32, None), Engine(CPU, torch.bfloat16, 24)
LOGGER = logging.getLogger("test_fronts")
FULL = Lesson(CLASSES, 8)
MEAN, STD = 0.45, 0.25
PLAN = train.Plan(
    schedule=Schedule((0,), (FULL,)), full=FULL, min_delay=2, steps=6, batch=5, learning_rate=1e-2, drop=None,
    log_every=3, log_trials=10, checkpoints=(0, 3, 6),
)  # fmt: skip
BOTH = pytest.mark.parametrize("cell", ["gru", "lstm"])


def networks_of(cell: str = "gru", seeds=SEEDS, front: Front = FRONT, scale: float = 1.0) -> Networks:
    start = untrained(cell, seeds, PIXELS, UNITS, CLASSES, front)
    return start.like({name: scale * values for name, values in start.parameters.items()})


def leaves(networks: Networks) -> Networks:
    return networks.like({name: values.clone().requires_grad_() for name, values in networks.parameters.items()})


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def images() -> ImageSet:
    labels = torch.arange(CLASSES).repeat_interleave(8)
    generator = torch.Generator().manual_seed(2)
    shown = torch.rand(len(labels), *SHAPE, generator=generator) / 2
    shown[torch.arange(len(labels)), :, :, labels] += 0.5  # classes are colours
    splits = shown.flatten(1), shown.flip(1).flatten(1)  # held-out images stand on their heads
    return ImageSet("made", SHAPE, ("a", "b", "c"), splits[0], labels, splits[1], labels, MEAN, STD, "0")


# ------------------------------------------------------------------------------------------- what holds for every one

EXAMPLES = {"pixels": Pixels(), "convnet": FRONT}  # one of every kind, for frames of `SHAPE`; a new kind adds its own
EVERY = pytest.mark.parametrize("name", FRONTS)


@EVERY
def test_features_of_every_front_end(name):
    """As many as it says; each frame and network by itself; every parameter has a part in them and gets a gradient."""
    front = EXAMPLES[name]
    assert front.name == name and front.pixels(front.width(PIXELS)) == PIXELS
    both, frames = leaves(networks_of(front=front)), random(2, 6, PIXELS)
    whole = both.features(frames)
    assert whole.shape == (2, 6, front.width(PIXELS))
    assert tuple(both.front_parameters) == front.parameter_names
    slopes = torch.autograd.grad(whole.square().sum(), list(both.front_parameters.values())) if whole.grad_fn else []
    assert len(slopes) == len(front.parameter_names)
    assert all((slope.flatten(1).abs().amax(1) > 0).all() for slope in slopes)
    for network, seed in enumerate(SEEDS):
        alone = networks_of(seeds=(seed,), front=front)
        assert same(alone.parameters, both.only(network).parameters)
        for frame in range(6):
            one = alone.features(frames[network : network + 1, frame : frame + 1])
            torch.testing.assert_close(one[0, 0], whole[network, frame], rtol=1e-5, atol=1e-6)


@EVERY
def test_every_front_end_comes_back_from_its_settings(name):
    settings = json.loads(json.dumps(EXAMPLES[name].settings()))
    assert settings["name"] == name and fronts.from_settings(settings) == EXAMPLES[name]


@EVERY
def test_the_expected_feature_is_that_of_many_noise_frames(name, images):
    networks = networks_of(front=EXAMPLES[name])
    noise = MEAN + STD * random(2, 4000, PIXELS, seed=7)
    with torch.no_grad():
        features = networks.features(noise)
    error = features.std(1, keepdim=True) * (1 / 4000 + 1 / task.MEAN_FRAMES) ** 0.5
    assert ((features.mean(1, keepdim=True) - mean_input(networks, images)).abs() < 5 * error).all()


# ------------------------------------------------------------------------------------------------------- the features


def layers_of(networks: Networks, network: int, front: Convnet = FRONT) -> torch.nn.Sequential:
    """The same front end of torch's layers, in their own order of pixels and in the order that the paper gives."""
    own = {name: values[network].detach().double() for name, values in networks.front_parameters.items()}
    layers: list[torch.nn.Module] = []
    channels = front.shape[2]
    for layer, filters in enumerate(front.filters):
        conv = torch.nn.Conv2d(channels, filters, front.kernel, padding="same", dtype=torch.float64)
        weight = own[f"front.filters{layer}"].permute(0, 3, 1, 2) / (channels * filters) ** 0.5
        conv.weight.data, conv.bias.data = weight.contiguous(), own[f"front.filters{layer}.bias"] / filters**0.5
        layers += [conv, torch.nn.LeakyReLU(front.leak), torch.nn.MaxPool2d(2)]
        channels = filters
    layers += [Channels(), torch.nn.Flatten()]
    for layer in range(len(front.dense)):
        weight = own[f"front.dense{layer}"].mT
        dense = torch.nn.Linear(*weight.shape[::-1], dtype=torch.float64)
        dense.weight.data, dense.bias.data = weight.contiguous(), own[f"front.dense{layer}.bias"].clone()
        layers += [dense, torch.nn.LeakyReLU(front.leak)]
    return torch.nn.Sequential(*layers)


class Channels(torch.nn.Module):
    """Channels last, as pixels lie."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1)


@pytest.mark.parametrize(
    "front",
    [FRONT, Convnet(SHAPE, (3,), 1, (4,), 0.0), Convnet(SHAPE, (4, 3), 5, (5, 4, 3), 0.5)],
    ids=["3x3", "1x1, plain ReLU", "5x5, three dense"],
)
def test_features_and_gradients_are_those_of_torchs_layers(front):
    networks = leaves(networks_of(front=front, scale=3.0).to(torch.float64))
    frames = random(len(SEEDS), 11, PIXELS).double()
    features = networks.features(frames)
    assert features.shape == (len(SEEDS), 11, front.dense[-1])
    weight = random(*features.shape, seed=1).double()
    (features * weight).sum().backward()
    for network in range(len(SEEDS)):
        layers = layers_of(networks, network, front)
        expected = layers(frames[network].unflatten(1, SHAPE).permute(0, 3, 1, 2))
        torch.testing.assert_close(features[network], expected, rtol=1e-10, atol=1e-12)
        (expected * weight[network]).sum().backward()
        theirs = [values.grad for values in layers.parameters()]
        channels = front.shape[2]
        for at, name in enumerate(networks.front_parameters):
            grad, other = networks.front_parameters[name].grad[network], theirs[at]
            assert other.abs().max() > 0
            if "filters" in name and "bias" not in name:
                other = other.permute(0, 2, 3, 1) / (channels * len(other)) ** 0.5
                channels = len(other)
            elif "filters" in name:
                other = other / len(other) ** 0.5
            torch.testing.assert_close(grad, other.mT if "dense" in name and other.ndim == 2 else other)


def test_frames_taken_in_parts_are_the_same(monkeypatch):
    networks, frames = networks_of(), random(2, 13, PIXELS)
    whole = networks.features(frames)  # with gradients, at once
    monkeypatch.setattr(convnet, "NUMBERS_AT_ONCE", 4 * 6 * 9 * 5)  # four frames
    taken = []
    forward_ = Convnet._forward
    monkeypatch.setattr(Convnet, "_forward", lambda self, x, *more: taken.append(len(x)) or forward_(self, x, *more))
    with torch.no_grad():
        torch.testing.assert_close(networks.features(frames), whole, rtol=1e-5, atol=1e-6)
    assert taken == [4, 4, 4, 1] * 2


def test_short_products_round_and_nothing_else():
    networks, frames = networks_of(), random(2, 5, PIXELS)
    exact, short = networks.features(frames), networks.features(frames, torch.bfloat16)
    assert (exact.dtype, short.dtype) == (torch.float32, torch.bfloat16)
    assert networks.parameters["front.filters0"].dtype == torch.float32
    off = (short.float() - exact).abs().max() / exact.abs().max()
    assert 1e-5 < off < 0.05


def test_initial_weights():
    front = Convnet((8, 8, 3), (40, 50), 3, (60, 30), 0.2)
    start = untrained("gru", range(4), 8 * 8 * 3, UNITS, CLASSES, front)
    assert start.weights.inputs.shape == (4, 31, 3 * UNITS) and pixels(start) == 8 * 8 * 3
    values = start.front_parameters
    shapes = {name: tuple(each.shape[1:]) for name, each in values.items()}
    assert shapes == {
        "front.filters0": (40, 3, 3, 3), "front.filters0.bias": (40,),
        "front.filters1": (50, 3, 3, 40), "front.filters1.bias": (50,),
        "front.dense0": (2 * 2 * 50, 60), "front.dense0.bias": (60,),
        "front.dense1": (60, 30), "front.dense1.bias": (30,),
    }  # fmt: skip
    for name, channels, filters in (("front.filters0", 3, 40), ("front.filters1", 40, 50)):
        assert 1.9 < values[name].abs().max() <= 2  # a normal distribution cut at two standard deviations has 0.8796
        assert values[name].std().item() == pytest.approx(0.8796, rel=0.03)
        used, bias = effective(values[name][0], values[f"{name}.bias"][0])
        assert used.std().item() == pytest.approx(0.8796 / (channels * filters) ** 0.5, rel=0.06)
        assert used.shape == (filters, channels, 3, 3)
        assert used.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(bias, torch.full((filters,), 0.1 / filters**0.5))
    assert values["front.dense0"].std().item() == pytest.approx(200**-0.5, rel=0.03)
    assert values["front.dense1"].std().item() == pytest.approx(60**-0.5, rel=0.03)
    bias = torch.cat([each.flatten() for name, each in values.items() if "dense" in name and "bias" in name])
    assert bias.std().item() == pytest.approx(0.01, rel=0.1)


def test_a_fresh_front_end_of_the_papers_has_the_published_scale():
    """As used: weights N(0, 1) cut at two deviations over sqrt(channels * 128), biases 0.1 / sqrt(128)."""
    paper = Convnet((32, 32, 3), (128, 128, 128), 3, (64, 32), 0.2)
    stored = untrained("gru", [0], 32 * 32 * 3, UNITS, CLASSES, paper).front_parameters
    for layer, (deviation, most) in enumerate([(0.04489, 0.10206), (0.006872, 0.015625), (0.006872, 0.015625)]):
        weight, bias = effective(stored[f"front.filters{layer}"][0], stored[f"front.filters{layer}.bias"][0])
        assert weight.std().item() == pytest.approx(deviation, rel=0.03)
        assert weight.abs().max().item() == pytest.approx(most, rel=0.03)
        torch.testing.assert_close(bias, torch.full((128,), 0.00883883))


def test_refuses_frames_it_cannot_halve_and_frames_of_another_size():
    with pytest.raises(ValueError, match=r"found 3 convolutions.*images of 6 x 9 pixels allow for 2. Leave some out"):
        Convnet(SHAPE, (2, 2, 2), 3, (4,), 0.2)
    with pytest.raises(ValueError, match=r"frames of 5 pixels; the front end was made for \(6, 9, 3\)"):
        untrained("gru", [0], 5, UNITS, 3, FRONT)


def test_the_configuration_names_the_front_end():
    sizes = {"filters": [5, 6], "kernel": 3, "dense": [8, 4], "leak": 0.2}
    assert fronts.choose({"units": 3, "front_end": "pixels", "convnet": sizes}, SHAPE) == Pixels()
    assert fronts.choose({"units": 3, "front_end": "convnet", "convnet": sizes}, SHAPE) == FRONT


# ------------------------------------------------------------------------------------------------------- the training


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("shared", [None, 11])
def test_outputs_and_gradients_are_those_of_dense_frames(cell, shared, images):
    """Features of each frame once, and a gather, against every frame of every trial by itself."""
    start = networks_of(cell, scale=2.0).to(torch.float64)
    ours, plain = leaves(start), leaves(start)
    generators = [streams.generator(seed, "test") for seed in SEEDS]
    counts, offsets = images.counts("train"), images.offsets("train")
    drawn = draw(generators, 6, FULL, 2, offsets, counts)
    shown = inputs(drawn, generators, images.train_images, MEAN, STD, FULL.steps, shared)
    shown = shown._replace(frames=shown.frames.double())
    logits = forward(ours, shown, torch.float64)
    expected = plain.logits(plain.cell.sequence(plain.weights, seen(plain, *shown.written_out())))
    torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-11)
    weight = random(*logits.shape, seed=3).double()
    for found in (logits, expected):
        (found * weight).sum().backward()
    for name, values in plain.parameters.items():
        assert values.grad.abs().max() > 0, name
        torch.testing.assert_close(ours.parameters[name].grad, values.grad, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_every_frame_passes_the_front_end_once_and_in_the_precision_of_the_engine(images, monkeypatch, precision):
    taken = []
    forward_ = Convnet._forward

    def noted(self, frames, kernels, dense, products):
        taken.append((len(frames), products))
        return forward_(self, frames, kernels, dense, products)

    monkeypatch.setattr(Convnet, "_forward", noted)
    for shared, frames in ((None, 5 * 8), (24, 24 + 5)):
        update = update_of(networks_of(), images, Engine(CPU, precision, shared))
        taken.clear()
        update(FULL)
        assert taken == [(frames, precision)] * len(SEEDS)


def update_of(start: Networks, images: ImageSet, engine: Engine = EXACT, penalty=None, rate: float = 1e-3) -> Update:
    return Update(
        start, images, engine, "test", batch=5, min_delay=2, full_steps=8, learning_rate=rate, penalty=penalty
    )


@pytest.mark.parametrize("regularised", [False, True])
def test_adam_moves_effective_filters_at_the_published_rate(images, regularised):
    """A first step of Adam is lr long in what is stored: in what is used, lr / sqrt(channels * filters) for weights and
    lr / sqrt(filters) for biases."""
    start, rate = networks_of(scale=2.0), 1e-3
    penalty = slowing(start, images, (random(2, CLASSES, UNITS) / 3,), 0.5) if regularised else None
    update = update_of(start, images, penalty=penalty, rate=rate)
    update(FULL)
    for name, channels, filters in (("front.filters0", 3, 5), ("front.filters1", 5, 6)):
        after, before = (
            effective(each.parameters[name][0], each.parameters[f"{name}.bias"][0]) for each in (update.networks, start)
        )
        weight, bias = ((new - old).abs().median().item() for new, old in zip(after, before, strict=True))
        assert weight == pytest.approx(rate / (channels * filters) ** 0.5, rel=1e-2)
        assert bias == pytest.approx(rate / filters**0.5, rel=1e-2)
    moved = update.networks.parameters["front.dense0"] - start.parameters["front.dense0"]
    assert moved.abs().median().item() == pytest.approx(rate, rel=1e-2)


def speed_at(networks: Networks, images: ImageSet, points: State, part: str = "all") -> Tensor:
    """The penalty on the speed, (networks,)."""
    penalty = PENALTIES["speed"](Known(networks, images, points, points, 1, 1), part=part, at="points", noise_draws=2)
    return penalty(networks, None, None, [streams.generator(seed, "p") for seed in networks.seeds])


def test_the_penalty_reaches_the_front_end_and_is_the_mean_over_its_noise(images):
    """Gradients flow through noise frames into the front end, which is a part of what makes a point fast."""
    networks = leaves(networks_of(scale=2.0).to(torch.float64))
    points = (random(2, CLASSES, UNITS).double() / 3,)
    found = speed_at(networks, images, points)
    found.sum().backward()
    assert all(networks.parameters[name].grad.abs().max() > 0 for name in FRONT.parameter_names)
    for network, seed in enumerate(SEEDS):
        noise = torch.empty(CLASSES * 2, PIXELS, dtype=torch.float64)
        noise.normal_(MEAN, STD, generator=streams.generator(seed, "p"))
        features = layers_of(networks, network)(noise.unflatten(1, SHAPE).permute(0, 3, 1, 2))
        x = torch.cat([features, torch.zeros(CLASSES * 2, 1).double()], 1)
        one = networks.only(network)
        h = points[0][network : network + 1].repeat_interleave(2, 1)
        (after,) = one.step((h,), x.unsqueeze(0))
        assert found[network].item() == pytest.approx((after - h).square().sum().item(), rel=1e-10)


def test_the_parts_of_the_penalty_behind_a_front_end(images):
    """The noise-free part is the speed under the mean of the features of noise, not of the mean frame."""
    networks = networks_of(scale=2.0).to(torch.float64)
    points = (random(2, CLASSES, UNITS).double() / 3,)
    found = {part: speed_at(networks, images, points, part) for part in ("all", "noise_free", "noise_gain")}
    assert all((each > 0).all() for each in found.values())
    noise = torch.stack(
        [
            torch.empty(CLASSES * 2, PIXELS, dtype=torch.float64).normal_(
                MEAN, STD, generator=streams.generator(seed, "p")
            )
            for seed in SEEDS
        ]
    )
    mean = networks.features(noise).mean(1, keepdim=True)
    x = torch.cat([mean, torch.zeros(2, 1, 1).double()], -1)
    (after,) = networks.step(points, x)
    assert torch.allclose(found["noise_free"], 2 * (after - points[0]).square().sum((1, 2)), rtol=1e-10)


@pytest.mark.parametrize("engine", [EXACT, FAST], ids=["float32, own frames", "bfloat16, shared frames"])
def test_an_interrupted_training_goes_on_as_if_it_never_was(images, tmp_path, engine, one_thread):
    def stop(networks: Networks, *_) -> Tensor:
        stop.calls += torch.is_grad_enabled()
        if stop.calls == stop.at:
            raise KeyboardInterrupt
        return 1e-3 * networks.parameters["front.filters0"].square().sum((1, 2, 3, 4))

    runs = []
    for folder, at in (("whole", None), ("cut", 5)):
        stop.calls, stop.at = 0, at
        where = tmp_path / folder
        if at is not None:
            with pytest.raises(KeyboardInterrupt):
                train.run(networks_of(), images, PLAN, engine, where, "one", LOGGER, stop)
            stop.calls, stop.at = 0, None
        trained, rows = train.run(networks_of(), images, PLAN, engine, where, "one", LOGGER, stop)
        assert stop.calls == (6 if at is None else 3)
        runs.append((trained.parameters, rows, train.checkpoints(where, PLAN.checkpoints)))
    (one, rows, kept), (other, others, kept_too) = runs
    assert same(one, other) and same(kept, kept_too)
    pd.testing.assert_frame_equal(rows, others, check_exact=True)
    start = networks_of().parameters
    assert all((one[name] - start[name]).abs().max() > 1e-3 for name in one)


# ----------------------------------------------------------------------------------------- what a point is held at


def test_the_mean_input_is_that_of_a_thousand_noise_images(images):
    networks = networks_of(scale=2.0)
    mean = mean_input(networks, images)
    assert mean.shape == (2, 1, 4)
    for network, seed in enumerate(SEEDS):
        noise = MEAN + STD * torch.randn(1, 1000, PIXELS, generator=streams.generator(seed, "held_input"))
        layers = layers_of(networks, network)
        expected = layers(noise[0].double().unflatten(1, SHAPE).permute(0, 3, 1, 2)).mean(0)
        torch.testing.assert_close(mean[network, 0].double(), expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(mean_input(networks.only(network), images)[0], mean[network])
        # It is not what the mean pixel, or another seed's noise, gives.
        flat = layers(torch.full((1, 3, 6, 9), MEAN).double())
        assert (flat - expected).abs().max() > 1e-3
    x = held_input(networks, mean, trigger=1.0)
    assert torch.equal(x[..., :-1], mean) and (x[..., -1] == 1).all()
    assert held_input(networks.to(torch.float64), mean).dtype == torch.float64


def test_pixels_are_held_at_the_mean_pixel_and_pass_as_they_are(images):
    networks = networks_of(front=Pixels())
    frames = random(2, 4, PIXELS)
    assert networks.features(frames) is frames
    assert mean_input(networks, images) == MEAN and isinstance(mean_input(networks, images), float)
    assert networks.front_parameters == {} and pixels(networks) == PIXELS


# ------------------------------------------------------------------------------ every stage, with a known front end


class Doubled(Front):
    """Features are twice the pixels: with input weights half as large, a network sees pixels, bit for bit."""

    name: ClassVar[str] = "doubled"

    def width(self, pixels):
        return pixels

    def pixels(self, width):
        return width

    def features(self, parameters, frames, products=None):
        return 2 * frames

    def expected(self, mean, std):
        return 2 * mean


def halved(networks: Networks) -> Networks:
    """The same networks behind `Doubled`."""
    weight = networks.weights.inputs.clone()
    weight[:, :-1] /= 2
    parameters = {**networks.parameters, "inputs": weight}
    return nets.from_parameters(networks.cell.name, parameters, networks.seeds, networks.phases, Doubled())


def stages(networks: Networks, images: ImageSet, cell: str) -> list:
    """What every stage that shows frames, or holds an input, makes of the networks."""
    start = centroids(networks, images, 3, 0.3)
    found, rows = find(networks, images, start, [3, 6], 1e-2, 4, 0.1)
    checkpoints = [backtrack.Checkpoint(0, 2, networks), backtrack.Checkpoint(5, 3, networks)]
    means = [mean_input(networks, images)] * 2
    followed = backtrack.follow(checkpoints, found[-1], lambda n, s: descend(n, means[0], s, [2], 1e-2, 9, 1.0)[0])
    settings = {
        "search_steps": 6, "near_unit": 0.05, "newton_steps": 5, "newton_speed": 1e-9, "newton_distance": 1.0,
        "relaxation_steps": 4, "noise_trials": 3, "noise_steps": 3,
    }  # fmt: skip
    return [
        start.trials, *start.state, rows,
        extrapolate(networks, images, [1, 3, 8], 4, 8, 2),
        example(networks, images, 8, 2),
        backtrack.table(checkpoints, followed, [0, 0, 3], means, 0.1, (6, 2)),
        backtrack.confusions(checkpoints, images, [0, 0, 3], 8, 2, 6),
        examine(networks, images, found[-1], start.state, **settings),
        portrait(networks, images, found[-1], start.state, 5, 2),
        speed_at(networks, images, found[-1]),
    ]  # fmt: skip


@BOTH
def test_every_stage_shows_networks_what_their_front_end_makes_of_frames(cell, images, monkeypatch):
    monkeypatch.setitem(fronts.FRONTS, "doubled", Doubled)
    plain = networks_of(cell, front=Pixels(), scale=2.0)
    for one, other in zip(stages(plain, images, cell), stages(halved(plain), images, cell), strict=True):
        if isinstance(one, Tensor):
            assert torch.equal(one, other)
        else:
            pd.testing.assert_frame_equal(one, other, check_exact=True)


@BOTH
def test_only_the_task_knows_which_channel_is_the_trigger(cell, images, monkeypatch):
    """Moved to the first channel, with the weights of inputs in that order, it leaves every stage as it was."""
    last = networks_of(cell, front=Pixels(), scale=2.0)
    expected = stages(last, images, cell)
    monkeypatch.setattr(task, "FEATURES", slice(1, None))
    monkeypatch.setattr(task, "TRIGGER", slice(0, 1))
    first = last.like({**last.parameters, "inputs": last.weights.inputs.roll(1, 1)})
    for one, other in zip(expected, stages(first, images, cell), strict=True):
        if isinstance(one, Tensor):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        else:
            pd.testing.assert_frame_equal(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("engine", [EXACT, FAST], ids=["float32, own frames", "bfloat16, shared frames"])
def test_losses_and_gradients_behind_a_known_front_end(images, engine):
    plain = networks_of(front=Pixels(), scale=2.0)
    updates = [update_of(start, images, engine, rate=1e-9) for start in (plain, halved(plain))]
    for update in updates:
        update(FULL)
    one, other = (update.networks.parameters for update in updates)
    for name in ("recurrent", "bias", "readout", "readout_bias"):
        assert torch.equal(one[name].grad, other[name].grad)
    assert torch.equal(2 * one["inputs"].grad[:, :-1], other["inputs"].grad[:, :-1])


# -------------------------------------------------------------------------------------------------------------- files


def test_a_file_holds_the_front_end_and_its_sizes(tmp_path):
    for front in (FRONT, Pixels()):
        networks = networks_of("lstm", front=front)
        nets.save(tmp_path / "n.safetensors", networks, {"dataset": "made", "curriculum": "vocu"})
        loaded, meta = nets.load(tmp_path / "n.safetensors")
        assert loaded.front == front and same(loaded.parameters, networks.parameters)
        assert loaded.front_parameters.keys() == networks.front_parameters.keys()
        assert meta["front"]["name"] == front.name
    arrays, meta = load_arrays(tmp_path / "n.safetensors")
    for bad, said in (
        ({"name": "perceptron"}, "'perceptron'"),
        (FRONT.settings(), "'front.filters0'"),
        ({"name": "convnet", "filters": [3]}, "missing"),
    ):
        save_arrays(tmp_path / "bad.safetensors", arrays, {**meta, "front": bad})
        with pytest.raises(ValueError, match=rf"bad\.safetensors: expected networks, found no .*{said}"):
            nets.load(tmp_path / "bad.safetensors")


# --------------------------------------------------------------------------------------------- from training to the end


@BOTH
def test_a_convolutional_network_goes_through_every_stage(cell, images, tmp_path, one_thread):
    """Training learns, points are held at their own checkpoint's mean features, regularisation slows them."""
    plan = dataclasses.replace(PLAN, steps=150, batch=12, learning_rate=2e-2, log_trials=40, checkpoints=(0, 75, 150))
    fast = Engine(CPU, torch.float32, 16)
    trained, rows = train.run(networks_of(cell, scale=2.0), images, plan, fast, tmp_path / "t", "one", LOGGER)
    rows = rows.set_index(["step", "seed"])
    assert (rows.loss[150] < 0.85 * rows.loss[0]).all()
    assert len(extrapolate(trained, images, [1, 8, 20], 12, 8, 2)) == 3 * CLASSES * len(SEEDS)

    arrays = train.checkpoints(tmp_path / "t", plan.checkpoints)
    meta = {"steps": plan.checkpoints, "seeds": SEEDS, "front": trained.front.settings()}
    save_arrays(tmp_path / "c.safetensors", arrays, meta)
    checkpoints, _ = backtrack.load_checkpoints(tmp_path / "c.safetensors", cell, plan.schedule, CPU)
    assert same(checkpoints[-1].networks.parameters, trained.parameters)
    means = [mean_input(checkpoint.networks, images) for checkpoint in checkpoints]
    assert not torch.allclose(means[0], means[1], rtol=1e-2)

    start = centroids(trained, images, 3, 1 / 3)
    (points,), found = find(trained, images, start, [60], 1e-2, 40, 0.1)
    assert (found.speed < found.start_speed).all()

    def search(networks, states):
        return descend(networks, mean_input(networks, images), states, [20], 1e-2, 40, 0.1)[0]

    followed = backtrack.table(
        checkpoints, backtrack.follow(checkpoints, points, search), [0] * CLASSES, means, 0.1, (60, 20)
    )
    last = followed[followed.step == 150].set_index(["seed", "label"])
    found = found.set_index(["seed", "label"])
    assert np.array_equal(last.speed, found.speed) and np.array_equal(last.readout, found.readout)

    settings = {
        "search_steps": 60, "near_unit": 0.05, "newton_steps": 20, "newton_speed": 1e-9, "newton_distance": 1.0,
        "relaxation_steps": 10, "noise_trials": 20, "noise_steps": 5,
    }  # fmt: skip
    kinds = examine(trained, images, points, start.state, **settings).set_index(["seed", "label"])
    assert np.array_equal(kinds.readout, found.readout)
    assert np.isfinite(kinds[["leading_modulus", "drift", "diffusion"]]).all(axis=None)
    # The one in float64, the other a difference of float32 states.
    assert (kinds.relaxation_speed <= found.start_speed + 1e-6).all()

    both = in_modes(trained, ["control", "slow_points"])
    penalty = slowing(trained, images, points, 0.0, 1.0, draws=5)
    on = dataclasses.replace(plan, steps=100, learning_rate=1e-2, checkpoints=(0, 100), stream="regularise")
    after, rows = train.run(both, images, on, fast, tmp_path / "r", "one", LOGGER, penalty)
    assert after.phases == ("control", "control", "slow_points", "slow_points")
    rows = rows.set_index(["phase", "step", "seed"]).sort_index()
    assert (rows.penalty["slow_points", 100] < 0.5 * rows.penalty["slow_points", 0]).all()
