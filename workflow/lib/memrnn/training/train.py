"""Training an ensemble under a protocol, with checkpoints that an interrupted run continues from."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from memrnn.core import streams
from memrnn.core.files import load_arrays, save_arrays
from memrnn.data.images import ImageSet
from memrnn.models.networks import Networks
from memrnn.tasks import delayed_classification as task
from memrnn.tasks.protocols import Lesson, Schedule, step_of
from memrnn.training.engine import Batch, Engine, Penalty, Update, describe

CHECK_EVERY = 100  # updates between looks at whether the losses are finite; a look makes a GPU wait
SAVE_EVERY = 300  # seconds after which a run can at the latest be taken up again


class NotFinite(ArithmeticError):
    """The loss or a weight of a network stopped being a finite number."""


@dataclass(frozen=True)
class Plan:
    """What to train and for how long; every number comes from the configuration.

    Attributes:
        schedule: lesson of the protocol at each step.
        full: the full task; its time steps normalise the loss.
        min_delay: least steps from stimulus to response, delta.
        steps: training steps (updates).
        batch: trials per step and network.
        learning_rate: of Adam.
        drop: step from which on the learning rate is multiplied by a factor, and the factor; None for no drop.
        log_every: steps between rows of the training table.
        log_trials: held-out trials behind each row.
        checkpoints: numbers of finished steps after which the weights are kept.
        stream: name of the random streams of trials and noise.
        passed_states: see `Update`.
    """

    schedule: Schedule
    full: Lesson
    min_delay: int
    steps: int
    batch: int
    learning_rate: float
    drop: tuple[int, float] | None
    log_every: int
    log_trials: int
    checkpoints: tuple[int, ...]
    stream: str = "train"
    passed_states: float = 0.0


def drop_of(settings: Mapping[str, Any], steps: int) -> tuple[int, float]:
    """`Plan.drop` of the configuration's learning_rate_drop for a budget of `steps`."""
    return step_of(settings["start"], settings["out_of"], steps), settings["factor"]


@dataclass
class _Run:
    """State of a training run: everything that a resumed run needs to go on as if never interrupted."""

    update: Update
    step: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)

    def save(self, folder: Path, fingerprint: str) -> None:
        parameters, optimiser = self.update.networks.parameters, self.update.optimiser
        arrays = {f"weights.{name}": values for name, values in parameters.items()}
        for name, values in parameters.items():
            for moment in ("exp_avg", "exp_avg_sq", "step"):
                if values in optimiser.state:
                    arrays[f"{moment}.{name}"] = optimiser.state[values][moment]
        for name, generators in self.update.streams.items():
            arrays[f"stream.{name}"] = torch.stack([generator.get_state() for generator in generators])
        arrays |= {f"passed.{part}": values for part, values in enumerate(self.update.passed)}
        # As pairs, because JSON objects are written in the order of their keys and the table has its own.
        rows = [list(row.items()) for row in self.rows]
        meta = {"fingerprint": fingerprint, "step": self.step, "rows": rows}
        save_arrays(folder / "resume.safetensors", arrays, meta)

    def restore(self, folder: Path, fingerprint: str) -> bool:
        """Go to the state last saved under the same settings; False where there is none to use."""
        path = folder / "resume.safetensors"
        if not path.exists():
            return False
        arrays, meta = load_arrays(path)
        if meta["fingerprint"] != fingerprint:
            return False
        with torch.no_grad():
            for name, values in self.update.networks.parameters.items():
                values.copy_(arrays[f"weights.{name}"])
                if f"step.{name}" in arrays:
                    # What Adam keeps lies where the weights are, its count of steps too where a graph reads it.
                    self.update.optimiser.state[values] = {
                        moment: arrays[f"{moment}.{name}"].to(values.device)
                        for moment in ("exp_avg", "exp_avg_sq", "step")
                    }
        for name, generators in self.update.streams.items():
            for generator, state in zip(generators, arrays[f"stream.{name}"], strict=True):
                generator.set_state(state.clone())  # torch reads a view from the start of what it is a view of
        for part, values in enumerate(self.update.passed):
            values.copy_(arrays[f"passed.{part}"])
        self.step, self.rows = meta["step"], [dict(row) for row in meta["rows"]]
        self.update.count.fill_(self.step)
        return True


