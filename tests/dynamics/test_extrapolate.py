"""Accuracy against delay: networks whose memory is known by construction, and a loop over single trials."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT
from reference import dense, plain_step
from torch import Tensor

from memrnn.core import streams
from memrnn.core.tables import PANEL, TABLES
from memrnn.data.images import ImageSet
from memrnn.dynamics.extrapolate import extrapolate, nominal
from memrnn.models.networks import Networks, from_parameters, initial
from memrnn.tasks import delayed_classification as task
from memrnn.tasks.protocols import Lesson

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES, BLOCK = 4, 64  # an image of class k is bright in the k-th block of pixels and dark elsewhere
PIXELS = CLASSES * BLOCK
KEYS = ["phase", "seed", "label", "delay"]


def bars(labels: list[int]) -> Tensor:
    images = torch.zeros(len(labels), PIXELS)
    for image, label in zip(images, labels, strict=True):
        image[label * BLOCK : (label + 1) * BLOCK] = 1
    return images


def image_set(shown: list[int] | None = None, labels: list[int] | None = None) -> ImageSet:
    """Training images as they should be; held-out images that show, and are labelled as, what is asked."""
    train = [0, 1, 2, 3]
    labels = labels or train
    return ImageSet(
        name="bars",
        shape=(1, PIXELS, 1),
        classes=tuple("abcd"),
        train_images=bars(train),
        train_labels=torch.tensor(train),
        test_images=bars(shown or labels),
        test_labels=torch.tensor(labels),
        mean=0.25,
        std=0.1875**0.5,
        checksum="0",
    )


def zeros(cell: str, networks: int, inputs: int, units: int, outputs: int) -> dict[str, Tensor]:
    gates = {"gru": 3, "lstm": 4}[cell]
    return {
        "inputs": torch.zeros(networks, inputs, gates * units),
        "recurrent": torch.zeros(networks, units, gates * units),
        "bias": torch.zeros(networks, gates * units),
        "readout": torch.zeros(networks, units, outputs),
        "readout_bias": torch.zeros(networks, outputs),
    }


def latch(cell: str, seeds: tuple[int, ...] = (0,), phases: tuple[str, ...] = ("trained",)) -> Networks:
    """Units 0 to 3 each latch the class whose block of pixels lights up, for ever; unit 4 tells of the trigger.

    A block's sum is 64 in an image of its class, 0 in another, and 16 +- 3.5 in a frame of noise; a unit is written to
    where the sum exceeds 40, by the update gate z of a GRU and the input gate i of an LSTM.
    """
    units, trigger = CLASSES + 1, CLASSES
    values = zeros(cell, len(seeds), PIXELS + 1, units, CLASSES + 1)
    inputs, bias = values["inputs"], values["bias"]
    write, candidate = (0, 2 * units) if cell == "gru" else (units, 3 * units)
    for k in range(CLASSES):
        inputs[:, k * BLOCK : (k + 1) * BLOCK, write + k] = 2
    bias[:, write : write + CLASSES] = -80
    bias[:, candidate : candidate + CLASSES] = 30
    if cell == "lstm":
        bias[:, :CLASSES] = 30  # f: what is written stays
        bias[:, 2 * units : 3 * units] = 30  # o
        bias[:, trigger] = -30  # the trigger is forgotten at once
    bias[:, write + trigger] = 30
    inputs[:, PIXELS, candidate + trigger] = 30
    values["readout"][:, :CLASSES, 1:] = 10 * torch.eye(CLASSES)
    values["readout"][:, trigger, 1:] = 10
    # Memory or trigger alone is worth 10 at most (an LSTM's h is tanh 1), both 15 or more.
    values["readout_bias"][:, 0] = 12
    return from_parameters(cell, values, seeds, phases)


def constant(output: int, cell: str = "gru") -> Networks:
    """Answers with one output at every step."""
    values = zeros(cell, 1, PIXELS + 1, 3, CLASSES + 1)
    values["readout_bias"][:, output] = 1
    return from_parameters(cell, values, (0,), ("trained",))


# ------------------------------------------------------------------------------------------- networks known by algebra


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_latch_holds_for_ever(cell):
    rows = extrapolate(latch(cell), image_set(), [1, 2, 20, 300], 10, 20, 4)
    assert len(rows) == CLASSES * 4
    assert (rows.accuracy == 1).all()
    assert (rows.false_response == 0).all()
    assert (rows.trials == 10).all()
    assert (rows.false_alarm == 0).all() and (rows.informedness == 1).all()
    assert {*PANEL, *rows.columns} == set(TABLES["extrapolation"].columns)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_silent_network_is_never_right_and_never_speaks_out_of_turn(cell):
    rows = extrapolate(constant(0, cell), image_set(), [1, 7], 10, 20, 4)
    assert (rows.accuracy == 0).all()
    assert (rows.false_response == 0).all()


@pytest.mark.parametrize("label", range(CLASSES))
def test_a_network_that_always_says_one_class(label):
    rows = extrapolate(constant(label + 1), image_set(), [1, 2, 9], 10, 20, 4)
    assert (rows.accuracy == (rows.label == label)).all()
    assert (rows.false_alarm == (rows.label == label)).all()
    assert (rows.informedness == 0).all()  # right for ever, and tells nothing
    assert (rows.false_response == 1).all()


def test_a_network_that_answers_without_being_asked_is_right_and_counted():
    networks = latch("lstm")
    networks.readout_bias[:, 0] = 1  # the memory alone now suffices
    rows = extrapolate(networks, image_set(), [1, 10], 20, 20, 4)
    assert (rows.accuracy == 1).all()
    assert (rows.false_response == 1).all()


def test_false_responses_are_a_share_of_the_frames_so_far():
    """A unit that the image starts and that decays by half answers in the first frames of the delay only."""
    values = zeros("lstm", 1, PIXELS + 1, 1, CLASSES + 1)
    values["inputs"][:, :BLOCK, 1] = 2  # i opens for class 0, as in the latch
    values["bias"][:] = torch.tensor([0.0, -80, 30, 30])  # f = 1/2, o = 1, g = 1: c = 1, 1/2, 1/4, 1/8 ...
    values["readout"][:, 0, 1] = 1
    values["readout_bias"][:, 0] = float(np.tanh(0.2))  # class 0 wins while c > 0.2: in two frames of the delay
    networks = from_parameters("lstm", values, (0,), ("trained",))
    rows = extrapolate(networks, image_set(), [1, 2, 3, 4, 8], 10, 20, 4).set_index(["label", "delay"])
    assert rows.false_response[0].tolist() == pytest.approx([1, 1, 2 / 3, 1 / 2, 1 / 4])
    assert (rows.false_response.loc[1:] == 0).all()
    # The trigger's frame comes after the delay: c has halved once more, so it answers after a delay of 1 alone.
    assert rows.accuracy[0].tolist() == [1, 0, 0, 0, 0]


# ---------------------------------------------------------------------------------------------------- trials as defined


def test_only_held_out_images_are_shown():
    shifted = image_set(shown=[1, 2, 3, 0])
    assert (extrapolate(latch("gru"), shifted, [1, 5], 10, 20, 4).accuracy == 0).all()
    networks = latch("gru")
    networks.readout[:, :, 1:] = networks.readout[:, :, 1:].roll(-1, 2)
    assert (extrapolate(networks, shifted, [1, 5], 10, 20, 4).accuracy == 1).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_images_of_a_class_take_turns(seed):
    # Class 0 has four images of which three show class 1, class 1 has two, the others have one.
    images = image_set(shown=[0, 1, 1, 1, 1, 0, 2, 3], labels=[0, 0, 0, 0, 1, 1, 2, 3])
    rows = extrapolate(latch("lstm", seeds=(seed,)), images, [1], 12, 20, 4)
    assert rows.accuracy.tolist() == [0.25, 0.5, 1, 1]
    rest = extrapolate(latch("lstm", seeds=(seed,)), images, [1], 5, 20, 4).accuracy.tolist()
    assert 5 * rest[0] == pytest.approx(1) or 5 * rest[0] == pytest.approx(
        2
    )  # the fifth trial shows any of the four again
    assert 5 * rest[1] == pytest.approx(2) or 5 * rest[1] == pytest.approx(3)


def test_onsets_are_uniform_from_the_first_step_to_the_last_that_leaves_room():
    """A network that counts its frames answers t_s; with as many classes, accuracy per class is the distribution."""
    full, least, delay, trials = 20, 4, 3, 1500
    labels = torch.arange(18)
    images = ImageSet(
        "dots", (1, 1, 1), tuple(map(str, range(18))),
        *(torch.ones(18, 1), labels, torch.ones(18, 1), labels), 0.5, 0.5, "0",
    )  # fmt: skip
    values = zeros("lstm", 1, 2, 1, 19)
    tick = 1e-3
    values["bias"][:] = torch.tensor([30, 30, 30, np.arctanh(tick)])  # c grows by a tick in every frame
    for k in range(18):
        # t_s frames, the image, the delay and the trigger's frame: the nearest of the ticks wins.
        middle = k + 1 + delay + 1
        values["readout"][:, 0, k + 1] = middle / tick
        values["readout_bias"][:, k + 1] = -(middle**2) / 2
    values["readout_bias"][:, 0] = -1e6
    networks = from_parameters("lstm", values, (5,), ("trained",))
    share = extrapolate(networks, images, [delay], trials, full, least).accuracy.to_numpy()
    possible = full - least  # 0 to T - delta - 1
    assert (share[possible:] == 0).all()
    deviation = (1 / possible * (1 - 1 / possible) / trials) ** 0.5
    assert np.abs(share[:possible] - 1 / possible).max() < 4.5 * deviation
    # The labels draw on their own, so the shares need not sum to exactly 1, but nearly.
    assert share.sum() == pytest.approx(1, abs=4.5 * deviation * possible**0.5)


# --------------------------------------------------------------------------------------------- against a plain loop


def one_by_one(
    cell: str, networks: Networks, images: ImageSet, delays: list[int], trials: int, full: int, least: int
) -> pd.DataFrame:
    """Every trial at every delay on its own, from its first frame to its trigger."""
    rows = []
    classes, pixels = len(images.classes), images.test_images.shape[1]
    for network, (seed, phase) in enumerate(zip(networks.seeds, networks.phases, strict=True)):
        weights = {name: values[network].double().numpy() for name, values in networks.parameters.items()}
        onset, noise, trigger = (streams.generator(seed, "extrapolate", n) for n in ("onset", "noise", "trigger"))
        first, chosen = 0, []
        for label in range(classes):
            count = int((images.test_labels == label).sum())
            turns = torch.cat([torch.randperm(count, generator=onset) for _ in range(-(-trials // count))])
            chosen += [images.test_images[first + turn].double().numpy() for turn in turns[:trials]]
            first += count
        batch = classes * trials
        t_s = torch.randint(full - least, (batch,), generator=onset).tolist()

        def frames(number, generator, batch=batch):
            drawn = [
                torch.empty(batch, pixels).normal_(images.mean, images.std, generator=generator) for _ in range(number)
            ]
            return torch.stack(drawn).double().numpy()

        latest = full - least - 1
        background = frames(latest + 1 + max(delays), noise)
        asking = frames(len(delays), trigger)
        for trial, delay in itertools.product(range(batch), delays):
            label = trial // trials
            state = [np.zeros(weights["recurrent"].shape[0]) for _ in range(1 if cell == "gru" else 2)]
            spoken = 0
            seen = [*background[latest - t_s[trial] : latest, trial], chosen[trial]]
            seen += [*background[latest + 1 : latest + 1 + delay, trial], asking[delays.index(delay), trial]]
            for t, frame in enumerate(seen):
                state = plain_step(cell, weights, state, np.append(frame, t == len(seen) - 1))
                answer = (state[0] @ weights["readout"] + weights["readout_bias"]).argmax()
                spoken += t_s[trial] < t < len(seen) - 1 and answer != 0
            rows.append((phase, seed, label, delay, float(answer == label + 1), spoken / delay, answer - 1))
    frame = pd.DataFrame(rows, columns=[*KEYS, "accuracy", "false_response", "answer"])
    means = frame.drop(columns="answer").groupby(KEYS, as_index=False).mean()

    def false_alarm(row: pd.Series) -> float:
        here = (frame[["phase", "seed", "delay"]] == row[["phase", "seed", "delay"]].tolist()).all(axis=1)
        return (frame.answer[here & (frame.label != row.label)] == row.label).mean()

    return means.assign(false_alarm=means.apply(false_alarm, axis=1))


def stripes() -> ImageSet:
    generator = torch.Generator().manual_seed(4)
    train, test = torch.rand(6, 5, generator=generator), torch.rand(7, 5, generator=generator)
    labels = torch.tensor([0, 0, 1, 1, 1, 2, 2])
    mean, std = train.mean().item(), train.std(unbiased=False).item()
    return ImageSet(
        "s", (1, 5, 1), ("a", "b", "c"), train, torch.arange(3).repeat_interleave(2), test, labels, mean, std, "0"
    )


def noisy(cell: str, seeds: tuple[int, ...], phases: tuple[str, ...]) -> Networks:
    """Random networks driven so hard, around the mean input, that the noise makes them answer now this and now that."""
    values = initial(cell, seeds, 6, 12, 4).parameters
    values["inputs"][:, :5] *= 12
    values["bias"] -= 0.5 * values["inputs"][:, :5].sum(1)
    return from_parameters(cell, values, seeds, phases)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_one_roll_out_equals_single_trials(cell):
    networks = noisy(cell, (2, 7), ("trained", "control"))
    case = (stripes(), [1, 2, 5, 11], 9, 8, 3)
    rows = extrapolate(networks, *case)
    expected = one_by_one(cell, networks, *case)
    assert expected.accuracy.between(0.1, 0.9).mean() > 0.3  # otherwise the comparison would say little
    assert expected.false_response.between(0.1, 0.9).mean() > 0.3
    rows = rows.sort_values(KEYS, ignore_index=True)
    pd.testing.assert_frame_equal(rows[expected.columns], expected, check_dtype=False, rtol=1e-6)
    np.testing.assert_allclose(rows.informedness, rows.accuracy - rows.false_alarm, rtol=0, atol=1e-7)
    assert rows.false_alarm.between(0.1, 0.9).mean() > 0.2


# ---------------------------------------------------------------------------------------------------- the training task


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_training_task_of_networks_known_by_algebra(cell):
    rows = nominal(latch(cell), image_set(), 30, 20, 4)
    assert {*PANEL, *rows.columns} == set(TABLES["nominal"].columns)
    assert (rows.accuracy == 1).all() and (rows.false_alarm == 0).all() and (rows.informedness == 1).all()
    assert rows.trials.sum() == 30 * CLASSES
    same = nominal(constant(2, cell), image_set(), 30, 20, 4)
    assert same.accuracy.tolist() == same.false_alarm.tolist() == [0, 1, 0, 0]
    assert (nominal(constant(0, cell), image_set(), 30, 20, 4).accuracy == 0).all()


def test_the_training_task_is_drawn_as_in_training(monkeypatch):
    """The same trials in one go, through the task's own loop; seen here in portions of three."""
    monkeypatch.setattr("memrnn.dynamics.extrapolate.AT_ONCE", 24)
    networks, images, trials = noisy("gru", (2, 7), ("trained", "control")), stripes(), 11
    found = nominal(networks, images, trials, 8, 3).set_index(["seed", "label"])
    for n, seed in enumerate(networks.seeds):
        weights = {name: values[n].double().numpy() for name, values in networks.parameters.items()}
        generator = streams.generator(seed, "extrapolate", "nominal")
        shown, said = [], []
        for portion in [3] * 11:
            drawn = task.draw([generator], portion, Lesson(3, 8), 3, images.offsets("test"), images.counts("test"))
            x = dense(task.inputs(drawn, [generator], images.test_images, images.mean, images.std, 8))[0].double()
            for trial in range(portion):
                state = [np.zeros(12)]
                for t in range(int(drawn.response[0, trial]) + 1):
                    state = plain_step("gru", weights, state, x[t, trial].numpy())
                said.append((state[0] @ weights["readout"] + weights["readout_bias"]).argmax() - 1)
            shown += drawn.label[0].tolist()
        shown, said = np.array(shown), np.array(said)
        for label in range(3):
            row = found.loc[seed, label]
            assert row.accuracy == pytest.approx((said[shown == label] == label).mean())
            assert row.false_alarm == pytest.approx((said[shown != label] == label).mean())
            assert row.trials == (shown == label).sum()
    assert found.accuracy.between(0.1, 0.9).any()


