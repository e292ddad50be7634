"""Tiers of tests and skips that are expected; finished smoke runs, made once for all; embedded images; threads."""

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    import pandas as pd

    from memrnn.data.images import ImageSet

ROOT = Path(__file__).parents[1]
PARTS = ("Snakefile", "config", "envs", "profiles", "workflow")

# The same cases every time: what passes here passes elsewhere, and a failure comes back.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

# Begun first, for they take longest: what waits for a scheduler's processes and what runs the workflow again and again.
LONGEST = ("test_cluster.py", "test_reruns.py", "test_extending.py", "test_workflow.py")


# Why a test may be skipped, by what it lacks. Where .ci/run has fetched all it can, MEMRNN_CANNOT names what could not
# be had; only that may be missing then, and a GPU. Any other skip fails the run.
EXPECTED_SKIPS = {
    "gpu": "needs a GPU",
    "mnist": "no files of mnist",
    "fashion_mnist": "no files of fashion_mnist",
    "cifar10": "no files of cifar10",
    "chromium": "chromium is not installed",
    "slurm": "no Slurm: ",
    "plugins": "the plugins could not be installed",
    "mount": "nothing may be mounted here",
    "git": "not a git checkout",
    "docs": "MkDocs is not installed",
}
UNEXPECTED: list[str] = []


# What `make check` runs: folders and files whose tests know their answer and take well under a second each. Statistics
# resample and take longer.
QUICK = ("core", "data", "models", "tasks", "test_config.py", "test_architecture.py", "test_docs.py")
SLOW_FILES = ("test_cifar.py", "test_fronts.py")
SLOW_FIXTURES = {"smoke_run"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        slow = item.path.name in SLOW_FILES or SLOW_FIXTURES & {*item.fixturenames}
        if not slow and {item.path.name, item.path.parent.name} & {*QUICK}:
            item.add_marker("quick")
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(LONGEST)))


