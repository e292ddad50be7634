"""Training on in several modes side by side: what a mode trains, and what it leaves to the others."""

import dataclasses
import itertools
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from reference import same
from test_penalties import FIRST

from memrnn.core.files import save_arrays
from memrnn.data.images import ImageSet
from memrnn.dynamics.points import stored
from memrnn.models.cell import speed
from memrnn.models.networks import Networks, initial
from memrnn.tasks.delayed_classification import held_input, hidden_states_from
from memrnn.tasks.protocols import Lesson, Schedule
from memrnn.training import train
from memrnn.training.engine import Engine, Update
from memrnn.training.known import Known
from memrnn.training.regularise import in_modes, train_on

pytestmark = pytest.mark.usefixtures("one_thread")

PARTS = {"gru": 1, "lstm": 2}
CLASSES, PIXELS, UNITS = 3, 5, 8
SEEDS = (2, 5)
LOGGER = logging.getLogger("test_regularise")
BOTH = pytest.mark.parametrize("cell", ["gru", "lstm"])


@pytest.fixture(scope="module")
def images() -> ImageSet:
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(CLASSES).repeat_interleave(10)
    shown = (0.8 * torch.eye(CLASSES, PIXELS))[labels] + 0.2 * torch.rand(len(labels), PIXELS, generator=generator)
    mean, std = shown.mean().item(), shown.std(unbiased=False).item()
    return ImageSet("made", (1, PIXELS, 1), ("a", "b", "c"), shown, labels, shown.clone(), labels, mean, std, "0")


def networks_of(cell: str, seeds: tuple[int, ...] = SEEDS) -> Networks:
    return initial(cell, seeds, PIXELS + 1, UNITS, CLASSES + 1)


def known_of(networks: Networks, images: ImageSet) -> Known:
    generator = torch.Generator().manual_seed(6)
    shape = (PARTS[networks.cell.name], len(networks.seeds), CLASSES, UNITS)
    centroids, points = (tuple(torch.randn(shape, generator=generator) / 2) for _ in range(2))
    return Known(networks, images, centroids, points, relaxed_steps=3, latest_image=5)


def plan(steps: int, stream: str = "regularise", rate: float = 1e-2) -> train.Plan:
    full = Lesson(CLASSES, 8)
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


def run_modes(
    trained: Networks, images: ImageSet, folder: Path, modes: dict[str, dict], engine=EXACT, **settings
) -> tuple[Networks, pd.DataFrame]:
    return train_on(known_of(trained, images), modes, plan(**settings), engine, folder, "f", LOGGER)


def slowed(strength: float, at: str = "centroids") -> dict:
    return {"penalty": "speed", "strength": strength, "part": "all", "at": at, "noise_draws": 3}


# --------------------------------------------------------------------------------------------------------- the modes


def test_every_network_once_per_mode():
    trained = networks_of("lstm")
    both = in_modes(trained, ["slow_points", "control"])
    assert both.phases == ("slow_points", "slow_points", "control", "control")
    assert both.seeds == (2, 5, 2, 5)
    assert both.cell is trained.cell
    for name, values in trained.parameters.items():
        assert torch.equal(both.parameters[name], torch.cat([values, values]))


def stored_points(path: Path, cell: str, budgets=(10, 20)) -> None:
    arrays = {}
    for part in range(PARTS[cell]):
        arrays[f"centroid.{part}"] = torch.full((2, CLASSES, UNITS), 1.0 + part)
        arrays[f"points.{part}"] = torch.stack(
            [torch.full((2, CLASSES, UNITS), float(budget + part)) for budget in budgets]
        )
    save_arrays(path, arrays, {"seeds": list(SEEDS), "search_steps": list(budgets)})


@BOTH
def test_points_are_those_of_the_budget(tmp_path, cell):
    stored_points(tmp_path / "p", cell)
    for budget in (10, 20):
        points, centroids = stored(tmp_path / "p", budget, SEEDS)
        assert [part.unique().tolist() for part in points] == [[budget + part] for part in range(PARTS[cell])]
        assert [part.unique().tolist() for part in centroids] == [[1 + part] for part in range(PARTS[cell])]


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
        stored(tmp_path / "points.safetensors", budget, seeds)
    assert "points.safetensors: " in str(caught.value)


def test_points_of_no_file_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        stored(tmp_path / "points.safetensors", 20, SEEDS)


# ------------------------------------------------------------------------------------------------------- the training

MODES = {
    "control": {},
    "slow_points": slowed(0.1, "points"),
    "weak": {"penalty": "activity", "strength": 0.1},
    "centroid": slowed(0.1),
    "strong": {"penalty": "activity", "strength": 1.0},
}
OF_TASKS = {
    "longer": {"trial_steps": 16},
    "passing": {"passed_states": 0.5},
    "longer_slowed": slowed(0.1) | {"trial_steps": 16},
}


