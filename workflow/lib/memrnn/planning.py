"""What Snakemake must know to plan a run; nothing here imports torch, so that planning is quick."""

from __future__ import annotations

import ast
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memrnn.budget import step_of

# What jobs are given on a cluster. An update is one time step of one trial of one network. Its time grows with the
# weights that a product goes through, and with the units, whose gates are computed one by one. Both rates follow from
# two measurements of a GRU's training step in float32 on one core: 90 ms for 128 trials of 20 steps with 784 pixels and
# 200 units; 4.4 ms for 32 trials with 64 pixels and 100 units.
BACKWARD = 3  # an update with its gradient costs as much as this many: forward, and backward twice that
SECONDS_PER_PRODUCT, SECONDS_PER_UNIT = 4.3e-11, 1.6e-8
TIME_MARGIN = 4  # for slower processors, and for LSTMs
LEAST_MINUTES = 10
SHORT_SECONDS = 600  # a block whose jobs take less in all is one submission
# At the size of MNIST, evaluating 30 LSTM networks of 200 units on 1,000 trials peaked at 2.6 GiB.
LEAST_MB, BASE_MB = 2000, 1000
BYTES_PER_NUMBER = 4 * 20  # a float, and the copies of inputs and states that a step needs beside each other


def updates(config: Mapping[str, Any], classes: int) -> dict[str, int]:
    """Time steps of single trials that a network does in a job, by stage; with gradients they count `BACKWARD` times.

    Args:
        config: the merged configuration.
        classes: of the images.
    """
    training = {stage: config[stage]["steps"] * config[stage]["batch"] for stage in ("train", "regularise")}
    return {
        **{stage: BACKWARD * trials * config["task"]["steps"] for stage, trials in training.items()},
        "slow_points": BACKWARD * max(config["slow_points"]["search_steps"]) * classes,
        "extrapolate": max(config["extrapolate"]["delays"]) * config["extrapolate"]["trials"] * classes,
    }


def seconds(updates: int, networks: int, inputs: int, units: int) -> float:
    """Time that a job's updates take on the processor of the two measurements.

    Args:
        updates: time steps of single trials that each network does; see `updates`.
        networks: side by side in the job.
        inputs: pixels and trigger; see `shared_inputs` where trials share frames.
        units: hidden units.
    """
    return networks * updates * units * ((inputs + units) * SECONDS_PER_PRODUCT + SECONDS_PER_UNIT)


def minutes(updates: int, networks: int, inputs: int, units: int) -> int:
    """Time to give a job, in minutes; generous. Arguments as for `seconds`."""
    return max(LEAST_MINUTES, math.ceil(TIME_MARGIN * seconds(updates, networks, inputs, units) / 60))


def shared_inputs(inputs: int, shared: int | None, batch: int, steps: int) -> int:
    """Inputs that would cost as much, were each frame of each trial projected by itself.

    Args:
        inputs: pixels and trigger.
        shared: noise frames that the trials of an update share; None for frames of their own.
        batch: trials of an update.
        steps: time steps of a trial.
    """
    return inputs if shared is None else math.ceil(inputs * (shared + batch) / (batch * steps))


def megabytes(states: int, networks: int, inputs: int, units: int) -> int:
    """Memory to give a job, in MB; generous.

    Args:
        states: of each network that are in memory together: one per trial, and in training per time step.
        networks, inputs, units: as for `seconds`.
    """
    return max(LEAST_MB, BASE_MB + math.ceil(networks * states * (inputs + units) * BYTES_PER_NUMBER / 1e6))


def written(path: str | Path) -> int | None:
    """When a file was last written, in nanoseconds; None where there is none."""
    return os.stat(path).st_mtime_ns if os.path.isfile(path) else None


def use_library(library: str | Path) -> None:
    """Make every process that this one starts import memrnn from `library`, whatever else is installed."""
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(library), os.environ.get("PYTHONPATH")]))


def blocks(seeds: Sequence[int], size: int) -> dict[str, list[int]]:
    """Cut the seeds, in their order, into blocks of `size` and name each by its seeds.

    Returns:
        seeds by name: "seeds0-3" for a run of consecutive seeds, "seeds0_5-7" for several runs. A block that is full
        keeps its name when seeds are added at the end.
    """
    cut = [list(seeds[first : first + size]) for first in range(0, len(seeds), size)]
    return {f"seeds{_runs(block)}": block for block in cut}


def _runs(seeds: Sequence[int]) -> str:
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return "_".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def put_in_order(settings: dict[str, Any]) -> None:
    """Sort the keys of a nested configuration, in place.

    Snakemake compares parameters in the order they are written, and this order depends on which of several
    configuration files names a value: without sorting, the same values would count as changed.
    """
    for key in sorted(settings):
        settings[key] = settings.pop(key)
        if isinstance(settings[key], dict):
            put_in_order(settings[key])


def ensembles(config: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """Cell and protocol of every ensemble, by the stage that trains it, or that follows its points back."""
    protocols = {
        "train": config["protocols"],
        "regularise": config["regularise"]["protocols"],
        "backtrack": config["backtrack"]["protocols"],
    }
    return {stage: [(cell, name) for cell in config["cells"] for name in names] for stage, names in protocols.items()}


def boundaries(protocol: Mapping[str, Any], steps: int) -> list[int]:
    """Training steps at which a protocol changes the task.

    Args:
        protocol: its section of the configuration's protocol_settings.
        steps: training steps in all.
    """
    return [step_of(start, protocol["out_of"], steps) for start in protocol["starts"][1:]]


def library_files(script: str | Path, library: str | Path) -> list[str]:
    """Modules of the package memrnn that a script imports, directly or through others, as sorted paths.

    Args:
        script: a file of workflow/scripts.
        library: folder that holds the package.
    """
    package = Path(library) / "memrnn"
    found: set[Path] = {package / "__init__.py"}
    waiting = [Path(script)]
    while waiting:
        for name in _imported(waiting.pop()):
            path = package / f"{name}.py"
            if path.is_file() and path not in found:
                found.add(path)
                waiting.append(path)
    return sorted(map(str, found))


def _imported(path: Path) -> set[str]:
    """Names that may be modules of memrnn in the imports of a file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[1] for alias in node.names if alias.name.startswith("memrnn."))
        elif isinstance(node, ast.ImportFrom) and node.module == "memrnn":
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("memrnn."):
            names.add(node.module.split(".")[1])
    return names
