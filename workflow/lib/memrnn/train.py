"""Training an ensemble under a protocol, with checkpoints that an interrupted run continues from (sections 3 to 5)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from memrnn import networks as nets
from memrnn import record, trials
from memrnn.budget import step_of
from memrnn.images import ImageSet
from memrnn.networks import Networks
from memrnn.protocols import Schedule, Stage

STREAMS = ("draws", "noise", "penalty")

Penalty = Callable[[Networks, Sequence[torch.Generator]], Tensor]


class NotFinite(ArithmeticError):
    """The loss or a weight of a network stopped being a finite number."""


@dataclass(frozen=True)
class Plan:
    """What to train and for how long; every number comes from the configuration.

    Attributes:
        schedule: stage of the protocol at each step.
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
    """

    schedule: Schedule
    full: Stage
    min_delay: int
    steps: int
    batch: int
    learning_rate: float
    drop: tuple[int, float] | None
    log_every: int
    log_trials: int
    checkpoints: tuple[int, ...]
    stream: str = "train"


def drop_of(settings: Mapping[str, Any], steps: int) -> tuple[int, float]:
    """`Plan.drop` of the configuration's learning_rate_drop for a budget of `steps`."""
    return step_of(settings["start"], settings["out_of"], steps), settings["factor"]


def forward(networks: Networks, x: Tensor) -> Tensor:
    """Outputs before the logistic function, (networks, time, batch, outputs), of x, (networks, time, batch, inputs)."""
    return networks.logits(networks.cell.sequence(networks.weights, x))


@dataclass
class _Run:
    """State of a training run: everything that a resumed run needs to go on as if never interrupted."""

    networks: Networks
    optimiser: torch.optim.Adam
    streams: dict[str, list[torch.Generator]]
    step: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)

    def save(self, folder: Path, fingerprint: str) -> None:
        arrays = {f"weights.{name}": values for name, values in self.networks.parameters.items()}
        for name, values in self.networks.parameters.items():
            for moment in ("exp_avg", "exp_avg_sq", "step"):
                if values in self.optimiser.state:
                    arrays[f"{moment}.{name}"] = self.optimiser.state[values][moment]
        for name, generators in self.streams.items():
            arrays[f"stream.{name}"] = torch.stack([generator.get_state() for generator in generators])
        # As pairs, because JSON objects are written in the order of their keys and the table has its own.
        rows = [list(row.items()) for row in self.rows]
        meta = {"fingerprint": fingerprint, "step": self.step, "rows": rows}
        record.save_arrays(folder / "resume.safetensors", arrays, meta)

    def restore(self, folder: Path, fingerprint: str) -> bool:
        """Go to the state last saved under the same settings; False where there is none to use."""
        path = folder / "resume.safetensors"
        if not path.exists():
            return False
        arrays, meta = record.load_arrays(path)
        if meta["fingerprint"] != fingerprint:
            return False
        with torch.no_grad():
            for name, values in self.networks.parameters.items():
                values.copy_(arrays[f"weights.{name}"])
                if f"step.{name}" in arrays:
                    self.optimiser.state[values] = {
                        moment: arrays[f"{moment}.{name}"] for moment in ("exp_avg", "exp_avg_sq", "step")
                    }
        for name, generators in self.streams.items():
            for generator, state in zip(generators, arrays[f"stream.{name}"], strict=True):
                generator.set_state(state.clone())  # torch reads a view from the start of what it is a view of
        self.step, self.rows = meta["step"], [dict(row) for row in meta["rows"]]
        return True