@BOTH_ENGINES
@BOTH
def test_control_is_training_without_a_penalty(cell, images, tmp_path, engine):
    trained = networks_of(cell)
    found, _ = run_modes(trained, images, tmp_path / "with", MODES, engine, steps=6)
    start = in_modes(trained, list(MODES))
    plain, _ = run(start, images, tmp_path / "without", engine=engine, steps=6)
    for name, values in plain.parameters.items():
        assert torch.equal(found.parameters[name][:2], values[:2]), name
        assert not torch.equal(values, start.parameters[name]), name
        by_mode = found.parameters[name].unflatten(0, (len(MODES), 2))
        for one, other in itertools.combinations(by_mode, 2):
            assert not torch.allclose(one, other, atol=1e-6), name


@BOTH_ENGINES
@BOTH
def test_a_mode_is_the_same_in_any_company(cell, images, tmp_path, engine):
    trained = networks_of(cell)
    together, rows = run_modes(trained, images, tmp_path / "all", MODES, engine, steps=6)
    rows = rows.set_index(["phase", "seed", "step"]).sort_index()
    for place, (mode, settings) in enumerate(MODES.items()):
        alone, own = run_modes(trained, images, tmp_path / mode, {mode: settings}, engine, steps=6)
        for name, values in alone.parameters.items():
            torch.testing.assert_close(values, together.parameters[name][2 * place : 2 * place + 2], atol=1e-5, rtol=0)
        own = own.set_index(["phase", "seed", "step"]).sort_index()
        pd.testing.assert_frame_equal(own, rows.loc[[mode]], atol=1e-4)


@pytest.mark.parametrize(("name", "settings"), FIRST.items(), ids=FIRST)
@BOTH
def test_strength_0_is_control(cell, images, tmp_path, name, settings):
    modes = {"control": {}, "nothing": {"penalty": name, "strength": 0.0, **settings}}
    trained, rows = run_modes(networks_of(cell), images, tmp_path, modes, steps=4)
    for values in trained.parameters.values():
        torch.testing.assert_close(values[:2], values[2:], atol=1e-6, rtol=0)
        assert not torch.allclose(values[0], values[1], atol=1e-3)
    assert (rows.penalty == 0).all()
    last = rows[rows.step == 4].set_index(["phase", "seed"])[["loss", "response_accuracy", "null_accuracy"]]
    assert np.allclose(last.loc["control"], last.loc["nothing"], atol=1e-5)


def test_regularisation_draws_other_trials_than_training(images, tmp_path):
    start = networks_of("gru")
    one, _ = run(start, images, tmp_path / "a", steps=1)
    other, _ = run(start, images, tmp_path / "b", steps=1, stream="train")
    assert not torch.equal(one.weights.inputs, other.weights.inputs)


def trained_of(cell: str, images: ImageSet, folder: Path) -> Networks:
    trained, rows = run(networks_of(cell), images, folder, steps=60, stream="train", rate=2e-2)
    assert rows[rows.step == 60].loss.max() < rows[rows.step == 0].loss.min()
    return trained


@BOTH
def test_the_penalty_slows_the_points(cell, images, tmp_path):
    trained = trained_of(cell, images, tmp_path / "train")
    modes = {"control": {}, "centroid": slowed(1e-2) | {"noise_draws": 10}}
    after, rows = run_modes(trained, images, tmp_path / "regularise", modes, steps=60)
    both = tuple(torch.cat([part, part]) for part in known_of(trained, images).centroids)
    slow = speed(after.cell, after.weights, both, held_input(after, images.mean)).unflatten(0, (2, 2))
    assert (slow[1] < 0.7 * slow[0]).all()
    rows = rows.set_index(["phase", "step", "seed"]).sort_index()
    assert (rows.penalty["control"] == 0).all()
    assert (rows.penalty["centroid", 60] < 0.5 * rows.penalty["centroid", 0]).all()
    # The table's loss is the task's alone; the penalty stands beside it.
    assert np.allclose(rows.loss["control", 0], rows.loss["centroid", 0])


@BOTH
def test_activity_falls_with_its_penalty_the_more_the_stronger(cell, images, tmp_path):
    trained = trained_of(cell, images, tmp_path / "train")
    modes = {"control": {}} | {str(lam): {"penalty": "activity", "strength": lam} for lam in (0.1, 1.0)}
    after, rows = run_modes(trained, images, tmp_path / "regularise", modes, steps=60)
    generator = torch.Generator().manual_seed(1)
    x = images.mean + images.std * torch.randn(1, 8, 50, PIXELS, generator=generator)
    x = torch.cat([x, torch.zeros(1, 8, 50, 1)], -1).expand(len(after.seeds), -1, -1, -1)
    activity = after.cell.sequence(after.weights, x).square().mean((1, 2, 3)).unflatten(0, (3, 2))
    assert (activity[1] < 0.8 * activity[0]).all() and (activity[2] < 0.8 * activity[1]).all()
    rows = rows.set_index(["phase", "step", "seed"]).sort_index()
    assert np.allclose(rows.penalty["1.0", 0], 10 * rows.penalty["0.1", 0])


