"""Updates: against a plain loop, in every setting, from stream to stream, and on a GPU where there is one."""

import contextlib
import logging
import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from reference import Breaking, Leaky, dense, same
from torch import Tensor

from memrnn.core import streams
from memrnn.core.files import load_arrays
from memrnn.data.images import ImageSet
from memrnn.models import networks as nets
from memrnn.models.cell import Cell, plain_unroll
from memrnn.models.cells import CELLS
from memrnn.models.networks import Networks
from memrnn.tasks import delayed_classification as task
from memrnn.tasks.protocols import Lesson, Schedule
from memrnn.training import engine, train
from memrnn.training.engine import Engine, Update

pytestmark = pytest.mark.usefixtures("one_thread")

T, DELTA, UNITS, BATCH = 20, 4, 12, 6
FULL = Lesson(10, T)
CPU = torch.device("cpu")
SEEDS = (3, 5, 8)
BOTH = pytest.mark.parametrize("cell", ["gru", "lstm"])
OWN_OR_SHARED = pytest.mark.parametrize("shared", [None, 24], ids=["own frames", "shared frames"])
SETTINGS = {
    "float32, own": (torch.float32, None),
    "float32, shared": (torch.float32, 24),
    "bfloat16, own": (torch.bfloat16, None),
    "bfloat16, shared": (torch.bfloat16, 24),
}
EVERY_SETTING = pytest.mark.parametrize(("products", "shared"), SETTINGS.values(), ids=SETTINGS)
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
EVERY_DEVICE = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=gpu)])
# Growing trials, then another weight of the null responses: each lesson needs room of its own.
GROWING = [Lesson(10, 6)] * 3 + [Lesson(10, 12, 0.5)] * 3 + [FULL] * 4 + [Lesson(10, 6)] * 2


def untrained(cell: str, seeds: tuple[int, ...] = SEEDS) -> Networks:
    return nets.initial(cell, seeds, 65, UNITS, 11)


def updates(
    start: Networks,
    images: ImageSet,
    products: torch.dtype,
    shared: int | None,
    device: str = "cpu",
    kind=Update,
    **more,
) -> Update:
    settings = {"batch": BATCH, "min_delay": DELTA, "full_steps": T, "learning_rate": 1e-3} | more
    return kind(start, images, Engine(torch.device(device), products, shared), "train", **settings)


def noisy_penalty(networks: Networks, batch, hidden, generators: list[torch.Generator]) -> Tensor:
    noise = torch.stack([torch.rand(UNITS, 11, generator=each, device=each.device) for each in generators])
    return 0.01 * (noise * networks.readout).square().sum((1, 2))


def copies(networks: Networks) -> dict[str, Tensor]:
    return {name: values.detach().clone() for name, values in networks.parameters.items()}


# ---------------------------------------------------------------- a plain loop, written a second time


def plain_losses(cell: Cell, weights: dict[str, Tensor], x: Tensor, drawn: task.Trials, lesson: Lesson) -> Tensor:
    """The method with automatic differentiation through everything; x (networks, time, batch, inputs)."""
    own = cell.weights_type(*(weights[name] for name in cell.weights_type._fields))
    drive = torch.einsum("ntbi,nig->ntbg", x, own.inputs) + own.bias[:, None, None]
    h = plain_unroll(cell, own, drive)
    logits = torch.einsum("ntbu,nuo->ntbo", h, weights["readout"]) + weights["readout_bias"][:, None, None]
    allowed = torch.arange(logits.shape[-1]) <= lesson.classes
    p = torch.softmax(torch.sigmoid(logits).masked_fill(~allowed, -math.inf), -1)
    asked = torch.nn.functional.one_hot(drawn.response, lesson.steps).mT  # (networks, time, batch)
    target = torch.nn.functional.one_hot(asked * (drawn.label + 1).unsqueeze(1), logits.shape[-1])
    log_p = torch.log((p * target).sum(-1) + 1e-4)
    return -(((T - 1) * asked + lesson.alpha) * log_p).sum((1, 2)) / (x.shape[2] * logits.shape[-1] * T)


