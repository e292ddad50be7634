"""Training trained networks on in several modes side by side, each with a penalty or a task of its own, or neither."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from memrnn.models.networks import Networks
from memrnn.tasks.protocols import Schedule
from memrnn.training import train
from memrnn.training.engine import Batch, Engine, Penalty
from memrnn.training.known import Known
from memrnn.training.penalties import PENALTIES

OF_A_MODE = ("penalty", "strength", "trial_steps", "passed_states")  # settings that are not the penalty's own


def train_on(
    known: Known,
    modes: Mapping[str, Mapping[str, Any]],
    plan: train.Plan,
    engine: Engine,
    folder: Path,
    fingerprint: str,
    logger: logging.Logger,
    stop: Callable[[], int | None] = lambda: None,
) -> tuple[Networks, pd.DataFrame]:
    """Train networks on in every mode; all modes draw their trials from the same streams.

    Modes of the same task train side by side, one task after the other.

    Args:
        modes: settings of each mode: those of `penalty_of_modes`, and the task's where it is not the plan's:
            `trial_steps`, time steps of a trial, and `passed_states`, see `Update`.
        plan: of modes without a task of their own; one lesson.
        folder: for checkpoints, with a folder for each task in it.
        fingerprint, logger, stop: as for `train.run`.
    Returns:
        as `train.run` does; `phases` of the networks are their modes.
    Raises:
        as `train.run` does.
    """
    tasks: dict[tuple[int, float], dict[str, Mapping[str, Any]]] = {}
    for name, settings in modes.items():
        task = settings.get("trial_steps", plan.full.steps), settings.get("passed_states", 0.0)
        tasks.setdefault(task, {})[name] = settings
    trained, tables = [], []
    for number, ((steps, passed), alike) in enumerate(tasks.items()):
        full = replace(plan.full, steps=steps)
        own = replace(plan, full=full, schedule=Schedule((0,), (full,)), passed_states=passed)
        logger.info("modes %s: trials of %d steps", ", ".join(alike), steps)
        start, penalty = in_modes(known.trained, list(alike)), penalty_of_modes(alike, known)
        networks, rows = train.run(
            start, known.images, own, engine, folder / str(number), fingerprint, logger, penalty, stop
        )
        trained.append(networks)
        tables.append(rows)
    return _joined(trained), pd.concat(tables, ignore_index=True)


def _joined(ensembles: Sequence[Networks]) -> Networks:
    """Ensembles one after the other along the axis of networks."""
    parts = [networks.parameters for networks in ensembles]
    joined = {name: torch.cat([each[name] for each in parts]) for name in parts[0]}
    seeds = [seed for networks in ensembles for seed in networks.seeds]
    phases = [phase for networks in ensembles for phase in networks.phases]
    return ensembles[0].like(joined, seeds, phases)


def in_modes(trained: Networks, modes: Sequence[str]) -> Networks:
    """Every network once for each mode, the modes one after the other along the axis of networks."""
    repeated = {name: torch.cat([values] * len(modes)) for name, values in trained.parameters.items()}
    phases = [mode for mode in modes for _ in trained.seeds]
    return trained.like(repeated, trained.seeds * len(modes), phases)


def penalty_of_modes(modes: Mapping[str, Mapping[str, Any]], known: Known) -> Penalty | None:
    """The penalty of `in_modes` networks: that of its mode for each network, times the mode's strength.

    Args:
        modes: settings of each mode, in the order of `in_modes`: `penalty`, a key of `PENALTIES`, its `strength` and
            what the penalty's SETTINGS name; or no penalty.
        known: of the networks before they were repeated.
    Returns:
        None where no mode has a penalty.
    """
    made = [_penalty_of(settings, known) for settings in modes.values()]
    if not any(made):
        return None
    return _side_by_side(made, len(known.trained.seeds))


def _penalty_of(settings: Mapping[str, Any], known: Known) -> Penalty | None:
    own = {key: value for key, value in settings.items() if key not in OF_A_MODE}
    if "penalty" not in settings:
        return None
    penalty, strength = PENALTIES[settings["penalty"]](known, **own), settings["strength"]
    return lambda *of_mode: strength * penalty(*of_mode)


def _side_by_side(penalties: Sequence[Penalty | None], size: int) -> Penalty:
    """Each penalty for `size` networks, one after the other; 0 for None. What has no penalty costs nothing."""

    def penalty(networks: Networks, batch: Batch, hidden: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        # Cut by one operation each, whose gradient is put together once for all modes.
        names, cut = networks.parameters, [values.split(size) for values in networks.parameters.values()]
        parts = zip(penalties, zip(*cut, strict=True), _cut(batch, size), hidden.split(size), strict=True)
        terms = []
        for place, (each, parameters, own_batch, own_hidden) in enumerate(parts):
            if each is None:
                terms.append(hidden.new_zeros(size))
                continue
            part = slice(place * size, (place + 1) * size)
            named = dict(zip(names, parameters, strict=True))
            own = networks.like(named, networks.seeds[part], networks.phases[part])
            terms.append(each(own, own_batch, own_hidden, generators[part]))
        return torch.cat(terms)

    return penalty


def _cut(values: Any, size: int) -> Iterable[Any]:
    """A tensor, or those in a named tuple, cut along the first axis; anything else as it is for every part."""
    if isinstance(values, Tensor):
        return values.split(size)
    if isinstance(values, tuple):
        return map(type(values), *(_cut(each, size) for each in values))
    return repeat(values)
