"""Points followed back through training: the order of searches, parents by hand, and ensembles against plain loops."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from reference import plain_speed, plain_step, sigmoid
from torch import Tensor

from memrnn.core.files import save_arrays
from memrnn.core.tables import PANEL, TABLES
from memrnn.data.images import ImageSet
from memrnn.dynamics.backtrack import Checkpoint, confusions, follow, introductions, load_checkpoints, parents, table
from memrnn.dynamics.points import descend
from memrnn.models.cell import State
from memrnn.models.networks import Networks, from_parameters, initial
from memrnn.tasks.delayed_classification import NO_CLASS, read_out
from memrnn.tasks.protocols import Lesson, Schedule

pytestmark = pytest.mark.usefixtures("one_thread")

PARTS = {"gru": 1, "lstm": 2}
CLASSES, PIXELS, UNITS, TIME, MIN_DELAY = 4, 5, 6, 8, 2
CPU = torch.device("cpu")
VOCU = Schedule((0, 10, 20), tuple(Lesson(classes, TIME) for classes in (2, 3, 4)))
FULL = Schedule((0,), (Lesson(CLASSES, TIME),))


def images(held_out: int = 3) -> ImageSet:
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(CLASSES).repeat_interleave(held_out)
    shown = (torch.rand(len(labels), PIXELS, generator=generator) + torch.eye(CLASSES, PIXELS)[labels]) / 2
    return ImageSet(
        "made", (1, PIXELS, 1), tuple("abcd"), shown, labels, shown.flip(1), labels, shown.mean().item(), 0.3, "0"
    )


def ensemble(cell: str, seeds=(0, 4), scale: float = 2.0, shift: int = 0) -> Networks:
    """Random networks; `shift` makes others of the same seeds."""
    values = initial(cell, [seed + 100 * shift for seed in seeds], PIXELS + 1, UNITS, CLASSES + 1).parameters
    return from_parameters(cell, {k: scale * v for k, v in values.items()}, seeds, ["trained"] * len(seeds))


def checkpoints_of(cell: str, steps=(0, 10, 15, 40), schedule: Schedule = VOCU, seeds=(0, 4)) -> list[Checkpoint]:
    return [
        Checkpoint(step, schedule.at(max(step - 1, 0)).classes, ensemble(cell, seeds, shift=at))
        for at, step in enumerate(steps)
    ]


def state_of(cell: str, networks: int = 2, seed: int = 9) -> State:
    generator = torch.Generator().manual_seed(seed)
    return tuple(2 * torch.rand(networks, CLASSES, UNITS, generator=generator) - 1 for _ in range(PARTS[cell]))


def search(networks: Networks, start: State) -> State:
    return descend(networks, 0.4, start, [5], 1e-2, 10**9, 1.0)[0]


# --------------------------------------------------------------------------------------------------------- following


def test_each_search_starts_from_the_next_later_points():
    checkpoints = checkpoints_of("gru", steps=(0, 10, 15, 40))
    asked = []

    def pretend(networks: Networks, start: State) -> State:
        asked.append((next(c.step for c in checkpoints if c.networks is networks), start[0].unique().tolist()))
        return (start[0] + 1,)

    last = (torch.zeros(2, CLASSES, UNITS),)
    found = follow(checkpoints, last, pretend)
    assert asked == [(15, [0.0]), (10, [1.0]), (0, [2.0])]
    assert [state[0].unique().tolist() for state in found] == [[3.0], [2.0], [1.0], [0.0]]
    assert found[-1] is last


@pytest.mark.parametrize("cell", PARTS)
def test_networks_of_an_ensemble_are_followed_as_if_alone(cell):
    checkpoints, last = checkpoints_of(cell), state_of(cell)
    together = follow(checkpoints, last, search)
    for at in range(2):
        parts = [c._replace(networks=c.networks.only(at)) for c in checkpoints]
        alone = follow(parts, tuple(part[at : at + 1] for part in last), search)
        for one, all_ in zip(alone, together, strict=True):
            for a, b in zip(one, all_, strict=True):
                assert torch.allclose(a[0], b[at], atol=1e-5)


def test_all_zero_networks_keep_one_fixed_point():
    """F(h) = h / 2 at every checkpoint: points run into 0 from wherever they are, and stay there."""
    values = {name: torch.zeros_like(each) for name, each in ensemble("gru").parameters.items()}
    still = from_parameters("gru", values, (0, 4), ("trained",) * 2)
    checkpoints = [Checkpoint(step, CLASSES, still) for step in (0, 10, 20)]
    (h,) = state_of("gru")
    found = follow(checkpoints, (h,), lambda n, s: descend(n, 0.4, s, [400], 1e-2, 200, 0.1)[0])
    assert found[0][0].abs().max() < 1e-3
    rows = table(checkpoints, found, [0] * CLASSES, [0.4] * len(found), 0.1, (3000, 400))
    rows = rows.set_index(["seed", "label", "step"])
    assert rows.speed.xs(20, level="step").to_numpy() == pytest.approx(h.norm(dim=-1).flatten().numpy() / 2, rel=1e-5)
    assert rows.speed[0, 0, 0] < 1e-3
    # between the last two checkpoints a point went all the way to 0, before that nowhere
    moved = rows.distance_to_next
    assert moved.xs(10, level="step").to_numpy() == pytest.approx(h.norm(dim=-1).flatten().numpy(), abs=1e-2)
    assert moved.xs(0, level="step").max() < 1e-2
    assert moved.xs(20, level="step").isna().all()
    # all outputs are alike, so the first, null, is read; where all points lie in one place, any class is the parent of
    # any other: the nearest, and of equally near ones the first
    first = rows.xs(0, level="step")
    assert (first.readout == NO_CLASS).all()
    assert (first.parent == first.nearest_label).all()
    assert first.parent_distance.to_numpy() == pytest.approx(first.nearest_distance.to_numpy())
    last = rows.xs(20, level="step")
    assert last.nearest_distance.min() > 0.1
    assert (last.parent == NO_CLASS).all() and last.parent_distance.isna().all()


# ------------------------------------------------------------------------------------------------------------ parents

INF = float("inf")


def test_parents_by_hand():
    read = torch.tensor([[0, 0, NO_CLASS, NO_CLASS]])
    distances = torch.tensor(
        [[[INF, 0.01, 0.5, 0.5], [0.01, INF, 0.5, 0.5], [0.5, 0.5, INF, 0.02], [0.5, 0.5, 0.02, INF]]]
    )
    # class 0 is its own, although the point of class 1 lies on it; that of class 1 is class 0's. The points of 2 and 3
    # are read out as nothing and share a place: each is the other's, if both are in play.
    assert parents(read, distances, 4, 0.1).tolist() == [[NO_CLASS, 0, 3, 2]]
    # A class that is not in play is nobody's parent ...
    assert parents(read, distances, 3, 0.1).tolist() == [[NO_CLASS, 0, NO_CLASS, 2]]
    assert parents(read, distances, 2, 0.1).tolist() == [[NO_CLASS, 0, NO_CLASS, NO_CLASS]]
    # ... and the nearest one in play steps in, if it is near enough.
    assert parents(read, distances, 2, 0.6).tolist() == [[NO_CLASS, 0, 0, 0]]
    # The tolerance itself is not below it.
    assert parents(read, distances, 4, 0.02).tolist() == [[NO_CLASS, 0, NO_CLASS, NO_CLASS]]
    # Distance has no say where a class is read out.
    far = torch.full((1, 4, 4), 9.0)
    assert parents(torch.tensor([[1, 2, 3, 0]]), far, 4, 0.1).tolist() == [[1, 2, 3, 0]]
    assert parents(torch.tensor([[0, 1, 2, 3]]), distances, 4, 0.1).tolist() == [[NO_CLASS] * 4]


def test_who_is_in_play():
    assert introductions(VOCU, 4) == [0, 0, 10, 20]
    assert introductions(FULL, 4) == [0, 0, 0, 0]
    by_two = Schedule((0, 7), (Lesson(2, TIME), Lesson(4, TIME)))
    assert introductions(by_two, 4) == [0, 0, 7, 7]


# --------------------------------------------------------------------------------------------------------- the tables


def place(state: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([state[0], *(np.tanh(part) for part in state[1:])])


@pytest.mark.parametrize("cell", PARTS)
def test_the_table_says_what_a_plain_loop_finds(cell):
    mean, coincide = 0.4, 1.2
    checkpoints = checkpoints_of(cell)
    found = [state_of(cell, seed=seed) for seed in range(4)]
    rows = table(checkpoints, found, introductions(VOCU, CLASSES), [mean] * len(found), coincide, (3000, 500))
    assert len(rows) == 4 * 2 * CLASSES
    assert not rows.duplicated(["seed", "label", "step"]).any()
    assert {*PANEL, *rows.columns} == set(TABLES["backtrack"].columns)
    kinds = set()
    for row in rows.itertuples():
        at, network = [c.step for c in checkpoints].index(row.step), (0, 4).index(row.seed)
        weights = {k: v[network].double().numpy() for k, v in checkpoints[at].networks.parameters.items()}
        states = [[part[network, label].double().numpy() for part in found[at]] for label in range(CLASSES)]
        x = np.full(PIXELS + 1, mean)
        x[-1] = 0
        assert row.speed == pytest.approx(plain_speed(cell, weights, states[row.label], x), rel=1e-4)
        x[-1] = 1
        in_play = {0: 2, 10: 2, 15: 3, 40: 4}[row.step]  # at step 10 class 2 is only about to be met
        h = plain_step(cell, weights, states[row.label], x)[0]
        outputs = sigmoid(h @ weights["readout"] + weights["readout_bias"])[: in_play + 1]
        assert row.readout == outputs.argmax() - 1
        assert row.in_play == (row.label < in_play)
        assert row.introduced == (0, 0, 10, 20)[row.label]
        gaps = [np.linalg.norm(place(states[row.label]) - place(state)) for state in states]
        near = min((gap, label) for label, gap in enumerate(gaps) if label != row.label)
        assert (row.nearest_distance, row.nearest_label) == (pytest.approx(near[0], rel=1e-5), near[1])
        if row.readout == row.label:
            parent = NO_CLASS
        elif row.readout != NO_CLASS:
            parent = row.readout
        else:
            gap, label = min((gap, label) for label, gap in enumerate(gaps) if label != row.label and label < in_play)
            parent = label if gap < coincide else NO_CLASS
        assert row.parent == parent
        assert row.parent_distance == pytest.approx(np.nan if parent == NO_CLASS else gaps[parent], nan_ok=True)
        kinds.add((row.readout == row.label, row.readout == NO_CLASS, parent == NO_CLASS))
        if row.step == 40:
            assert np.isnan(row.distance_to_next) and row.search_steps == 3000
        else:
            later = [part[network, row.label].double().numpy() for part in found[at + 1]]
            gap = np.linalg.norm(place(states[row.label]) - place(later))
            assert (row.distance_to_next, row.search_steps) == (pytest.approx(gap, rel=1e-5), 500)
    assert len(kinds) >= 3  # own, another class's, and null were all met


def test_read_out_among_the_classes_in_play():
    networks, (h,) = ensemble("gru"), state_of("gru")
    every, some = read_out(networks, (h,), 0.4), read_out(networks, (h,), 0.4, 2)
    assert torch.equal(every, read_out(networks, (h,), 0.4, CLASSES))
    assert some.max() < 2 <= every.max()
    assert torch.equal(some[every < 2], every[every < 2])


# -------------------------------------------------------------------------------------------------------- confusions


def likes(cell: str, favourite: dict[int, int], seeds=(0, 4)) -> Networks:
    """Networks that answer each seed's favourite class whatever they see, and null before any class."""
    networks = ensemble(cell, seeds, scale=0.0)
    networks.readout_bias[:, 0] = 9.0
    for at, seed in enumerate(seeds):
        networks.readout_bias[at, favourite[seed] + 1] = 1.0
    return networks


