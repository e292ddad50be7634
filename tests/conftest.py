"""A finished smoke run, made once for all tests that look at one."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("Snakefile", "config", "envs", "workflow")


def snakemake(clone: Path, *arguments: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in a clone as a user would; returns what it printed, whatever its exit status."""
    return subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=clone,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def copy_workflow(folder: Path) -> Path:
    """A clone of the workflow without results or version control."""
    folder.mkdir(parents=True)
    for part in PARTS:
        source = ROOT / part
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, folder / part)
    return folder


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which the smoke configuration has run from end to end, report included.

    The file `seconds` in it holds how long the run took.
    """
    clone = copy_workflow(tmp_path_factory.mktemp("smoke") / "clone")
    began = time.monotonic()
    done = snakemake(clone, "--cores", "2", "--configfile", "config/smoke.yaml")
    assert done.returncode == 0, done.stdout
    (clone / "seconds").write_text(str(time.monotonic() - began))
    (clone / "stdout.txt").write_text(done.stdout)
    done = snakemake(clone, "--configfile", "config/smoke.yaml", "--report", "results/smoke/report.html")
    assert done.returncode == 0, done.stdout
    return clone
