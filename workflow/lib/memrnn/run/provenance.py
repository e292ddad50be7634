"""Where results come from: configuration, versions, commit, machine, and the time and memory each rule took."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

PACKAGES = ("numpy", "pandas", "pillow", "safetensors", "scikit-learn", "scipy", "seaborn", "snakemake", "torch")

# Variables of the shell that choose other kernels, and with these other last bits, begin so.
CHOOSING = (
    "MKL_",
    "ATEN_",
    "ONEDNN_",
    "DNNL_",
    "OPENBLAS_",
    "CUBLAS_",
    "NVIDIA_TF32",
    "TORCH_ALLOW_TF32",
    "GLIBC_TUNABLES",
)

# The line by which a job of training says how it computes; `engine.describe` writes it.
DEVICE = re.compile(r"^\S+ \S+ on (.+?), products in ", re.MULTILINE)
# The line by which a job says with what settings it works; `jobs.log_to` writes it.
MADE_WITH = re.compile(r"^\S+ \S+ settings (\{.*\})$", re.MULTILINE)


def collect(
    config: Mapping[str, Any],
    root: str | Path,
    benchmarks: Sequence[str | Path],
    logs: Sequence[str | Path],
    folder: str | Path,
) -> dict[str, Any]:
    """Provenance of a run.

    Args:
        config: the merged configuration.
        root: folder of the clone, for its commit.
        benchmarks: Snakemake's benchmark files of the run's jobs; one that is missing is not counted.
        logs: the jobs' log files, in which those that train say on what; likewise.
        folder: of the run; benchmarks lie in its subfolder benchmarks, one subfolder or file per rule.
    Returns:
        config, made_with (see there), config_hash, commit and whether the tree was clean (null outside a clone),
        versions; machine, the one that this function runs on, threads of each job, and devices, on which training says
        it ran ("cpu", or the name
        of a GPU); started and ended, when the first and the last of the jobs did whose results these are (UTC; null if
        there are none); and per rule the number of jobs, their seconds by the clock, in all (seconds) and of
        the longest (longest_seconds), and of the processor in all (cpu_seconds), and the largest memory of one (MiB).
    """
    # In a folder within a clone of something else, git would tell that clone's commit.
    top = _git(root, "rev-parse", "--show-toplevel")
    in_clone = top is not None and Path(top).resolve() == Path(root).resolve()
    jobs = _jobs(benchmarks, Path(folder) / "benchmarks")
    return {
        "config": config,
        "made_with": made_with(logs, Path(folder) / "logs"),
        # Not `jobs.fingerprint_of`, which reads files that a setting happens to name.
        "config_hash": hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest(),
        "commit": _git(root, "rev-parse", "HEAD") if in_clone else None,
        "clean": _git(root, "status", "--porcelain") == "" if in_clone else None,
        "versions": versions(),
        "machine": machine(),
        "threads": config["threads"],
        "devices": sorted({name for path in map(Path, logs) if path.is_file() for name in _devices(path)}),
        "started": _utc((jobs["ended"] - jobs["s"]).min()) if len(jobs) else None,
        "ended": _utc(jobs["ended"].max()) if len(jobs) else None,
        "rules": _rules(jobs),
    }


def made_with(logs: Sequence[str | Path], folder: str | Path) -> dict[str, list[dict[str, Any]]]:
    """What jobs say in their logs that they were made with, by stage; jobs with the same settings count once.

    The configuration of now need not be that of all of them: Snakemake can be told not to look at settings.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(map(Path, logs)):
        for line in MADE_WITH.findall(path.read_text(errors="replace")) if path.is_file() else ():
            settings = {key: value for key, value in json.loads(line).items() if key != "seeds"}
            stage = found.setdefault(path.relative_to(folder).parts[0].removesuffix(".log"), [])
            if settings not in stage:
                stage.append(settings)
    return found


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}}


def machine() -> dict[str, Any]:
    """System, processor, its number of cores; torch's kernels and the shell's choices, on which last bits depend."""
    import torch

    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "environment": {name: value for name, value in sorted(os.environ.items()) if name.startswith(CHOOSING)},
    }


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


def _devices(log: Path) -> list[str]:
    return DEVICE.findall(log.read_text(errors="replace"))


def _jobs(benchmarks: Sequence[str | Path], folder: Path) -> pd.DataFrame:
    """Snakemake's benchmarks, with the rule of each and when it ended: s, cpu_time, ended (s), max_rss (MiB), rule."""
    found = [
        pd.read_csv(path, sep="\t", na_values="-").assign(
            rule=path.relative_to(folder).parts[0].removesuffix(".tsv"), ended=path.stat().st_mtime
        )
        for path in map(Path, benchmarks)
        if path.is_file()
    ]
    if not found:
        return pd.DataFrame(columns=["s", "cpu_time", "ended", "max_rss", "rule"])
    # Of a job that is too short, Snakemake learns neither memory nor the processor's time.
    return pd.concat(found).fillna({"max_rss": 0.0, "cpu_time": 0.0})


def _rules(jobs: pd.DataFrame) -> dict[str, dict[str, float]]:
    return {
        rule: {
            "jobs": len(group),
            "seconds": round(float(group["s"].sum()), 2),
            "longest_seconds": round(float(group["s"].max()), 2),
            "cpu_seconds": round(float(group["cpu_time"].sum()), 2),
            "max_rss_mib": float(group["max_rss"].max()),
        }
        for rule, group in jobs.groupby("rule")
    }


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