def test_confusions_of_networks_that_always_say_the_same():
    # The class of the third checkpoint is met from step 10 on: the weights of step 10 have not met it yet.
    early, late = likes("gru", {0: 1, 4: 0}), likes("gru", {0: 2, 4: 3})
    checkpoints = [Checkpoint(0, 2, late), Checkpoint(10, 2, early), Checkpoint(15, 3, late), Checkpoint(40, 4, early)]
    found = confusions(checkpoints, images(), introductions(VOCU, CLASSES), TIME, MIN_DELAY, 5)
    assert {*PANEL, *found.columns} == set(TABLES["confusion"].columns)
    assert found.groupby(["seed", "label"]).other.apply(list).to_dict() == {
        (seed, label): list(range(label)) for seed in (0, 4) for label in (2, 3)
    }
    share = found.set_index(["seed", "label", "other"]).confusion
    assert share[0, 2].tolist() == [0, 1]
    assert share[4, 2].tolist() == [1, 0]
    # Class 3 comes at step 20, its last checkpoint before is that of step 15; the favourite of the second network there
    # is not among the classes before it, and of equal others the first is answered.
    assert share[0, 3].tolist() == [0, 0, 1]
    assert share[4, 3].tolist() == [1, 0, 0]
    assert found.groupby("label").step.unique().map(list).to_dict() == {2: [10], 3: [15]}
    assert (found.trials == 5).all()


