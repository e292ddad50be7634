"""What Snakemake must know to plan a run; nothing here imports torch, so that planning is quick."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memrnn.core.files import seal_of
from memrnn.tasks.protocols import step_of

# Of jobs on a cluster, beside what the configuration says. Evaluating 30 LSTM networks of 200 units on 1,000
# trials of 785 inputs took 2.3 GB more than torch alone, and frames of 49,152 inputs about four copies of each.
BYTES_PER_INPUT, BYTES_PER_UNIT = 4 * 4, 4 * 80
SHORT_MINUTES = 60  # that the jobs of a block may take in all to be one submission
IMAGES_AT_ONCE = 500  # of each network, that centroids take


def network(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration's section `network`, without the sizes of front ends that are not in use."""
    used = {"units", "front_end", config["network"]["front_end"]}
    return {key: value for key, value in config["network"].items() if key in used}


def modes(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Settings of every mode in which networks are trained on, in their order."""
    return {name: config["mode_settings"][name] for name in config["regularise"]["modes"]}


def longest_trial(config: Mapping[str, Any]) -> int:
    """Time steps of the longest trial that networks are trained on in any mode."""
    known, chosen = config["mode_settings"], config["regularise"]["modes"]
    longer = [known[name].get("trial_steps", 0) for name in chosen if name in known]
    return max(config["task"]["steps"], *longer, 0)


def states(config: Mapping[str, Any], classes: int) -> dict[str, int]:
    """States of each network that a job holds at once, by stage: one per trial, and in training per time step.

    Args:
        config: the merged configuration.
        classes: of the images.
    """
    logged, steps = config["train"]["log_trials"], config["task"]["steps"]
    return {
        "train": max(config["train"]["batch"], logged) * steps,
        "regularise": max(config["regularise"]["batch"], logged) * longest_trial(config),
        "slow_points": IMAGES_AT_ONCE,
        "other_starts": IMAGES_AT_ONCE,
        "spectrum": config["spectrum"]["noise_trials"] * classes,
        "portraits": config["portraits"]["delay"] * config["portraits"]["trials"] * classes,
        "backtrack": config["backtrack"]["confusion_trials"] * steps,
        "extrapolate": config["extrapolate"]["trials"] * classes,
    }


def minutes(config: Mapping[str, Any], stage: str, networks: int) -> int:
    """Time to give a job of so many networks, 0 for one that works on tables, in minutes."""
    allowed = config["resources"]
    return math.ceil(allowed["base"]["minutes"] + networks * allowed.get(stage, {}).get("minutes", 0))


def megabytes(config: Mapping[str, Any], stage: str, networks: int, classes: int, pixels: int, images: int) -> int:
    """Memory to give a job, in MB.

    Args:
        config, classes: as for `states`.
        stage, networks: as for `minutes`.
        pixels: numbers of an image.
        images: how many a job reads.
    """
    allowed = config["resources"]
    if not networks:
        return allowed["base"]["mb"]
    batch = states(config, classes)[stage] * (pixels * BYTES_PER_INPUT + config["network"]["units"] * BYTES_PER_UNIT)
    return math.ceil(
        allowed["base"]["mb"] + images * pixels * 4 / 1e6 + networks * (allowed[stage]["mb"] + batch / 1e6)
    )


def written(path: str | Path) -> int | None:
    """When a file was last written, in nanoseconds; None where there is none."""
    return os.stat(path).st_mtime_ns if os.path.isfile(path) else None


def forget_record(results: str | Path) -> bool:
    """Remove what a run's folder says of the run as a whole; whether there was anything."""
    paths = [Path(results, name) for name in ("provenance.json", "manifest.csv", "report.html")]
    found = [path for each in paths for path in (each, seal_of(each)) if path.exists()]
    for path in found:
        path.unlink()
    return bool(found)


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
    """Cell and protocol of every ensemble, by the stage that trains it or whose section chooses its protocols."""
    protocols = {
        "train": config["protocols"],
        "regularise": config["regularise"]["protocols"],
        "other_starts": config["other_starts"]["protocols"],
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
