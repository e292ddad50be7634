"""Training: blocks, repetition, interruption, refusals, and a second training loop written from the definitions."""

import logging
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from reference import Breaking, Leaky, dense, same
from torch import Tensor

from memrnn.core import streams
from memrnn.core.files import load_arrays, save_arrays
from memrnn.data.images import ImageSet
from memrnn.data.images import save as save_images
from memrnn.dynamics.points import centroids, find
from memrnn.dynamics.spectrum import examine
from memrnn.models import networks as nets
from memrnn.models.cell import plain_unroll
from memrnn.models.cells import CELLS
from memrnn.models.networks import Networks
from memrnn.tasks import delayed_classification as task
from memrnn.tasks.protocols import Lesson, Schedule
from memrnn.training import train
from memrnn.training.engine import Engine

pytestmark = pytest.mark.usefixtures("one_thread")

FULL = Lesson(10, 20)
LOGGER = logging.getLogger("tests")
UNITS = 12

PLAN = train.Plan(
    schedule=Schedule((0,), (FULL,)),
    full=FULL,
    min_delay=4,
    steps=50,
    batch=6,
    learning_rate=1e-2,
    drop=(40, 0.1),
    log_every=10,
    log_trials=30,
    checkpoints=(0, 20, 25, 50),
)
SHORT = replace(PLAN, steps=12, drop=None, log_every=4, log_trials=5, checkpoints=(0, 5, 10, 12))
BOTH = pytest.mark.parametrize("cell", ["gru", "lstm"])

CPU = torch.device("cpu")
EXACT = Engine(CPU, torch.float32, None)
FAST = Engine(CPU, torch.bfloat16, 24)
BOTH_ENGINES = pytest.mark.parametrize("made", [EXACT, FAST], ids=["float32, own frames", "bfloat16, shared frames"])


def untrained(cell: str = "gru", *seeds: int) -> Networks:
    return nets.initial(cell, seeds or (3, 5), 65, UNITS, 11)


class Trained:
    """A finished run and what it left in its folder."""

    def __init__(self, images, plan, folder, start=None, penalty=None, fingerprint="one", logger=LOGGER, made=EXACT):
        self.networks, self.table = train.run(
            start or untrained(), images, plan, made, Path(folder), fingerprint, logger, penalty
        )
        self.checkpoints = train.checkpoints(Path(folder), plan.checkpoints)
        self.files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}

    def assert_identical_to(self, other: "Trained") -> None:
        assert same(self.networks.parameters, other.networks.parameters)
        assert same(self.checkpoints, other.checkpoints)
        pd.testing.assert_frame_equal(self.table, other.table, check_exact=True)
        assert self.files == other.files


class Weighed:
    """A penalty that draws noise, so that a resumed run must find its stream again; may fail at one training step."""

    def __init__(self, fail_at: int | None = None):
        self.calls, self.fail_at = 0, fail_at

    def __call__(self, networks: Networks, batch, hidden, generators: list[torch.Generator]) -> Tensor:
        if torch.is_grad_enabled():  # not in an evaluation
            if self.calls == self.fail_at:
                raise KeyboardInterrupt
            self.calls += 1
        noise = torch.stack([torch.rand(UNITS, 11, generator=generator) for generator in generators])
        return 0.01 * (noise * networks.readout).square().sum((1, 2))


# ---------------------------------------------------------------- blocks and repetition


@BOTH
def test_a_seed_trains_the_same_in_every_block(digits, tmp_path, cell):
    seeds = (4, 0, 9)
    block = Trained(digits, PLAN, tmp_path / "block", untrained(cell, *seeds))
    for position, seed in enumerate(seeds):
        start = untrained(cell, seed)
        alone = Trained(digits, PLAN, tmp_path / str(seed), start)
        for name, values in alone.networks.parameters.items():
            assert (values - start.parameters[name]).abs().max() > 0.05
            torch.testing.assert_close(block.networks.parameters[name][position], values[0], rtol=0, atol=2e-5)
        for name, values in alone.checkpoints.items():
            torch.testing.assert_close(block.checkpoints[name][:, position], values[:, 0], rtol=0, atol=2e-5)
        rows = block.table[block.table.seed == seed].reset_index(drop=True)
        # A read-out near a tie may fall either way: one of 30 responses, one of 570 other steps.
        close = {"loss": 1e-5, "penalty": 0, "response_accuracy": 1.01 / 30, "null_accuracy": 1.01 / 570}
        for column, tolerance in close.items():
            assert (rows[column] - alone.table[column]).abs().max() <= tolerance
        rest = rows.columns.difference(list(close))
        pd.testing.assert_frame_equal(rows[rest], alone.table[rest])


