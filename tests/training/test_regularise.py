"""Training on with slow points slowed: the penalty, its modes, and what it does."""

import itertools
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from reference import plain_step
from torch import Tensor

from memrnn.core import streams
from memrnn.core.files import save_arrays
from memrnn.data.images import ImageSet
from memrnn.models.cell import speed
from memrnn.models.networks import Networks, from_parameters, initial
from memrnn.tasks.delayed_classification import held_input
from memrnn.tasks.protocols import Schedule, Stage
from memrnn.training import train
from memrnn.training.engine import Engine
from memrnn.training.regularise import MODES, in_modes, points_of_modes, speed_penalty

pytestmark = pytest.mark.usefixtures("one_thread")

PARTS = {"gru": 1, "lstm": 2}
CLASSES, PIXELS, UNITS = 3, 5, 8
SEEDS = (2, 5)
ALL_MODES = ("control", "centroid", "slow_points")
LOGGER = logging.getLogger("test_regularise")


@pytest.fixture(scope="module")
def images() -> ImageSet:
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(CLASSES).repeat_interleave(10)
    shown = (0.8 * torch.eye(CLASSES, PIXELS))[labels] + 0.2 * torch.rand(len(labels), PIXELS, generator=generator)
    mean, std = shown.mean().item(), shown.std(unbiased=False).item()
    return ImageSet("made", (1, PIXELS, 1), ("a", "b", "c"), shown, labels, shown.clone(), labels, mean, std, "0")


def networks_of(cell: str, seeds: tuple[int, ...] = SEEDS) -> Networks:
    return initial(cell, seeds, PIXELS + 1, UNITS, CLASSES + 1)


def points_for(cell: str, networks: int, scale: float = 0.5) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(6)
    return tuple(scale * torch.randn(networks, CLASSES, UNITS, generator=generator) for _ in range(PARTS[cell]))


def plan(steps: int, stream: str = "regularise", rate: float = 1e-2) -> train.Plan:
    full = Stage(CLASSES, 8)
    return train.Plan(
        schedule=Schedule((0,), (full,)), full=full, min_delay=2, steps=steps, batch=8, learning_rate=rate, drop=None,
        log_every=steps, log_trials=20, checkpoints=(steps,), stream=stream,
    )  # fmt: skip


EXACT = Engine(torch.device("cpu"), torch.float32, None)
FAST = Engine(torch.device("cpu"), torch.bfloat16, 12)
BOTH_ENGINES = pytest.mark.parametrize("engine", [EXACT, FAST], ids=["float32, own frames", "bfloat16, shared frames"])


def run(
    start: Networks, images: ImageSet, folder: Path, penalty=None, engine=EXACT, **settings
) -> tuple[Networks, pd.DataFrame]:
    return train.run(start, images, plan(**settings), engine, folder, "f", LOGGER, penalty)


# ------------------------------------------------------------------------------------------------------- the penalty


def plain_squared_speed(cell: str, weights: dict[str, np.ndarray], state: list[np.ndarray], x: np.ndarray) -> float:
    """S^2 of one state of one network, in float64, as sections 3 and 7 of the science define it."""
    after = plain_step(cell, weights, state, x)
    squared = ((after[0] - state[0]) ** 2).sum()
    if cell == "lstm":
        squared += ((np.tanh(after[1]) - np.tanh(state[1])) ** 2).sum()
    return float(squared)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_penalty_is_a_sum_over_classes_and_draws(cell):
    networks, points, draws = networks_of(cell), points_for(cell, 2), 4
    mean, std, strengths = 0.3, 0.7, [0.25, 2.0]
    networks.weights.inputs[:, -1] = 100  # a trigger would be seen
    found = speed_penalty(points, strengths, draws, mean, std)(networks, [streams.generator(s, "p") for s in SEEDS])
    for network, seed in enumerate(SEEDS):
        weights = {name: values[network].double().numpy() for name, values in networks.parameters.items()}
        noise = torch.empty(CLASSES * draws, PIXELS).normal_(mean, std, generator=streams.generator(seed, "p"))
        expected = 0.0
        for number, (label, _) in enumerate(itertools.product(range(CLASSES), range(draws))):
            state = [part[network, label].double().numpy() for part in points]
            expected += plain_squared_speed(cell, weights, state, np.append(noise[number].double().numpy(), 0.0))
        assert found[network].item() == pytest.approx(strengths[network] * expected, rel=1e-5)