def pytest_runtest_logreport(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    cannot = os.environ.get("MEMRNN_CANNOT")
    allowed = EXPECTED_SKIPS if cannot is None else {"gpu", *cannot.split()} & EXPECTED_SKIPS.keys()
    reason = str(report.longrepr[2]).removeprefix("Skipped: ")
    if not any(reason.startswith(EXPECTED_SKIPS[name]) for name in allowed):
        UNEXPECTED.append(f"{report.nodeid}: {reason}")


pytest_collectreport = pytest_runtest_logreport


def pytest_sessionfinish(session: pytest.Session) -> None:
    if UNEXPECTED and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if UNEXPECTED:
        terminalreporter.section("skipped, and nobody expected it (tests/conftest.py, EXPECTED_SKIPS)", red=True)
        terminalreporter.write_line("\n".join(UNEXPECTED))


def snakemake(
    clone: Path, *arguments: str, timeout: float = 600, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in a clone as a user would; returns what it printed, whatever its exit status."""
    return subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=clone,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
        env={**os.environ, "OMP_NUM_THREADS": "1"} | environment,
    )


def copy_workflow(folder: Path) -> Path:
    """A clone of the workflow without results or version control."""
    folder.mkdir(parents=True)
    for part in PARTS:
        source = ROOT / part
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, folder / part)
    return folder


def spectrum_of(scores: "pd.DataFrame", search_steps: int = 3000, **columns) -> "pd.DataFrame":
    """A table as the spectrum stage would write it for the trained networks of `scores`.

    Its values are made up, rising from class to class, alike in every network; `columns` replace them.
    """
    points = ["dataset", "cell", "curriculum", "phase", "seed", "label"]
    table = scores.loc[scores.phase == "trained", points].assign(search_steps=search_steps)
    names = ("time_constant", "relaxation_speed", "drift", "diffusion", "window_speed", "relaxation_kept")
    table["relaxation_readout"] = table.label  # every class keeps to itself
    return filled(
        "spectrum", table.assign(**{name: place + table.label + 2 for place, name in enumerate(names)} | columns)
    )


def relaxed_of(scores: "pd.DataFrame", times: tuple[int, ...] = (0, 40), speed: object = None) -> "pd.DataFrame":
    """A table of relaxed speeds, every class read out right, of the trained networks of `scores`.

    Speeds are made up, rising from class to class, alike in every network; at the last time they are `speed` if given.
    """
    import pandas as pd

    points = ["dataset", "cell", "curriculum", "phase", "seed", "label"]
    table = scores.loc[scores.phase == "trained", points]
    parts = [table.assign(time=time, speed=table.label + 1.0, readout=table.label) for time in times]
    if speed is not None:
        parts[-1]["speed"] = speed
    return pd.concat(parts, ignore_index=True)


def filled(name: str, frame: "pd.DataFrame") -> "pd.DataFrame":
    """A table of the schema from some of its columns: what they lack is made up, or empty where it may be."""
    import numpy as np

    from memrnn.core.tables import TABLES

    made_up = {"text": "made up", "integer": 0, "number": 0.5, "truth": False}
    return frame.assign(
        **{
            column: np.nan if about.may_be_empty else made_up[about.kind]
            for column, about in TABLES[name].columns.items()
            if column not in frame
        }
    )


def load_script(path: Path) -> ModuleType:
    """A script as a module, under the name by which what it starts finds it."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    sys.modules[path.stem] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wait_for(log: Path, text: str, patience: float, printed: Path | None = None) -> None:
    """Until a log holds a text; gives up after `patience` seconds, with what its process has printed."""
    until = time.monotonic() + patience
    while not log.exists() or text not in log.read_text():
        assert time.monotonic() < until, printed and printed.read_text()
        time.sleep(0.001)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """As the workflow trains; networks as small as the tests' only wait for further threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def digits() -> "ImageSet":
    from memrnn.data import dataset

    return dataset.build({"source": "digits", "folder": None})


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which the smoke configuration has run from end to end, reports included; not to be changed.

    One for all test processes: the first makes it, the others wait. The file `done` in it is written last,
    `stdout.txt` holds what the run printed. In `calls`, beside the clone, are the functions of memrnn that
    each job called.
    """
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    clone = base / "smoke" / "clone"
    with open(base / "smoke.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (clone / "done").exists():
            shutil.rmtree(clone.parent, ignore_errors=True)
            _run_smoke(copy_workflow(clone))
    return clone


# Python runs this at the start of every process. Of those that run a script of the workflow, it notes what functions
# are called from the script's first line of work on, but not while a module is imported.
NOTE_CALLS = """\
import atexit, json, os, sys
script = next((each for each in sys.orig_argv if "/.snakemake/scripts/" in each), None)
if script:
    found = {}
    def module_of(frame):
        name = frame.f_globals.get("__name__") or ""
        return name if name.startswith("memrnn.") else None
    def note(frame, event, argument):
        if event != "call" or frame.f_code in found or not module_of(frame):
            return
        above = frame
        while above := above.f_back:
            if above.f_code.co_name == "<module>" and module_of(above):
                return
        found[frame.f_code] = f"{module_of(frame)}.{frame.f_code.co_qualname.partition('.')[0]}"
    def keep():
        sys.setprofile(None)
        with open(os.path.join(os.environ["CALLS"], f"{os.getpid()}.json"), "w") as file:
            json.dump([script.rsplit(".", 2)[1], sorted({*found.values()})], file)
    atexit.register(keep)
    from memrnn.core import jobs
    def log_to(*arguments, begin=jobs.log_to):
        sys.setprofile(note)
        return begin(*arguments)
    jobs.log_to = log_to
"""


def _run_smoke(clone: Path) -> None:
    calls = clone.with_name("calls")
    calls.mkdir()
    (calls / "sitecustomize.py").write_text(NOTE_CALLS)
    noted = {"CALLS": str(calls), "PYTHONPATH": os.pathsep.join([str(calls), os.environ.get("PYTHONPATH", "")])}
    done = snakemake(clone, "--cores", "2", "--configfile", "config/smoke.yaml", timeout=1800, **noted)
    assert done.returncode == 0, done.stdout
    (clone / "stdout.txt").write_text(done.stdout)
    done = snakemake(clone, "--configfile", "config/smoke.yaml", "--report", "results/smoke/snakemake_report.html")
    assert done.returncode == 0, done.stdout
    (clone / "done").touch()