def run(
    start: Networks,
    images: ImageSet,
    plan: Plan,
    folder: Path,
    fingerprint: str,
    logger: logging.Logger,
    penalty: Penalty | None = None,
) -> tuple[Networks, pd.DataFrame]:
    """Train an ensemble.

    Args:
        start: networks before the first step; not changed.
        folder: for checkpoints, see `checkpoints`; a run with the same `fingerprint` continues from the last one there.
        fingerprint: identifies everything that the numbers depend on.
        penalty: term added to each network's loss, (networks,), drawing from the given noise generators.
    Returns:
        the trained networks, and the training table with a row per network and logged step.
    Raises:
        NotFinite: a network's loss, or a weight about to be kept, is NaN or infinite; the message tells the last
            checkpoint, which stays in `folder`.
    """
    parameters = {name: values.clone().requires_grad_() for name, values in start.parameters.items()}
    networks = nets.from_parameters(start.cell.name, parameters, start.seeds, start.phases)
    state = _Run(
        networks,
        torch.optim.Adam(parameters.values(), lr=plan.learning_rate, fused=True),
        # A stream of its own for the penalty: the trials are the same with and without one.
        {name: [record.generator(seed, plan.stream, name) for seed in start.seeds] for name in STREAMS},
    )
    kept = None  # step of the last checkpoint
    if state.restore(folder, fingerprint):
        kept = state.step
        logger.info("continuing from the checkpoint at step %d of %d", state.step, plan.steps)
    offsets, counts = images.offsets("train"), images.counts("train")
    buffers: dict[int, Tensor] = {}
    began, first = time.monotonic(), state.step
    bar = tqdm(total=plan.steps, initial=state.step, unit="step", disable=None, leave=False, mininterval=1)
    while True:
        stage = plan.schedule.at(min(state.step, plan.steps - 1))
        if state.step in plan.checkpoints or state.step == plan.steps:
            finite = torch.stack([values.isfinite().flatten(1).all(1) for values in parameters.values()]).all(0)
            _check_finite("the weights are", finite, start, state.step, folder, kept)
        due = state.step % plan.log_every == 0 or state.step == plan.steps
        if due and not (state.rows and state.rows[-1]["step"] == state.step):  # a resumed run has this step's rows
            state.rows += (rows := _evaluate(networks, images, plan, stage, state.step, penalty))
            _log_progress(logger, rows, state.step, plan.steps, (state.step - first) / (time.monotonic() - began))
        if state.step in plan.checkpoints:
            path = _checkpoint_path(folder, state.step)
            record.save_arrays(path, networks.parameters, {"fingerprint": fingerprint, "step": state.step})
            state.save(folder, fingerprint)
            kept = state.step
        if state.step == plan.steps:
            break
        if plan.drop is not None and state.step >= plan.drop[0]:
            for group in state.optimiser.param_groups:
                group["lr"] = plan.learning_rate * plan.drop[1]
        if stage.steps not in buffers:
            buffers = {
                stage.steps: torch.empty(len(start.seeds), stage.steps, plan.batch, parameters["inputs"].shape[1])
            }
        drawn = trials.draw(state.streams["draws"], plan.batch, stage, plan.min_delay, offsets, counts)
        x = trials.inputs(
            drawn, state.streams["noise"], images.train_images, images.mean, images.std, buffers[stage.steps]
        )
        losses = trials.loss(forward(networks, x), drawn, stage, plan.full.steps)
        if penalty is not None:
            losses = losses + penalty(networks, state.streams["penalty"])
        _check_finite("the loss is", losses.isfinite(), start, state.step, folder, kept)
        state.optimiser.zero_grad()
        losses.sum().backward()
        state.optimiser.step()
        state.step += 1
        bar.update()
    bar.close()
    final = {name: values.detach() for name, values in parameters.items()}
    trained = nets.from_parameters(start.cell.name, final, start.seeds, start.phases)
    return trained, pd.DataFrame(state.rows)


def checkpoints(folder: Path, steps: Sequence[int]) -> dict[str, Tensor]:
    """Weights that a finished run has left in its folder after each of `steps`, each tensor (steps, networks, ...)."""
    taken = [record.load_arrays(_checkpoint_path(folder, step))[0] for step in steps]
    return {name: torch.stack([each[name] for each in taken]) for name in taken[0]}


def _checkpoint_path(folder: Path, step: int) -> Path:
    return folder / f"step{step}.safetensors"


def _check_finite(what: str, finite: Tensor, networks: Networks, step: int, folder: Path, kept: int | None) -> None:
    if not finite.all():
        bad = [
            f"{label['seed']} ({label['phase']})"
            for label, good in zip(networks.labels, finite, strict=True)
            if not good
        ]
        last = f"the last checkpoint, of step {kept}, is in {folder}"
        if kept is None:
            last = "no checkpoint was taken before"
        raise NotFinite(
            f"{what} not finite at training step {step} for seed {', '.join(bad)}; {last}. "
            "A lower learning rate usually helps."
        )


def _evaluate(
    networks: Networks,
    images: ImageSet,
    plan: Plan,
    stage: Stage,
    step: int,
    penalty: Penalty | None,
) -> list[dict[str, Any]]:
    """Rows of the training table: loss and accuracies on fresh held-out trials of the stage's task."""
    # The stream is named by the step, so that a row does not depend on which rows came before it.
    draws = [record.generator(seed, plan.stream, "evaluate", str(step)) for seed in networks.seeds]
    with torch.no_grad():
        drawn = trials.draw(
            draws, plan.log_trials, stage, plan.min_delay, images.offsets("test"), images.counts("test")
        )
        x = torch.empty(len(networks.seeds), stage.steps, plan.log_trials, networks.weights.inputs.shape[1])
        x = trials.inputs(drawn, draws, images.test_images, images.mean, images.std, x)
        logits = forward(networks, x)
        losses = trials.loss(logits, drawn, stage, plan.full.steps)
        penalties = torch.zeros_like(losses) if penalty is None else penalty(networks, draws)
        response, null = trials.accuracies(logits, drawn, stage)
    columns = [values.tolist() for values in (losses, penalties, response, null)]
    return [
        {
            **label, "step": step, "loss": loss, "penalty": term, "response_accuracy": right,
            "null_accuracy": silent, "classes": stage.classes, "current_steps": stage.steps, "alpha": stage.alpha,
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