def batch_of(
    images: ImageSet, seeds: tuple[int, ...], lesson: Lesson, shared: int | None, dtype: torch.dtype
) -> tuple[task.Trials, task.Inputs]:
    draws, noise = ([streams.generator(seed, "tests", name) for seed in seeds] for name in ("draws", "noise"))
    drawn = task.draw(draws, BATCH, lesson, DELTA, images.offsets("train"), images.counts("train"))
    pixels = images.train_images.to(dtype)
    return drawn, task.inputs(drawn, noise, pixels, images.mean, images.std, lesson.steps, shared)


def with_leaves(start: Networks, dtype: torch.dtype, device: str = "cpu") -> Networks:
    """A copy whose weights are leaves of the given type."""
    leaves = {
        name: values.detach().to(device, dtype, copy=True).requires_grad_() for name, values in start.parameters.items()
    }
    return nets.from_parameters(start.cell.name, leaves, start.seeds, start.phases)


def engine_gradients(
    networks: Networks, shown: task.Inputs, drawn: task.Trials, lesson: Lesson, products: torch.dtype
) -> tuple[Tensor, dict[str, Tensor]]:
    losses = task.loss(task.forward(networks, shown, products), drawn, lesson, T)
    leaves = networks.parameters
    return losses.detach(), dict(zip(leaves, torch.autograd.grad(losses.sum(), list(leaves.values())), strict=True))


def plain_gradients(
    networks: Networks, shown: task.Inputs, drawn: task.Trials, lesson: Lesson
) -> tuple[Tensor, dict[str, Tensor]]:
    """The same from `plain_losses`, in float64."""
    leaves = with_leaves(networks, torch.float64).parameters
    losses = plain_losses(networks.cell, leaves, dense(shown).double(), drawn, lesson)
    return losses.detach(), dict(zip(leaves, torch.autograd.grad(losses.sum(), list(leaves.values())), strict=True))


