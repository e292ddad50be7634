"""Where results come from: configuration, versions, commit, machine, and the time and memory each rule took."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from memrnn import record

PACKAGES = ("numpy", "pandas", "safetensors", "scikit-learn", "scipy", "seaborn", "snakemake", "torch")


def collect(
    config: Mapping[str, Any], root: str | Path, benchmarks: Sequence[str | Path], folder: str | Path
) -> dict[str, Any]:
    """Provenance of a run.

    Args:
        config: the merged configuration.
        root: folder of the clone, for its commit.
        benchmarks: Snakemake's benchmark files of the run's jobs; one that is missing is not counted.
        folder: where they lie, one subfolder or file per rule.
    Returns:
        config, config_hash, commit and whether the tree was clean (null outside a clone), versions, machine, and per
        rule the number of jobs, their seconds in all and the largest memory of one (MiB).
    """
    # In a folder within a clone of something else, git would tell that clone's commit.
    top = _git(root, "rev-parse", "--show-toplevel")
    in_clone = top is not None and Path(top).resolve() == Path(root).resolve()
    return {
        "config": config,
        "config_hash": record.fingerprint(config),
        "commit": _git(root, "rev-parse", "HEAD") if in_clone else None,
        "clean": _git(root, "status", "--porcelain") == "" if in_clone else None,
        "versions": versions(),
        "machine": machine(),
        "rules": _rules(benchmarks, folder),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}}


def machine() -> dict[str, Any]:
    """System, processor and its number of cores."""
    return {"system": platform.platform(), "processor": _processor(), "cores": os.cpu_count()}


def _git(root: str | Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _rules(benchmarks: Sequence[str | Path], folder: str | Path) -> dict[str, dict[str, float]]:
    taken = [
        pd.read_csv(path, sep="\t", na_values="-").assign(rule=path.relative_to(folder).parts[0].removesuffix(".tsv"))
        for path in map(Path, benchmarks)
        if path.is_file()
    ]
    if not taken:
        return {}
    grouped = pd.concat(taken).fillna({"max_rss": 0.0}).groupby("rule")
    return {
        rule: {"jobs": len(group), "seconds": float(group["s"].sum()), "max_rss_mib": float(group["max_rss"].max())}
        for rule, group in grouped
    }