def run(
    start: Networks,
    images: ImageSet,
    plan: Plan,
    engine: Engine,
    folder: Path,
    fingerprint: str,
    logger: logging.Logger,
    penalty: Penalty | None = None,
    stop: Callable[[], int | None] = lambda: None,
) -> tuple[Networks, pd.DataFrame]:
    """Train an ensemble.

    Args:
        start: networks before the first step; not changed.
        engine: how updates are computed.
        folder: for checkpoints, see `checkpoints`; a run with the same `fingerprint` continues from the last one there.
        fingerprint: identifies everything that the numbers depend on.
        penalty: term added to each network's loss.
        stop: asked before every step for the signal that has told this process to end, None to go on.
    Returns:
        the trained networks, and the training table with a row per network and logged step.
    Raises:
        NotFinite: a network's loss, or a weight about to be kept, is NaN or infinite; the message tells the last
            checkpoint, which stays in `folder`.
        ValueError: a file in `folder` that the run would go on from is damaged or missing.
        SystemExit: told to end; the state is saved, and the status is as if the signal had ended the process.
    """
    images = images.to(engine.device)
    update = Update(
        start,
        images,
        engine,
        plan.stream,
        batch=plan.batch,
        min_delay=plan.min_delay,
        full_steps=plan.full.steps,
        learning_rate=plan.learning_rate,
        penalty=penalty,
        passed_states=plan.passed_states,
    )
    state, networks = _Run(update), update.networks
    kept = None  # step of the last checkpoint
    if state.restore(folder, fingerprint):
        kept = state.step
        _check_kept(folder, plan, kept, fingerprint)
        logger.info("continuing from the checkpoint at step %d of %d", state.step, plan.steps)
    logger.info(describe(engine))
    rate = None  # as last set
    began, first = time.monotonic(), state.step
    saved = began
    bar = tqdm(total=plan.steps, initial=state.step, unit="step", disable=None, leave=False, mininterval=1)
    while True:
        lesson = plan.schedule.at(min(state.step, plan.steps - 1))
        keep = state.step in plan.checkpoints
        due = state.step % plan.log_every == 0 or state.step == plan.steps
        look = state.step % CHECK_EVERY == 0
        signal = stop()
        save = keep or (look and time.monotonic() - saved > SAVE_EVERY) or signal is not None
        if look or due or save:
            _check_losses(update, start, folder, kept)
        if save or state.step == plan.steps:
            _check_weights(networks, state.step, folder, kept)
        if due and not (state.rows and state.rows[-1]["step"] == state.step):  # a resumed run has this step's rows
            state.rows += (rows := _evaluate(networks, images, plan, lesson, state.step, penalty))
            _log_progress(logger, rows, state.step, plan.steps, (state.step - first) / (time.monotonic() - began))
        if keep:
            path = _checkpoint_path(folder, state.step)
            save_arrays(path, networks.parameters, {"fingerprint": fingerprint, "step": state.step})
        if save:
            state.save(folder, fingerprint)
            kept, saved = state.step, time.monotonic()
        if state.step == plan.steps:
            break
        if signal is not None:
            logger.warning("told to end by signal %d; saved at step %d, to go on from there", signal, state.step)
            raise SystemExit(128 + signal)
        dropped = plan.drop is not None and state.step >= plan.drop[0]
        if rate != (rate := plan.learning_rate * (plan.drop[1] if dropped else 1)):
            update.set_learning_rate(rate)
        update(lesson)
        state.step += 1
        bar.update()
    bar.close()
    final = {name: values.detach().cpu() for name, values in networks.parameters.items()}
    return start.like(final), pd.DataFrame(state.rows)


def checkpoints(folder: Path, steps: Sequence[int]) -> dict[str, Tensor]:
    """Weights that a finished run has left in its folder after each of `steps`, each tensor (steps, networks, ...)."""
    taken = [load_arrays(_checkpoint_path(folder, step))[0] for step in steps]
    return {name: torch.stack([each[name] for each in taken]) for name in taken[0]}