def worst_error(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """Largest distance between the gradients of a tensor of one network, as a share of the gradient's length."""
    assert ours.keys() == theirs.keys()
    return max(
        ((ours[name].cpu().double() - each).flatten(1).norm(dim=1) / each.flatten(1).norm(dim=1)).max().item()
        for name, each in theirs.items()
    )


@BOTH
@OWN_OR_SHARED
@pytest.mark.parametrize("seeds", [(3,), SEEDS], ids=["1 network", "3 networks"])
@pytest.mark.parametrize("lesson", [FULL, Lesson(4, 8, 0.5)], ids=str)
def test_loss_and_gradients_are_those_of_a_plain_loop(digits, cell, seeds, shared, lesson):
    start = untrained(cell, seeds)
    for dtype, tolerance in ((torch.float64, 1e-13), (torch.float32, 1e-6)):
        drawn, shown = batch_of(digits, seeds, lesson, shared, dtype)
        networks = with_leaves(start, dtype)
        losses, gradients = engine_gradients(networks, shown, drawn, lesson, dtype)
        expected, slopes = plain_gradients(networks, shown, drawn, lesson)
        assert {each.dtype for each in (losses, *gradients.values())} == {dtype}
        torch.testing.assert_close(losses.double(), expected, rtol=tolerance, atol=0)
        assert worst_error(gradients, slopes) < tolerance
        # What the trigger adds is a row of its own among the inputs' weights.
        trigger = {"trigger": gradients["inputs"][:, -1:]}
        assert worst_error(trigger, {"trigger": slopes["inputs"][:, -1:]}) < tolerance


def trained_plainly(
    start: Networks, images: ImageSet, lessons: list[Lesson], shared: int | None, rate: float
) -> dict[str, Tensor]:
    """The updates of `engine.Update` as anyone would write them, in float32."""
    networks = with_leaves(start, torch.float32)
    optimiser = torch.optim.Adam(networks.parameters.values(), lr=rate)
    draws, noise = ([streams.generator(seed, "train", name) for seed in start.seeds] for name in ("draws", "noise"))
    for lesson in lessons:
        drawn = task.draw(draws, BATCH, lesson, DELTA, images.offsets("train"), images.counts("train"))
        shown = task.inputs(drawn, noise, images.train_images, images.mean, images.std, lesson.steps, shared)
        optimiser.zero_grad()
        plain_losses(start.cell, networks.parameters, dense(shown), drawn, lesson).sum().backward()
        optimiser.step()
    return copies(networks)


@pytest.mark.parametrize(("cell", "shared"), [("gru", 24), ("lstm", None)])
def test_two_hundred_updates_are_those_of_a_plain_loop(digits, cell, shared):
    """Two float32 loops part by 1e-6 at most in 200 updates, as either does from one in float64; weights move by 0.25.

    Products in bfloat16 part from it by 2e-3, so that an error of their size in any gradient would be seen.
    """
    start, tolerance = untrained(cell, (3, 5)), 1e-5
    lessons = [Lesson(10, 6)] * 70 + [Lesson(10, 12)] * 70 + [FULL] * 60
    expected = trained_plainly(start, digits, lessons, shared, 1e-3)
    apart = {}
    for products in (torch.float32, torch.bfloat16):
        made = updates(start, digits, products, shared)
        for lesson in lessons:
            made(lesson)
        ours = made.networks.parameters
        apart[products] = {name: (ours[name] - each).abs().max().item() for name, each in expected.items()}
    for name, each in expected.items():
        assert (each - start.parameters[name]).abs().max() > 0.1
        assert apart[torch.float32][name] < tolerance < apart[torch.bfloat16][name], name
    assert max(apart[torch.bfloat16].values()) > 50 * tolerance


# ---------------------------------------------------------------- products in bfloat16


@BOTH
@OWN_OR_SHARED
def test_bfloat16_gradients_are_within_a_hundredth_before_training(digits, cell, shared):
    for lesson in (FULL, Lesson(4, 8, 0.5)):
        drawn, shown = batch_of(digits, SEEDS, lesson, shared, torch.float32)
        networks = with_leaves(untrained(cell), torch.float32)
        losses, gradients = engine_gradients(networks, shown, drawn, lesson, torch.bfloat16)
        expected, slopes = plain_gradients(networks, shown, drawn, lesson)
        torch.testing.assert_close(losses.double(), expected, rtol=1e-3, atol=0)
        assert 1e-3 < worst_error(gradients, slopes) < 1e-2


@BOTH
def test_what_bfloat16_errors_have_in_common_is_small_beside_the_noise_of_trials(digits, cell):
    """In networks on the way, where gradients are shorter and errors longer beside them than before training.

    An error that comes back in every update would add up; here it is at most 0.004 of what updates differ by.
    """
    made = updates(untrained(cell), digits, torch.float32, 24, learning_rate=1e-2)
    for lesson in [Lesson(10, 6)] * 150 + [FULL] * 100:
        made(lesson)
    networks = with_leaves(made.networks, torch.float32)
    draws, noise = ([streams.generator(seed, "tests", name) for seed in SEEDS] for name in ("draws", "noise"))
    exact, short = [], []
    for _ in range(30):
        drawn = task.draw(draws, BATCH, FULL, DELTA, digits.offsets("train"), digits.counts("train"))
        shown = task.inputs(drawn, noise, digits.train_images, digits.mean, digits.std, T, 24)
        for products, kept in ((torch.float32, exact), (torch.bfloat16, short)):
            _, gradients = engine_gradients(networks, shown, drawn, FULL, products)
            kept.append(torch.cat([each.flatten(1) for each in gradients.values()], 1))
    exact, short = torch.stack(exact), torch.stack(short)  # (updates, networks, weights)
    error, length = (short - exact).norm(dim=2), exact.norm(dim=2)
    apart = (exact - exact.mean(0)).norm(dim=2).mean(0)  # what updates differ by, (networks,)
    assert 1e-3 < (error / length).mean() < 0.02
    assert ((short - exact).mean(0).norm(dim=1) / apart).max() < 0.01


@BOTH
@OWN_OR_SHARED
def test_bfloat16_is_the_type_of_products_alone(digits, cell, shared):
    made = updates(untrained(cell), digits, torch.bfloat16, shared)
    for lesson in GROWING:
        made(lesson)
    kept = [
        *made.networks.parameters.values(),
        *(part for state in made.optimiser.state.values() for part in state.values()),
    ]
    _, shown = batch_of(digits, SEEDS, FULL, shared, torch.float32)
    table, index = task.drive(made.networks.weights, shown, torch.bfloat16)
    hidden = made.networks.cell.unroll(made.networks.weights, table, index, torch.bfloat16)
    seen = [*kept, table, hidden, made.networks.logits(hidden), shown.frames]
    assert len(kept) == 5 + 3 * 5 and {part.dtype for part in seen} == {torch.float32}
    assert all(part.isfinite().all() for part in seen)
    # Weights and states that were rounded would be whole multiples of what bfloat16 tells apart.
    for part in (*made.networks.parameters.values(), hidden):
        assert (part != part.bfloat16().float()).float().mean() > 0.9


# ---------------------------------------------------------------- shared frames


def test_shared_frames_leave_the_expected_gradient_as_it_is():
    """Averages over many draws of noise, one per network, differ by no more than their standard errors allow.

    All networks are one, and all have the same few trials. As a check of the measure itself: noise that a trial sees
    at every step alike gives another gradient.
    """
    count, steps, lesson, frames = 600, 8, Lesson(3, 8), 8
    one = nets.initial("gru", (0,), 7, 5, 4)
    networks = with_leaves(
        nets.from_parameters("gru", {n: v.expand(count, *v.shape[1:]) for n, v in one.parameters.items()},
                             range(count), ["trained"] * count),
        torch.float32,
    )  # fmt: skip
    images = torch.rand(3, 6, generator=torch.Generator().manual_seed(1))
    drawn = task.draw([streams.generator(0, "tests")], 8, lesson, DELTA, torch.arange(3), torch.ones(3).long())
    drawn = task.Trials(*(part.expand(count, -1) for part in drawn))

    def gradients(name: str, shared: int | None, same_frame: bool = False) -> Tensor:
        noise = [streams.generator(seed, name) for seed in range(count)]
        shown = task.inputs(drawn, noise, images, 0.3, 1.0, steps, shared)
        if same_frame:
            own = torch.arange(steps).view(-1, 1) == drawn.stimulus.unsqueeze(1)
            shown = shown._replace(index=torch.where(own, shown.index, torch.arange(8)))
        _, slopes = engine_gradients(networks, shown, drawn, lesson, torch.float32)
        return torch.cat([slope.flatten(1) for slope in slopes.values()], 1).double()  # (draws, weights)

    def largest_z(ours: Tensor, theirs: Tensor) -> float:
        """Of the differences between means, in standard errors; every weight must have a gradient that varies."""
        error = ((ours.var(0) + theirs.var(0)) / count).sqrt()
        return ((ours.mean(0) - theirs.mean(0)).abs() / error).max().item()

    own = gradients("own", None)
    assert own.shape[1] == 7 * 15 + 5 * 15 + 15 + 5 * 4 + 4
    # 219 weights: the largest of as many normal numbers exceeds 4.5 in one case of 700.
    assert largest_z(gradients("again", None), own) < 4.5
    assert largest_z(gradients("shared", frames), own) < 4.5
    assert largest_z(gradients("alike", frames, same_frame=True), own) > 10


# ---------------------------------------------------------------- streams and buffers


@BOTH
@EVERY_SETTING
def test_a_seed_is_trained_alike_in_every_block(digits, cell, products, shared):
    block = updates(untrained(cell), digits, products, shared, learning_rate=1e-2)
    for lesson in GROWING:
        block(lesson)
    # A product in the middle between two bfloat16 numbers may be rounded to either, in one block so, in another so.
    tolerance = 2e-6 if products == torch.float32 else 1e-3
    for position, seed in enumerate(SEEDS):
        alone = updates(untrained(cell, (seed,)), digits, products, shared, learning_rate=1e-2)
        for lesson in GROWING:
            alone(lesson)
        for name, values in alone.networks.parameters.items():
            assert (values - untrained(cell, (seed,)).parameters[name]).abs().max() > 0.05
            error = (block.networks.parameters[name][position] - values[0]).abs()
            assert error.max() < tolerance and error.mean() < tolerance / 10, name


@EVERY_DEVICE
@BOTH
@EVERY_SETTING
def test_the_same_seeds_give_the_same_numbers_twice(digits, cell, products, shared, device):
    made = [updates(untrained(cell), digits, products, shared, device) for _ in range(2)]
    for each in made:
        for lesson in GROWING:
            each(lesson)
    assert same(*(each.networks.parameters for each in made))


@BOTH
@EVERY_SETTING
def test_a_change_of_stage_changes_the_buffers_with_it(digits, cell, products, shared):
    """To the bit what updates with fresh buffers do."""
    made = updates(untrained(cell), digits, products, shared)
    networks = with_leaves(untrained(cell), torch.float32)
    optimiser = torch.optim.Adam(networks.parameters.values(), lr=1e-3, fused=True)
    draws, noise = ([streams.generator(seed, "train", name) for seed in SEEDS] for name in ("draws", "noise"))
    for number, lesson in enumerate(GROWING):
        made(lesson)
        drawn = task.draw(draws, BATCH, lesson, DELTA, digits.offsets("train"), digits.counts("train"))
        shown = task.inputs(drawn, noise, digits.train_images, digits.mean, digits.std, lesson.steps, shared)
        _, gradients = engine_gradients(networks, shown, drawn, lesson, products)
        for name, values in networks.parameters.items():
            values.grad = gradients[name].contiguous()
        optimiser.step()
        assert same(made.networks.parameters, networks.parameters), number
    assert made.count.item() == len(GROWING) and made.failed.tolist() == [-1] * 3


def test_the_start_is_copied(digits):
    start = untrained("gru")
    made = updates(start, digits, torch.float32, None)
    made(FULL)
    assert same(start.parameters, untrained("gru").parameters)
    assert not any(torch.equal(made.networks.parameters[name], each) for name, each in start.parameters.items())
    assert made.networks.seeds == start.seeds and made.networks.phases == start.phases


@EVERY_DEVICE
def test_the_learning_rate_may_be_set_between_updates(digits, device):
    made = updates(untrained("gru"), digits, torch.float32, None, device)
    made(FULL)
    before = copies(made.networks)
    made.set_learning_rate(0.0)
    made(FULL)
    assert same(made.networks.parameters, before)
    made.set_learning_rate(1e-3)
    made(FULL)
    # Adam's third step moves most weights by about the rate.
    step = (made.networks.readout_bias - before["readout_bias"]).abs().mean().item()
    assert 2e-4 < step < 2e-3


@EVERY_DEVICE
def test_the_first_update_that_fails_is_remembered(digits, device):
    made = updates(untrained("gru"), digits, torch.float32, None, device)
    for _ in range(5):
        made(FULL)
    assert made.failed.tolist() == [-1, -1, -1]
    with torch.no_grad():
        made.networks.readout[1] = math.nan
    for _ in range(3):
        made(FULL)
    with torch.no_grad():
        made.networks.readout[0] = math.inf
    made(FULL)
    assert made.failed.tolist() == [8, 5, -1] and made.count.item() == 9


# ---------------------------------------------------------------- a cell of one's own


@OWN_OR_SHARED
def test_a_cell_without_an_unrolling_of_its_own(digits, monkeypatch, shared):
    monkeypatch.setitem(CELLS, "leaky", Leaky())
    drawn, shown = batch_of(digits, SEEDS, FULL, shared, torch.float64)
    networks = with_leaves(untrained("leaky"), torch.float64)
    losses, gradients = engine_gradients(networks, shown, drawn, FULL, torch.float64)
    expected, slopes = plain_gradients(networks, shown, drawn, FULL)
    torch.testing.assert_close(losses, expected, rtol=1e-13, atol=0)
    assert worst_error(gradients, slopes) < 1e-13
    # Its own products stay exact; those of the frames are still rounded.
    _, rounded = engine_gradients(networks, shown, drawn, FULL, torch.bfloat16)
    assert 1e-5 < worst_error(rounded, slopes) < 1e-2


# ---------------------------------------------------------------- the section of the configuration


@pytest.mark.parametrize(("precision", "products"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
@pytest.mark.parametrize("frames", [None, 40])
def test_the_configuration_chooses_the_engine(precision, products, frames):
    settings = {"device": "cpu", "precision": precision, "shared_frames": frames, "float32_library": "mkl"}
    assert engine.choose(settings) == Engine(CPU, products, frames)


def test_the_log_tells_the_engine_and_warns_of_slow_products(monkeypatch):
    assert engine.describe(Engine(CPU, torch.float32, None)) == (
        "on cpu, products in float32 by mkl, trials with noise frames of their own"
    )
    for slow, warned in ((30.0, True), (0.5, False)):
        monkeypatch.setattr(engine, "_product_time", lambda dtype, slow=slow: slow if dtype == torch.bfloat16 else 1.0)
        line = engine.describe(Engine(CPU, torch.bfloat16, 64))
        assert line.startswith("on cpu, products in bfloat16, 64 noise frames shared by trials")
        assert ("takes 30.0 times as long" in line) == warned


def test_a_gpu_is_taken_where_there_is_one_and_refused_where_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert engine.device_of("auto") == engine.device_of("cpu") == CPU
    refusal = r"engine\.device: found cuda, but torch sees no GPU here; expected auto or cpu, or a machine with a GPU"
    with pytest.raises(ValueError, match=refusal):
        engine.device_of("cuda")
    with pytest.raises(ValueError, match=refusal):
        engine.choose({"device": "cuda", "precision": "float32", "shared_frames": None, "float32_library": "mkl"})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert engine.device_of("auto") == engine.device_of("cuda") == torch.device("cuda")
    assert engine.device_of("cpu") == CPU


# ---------------------------------------------------------------- graphs, as far as they go without a GPU


class NoStream:
    def wait_stream(self, _: object) -> None:
        pass


class NoGraph:
    """Stands in for a CUDA graph: what would be recorded is done."""

    def __init__(self) -> None:
        self.registered: list[torch.Generator] = []

    def register_generator_state(self, generator: torch.Generator) -> None:
        self.registered.append(generator)


@EVERY_SETTING
def test_a_capture_leaves_no_trace(digits, monkeypatch, products, shared):
    """Neither the updates before a capture nor the captured one move weights, moments, streams, counts or failures."""
    for name, stand_in in {
        "Stream": NoStream, "current_stream": NoStream, "CUDAGraph": NoGraph,
        "stream": contextlib.nullcontext, "graph": contextlib.nullcontext,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, stand_in)
    plain, captured = (updates(untrained("gru"), digits, products, shared, penalty=noisy_penalty) for _ in range(2))
    for lesson in GROWING:
        if lesson != captured._lesson:
            captured._lesson, captured._frames = lesson, None
            captured._capture()
            everyone = {id(generator) for each in captured.streams.values() for generator in each}
            assert {id(generator) for generator in captured._graph.registered} == everyone
            captured._graph = None  # so that the next update is done, not replayed
        for made in (plain, captured):
            made(lesson)
        assert same(captured.networks.parameters, plain.networks.parameters)
        assert captured.count.item() == plain.count.item() and captured.failed.tolist() == [-1] * 3
        for ours, theirs in zip(captured.optimiser.state.values(), plain.optimiser.state.values(), strict=True):
            assert same(ours, theirs)
        for ours, theirs in zip(captured.streams.values(), plain.streams.values(), strict=True):
            assert all(torch.equal(a.get_state(), b.get_state()) for a, b in zip(ours, theirs, strict=True))


# ---------------------------------------------------------------- on a GPU


class Eager(Update):
    """Updates that are never captured."""

    def _capture(self) -> None:
        pass


def moved(parts: tuple, device: str) -> tuple:
    return type(parts)(*(part.to(device) if isinstance(part, Tensor) else part for part in parts))


def returning(value: object) -> Callable[..., object]:
    return lambda *_: value


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=gpu)])
@BOTH
@EVERY_SETTING
def test_an_update_on_a_gpu_is_that_on_a_cpu(digits, monkeypatch, cell, products, shared, device):
    """On the same trials and noise; after one update Adam's first moments are a tenth of the gradients."""
    drawn, shown = batch_of(digits, SEEDS, FULL, shared, torch.float32)
    made, moments = {}, {}
    for where in ("cpu", device):
        made[where] = updates(untrained(cell), digits, products, shared, where)
        with monkeypatch.context() as patch:
            patch.setattr(task, "draw", returning(moved(drawn, where)))
            patch.setattr(task, "inputs", returning(moved(shown, where)))
            made[where](FULL)
        weights, state = made[where].networks.parameters, made[where].optimiser.state
        moments[where] = {name: state[values]["exp_avg"].cpu().double() for name, values in weights.items()}
        assert made[where].failed.tolist() == [-1] * 3 and made[where].count.item() == 1
    # Products in TF32 would part by 1e-3; two that are both rounded to bfloat16 part less than from exact ones.
    assert worst_error(moments[device], moments["cpu"]) < (1e-5 if products == torch.float32 else 1e-2)
    for name, values in made["cpu"].networks.parameters.items():
        # The first step is the rate times the gradient's sign; the sign of next to nothing is left to rounding.
        apart = (made[device].networks.parameters[name].cpu() - values).abs().mean()
        assert apart < 1e-3 * (1e-3 if products == torch.float32 else 1e-1), name


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=gpu)])
@BOTH
@EVERY_SETTING
def test_replays_of_a_graph_are_eager_updates(digits, cell, products, shared, device):
    """Through changes of lesson: a capture leaves no trace in weights, moments, streams or counts.

    The updates before a capture would move weights by 3e-3.
    """
    replayed, eager = (
        updates(untrained(cell), digits, products, shared, device, kind, penalty=noisy_penalty)
        for kind in (Update, Eager)
    )
    for number, lesson in enumerate(GROWING):
        for made in (replayed, eager):
            made(lesson)
        for ours, theirs in zip(replayed.streams.values(), eager.streams.values(), strict=True):
            for generator, other in zip(ours, theirs, strict=True):
                assert torch.equal(generator.get_state(), other.get_state()), number
        assert replayed.count.item() == eager.count.item() == number + 1
        for name, values in eager.networks.parameters.items():
            other = replayed.networks.parameters[name]
            torch.testing.assert_close(other, values, rtol=0, atol=1e-6, msg=f"{name} after update {number}")
            for moment, kept in eager.optimiser.state[values].items():
                torch.testing.assert_close(replayed.optimiser.state[other][moment], kept, rtol=1e-3, atol=1e-7)
    assert replayed.failed.tolist() == [-1] * 3