@BOTH
@BOTH_ENGINES
def test_the_same_run_twice_is_identical_to_the_bit(digits, tmp_path, cell, made):
    first, second = (Trained(digits, SHORT, tmp_path / name, untrained(cell), made=made) for name in "ab")
    first.assert_identical_to(second)


def test_the_start_is_left_as_it_was(digits, tmp_path):
    start = untrained()
    run = Trained(digits, SHORT, tmp_path, start)
    assert same(start.parameters, untrained().parameters)
    assert not any(values.requires_grad for values in start.parameters.values())
    assert not any(values.requires_grad for values in run.networks.parameters.values())
    assert run.networks.seeds == start.seeds and run.networks.phases == start.phases


def test_checkpoints_hold_the_weights_of_their_steps(digits, tmp_path):
    run = Trained(digits, SHORT, tmp_path / "long")
    for index, step in enumerate(SHORT.checkpoints):
        weights = {name: values[index] for name, values in run.checkpoints.items()}
        if step == 0:
            assert same(weights, untrained().parameters)
        else:
            until = replace(SHORT, steps=step, checkpoints=(step,))
            assert same(weights, Trained(digits, until, tmp_path / str(step)).networks.parameters)


def test_the_evaluations_do_not_change_the_training(digits, tmp_path):
    often = Trained(digits, replace(SHORT, log_every=1, log_trials=7), tmp_path / "often")
    assert same(often.networks.parameters, Trained(digits, SHORT, tmp_path / "seldom").networks.parameters)


# ---------------------------------------------------------------- interruption


RESUMED = replace(PLAN, steps=24, drop=(18, 0.1), log_every=5, checkpoints=(0, 10, 13, 24))


@pytest.fixture(scope="module")
def undisturbed(digits, tmp_path_factory) -> Trained:
    return Trained(digits, RESUMED, tmp_path_factory.mktemp("undisturbed"), penalty=Weighed())


def interrupted(images, folder: Path, at: int, penalty: Weighed) -> None:
    """Break off a run of RESUMED at training step `at`, counted from the step where the run begins."""
    penalty.fail_at = at
    with pytest.raises(KeyboardInterrupt):
        train.run(untrained(), images, RESUMED, EXACT, folder, "one", LOGGER, penalty)


@pytest.mark.parametrize(("at", "left"), [(9, 24), (10, 14), (23, 11)])
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(digits, tmp_path, undisturbed, at, left):
    interrupted(digits, tmp_path, at, Weighed())
    penalty = Weighed()
    Trained(digits, RESUMED, tmp_path, penalty=penalty).assert_identical_to(undisturbed)
    assert penalty.calls == left  # steps that had to be done (again)


@pytest.mark.parametrize(("seconds", "left"), [(-1, 20), (3600, 24)])
def test_a_long_way_between_checkpoints_is_saved_on_the_way(digits, tmp_path, undisturbed, monkeypatch, seconds, left):
    monkeypatch.setattr(train, "CHECK_EVERY", 4)
    monkeypatch.setattr(train, "SAVE_EVERY", seconds)
    interrupted(digits, tmp_path, 7, Weighed())
    assert [path.name for path in tmp_path.glob("step*")] == ["step0.safetensors"]
    penalty = Weighed()
    Trained(digits, RESUMED, tmp_path, penalty=penalty).assert_identical_to(undisturbed)
    assert penalty.calls == left


def test_a_run_may_be_interrupted_often(digits, tmp_path, undisturbed):
    for at in (12, 2, 4, 10):
        interrupted(digits, tmp_path, at, Weighed())
    Trained(digits, RESUMED, tmp_path, penalty=Weighed()).assert_identical_to(undisturbed)