# ---------------------------------------------------------------------------------------------- tasks of a mode's own


@BOTH
def test_modes_of_another_task_leave_the_others_as_they_are(cell, images, tmp_path):
    trained = networks_of(cell)
    found, rows = run_modes(trained, images, tmp_path / "all", MODES | OF_TASKS, steps=4)
    plain, own_rows = run_modes(trained, images, tmp_path / "plain", MODES, steps=4)
    alike = [phase in MODES for phase in found.phases]
    assert found.phases[: 2 * len(MODES)] == plain.phases and found.seeds == SEEDS * len(MODES | OF_TASKS)
    for name, values in plain.parameters.items():
        assert torch.equal(found.parameters[name][alike], values)
    pd.testing.assert_frame_equal(rows[rows.phase.isin(MODES)], own_rows, check_exact=True)
    assert set(rows.phase) == set(MODES | OF_TASKS)
    for name, values in found.parameters.items():
        by_mode = values.unflatten(0, (-1, 2))
        assert all(not torch.allclose(one, other) for one, other in itertools.combinations(by_mode, 2)), name


def test_longer_trials_are_the_full_task_of_their_length(images, tmp_path):
    """As a plan of that length trains."""
    trained = networks_of("gru")
    found, rows = run_modes(trained, images, tmp_path / "mode", {"longer": {"trial_steps": 16}}, steps=4)
    full = Lesson(CLASSES, 16)
    longer = dataclasses.replace(plan(steps=4), full=full, schedule=Schedule((0,), (full,)))
    expected, _ = train.run(trained, images, longer, EXACT, tmp_path / "plan", "f", LOGGER)
    assert same(found.parameters, expected.parameters)
    assert set(rows.current_steps) == {16}


@BOTH_ENGINES
@BOTH
def test_passed_states_are_what_trials_of_the_update_before_end_in(cell, images, engine, monkeypatch):
    seen = []
    found = hidden_states_from

    def spy(networks, inputs, start, products):
        hidden, end = found(networks, inputs, start, products)
        seen.append((start, tuple(part.detach() for part in end)))
        return hidden, end

    monkeypatch.setattr("memrnn.tasks.delayed_classification.hidden_states_from", spy)
    update = Update(
        networks_of(cell), images, engine, "test", batch=8, min_delay=2, full_steps=8, learning_rate=1e-2,
        passed_states=0.25,
    )  # fmt: skip
    for _ in range(3):
        update(Lesson(CLASSES, 8))
    assert all((part == 0).all() for part in seen[0][0])
    for (_, end), (start, _) in itertools.pairwise(seen):
        for before, after in zip(end, start, strict=True):
            assert torch.equal(after[:, :2], before[:, :2]) and (after[:, :2] != 0).any()
            assert (after[:, 2:] == 0).all() and not after.requires_grad


@BOTH
def test_a_trial_from_zero_states_is_one_without_passing(cell, images):
    """The first update of all, where nothing has been passed yet, is that of training as ever, up to rounding."""
    settings = {"batch": 8, "min_delay": 2, "full_steps": 8, "learning_rate": 1e-2}
    updates = [Update(networks_of(cell), images, EXACT, "test", passed_states=p, **settings) for p in (0.0, 1.0)]
    for number in range(2):
        for update in updates:
            update(Lesson(CLASSES, 8))
        one, other = (update.networks.parameters["recurrent"] for update in updates)
        assert torch.allclose(one, other, atol=1e-5) == (number == 0)


@BOTH
def test_an_interrupted_training_goes_on_with_the_states_that_were_passed(cell, images, tmp_path):
    trained = networks_of(cell)
    modes = {"control": {}} | OF_TASKS
    whole, rows = run_modes(trained, images, tmp_path / "whole", modes, steps=6)
    known, told = known_of(trained, images), itertools.count()
    for at in (3, 9, 19):  # in the midst of each task

        def stop(at: int = at) -> int | None:
            return 15 if next(told) == at else None

        with pytest.raises(SystemExit):
            train_on(known, modes, plan(steps=6), EXACT, tmp_path / "cut", "f", LOGGER, stop)
    found, found_rows = train_on(known, modes, plan(steps=6), EXACT, tmp_path / "cut", "f", LOGGER)
    assert same(found.parameters, whole.parameters)
    pd.testing.assert_frame_equal(found_rows, rows, check_exact=True)