@EVERY_DEVICE
@pytest.mark.parametrize(("products", "shared"), [(torch.float32, None), (torch.bfloat16, 24)])
def test_an_interrupted_run_goes_on_on_every_device(digits, tmp_path, products, shared, device):
    plan = train.Plan(
        schedule=Schedule((0, 8, 15), (Lesson(10, 6), Lesson(10, 12), FULL)), full=FULL, min_delay=DELTA, steps=24,
        batch=BATCH, learning_rate=1e-2, drop=(18, 0.1), log_every=5, log_trials=10, checkpoints=(0, 10, 13, 24),
    )  # fmt: skip
    made = Engine(torch.device(device), products, shared)

    def run(folder: Path, logger: logging.Logger) -> tuple[dict[str, Tensor], pd.DataFrame, dict[str, Tensor]]:
        networks, table = train.run(untrained("gru"), digits, plan, made, folder, "one", logger)
        return networks.parameters, table, train.checkpoints(folder, plan.checkpoints)

    quiet, breaking = logging.Logger("quiet"), logging.Logger("breaking", logging.INFO)
    breaking.addHandler(Breaking("step 20 of 24"))
    undisturbed = run(tmp_path / "undisturbed", quiet)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "interrupted", breaking)
    assert load_arrays(tmp_path / "interrupted" / "resume.safetensors")[1]["step"] == 13
    resumed = run(tmp_path / "interrupted", quiet)
    assert same(resumed[0], undisturbed[0]) and same(resumed[2], undisturbed[2])
    pd.testing.assert_frame_equal(resumed[1], undisturbed[1], check_exact=True)
    assert all(values.device == CPU for values in resumed[0].values())