@pytest.mark.parametrize("cell", PARTS)
def test_confusions_do_not_depend_on_the_block_or_on_other_classes(cell):
    checkpoints = checkpoints_of(cell)
    both = confusions(checkpoints, images(), [0, 0, 10, 20], TIME, MIN_DELAY, 40)
    assert both.groupby(["seed", "label"]).confusion.sum().to_numpy() == pytest.approx(1)
    assert both.confusion.between(0.01, 0.99).any()  # something to compare
    alone = confusions(
        [c._replace(networks=c.networks.only(1)) for c in checkpoints],
        images(), [0, 0, 10, 20], TIME, MIN_DELAY, 40,
    )  # fmt: skip
    pd.testing.assert_frame_equal(alone, both[both.seed == 4].reset_index(drop=True))
    fewer = confusions(checkpoints, images(), [0, 0, 10, 10], TIME, MIN_DELAY, 40)
    pd.testing.assert_frame_equal(
        fewer[fewer.label == 2], both[both.label == 2].set_axis(fewer[fewer.label == 2].index)
    )


def test_confusions_see_the_images_of_the_new_class():
    """Networks with one step of memory of pixel k: they answer class k where the image of the class shows it."""
    networks = ensemble("gru", scale=0.0)
    networks.weights.bias[:, :UNITS] = -1.0  # z = 0.27 keeps most of h
    for k in range(2):  # unit k follows pixel 4 - k, which held-out images of class k show brightest
        networks.weights.inputs[:, PIXELS - 1 - k, 2 * UNITS + k] = 4.0
        networks.readout[:, k, k + 1] = 5.0
    made = images()
    shown = torch.zeros_like(made.test_images)
    shown[made.test_labels == 2, PIXELS - 2] = 1.0  # class 2 looks like class 1
    shown[made.test_labels == 3, PIXELS - 1] = 1.0  # class 3 looks like class 0
    quiet = ImageSet(
        "made", made.shape, made.classes, made.train_images, made.train_labels, shown, made.test_labels, 0.0, 1e-3, "0"
    )
    checkpoints = [Checkpoint(0, 2, networks), Checkpoint(40, 4, networks)]
    share = confusions(checkpoints, quiet, [0, 0, 10, 20], TIME, MIN_DELAY, 30)
    share = share.set_index(["seed", "label", "other"]).confusion
    for seed in (0, 4):
        assert share[seed, 2].tolist() == [0, 1]
        assert share[seed, 3].tolist() == [1, 0, 0]