def _checkpoint_path(folder: Path, step: int) -> Path:
    return folder / f"step{step}.safetensors"


def _check_kept(folder: Path, plan: Plan, step: int, fingerprint: str) -> None:
    """Refuse now what would be found at the end of the training: a checkpoint taken until `step` that is not whole."""
    for path in (_checkpoint_path(folder, each) for each in plan.checkpoints if each <= step):
        try:
            _, meta = load_arrays(path)
            if meta.get("fingerprint") != fingerprint:
                raise ValueError(f"{path}: a checkpoint of another training.")
        except ValueError as error:
            raise ValueError(
                f"{error} This training cannot go on without it: delete the folder {folder} to train from the start."
            ) from error


def _check_losses(update: Update, networks: Networks, folder: Path, kept: int | None) -> None:
    failed = update.failed.tolist()
    first = min((step for step in failed if step >= 0), default=None)
    if first is not None:  # others may have failed since, at steps of their own
        _not_finite("the loss is", [step == first for step in failed], networks, first, folder, kept)


def _check_weights(networks: Networks, step: int, folder: Path, kept: int | None) -> None:
    finite = torch.stack([values.isfinite().flatten(1).all(1) for values in networks.parameters.values()]).all(0)
    if not finite.all():
        _not_finite("the weights are", (~finite).tolist(), networks, step, folder, kept)


def _not_finite(
    what: str, bad: Sequence[bool], networks: Networks, step: int, folder: Path, kept: int | None
) -> NoReturn:
    names = [f"{label['seed']} ({label['phase']})" for label, wrong in zip(networks.labels, bad, strict=True) if wrong]
    last = f"the last checkpoint, of step {kept}, is in {folder}"
    if kept is None:
        last = "no checkpoint was taken before"
    raise NotFinite(
        f"{what} not finite at training step {step} for seed {', '.join(names)}; {last}. "
        "A lower learning rate usually helps."
    )


def _evaluate(
    networks: Networks,
    images: ImageSet,
    plan: Plan,
    lesson: Lesson,
    step: int,
    penalty: Penalty | None,
) -> list[dict[str, Any]]:
    """Rows of the training table: loss and accuracies on fresh held-out trials of the lesson's task."""
    # The stream is named by the step, so that a row does not depend on which rows came before it.
    device = images.test_images.device
    draws = [streams.generator(seed, plan.stream, "evaluate", str(step), device=device) for seed in networks.seeds]
    with torch.no_grad():
        drawn = task.draw(draws, plan.log_trials, lesson, plan.min_delay, images.offsets("test"), images.counts("test"))
        shown = task.inputs(drawn, draws, images.test_images, images.mean, images.std, lesson.steps)
        hidden = task.hidden_states(networks, shown)
        logits = networks.logits(hidden)
        losses = task.loss(logits, drawn, lesson, plan.full.steps)
        penalties = torch.zeros_like(losses)
        if penalty is not None:
            penalties = penalty(networks, Batch(drawn, shown, lesson), hidden, draws)
        response, null = task.accuracies(logits, drawn, lesson)
    columns = [values.tolist() for values in (losses, penalties, response, null)]
    return [
        {
            **label, "step": step, "loss": loss, "penalty": term, "response_accuracy": right,
            "null_accuracy": silent, "classes": lesson.classes, "current_steps": lesson.steps, "alpha": lesson.alpha,
        }
        for label, loss, term, right, silent in zip(networks.labels, *columns, strict=True)
    ]  # fmt: skip


def _log_progress(logger: logging.Logger, rows: list[dict[str, Any]], step: int, steps: int, rate: float) -> None:
    mean = pd.DataFrame(rows).mean(numeric_only=True)
    left = f"{(steps - step) / rate:.0f} s left" if rate > 0 else "starting"
    logger.info(
        "step %d of %d: loss %.4f, response %.3f right, null %.3f right (%d classes, %d time steps), %.1f steps/s, %s",
        step, steps, mean.loss, mean.response_accuracy, mean.null_accuracy, mean.classes, mean.current_steps,
        rate, left,
    )  # fmt: skip