def test_a_finished_run_is_not_trained_again(digits, tmp_path, undisturbed):
    Trained(digits, RESUMED, tmp_path, penalty=Weighed())
    penalty = Weighed()
    Trained(digits, RESUMED, tmp_path, penalty=penalty).assert_identical_to(undisturbed)
    assert penalty.calls == 0


def test_an_interruption_between_two_files_of_a_checkpoint(digits, tmp_path, undisturbed, monkeypatch):
    """The weights of step 13 are on disk, the state to go on from is still that of step 10."""
    write = save_arrays

    def fail(path, arrays, meta):
        if Path(path).name == "resume.safetensors" and meta["step"] == 13:
            raise KeyboardInterrupt
        write(path, arrays, meta)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train, "save_arrays", fail)
        train.run(untrained(), digits, RESUMED, EXACT, tmp_path, "one", LOGGER, Weighed())
    assert (tmp_path / "step13.safetensors").exists()
    penalty = Weighed()
    Trained(digits, RESUMED, tmp_path, penalty=penalty).assert_identical_to(undisturbed)
    assert penalty.calls == 14


KILLED = replace(RESUMED, schedule=Schedule((0, 8, 15), (Lesson(4, 6), Lesson(10, 12), FULL)))

# In processes of their own, forked so that libraries are loaded once: each is killed where it says, the last one ends.
KILLING = """
import json, os, signal, sys
sys.path[:0] = sys.argv[1:4]
import torch
import test_train as tests
from memrnn.data import images
from memrnn.training import train

torch.set_num_threads(1)
torch.optim.Adam([torch.zeros(1)])  # what it loads
shown = images.load(sys.argv[4])

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

class Deadly(tests.Weighed):
    def __init__(self, at, halfway):
        super().__init__()
        self.at, self.halfway = at, halfway

    def __call__(self, networks, *seen):
        if torch.is_grad_enabled() and self.calls == self.at:
            if not self.halfway:
                kill()
            os.fsync = kill  # of the next file, written but without its name
        return super().__call__(networks, *seen)

for folder, made in (("exact", tests.EXACT), ("fast", tests.FAST)):
    for at, halfway in ((9, False), (12, False), (12, True), (None, False)):
        sys.stdout.flush()
        if os.fork() == 0:
            where = tests.Path(sys.argv[5], folder)
            penalty = Deadly(at, halfway)
            train.run(tests.untrained(), shown, tests.KILLED, made, where, "one", tests.LOGGER, penalty)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def test_killed_processes_leave_what_the_next_ones_go_on_from(digits, tmp_path):
    """Killed before the second checkpoint, after it, and while the last one is written."""
    save_images(tmp_path / "images", digits)
    tests = Path(__file__).parent
    folders = [tests, tests.parent, Path(train.__file__).parents[2], tmp_path / "images", tmp_path]
    done = subprocess.run([sys.executable, "-c", KILLING, *map(str, folders)], capture_output=True, text=True)
    assert done.stdout.split() == ["-9", "-9", "-9", "0"] * 2, done.stderr
    for folder, made in (("exact", EXACT), ("fast", FAST)):
        # A file without its name yet is left behind and does no harm.
        leftovers = [path for path in (tmp_path / folder).iterdir() if path.name.startswith(".step24.")]
        assert len(leftovers) == 1
        leftovers[0].unlink()
        penalty = Weighed()
        resumed = Trained(digits, KILLED, tmp_path / folder, penalty=penalty, made=made)
        assert penalty.calls == 0
        whole = Trained(digits, KILLED, tmp_path / f"{folder}, undisturbed", penalty=Weighed(), made=made)
        resumed.assert_identical_to(whole)


@pytest.mark.parametrize("line", ["step 15 of 24", "step 24 of 24"])
def test_an_interruption_while_a_row_is_logged(digits, tmp_path, undisturbed, line):
    logger = logging.Logger("breaking", logging.INFO)
    logger.addHandler(Breaking(line))
    with pytest.raises(KeyboardInterrupt):
        train.run(untrained(), digits, RESUMED, EXACT, tmp_path, "one", logger, Weighed())
    Trained(digits, RESUMED, tmp_path, penalty=Weighed()).assert_identical_to(undisturbed)


def test_other_settings_begin_afresh(digits, tmp_path, undisturbed, caplog):
    other = replace(RESUMED, learning_rate=1e-3)
    with pytest.raises(KeyboardInterrupt):
        train.run(untrained(), digits, other, EXACT, tmp_path, "two", LOGGER, Weighed(fail_at=16))
    penalty = Weighed()
    with caplog.at_level(logging.INFO):
        Trained(digits, RESUMED, tmp_path, penalty=penalty).assert_identical_to(undisturbed)
    assert penalty.calls == 24 and "continuing" not in caplog.text


def test_the_log_says_where_a_run_goes_on_and_how_it_does(digits, tmp_path, caplog):
    interrupted(digits, tmp_path, 16, Weighed())
    with caplog.at_level(logging.INFO):
        table = Trained(digits, RESUMED, tmp_path, penalty=Weighed()).table
    assert "continuing from the checkpoint at step 13 of 24" in caplog.text
    loss = table.loc[table.step == 20, "loss"].mean()
    assert f"step 20 of 24: loss {loss:.4f}" in caplog.text
    assert "steps/s" in caplog.text and "s left" in caplog.text


def test_a_damaged_checkpoint_is_refused(digits, tmp_path):
    interrupted(digits, tmp_path, 16, Weighed())
    resume = tmp_path / "resume.safetensors"
    resume.write_bytes(resume.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"resume\.safetensors: .*Delete the file and run again"):
        Trained(digits, RESUMED, tmp_path)


# ---------------------------------------------------------------- what is not finite


@pytest.mark.parametrize(("at", "seen_at"), [(137, 200), (230, 250)], ids=["between rows", "before a checkpoint"])
@BOTH_ENGINES
def test_the_first_bad_step_is_told_though_losses_are_looked_at_seldom(digits, tmp_path, at, seen_at, made):
    """Training goes on for a while with weights that are no longer finite; nothing of it is kept."""
    weighed = Weighed()

    def penalty(networks, *seen):
        terms = weighed(networks, *seen)
        bad = torch.is_grad_enabled() and weighed.calls == at + 1
        return torch.where(torch.tensor([False, bad]), math.nan, terms)

    short = Lesson(10, 6)
    plan = replace(
        PLAN, schedule=Schedule((0,), (short,)), steps=300, batch=2, drop=None, log_every=300, checkpoints=(0, 250, 300)
    )
    with pytest.raises(train.NotFinite, match=rf"the loss is not finite at training step {at} for seed 5 \(trained\);"):
        train.run(untrained(), digits, plan, made, tmp_path, "one", LOGGER, penalty)
    assert weighed.calls == seen_at
    assert {path.name for path in tmp_path.iterdir()} == {"step0.safetensors", "resume.safetensors"}
    assert load_arrays(tmp_path / "resume.safetensors")[1]["step"] == 0


def test_a_seed_that_fails_later_is_not_named_with_the_first_step(digits, tmp_path):
    weighed = Weighed()

    def penalty(networks, *seen):
        terms = weighed(networks, *seen)
        calls = weighed.calls if torch.is_grad_enabled() else 0
        return torch.where(torch.tensor([calls == 9, calls == 7]), math.nan, terms)

    late = replace(SHORT, log_every=100, checkpoints=(12,))
    with pytest.raises(train.NotFinite, match=r"the loss is not finite at training step 6 for seed 5 \(trained\);"):
        train.run(untrained(), digits, late, EXACT, tmp_path, "one", LOGGER, penalty)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(digits, tmp_path, undisturbed, value):
    def penalty(networks, *seen):
        terms = weighed(networks, *seen)
        bad = torch.is_grad_enabled() and weighed.calls == 12
        return torch.where(torch.tensor([False, bad]), value, terms)

    weighed = Weighed()
    with pytest.raises(train.NotFinite, match=r"not finite at training step 11 for seed 5 \(trained\);") as caught:
        train.run(untrained(), digits, RESUMED, EXACT, tmp_path, "one", LOGGER, penalty)
    assert f"the last checkpoint, of step 10, is in {tmp_path}." in str(caught.value)
    kept, meta = load_arrays(tmp_path / "step10.safetensors")
    assert meta["step"] == 10
    assert same(kept, {name: values[1] for name, values in undisturbed.checkpoints.items()})
    assert not (tmp_path / "step13.safetensors").exists()
    Trained(digits, RESUMED, tmp_path, penalty=Weighed()).assert_identical_to(undisturbed)


def test_all_bad_seeds_are_named_with_their_phase(digits, tmp_path):
    start = untrained()
    start = nets.from_parameters("gru", start.parameters, start.seeds, ("control", "centroid"))
    late = replace(SHORT, checkpoints=(12,))
    bad = r"training step 0 for seed 3 \(control\), 5 \(centroid\); no checkpoint was taken before\."
    with pytest.raises(train.NotFinite, match=bad):
        train.run(start, digits, late, EXACT, tmp_path, "one", LOGGER, lambda *_: torch.tensor([math.nan, math.inf]))
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_run_that_fails_tells_the_checkpoint_it_went_on_from(digits, tmp_path):
    interrupted(digits, tmp_path, 12, Weighed())
    with pytest.raises(train.NotFinite, match=r"training step 10 for seed 3 .*the last checkpoint, of step 10, is in"):
        train.run(
            untrained(), digits, RESUMED, EXACT, tmp_path, "one", LOGGER, lambda *_: torch.tensor([math.nan, 0.0])
        )


@BOTH
def test_an_absurd_learning_rate_is_not_finite_and_leaves_no_such_weights(digits, tmp_path, cell):
    absurd = replace(SHORT, learning_rate=1e38, log_every=100, checkpoints=tuple(range(13)))
    with pytest.raises(train.NotFinite, match=r"not finite .*step \d+ for seed"):
        train.run(untrained(cell), digits, absurd, EXACT, tmp_path, "one", LOGGER)
    for path in tmp_path.iterdir():
        assert all(values.isfinite().all() for values in load_arrays(path)[0].values()), path


@pytest.mark.parametrize("at", [9, 11], ids=["before a checkpoint", "last step"])
def test_weights_that_are_not_finite_are_never_kept(digits, tmp_path, at):
    """A finite loss with a gradient of NaN, in the step just before weights are written."""
    weighed = Weighed()

    def penalty(networks, *seen):
        terms = weighed(networks, *seen)
        bad = torch.is_grad_enabled() and weighed.calls == at + 1
        return terms + torch.tensor([1.0, 0.0]) * (0 * networks.readout[:, 0, 0]).sqrt() if bad else terms

    with pytest.raises(train.NotFinite, match=rf"not finite .*step {at + 1} for seed 3 \(trained\)"):
        train.run(untrained(), digits, SHORT, EXACT, tmp_path, "one", LOGGER, penalty)
    assert load_arrays(tmp_path / "resume.safetensors")[1]["step"] == (5 if at == 9 else 10)


# ---------------------------------------------------------------- a second training loop


def loss_by_definition(logits: Tensor, drawn: task.Trials, lesson: Lesson) -> Tensor:
    """docs/method.md, Loss and optimiser, for one network: logits (time, batch, 11) and its trials as vectors."""
    allowed = torch.arange(11) <= lesson.classes
    p = torch.softmax(torch.sigmoid(logits).masked_fill(~allowed, -math.inf), -1)
    total = torch.zeros((), dtype=logits.dtype)
    for t in range(lesson.steps):
        for trial in range(logits.shape[1]):
            responds = t == drawn.response[trial]
            target = drawn.label[trial] + 1 if responds else 0
            total = total + (19 * responds + lesson.alpha) * torch.log(p[t, trial, target] + 1e-4)
    return -total / (logits.shape[1] * 11 * 20)


def trained_by_definition(start: Networks, images: ImageSet, plan: train.Plan) -> dict[str, Tensor]:
    """Every network by itself, in float64, by automatic differentiation and Adam as Kingma and Ba (2015) write it."""
    results = []
    for position, seed in enumerate(start.seeds):
        weights = {
            name: values[position : position + 1].double().requires_grad_() for name, values in start.parameters.items()
        }
        moments = {name: (torch.zeros_like(values), torch.zeros_like(values)) for name, values in weights.items()}
        draws, noise = (streams.generator(seed, "train", name) for name in ("draws", "noise"))
        for step in range(plan.steps):
            lesson = plan.schedule.lessons[sum(begin <= step for begin in plan.schedule.starts) - 1]
            drawn = task.draw(
                [draws], plan.batch, lesson, plan.min_delay, images.offsets("train"), images.counts("train")
            )
            drawn = task.Trials(*(part[0] for part in drawn))
            x = torch.zeros(lesson.steps, plan.batch, 65)
            x[..., :64] = images.mean + images.std * torch.randn(lesson.steps, plan.batch, 64, generator=noise)
            for trial in range(plan.batch):
                x[drawn.stimulus[trial], trial, :64] = images.train_images[drawn.image[trial]]
                x[drawn.response[trial], trial, 64] = 1
            networks = nets.from_parameters(start.cell.name, weights, [seed], ["trained"])
            drive = torch.stack([networks.drive(x_t[None].double()) for x_t in x], 1)
            hidden = plain_unroll(start.cell, networks.weights, drive)[0]
            logits = hidden @ weights["readout"][0] + weights["readout_bias"][0]
            gradients = torch.autograd.grad(loss_by_definition(logits, drawn, lesson), list(weights.values()))
            rate = plan.learning_rate
            if plan.drop is not None and step >= plan.drop[0]:
                rate *= plan.drop[1]
            with torch.no_grad():
                for (name, values), gradient in zip(weights.items(), gradients, strict=True):
                    m, v = moments[name]
                    m.mul_(0.9).add_(0.1 * gradient)
                    v.mul_(0.999).add_(0.001 * gradient**2)
                    m_hat, v_hat = m / (1 - 0.9 ** (step + 1)), v / (1 - 0.999 ** (step + 1))
                    values -= rate * m_hat / (v_hat.sqrt() + 1e-8)
        results.append({name: values.detach()[0] for name, values in weights.items()})
    return {name: torch.stack([each[name] for each in results]) for name in results[0]}


@pytest.mark.parametrize(
    ("cell", "lessons"),
    [
        ("gru", (Lesson(2, 20), Lesson(6, 20), FULL)),
        ("lstm", (Lesson(10, 6), Lesson(10, 12), FULL)),
        ("gru", (Lesson(10, 20, 0.0), Lesson(10, 20, 0.5), FULL)),
    ],
    ids=["gru-vocu", "lstm-decu", "gru-recu"],
)
def test_training_follows_the_definitions(digits, tmp_path, cell, lessons):
    plan = replace(
        SHORT,
        steps=20,
        batch=4,
        schedule=Schedule((0, 7, 13), lessons),
        drop=(16, 0.1),
        log_every=20,
        checkpoints=(20,),
    )
    start = untrained(cell)
    expected = trained_by_definition(start, digits, plan)
    for name, values in Trained(digits, plan, tmp_path, start).networks.parameters.items():
        assert (expected[name] - start.parameters[name]).abs().max() > 0.05
        # What Adam does with a gradient near its epsilon depends on the last digits of float32.
        error = (values - expected[name]).abs()
        assert error.max() < 2e-4 and error.mean() < 2e-6, name


def test_the_drop_begins_with_its_step(digits, tmp_path):
    """A factor of 0 freezes the weights, so the last step that changes them is the one before the drop."""
    plan = replace(SHORT, drop=(5, 0.0), checkpoints=(4, 5, 6, 12))
    readout = Trained(digits, plan, tmp_path / "frozen").checkpoints["readout"]
    assert not torch.equal(readout[0], readout[1])
    assert torch.equal(readout[1], readout[2]) and torch.equal(readout[1], readout[3])
    late = Trained(digits, replace(SHORT, drop=(12, 0.0)), tmp_path / "late")
    assert same(late.networks.parameters, Trained(digits, SHORT, tmp_path / "none").networks.parameters)


def test_the_drop_holds_after_an_interruption_within_it(digits, tmp_path):
    plan = replace(SHORT, drop=(5, 0.0))
    with pytest.raises(KeyboardInterrupt):
        train.run(untrained(), digits, plan, EXACT, tmp_path / "a", "one", LOGGER, Weighed(fail_at=11))
    resumed = Trained(digits, plan, tmp_path / "a", penalty=Weighed())
    resumed.assert_identical_to(Trained(digits, plan, tmp_path / "b", penalty=Weighed()))


@pytest.mark.parametrize(("steps", "expected"), [(140_000, (120_000, 0.1)), (5000, (4286, 0.1))])
def test_the_drop_is_a_share_of_the_budget(steps, expected):
    assert train.drop_of({"start": 120, "out_of": 140, "factor": 0.1}, steps) == expected


# ---------------------------------------------------------------- what runs through the networks


class Seen:
    """What the networks were shown: (in training, split's images, inputs)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.calls: list[tuple[bool, Tensor, Tensor]] = []
        fill = task.inputs

        def spy(drawn, generators, images, *settings):
            shown = fill(drawn, generators, images, *settings)
            self.calls.append((torch.is_grad_enabled(), images, dense(shown)))
            return shown

        monkeypatch.setattr(task, "inputs", spy)

    def training(self) -> list[Tensor]:
        return [x for training, _, x in self.calls if training]


def test_a_short_stage_computes_short_trials(digits, tmp_path, monkeypatch):
    lengths = []
    hidden_states = task.hidden_states

    def spy(networks: Networks, shown: task.Inputs, *products: torch.dtype) -> Tensor:
        hidden = hidden_states(networks, shown, *products)
        if torch.is_grad_enabled():
            lengths.append(hidden.shape[1])
        return hidden

    monkeypatch.setattr(task, "hidden_states", spy)
    plan = replace(SHORT, schedule=Schedule((0, 5, 8), (Lesson(10, 6), Lesson(10, 12), FULL)))
    Trained(digits, plan, tmp_path)
    assert lengths == [6] * 5 + [12] * 3 + [20] * 4


def test_training_sees_the_training_split_and_the_table_the_other(digits, tmp_path, monkeypatch):
    seen = Seen(monkeypatch)
    Trained(digits, SHORT, tmp_path)
    assert sum(training for training, *_ in seen.calls) == 12
    for training, images, _ in seen.calls:
        assert images is (digits.train_images if training else digits.test_images)


def test_trials_are_fresh_at_every_step_and_differ_between_networks(digits, tmp_path, monkeypatch):
    seen = Seen(monkeypatch)
    Trained(digits, SHORT, tmp_path)
    frames = torch.cat([x[..., :-1].flatten(0, 2) for x in seen.training()])
    assert len(frames.unique(dim=0)) > len(frames) - 12 * 2 * 6  # only images may come twice
    assert torch.corrcoef(torch.stack([x[..., 0].flatten() for x in seen.training()[:2]]))[0, 1].abs() < 0.3


def test_trials_do_not_depend_on_the_penalty(digits, tmp_path, monkeypatch):
    seen = Seen(monkeypatch)
    Trained(digits, SHORT, tmp_path / "plain")
    plain = seen.calls
    seen.calls = []
    changed = Trained(digits, SHORT, tmp_path / "penalised", penalty=Weighed())
    for (_, _, ours), (_, _, theirs) in zip(plain, seen.calls, strict=True):
        assert torch.equal(ours, theirs)
    assert (changed.table.penalty > 0).all()


# ---------------------------------------------------------------- the table


def test_training_table(digits, tmp_path):
    plan = replace(SHORT, schedule=Schedule((0, 8), (Lesson(2, 6, 0.5), FULL)), log_every=5)
    table = Trained(digits, plan, tmp_path).table
    assert list(table.columns) == [
        "phase", "seed", "step", "loss", "penalty", "response_accuracy", "null_accuracy", "classes", "current_steps",
        "alpha",
    ]  # fmt: skip
    assert list(zip(table.step, table.seed, strict=True)) == [(t, s) for t in (0, 5, 10, 12) for s in (3, 5)]
    assert set(table.phase) == {"trained"} and (table.penalty == 0).all()
    early = table.step < 8
    assert (table.loc[early, ["classes", "current_steps", "alpha"]] == [2, 6, 0.5]).all(axis=None)
    assert (table.loc[~early, ["classes", "current_steps", "alpha"]] == [10, 20, 1.0]).all(axis=None)
    assert table[["response_accuracy", "null_accuracy"]].stack().between(0, 1).all()


def test_table_of_networks_that_always_answer_alike(digits, tmp_path):
    """One network says null whatever happens, the other class 0: losses and accuracies follow from the equations."""
    start = untrained()
    start.readout.zero_()
    start.readout_bias.fill_(-1000)
    start.readout_bias[0, 0] = start.readout_bias[1, 1] = 1000
    plan = replace(SHORT, log_trials=2000, checkpoints=(0, 12))
    row = Trained(digits, plan, tmp_path, start).table.set_index(["step", "seed"]).loc[0]
    high, low = (-math.log(p / (math.e + 10) + 1e-4) for p in (math.e, 1))
    share = row.response_accuracy[5]
    assert share == pytest.approx(0.1, abs=5 * math.sqrt(0.09 / 2000))
    assert (row.response_accuracy[3], row.null_accuracy[3], row.null_accuracy[5]) == (0, 1, 0)
    assert row.loss[3] == pytest.approx((19 * high + 20 * low) / 220, rel=1e-5)
    assert row.loss[5] == pytest.approx((20 * (share * high + (1 - share) * low) + 19 * low) / 220, rel=1e-5)


# ---------------------------------------------------------------- every cell, and one of one's own


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_learns_a_small_task_and_its_slow_points_are_found(digits, tmp_path, cell):
    """Two classes, eight time steps; the points hold their classes, are slower than where they came from, and have
    kinds."""
    plan = replace(
        PLAN, schedule=Schedule((0,), (Lesson(2, 8),)), steps=300, batch=32, drop=None, log_every=300, log_trials=200,
        checkpoints=(0, 300),
    )  # fmt: skip
    trained = Trained(digits, plan, tmp_path, nets.initial(cell, (3, 5), 65, 24, 11))
    rows = trained.table.set_index(["step", "seed"])
    assert (rows.loss[300] < 0.6 * rows.loss[0]).all() and (rows.response_accuracy[300] > 0.9).all()
    start = centroids(trained.networks, digits, 3, 1 / 3)
    (points,), found = find(trained.networks, digits, start, [300], 1e-2, 200, 0.1)
    for part, bound in zip(points, CELLS[cell].bounds, strict=True):
        assert part.abs().max() <= bound
    met = found[found.label < 2]
    assert (met.readout == met.label).all() and (met.speed < met.start_speed / 3).all()
    two = tuple(part[:, :2] for part in points), tuple(part[:, :2] for part in start.state)
    kinds = examine(
        trained.networks, digits, *two, search_steps=300, near_unit=0.05, newton_steps=3, newton_speed=1e-9,
        newton_distance=1.0, relaxation_steps=5, noise_trials=3, noise_steps=3,
    )  # fmt: skip
    assert (kinds.readout == kinds.label).all() and kinds.leading_modulus.between(0.1, 10).all()


@BOTH_ENGINES
def test_a_new_cell_trains_and_resumes(digits, tmp_path, monkeypatch, made):
    monkeypatch.setitem(CELLS, "leaky", Leaky())
    plain = Trained(digits, SHORT, tmp_path / "a", untrained("leaky"), Weighed(), made=made)
    with pytest.raises(KeyboardInterrupt):
        train.run(untrained("leaky"), digits, SHORT, made, tmp_path / "b", "one", LOGGER, Weighed(fail_at=7))
    Trained(digits, SHORT, tmp_path / "b", untrained("leaky"), Weighed(), made=made).assert_identical_to(plain)
    nets.save(tmp_path / "leaky", plain.networks, {})
    assert same(nets.load(tmp_path / "leaky")[0].parameters, plain.networks.parameters)