def test_the_noise_has_its_mean_and_its_full_width():
    """With one unit per pixel that passes its input through, S^2 at 0 is the square of the input's candidate."""
    networks = networks_of("gru", (0,))
    for values in networks.parameters.values():
        values.zero_()
    # z = 1 and n = tanh(0.01 x), so that S^2 = sum of (0.01 x)^2 to a part in a thousand
    networks.weights.bias[0, :UNITS] = 30
    networks.weights.inputs[0, :PIXELS, 2 * UNITS :] = 0.01 * torch.eye(PIXELS, UNITS)
    draws, mean, std = 4000, 0.4, 1.5
    penalty = speed_penalty((torch.zeros(1, CLASSES, UNITS),), [1.0], draws, mean, std)
    found = penalty(networks, [streams.generator(1, "p")]).item()
    assert found / (draws * CLASSES * PIXELS) == pytest.approx(1e-4 * (mean**2 + std**2), rel=0.02)


def test_every_draw_is_another_and_every_call_too():
    networks, points = networks_of("gru"), points_for("gru", 2)
    generators = [streams.generator(seed, "p") for seed in SEEDS]
    single = speed_penalty(points, [1.0, 1.0], 1, 0.3, 0.7)
    first, second = single(networks, generators), single(networks, generators)
    assert (first != second).all()
    still = speed_penalty(points, [1.0, 1.0], 1, 0.3, 0.0)(networks, generators)
    tenfold = speed_penalty(points, [1.0, 1.0], 10, 0.3, 0.0)(networks, generators)
    assert torch.allclose(tenfold, 10 * still)
    x = held_input(networks, 0.3)
    assert torch.allclose(still, speed(networks.cell, networks.weights, points, x).square().sum(1))


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_gradient_goes_to_the_weights_and_not_to_the_points(cell):
    values = {name: v.requires_grad_() for name, v in networks_of(cell).parameters.items()}
    networks = from_parameters(cell, values, SEEDS, ["centroid"] * 2)
    points = points_for(cell, 2)
    before = [part.clone() for part in points]
    penalty = speed_penalty(points, [0.5, 0.0], 3, 0.3, 0.7)
    penalty(networks, [streams.generator(seed, "p") for seed in SEEDS]).sum().backward()
    for name in ("inputs", "recurrent", "bias"):
        gradient = values[name].grad
        assert gradient[0].abs().max() > 0
        assert (gradient[1] == 0).all()  # strength 0: nothing is punished
    assert values["readout"].grad is None
    assert all(torch.equal(part, kept) and part.grad is None for part, kept in zip(points, before, strict=True))


# --------------------------------------------------------------------------------------------------------- the modes


def test_the_registry_holds_the_modes_of_the_paper():
    assert MODES == {"control": None, "centroid": "centroid", "slow_points": "points"}


def test_every_network_once_per_mode():
    trained = networks_of("lstm")
    both = in_modes(trained, ["slow_points", "control"])
    assert both.phases == ("slow_points", "slow_points", "control", "control")
    assert both.seeds == (2, 5, 2, 5)
    assert both.cell is trained.cell
    for name, values in trained.parameters.items():
        assert torch.equal(both.parameters[name], torch.cat([values, values]))


def stored_points(path: Path, cell: str, budgets=(10, 20)) -> dict[str, Tensor]:
    arrays = {}
    for part in range(PARTS[cell]):
        arrays[f"centroid.{part}"] = torch.full((2, CLASSES, UNITS), 1.0 + part)
        arrays[f"points.{part}"] = torch.stack(
            [torch.full((2, CLASSES, UNITS), float(budget + part)) for budget in budgets]
        )
    save_arrays(path, arrays, {"seeds": list(SEEDS), "search_steps": list(budgets)})
    return arrays


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_points_stand_in_the_order_of_the_networks(tmp_path, cell):
    stored_points(tmp_path / "p", cell)
    for modes in itertools.permutations(ALL_MODES):
        found = points_of_modes(tmp_path / "p", modes, 20, SEEDS)
        assert len(found) == PARTS[cell]
        for part, values in enumerate(found):
            assert values.shape == (6, CLASSES, UNITS)
            expected = {"control": 0.0, "centroid": 1.0 + part, "slow_points": 20.0 + part}
            for network, phase in enumerate(in_modes(networks_of(cell), modes).phases):
                assert (values[network] == expected[phase]).all()
    (first, *_) = points_of_modes(tmp_path / "p", ["slow_points"], 10, SEEDS)
    assert (first == 10).all()