def test_without_new_classes_there_are_no_confusions():
    found = confusions(checkpoints_of("gru", schedule=FULL), images(), [0] * CLASSES, TIME, MIN_DELAY, 5)
    assert found.empty
    assert list(found.columns) == list(TABLES["confusion"].columns)


# ------------------------------------------------------------------------------------------------------------- files


def write(path: Path, checkpoints: list[Checkpoint]) -> None:
    names = checkpoints[0].networks.parameters
    arrays: dict[str, Tensor] = {k: torch.stack([c.networks.parameters[k] for c in checkpoints]) for k in names}
    meta = {"dataset": "made", "curriculum": "vocu", "steps": [c.step for c in checkpoints], "seeds": [0, 4]}
    meta["front"] = checkpoints[0].networks.front.settings()
    save_arrays(path, arrays, meta)


@pytest.mark.parametrize("cell", PARTS)
def test_checkpoints_come_back_with_the_classes_in_play(cell, tmp_path):
    written = checkpoints_of(cell, steps=(0, 10, 11, 20, 21, 40))
    write(tmp_path / "c.safetensors", written)
    found, meta = load_checkpoints(tmp_path / "c.safetensors", cell, VOCU, CPU)
    assert [(c.step, c.classes) for c in found] == [(0, 2), (10, 2), (11, 3), (20, 3), (21, 4), (40, 4)]
    assert meta["curriculum"] == "vocu"
    for one, other in itertools.zip_longest(written, found):
        assert one.networks.seeds == other.networks.seeds
        assert other.networks.cell.name == cell
        assert all(torch.equal(v, other.networks.parameters[k]) for k, v in one.networks.parameters.items())


def test_refuses_files_of_something_else(tmp_path):
    save_arrays(tmp_path / "c.safetensors", {"readout": torch.zeros(1, 2)}, {"steps": [0]})
    with pytest.raises(ValueError, match="expected checkpoints of a gru, found other contents"):
        load_checkpoints(tmp_path / "c.safetensors", "gru", VOCU, CPU)
    with pytest.raises(ValueError, match="no such file"):
        load_checkpoints(tmp_path / "d.safetensors", "gru", VOCU, CPU)