def test_enough_trials_for_the_standard_error_that_is_promised():
    """That of a network's accuracy is at most 1 / 2 over the root of the trials of all classes."""
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    assert 0.5 / (config["extrapolate"]["nominal_trials"] * 10) ** 0.5 <= 0.005


# ------------------------------------------------------------------------------------------------------- the ensemble


def test_every_phase_of_a_seed_meets_the_same_trials():
    single = noisy("gru", (3,), ("trained",))
    values = {name: torch.cat([weights] * 3) for name, weights in single.parameters.items()}
    networks = from_parameters("gru", values, (3, 3, 4), ("trained", "control", "trained"))
    rows = extrapolate(networks, stripes(), [1, 3, 9], 50, 20, 4)
    measured = ["label", "delay", "accuracy", "false_response"]
    trained, control, other = (
        rows[(rows.phase == phase) & (rows.seed == seed)][measured].reset_index(drop=True)
        for phase, seed in (("trained", 3), ("control", 3), ("trained", 4))
    )
    pd.testing.assert_frame_equal(trained, control)
    assert not trained.equals(other)  # another seed, other trials


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_network_does_not_depend_on_its_block(cell):
    block = noisy(cell, (1, 8), ("trained", "trained"))
    rows = extrapolate(block, stripes(), [1, 4], 40, 20, 4)
    alone = extrapolate(noisy(cell, (8,), ("trained",)), stripes(), [1, 4], 40, 20, 4)
    pd.testing.assert_frame_equal(rows[rows.seed == 8].reset_index(drop=True), alone, rtol=1e-6)


def test_a_delay_does_not_depend_on_longer_ones_nor_on_the_order():
    networks = noisy("gru", (1,), ("trained",))
    several = extrapolate(networks, stripes(), [2, 6, 12], 40, 20, 4)
    alone = extrapolate(networks, stripes(), [2], 40, 20, 4)
    pd.testing.assert_frame_equal(several[several.delay == 2].reset_index(drop=True), alone)
    assert several[KEYS].values.tolist() == sorted(several[KEYS].values.tolist())
    assert several.delay.drop_duplicates().tolist() == [2, 6, 12]


def test_the_networks_are_left_as_they_are():
    networks = noisy("lstm", (1,), ("trained",))
    before = {name: values.clone() for name, values in networks.parameters.items()}
    images = stripes()
    shown = images.test_images.clone()
    extrapolate(networks, images, [1, 2], 5, 20, 4)
    assert all(torch.equal(before[name], values) for name, values in networks.parameters.items())
    assert torch.equal(images.test_images, shown)