@pytest.mark.parametrize(
    ("budget", "seeds", "message"),
    [
        (15, (2, 5), r"seeds \[2, 5\] after \[10, 20\] search steps; expected the seeds \[2, 5\] and 15 steps"),
        (20, (2, 6), r"holds points of the seeds \[2, 5\].*expected the seeds \[2, 6\]"),
        (20, (5, 2), r"expected the seeds \[5, 2\]"),
        (20, (2,), r"expected the seeds \[2\] and 20 steps. Run slow_points_block again"),
    ],
)
def test_points_of_others_are_refused(tmp_path, budget, seeds, message):
    stored_points(tmp_path / "points.safetensors", "gru")
    with pytest.raises(ValueError, match=message) as caught:
        points_of_modes(tmp_path / "points.safetensors", ALL_MODES, budget, seeds)
    assert "points.safetensors: " in str(caught.value)


def test_points_of_no_file_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        points_of_modes(tmp_path / "points.safetensors", ALL_MODES, 20, SEEDS)


# ------------------------------------------------------------------------------------------------------- the training


@BOTH_ENGINES
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_control_is_training_without_a_penalty(cell, images, tmp_path, engine):
    start = in_modes(networks_of(cell), ["control", "centroid"])
    penalty = speed_penalty(points_for(cell, 4), [0.0, 0.0, 0.1, 0.1], 3, images.mean, images.std)
    regularised, _ = run(start, images, tmp_path / "with", penalty, engine, steps=6)
    plain, _ = run(start, images, tmp_path / "without", engine=engine, steps=6)
    for name, values in plain.parameters.items():
        assert torch.equal(regularised.parameters[name][:2], values[:2]), name
        assert not torch.allclose(regularised.parameters[name][2:], values[2:], atol=1e-6), name
        assert not torch.equal(values, start.parameters[name]), name


@BOTH_ENGINES
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_modes_of_a_network_meet_the_same_trials(cell, images, tmp_path, engine):
    """With strength 0 everywhere the modes cannot differ; another seed must."""
    start = in_modes(networks_of(cell), ALL_MODES)
    penalty = speed_penalty(points_for(cell, 6), [0.0] * 6, 3, images.mean, images.std)
    trained, rows = run(start, images, tmp_path, penalty, engine, steps=6)
    for values in trained.parameters.values():
        by_mode = values.unflatten(0, (3, 2))
        assert torch.allclose(by_mode, by_mode[:1].expand_as(by_mode), atol=1e-6)
        assert not torch.allclose(values[0], values[1], atol=1e-3)
    assert (rows.penalty == 0).all()
    measured = ["loss", "response_accuracy", "null_accuracy"]
    last = rows[rows.step == 6].set_index(["phase", "seed"])[measured]
    for phase in ALL_MODES[1:]:
        assert np.allclose(last.loc["control"], last.loc[phase], atol=1e-5)


def test_regularisation_draws_other_trials_than_training(images, tmp_path):
    start = networks_of("gru")
    one, _ = run(start, images, tmp_path / "a", steps=1)
    other, _ = run(start, images, tmp_path / "b", steps=1, stream="train")
    assert not torch.equal(one.weights.inputs, other.weights.inputs)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_penalty_slows_the_points(cell, images, tmp_path):
    trained, rows = run(networks_of(cell), images, tmp_path / "train", steps=60, stream="train", rate=2e-2)
    assert rows[rows.step == 60].loss.max() < rows[rows.step == 0].loss.min()
    points = points_for(cell, 2)
    start = in_modes(trained, ["control", "centroid"])
    both = tuple(torch.cat([part, part]) for part in points)
    penalty = speed_penalty(both, [0.0, 0.0, 1e-2, 1e-2], 10, images.mean, images.std)
    after, rows = run(start, images, tmp_path / "regularise", penalty, steps=60)
    x = held_input(start, images.mean)
    slow = speed(after.cell, after.weights, both, x).unflatten(0, (2, 2))
    assert (slow[1] < 0.7 * slow[0]).all()
    rows = rows.set_index(["phase", "step", "seed"]).sort_index()
    assert (rows.penalty["control"] == 0).all()
    assert (rows.penalty["centroid", 60] < 0.5 * rows.penalty["centroid", 0]).all()
    # The table's loss is the task's alone; the penalty stands beside it.
    assert np.allclose(rows.loss["control", 0], rows.loss["centroid", 0])
