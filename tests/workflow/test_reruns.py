"""Whole calls of Snakemake that are killed, disturbed or called twice, and what a rerun makes of what they left."""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import copy_workflow, snakemake, wait_for
from test_faults import mounted

# One small network, trained for some seconds so that there is a moment to kill it in, and searched as long.
CONFIG = """\
run: tiny
cells: [gru]
protocols: [nacu]
seeds: [0]
block_size: 1
network: {units: 8}
task: {steps: 8}
train: {steps: 1000, batch: 4, log_every: 50, log_trials: 10, checkpoints: [0, 0.1, 0.2, 0.4, 0.6, 0.8, 1]}
protocol_settings:
  decu: {values: [6, 8], starts: [0, 20]}
extrapolate: {delays: [8, 20]}
slow_points: {search_steps: [2500]}
backtrack: {protocols: [], start_steps: 2500}
spectrum: {search_steps: 2500}
regularise: {protocols: [], search_steps: 2500}
claims: {search_steps: 2500}
engine: {device: cpu, shared_frames: null}
"""
TINY = ("--workflow-profile", "profiles/default", "--configfile", "tiny.yaml", "--cores", "1")
RESULTS = Path("results", "tiny")
TABLE = str(RESULTS / "slow_points/train/gru-nacu/seeds0.csv")
TRAIN_LOG, SEARCH_LOG = (
    RESULTS / "logs/train/gru-nacu/seeds0.log",
    RESULTS / "logs/slow_points/train/gru-nacu/seeds0.log",
)
PATIENCE = 300  # seconds until a test gives up; nothing waits that long on an idle machine


def clone_at(folder: Path) -> Path:
    clone = copy_workflow(folder)
    (clone / "tiny.yaml").write_text(CONFIG)
    return clone


def results(clone: Path) -> dict[str, str]:
    """SHA-256 of everything that was made, but for logs and times, and for files killed before they had a name."""
    return {
        str(path.relative_to(clone)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (clone / "results").rglob("*")
        if path.is_file() and not {"logs", "benchmarks"} & set(path.parts) and not path.name.startswith(".")
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    clone = clone_at(tmp_path_factory.mktemp("undisturbed") / "clone")
    done = snakemake(clone, *TINY, TABLE)
    assert done.returncode == 0, done.stdout
    assert len(results(clone)) == 8  # images; networks, checkpoints, table and seal; points, table and seal
    return clone


@contextlib.contextmanager
def started(clone: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Snakemake under way, in a session of its own; killed in the end with what it started."""
    with open(clone / "printed", "w+") as printed:
        process = subprocess.Popen(
            [sys.executable, "-m", "snakemake", *TINY, *arguments],
            cwd=clone, stdout=printed, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def script_of(clone: Path, stage: str) -> int:
    """Process of a job's script in a clone."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            program, *arguments = (folder / "cmdline").read_bytes().decode().split("\0")
            runs = "python" in program and any(each.endswith(f".{stage}.py") for each in arguments)
            if runs and Path(os.readlink(folder / "cwd")) == clone:
                return int(folder.name)
    raise AssertionError(f"no script of {stage} runs in {clone}")


def test_a_run_killed_at_every_turn_ends_with_the_same_bits(undisturbed, tmp_path):
    """Its training, itself while its training works on, all of it as a scheduler does, and its search."""
    clone = clone_at(tmp_path / "clone")
    with started(clone, TABLE) as run:
        wait_for(clone / TRAIN_LOG, "step 150 of", PATIENCE, clone / "printed")
        os.kill(script_of(clone, "train"), signal.SIGKILL)
        assert run.wait(PATIENCE) == 1

    with started(clone, TABLE) as run:
        wait_for(clone / TRAIN_LOG, "continuing from the checkpoint at step ", PATIENCE, clone / "printed")
        orphan = script_of(clone, "train")
        os.kill(orphan, signal.SIGSTOP)
        done = snakemake(clone, *TINY, TABLE)
        assert done.returncode == 1
        assert "Directory cannot be locked" in done.stdout  # two calls in one folder

        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        assert len(list((clone / ".snakemake/locks").iterdir())) > 0
        assert snakemake(clone, *TINY, "--unlock").returncode == 0
        with started(clone, TABLE) as rerun:
            wait_for(clone / TRAIN_LOG, f"waiting for the end of process {orphan} on ", PATIENCE, clone / "printed")
            os.kill(orphan, signal.SIGKILL)
            wait_for(clone / TRAIN_LOG, "continuing from the checkpoint at step ", PATIENCE, clone / "printed")
            os.killpg(rerun.pid, signal.SIGTERM)
            assert rerun.wait(PATIENCE) != 0
        saved = re.search(r"told to end by signal 15; saved at step (\d+)", (clone / TRAIN_LOG).read_text())

    with started(clone, TABLE) as run:
        wait_for(clone / SEARCH_LOG, "centroids rest on", PATIENCE, clone / "printed")
        os.kill(script_of(clone, "slow_points"), signal.SIGKILL)
        assert run.wait(PATIENCE) == 1
    assert f"continuing from the checkpoint at step {saved[1]} of 1000" in (clone / TRAIN_LOG).read_text()
    assert not (clone / TABLE).exists()

    done = snakemake(clone, *TINY, TABLE)
    assert done.returncode == 0, done.stdout
    assert results(clone) == results(undisturbed)


def test_a_table_cut_between_two_rows_is_refused_and_then_made_again(undisturbed, tmp_path):
    clone = shutil.copytree(undisturbed, tmp_path / "clone", symlinks=True)
    whole = (clone / TABLE).read_text()
    (clone / TABLE).write_text("".join(whole.splitlines(keepends=True)[:-3]))
    joined = str(RESULTS / "tables/slow_points.csv")
    done = snakemake(clone, *TINY, joined)
    assert done.returncode == 1
    assert f"{TABLE}: has other contents than when seeds0.csv.sha256 was written" in done.stdout
    assert "Delete the file and run again." in done.stdout
    assert not (clone / joined).exists()

    (clone / TABLE).unlink()
    done = snakemake(clone, *TINY, joined)
    assert done.returncode == 0, done.stdout
    assert {name: results(clone)[name] for name in results(undisturbed)} == results(undisturbed)
    assert (clone / joined).read_text() == whole


def test_a_results_folder_that_may_not_be_written_to_is_named(tmp_path):
    clone = clone_at(tmp_path / "clone")
    with mounted(clone / "results", "-t", "tmpfs", "-o", "ro", "tmpfs"):
        done = snakemake(clone, *TINY, TABLE)
        assert done.returncode == 1
        assert "Read-only file system" in done.stdout and str(RESULTS) in done.stdout
        assert list((clone / "results").iterdir()) == []


def test_a_run_of_another_name_touches_nothing_of_the_first(undisturbed, tmp_path):
    clone = shutil.copytree(undisturbed, tmp_path / "clone", symlinks=True)
    before = {path: path.stat().st_mtime_ns for path in (clone / RESULTS).rglob("*")}
    done = snakemake(clone, TABLE.replace("tiny", "other"), *TINY, "--config", "run=other")
    assert done.returncode == 0, done.stdout
    assert {path: path.stat().st_mtime_ns for path in (clone / RESULTS).rglob("*")} == before
    made = results(clone)
    first = {name: digest for name, digest in made.items() if name.startswith("results/tiny/")}
    assert first == results(undisturbed)
    other = {name.replace("other", "tiny", 1): digest for name, digest in made.items() if name not in first}
    assert other == first  # the name enters no number
