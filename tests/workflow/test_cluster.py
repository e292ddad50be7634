"""The cluster profiles: on a Slurm that the tests start where it can be installed, and on a stand-in for others."""

import contextlib
import io
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import private_slurm
import pytest
import yaml
from conftest import ROOT, copy_workflow
from PIL import Image

from memrnn.run.stages import BLOCKWISE

sys.path.insert(0, str(ROOT / "benchmarks"))
import allowances

PROFILES = ROOT / "profiles"
GENERIC = PROFILES / "cluster-generic"
SMOKE = ("--configfile", "config/smoke.yaml")

# Jobs of a moment in place of the workflow. The first attempt at `second-1`, with 300 MB, fails, or, with a file `hang`
# beside it, it does not end.
TOY = """\
rule all:
    input: expand("second-{i}", i=range(2))

rule first:
    output: "first-{i}"
    group: lambda wildcards: "block"
    resources: mem_mb=lambda wildcards, attempt: 300 * attempt, runtime=lambda wildcards, attempt: LIMIT * attempt
    shell: "echo {resources.mem_mb} > {output}"

rule second:
    input: rules.first.output
    output: "second-{i}"
    group: lambda wildcards: "block"
    resources: mem_mb=lambda wildcards, attempt: 300 * attempt, runtime=0
    shell:
        "if [ {wildcards.i} = 1 ] && [ {resources.mem_mb} = 300 ]; then [ -e hang ] && sleep 300; exit 1; fi; "
        "echo {resources.mem_mb} > {output}"
"""


# ---------------------------------------------------------------------------------------------------- to run Snakemake


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the plugins that requirements-slurm.lock pins; apart, for other tests are quicker without."""
    folder = tmp_path_factory.mktemp("plugins")
    pins = [line for line in (ROOT / "requirements-slurm.lock").read_text().splitlines() if "==" in line]
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, *pins]
    try:
        done = subprocess.run(install, capture_output=True, text=True, timeout=180)
    except subprocess.TimeoutExpired:
        pytest.skip("the plugins could not be installed: pip did not end within 180 s")
    if done.returncode != 0:
        pytest.skip(f"the plugins could not be installed: {done.stderr.strip()[-300:]}")
    return folder


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a Slurm that lasts as long as the tests of this file."""
    reason = private_slurm.install()
    if reason:
        pytest.skip(f"no Slurm: {reason}")
    with private_slurm.running(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@contextlib.contextmanager
def started(
    folder: Path, environment: dict[str, str], plugins: Path, profile: str | Path, *arguments: str
) -> Iterator[subprocess.Popen[str]]:
    """Snakemake in `folder` under a profile, with pauses as short as they may be; ended with all its children."""
    pauses = {
        "slurm": ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "5"],
        "cluster-generic": ["--seconds-between-status-checks", "1"],
    }[Path(profile).name]
    path = os.pathsep.join(filter(None, [str(plugins), environment.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--workflow-profile", profile, *pauses, *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        # Tests that were started in the background ignore Ctrl-C, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def snakemake(folder: Path, environment: dict[str, str], plugins: Path, *arguments: Any, timeout: int) -> str:
    """What Snakemake prints, which must succeed in time."""
    with started(folder, environment, plugins, *arguments) as process:
        try:
            printed, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            pytest.fail(f"not done in {timeout} s:\n{process.communicate()[0]}")
    assert process.returncode == 0, printed
    return printed


def toy(folder: Path, limit: int = 5) -> Path:
    """A folder with the toy; the first attempts at its jobs may take `limit` minutes."""
    folder.mkdir()
    (folder / "Snakefile").write_text(f"LIMIT = {limit}\n{TOY}")
    return folder


def made(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text().strip() for path in sorted(folder.glob("[fs]*-[01]"))}


def submissions(printed: str) -> int:
    return len(re.findall(r"with (?:SLURM jobid|external jobid) ", printed))


def same_files(clone: Path, other: Path, *parts: str) -> set[str]:
    """Compare what lies below the parts of the smoke run's results; returns the names of the files."""
    found = [path for part in parts for path in (clone / "results/smoke" / part).rglob("*") if path.is_file()]
    names = {str(path.relative_to(clone)) for path in found}
    for name in names:
        assert (clone / name).read_bytes() == (other / name).read_bytes(), name
    return names


# ------------------------------------------------------------------------------------------------------ a real Slurm


def ask(slurm: dict[str, str], *command: str) -> str:
    return subprocess.run(command, env=slurm, capture_output=True, text=True, timeout=30, check=True).stdout


def jobs_of(slurm: dict[str, str]) -> pd.DataFrame:
    """What Slurm knows of all jobs so far, in their order."""
    pattern = r"JobId=(\d+) .* JobState=(\w+) .* NumCPUs=(\d+) .* MinMemoryNode=(\w+) "
    found = re.findall(pattern, ask(slurm, "scontrol", "--oneliner", "show", "job"))
    return pd.DataFrame(found, columns=["job", "state", "cpus", "memory"])


def test_slurm_gives_the_same_bytes_as_this_machine(smoke_run, slurm, plugins, tmp_path):
    """A cell of the smoke configuration to the claims, two blocks to a submission: two submissions in all."""
    clone = copy_workflow(tmp_path / "clone")
    before = len(jobs_of(slurm))
    printed = snakemake(
        clone, slurm, plugins, "profiles/slurm", *SMOKE, "--config", "cells=[gru]",
        "--group-components", "block=2", "summary=9", "--", "results/smoke/tables/claims.csv", timeout=1200,
    )  # fmt: skip
    assert submissions(printed) == 2
    jobs = jobs_of(slurm)[before:]
    assert jobs.state.tolist() == ["COMPLETED"] * 2
    assert jobs.cpus.tolist() == ["1"] * 2  # one after another, so a processor suffices
    stages = ("train", "slow_points", "regularise", "extrapolate")
    expected = {name for name in same_files(smoke_run, smoke_run, *stages) if "/gru-" in name}
    assert same_files(clone, smoke_run, *stages) == expected != set()
    assert len(pd.read_csv(clone / "results/smoke/tables/claims.csv")) > 0


@pytest.mark.parametrize(("profile", "fault"), [("slurm", "fails"), ("cluster-generic", "hangs")])
def test_a_failed_job_is_tried_again_with_more(slurm, plugins, tmp_path, profile, fault):
    """What hangs is ended at its time limit. A submission of several jobs is tried again as a whole."""
    folder = toy(tmp_path / "toy", limit=1 if fault == "hangs" else 5)
    if fault == "hangs":
        (folder / "hang").touch()
    before = len(jobs_of(slurm))
    snakemake(folder, slurm, plugins, PROFILES / profile, timeout=240)
    assert made(folder) == {"first-0": "300", "first-1": "600", "second-0": "300", "second-1": "600"}
    jobs = jobs_of(slurm)[before:]
    ended = {"fails": "FAILED", "hangs": "TIMEOUT"}[fault]
    assert sorted(zip(jobs.state, jobs.memory, strict=True)) == sorted(
        [("COMPLETED", "300M"), (ended, "300M"), ("COMPLETED", "600M")]
    )


@pytest.mark.parametrize("profile", ["slurm", "cluster-generic"])
def test_an_interrupted_run_takes_its_jobs_along_and_goes_on(slurm, plugins, tmp_path, profile):
    folder = toy(tmp_path / "toy")
    (folder / "hang").touch()
    with started(folder, slurm, plugins, PROFILES / profile) as process:
        until = time.monotonic() + 90
        while "RUNNING" not in ask(slurm, "squeue", "--noheader", "--format=%T") or not (folder / "second-0").exists():
            assert time.monotonic() < until, ask(slurm, "squeue")
            time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=90)
    until = time.monotonic() + 30
    while ask(slurm, "squeue", "--noheader"):  # what is cancelled may take KillWait
        assert time.monotonic() < until, ask(slurm, "squeue")
        time.sleep(0.5)
    assert list((folder / ".snakemake/locks").glob("*")) == []
    (folder / "hang").unlink()
    snakemake(folder, slurm, plugins, PROFILES / profile, timeout=180)
    assert set(made(folder)) == {"first-0", "first-1", "second-0", "second-1"}


# ------------------------------------------------------------------------------------------ a stand-in for the others


def profile_of(scheduler: str, folder: Path) -> Path:
    """The profile cluster-generic with its three lines changed as its comments say."""
    profile = shutil.copytree(GENERIC, folder / "cluster-generic")
    lines = (GENERIC / "config.yaml").read_text().splitlines()
    kept = [line for line in lines if not re.match("cluster-generic-.*-cmd:", line)]
    first = kept.index(f"# {scheduler}") + 1
    kept[first : first + 3] = [line.removeprefix("# ") for line in kept[first : first + 3]]
    (profile / "config.yaml").write_text("\n".join(kept) + "\n")
    assert len(yaml.safe_load("\n".join(kept))) == len(yaml.safe_load("\n".join(lines)))
    return profile


@pytest.fixture
def stand_in(tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, str]:
    """The environment in which the commands of SGE, PBS and LSF are the stand-in's; those that run are ended."""
    for name in ("bin", "jobs"):
        (tmp_path / name).mkdir()
    for name in ("qsub", "qstat", "qacct", "qdel", "bsub", "bjobs", "bkill"):
        (tmp_path / "bin" / name).symlink_to(ROOT / "tests/scheduler.sh")
    yield {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "SCHEDULER": str(tmp_path / "jobs")}
    for path in (tmp_path / "jobs").glob("*.pid"):
        if not path.with_suffix("").exists():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(path.read_text()), signal.SIGKILL)


ASKED = {
    "SGE": r"-pe smp 1 -l h_vmem={memory}M,h_rt={seconds} ",
    "PBS": r"-l select=1:ncpus=1:mem={memory}mb:ngpus=0,walltime={seconds} ",
    "LSF": r"-n 1 -R span\[hosts=1\] -M {memory}MB -W {minutes} ",
}


@pytest.mark.parametrize("scheduler", ASKED)
def test_three_lines_make_it_another_scheduler(stand_in, plugins, tmp_path, scheduler):
    folder = toy(tmp_path / "toy")
    snakemake(folder, stand_in, plugins, profile_of(scheduler, tmp_path), timeout=240)
    assert made(folder) == {"first-0": "300", "first-1": "600", "second-0": "300", "second-1": "600"}
    called = (tmp_path / "jobs" / "called").read_text().splitlines()
    submitted = [line for line in called if line.startswith(("qsub", "bsub"))]
    assert len(submitted) == 3
    for line, attempt in zip(submitted, (1, 1, 2), strict=True):
        asked_for = {"memory": 300 * attempt, "minutes": 5 * attempt, "seconds": 300 * attempt}
        assert re.search(ASKED[scheduler].format(**asked_for), line), line


def test_the_workflow_runs_on_a_scheduler_that_is_not_slurm(smoke_run, stand_in, plugins, tmp_path):
    clone = copy_workflow(tmp_path / "clone")
    target = "results/smoke/extrapolate/train/lstm-nacu/seeds0-1.csv"
    printed = snakemake(clone, stand_in, plugins, profile_of("PBS", tmp_path), *SMOKE, "--", target, timeout=300)
    assert submissions(printed) == 1
    parts = ("train", "extrapolate/train")
    expected = {name for name in same_files(smoke_run, smoke_run, *parts) if "lstm-nacu" in name}
    assert same_files(clone, smoke_run, *parts) == expected != set()


def status(script: str, job: str, environment: dict[str, str]) -> str:
    done = subprocess.run([GENERIC / script, job], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("scheduler", ["pbs", "lsf", "sge"])
def test_the_state_of_a_job(stand_in, tmp_path, scheduler):
    """Whoever does not answer is asked again; what nobody knows of has failed, so that nothing waits for it."""
    jobs = tmp_path / "jobs"
    for job, code in {"1": None, "2": "0", "3": "1"}.items():
        (jobs / f"{job}.pid").touch()
        if code is not None:
            (jobs / job).write_text(code)
    script = f"status-{scheduler}.sh"
    assert [status(script, job, stand_in) for job in "123"] == ["running", "success", "failed"]
    if scheduler != "sge":  # which waits half a minute for the accounts
        assert status(script, "4", stand_in) == "failed"
    for path in jobs.glob("*.pid"):
        path.unlink()
    assert status(script, "1", {**stand_in, "SCHEDULER": str(tmp_path / "none")}) == "running"


@pytest.mark.parametrize(
    ("controller", "accounts", "expected"),
    [
        ("JobId=7 JobName=x JobState=PENDING Reason=None", "", "running"),
        ("JobId=7 JobName=x JobState=COMPLETING Reason=None", "", "running"),
        ("JobId=7 JobName=x JobState=COMPLETED Reason=None", "", "success"),
        ("JobId=7 JobName=x JobState=OUT_OF_MEMORY Reason=None", "", "failed"),
        ("JobId=7 JobName=x JobState=TIMEOUT Reason=TimeLimit", "", "failed"),
        ("slurm_load_jobs error: Invalid job id specified", "COMPLETED\n", "success"),
        ("slurm_load_jobs error: Invalid job id specified", "CANCELLED by 0\n", "failed"),
        ("slurm_load_jobs error: Invalid job id specified", "", "failed"),
        ("slurm_load_jobs error: Unable to contact slurm controller (connect failure)", "", "running"),
    ],
)
def test_the_state_of_a_slurm_job(tmp_path, controller, accounts, expected):
    for name, answer in {"scontrol": controller, "sacct": accounts}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{answer}'\n")
        (tmp_path / name).chmod(0o755)
    assert status("status-slurm.sh", "7", {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}) == expected


# --------------------------------------------------------------------------------------------- what jobs may take


def asked(*configfiles: Path | str) -> pd.DataFrame:
    """What every job of a run asks for, in its first two attempts."""
    script = ROOT / "benchmarks" / "allowances.py"
    more = ["--configfile", *configfiles] if configfiles else []
    done = subprocess.run([sys.executable, script, "--jobs", *more], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return pd.read_csv(io.StringIO(done.stdout), keep_default_na=False).replace("", pd.NA)


@pytest.fixture(scope="module")
def smoke_jobs() -> pd.DataFrame:
    return asked(ROOT / "config" / "smoke.yaml")


def test_every_job_is_bounded_and_put_together_with_others_or_local(smoke_jobs):
    first, second = (smoke_jobs[smoke_jobs.attempt == attempt].reset_index() for attempt in (1, 2))
    assert set(first.rule[first.local]) == {"dataset", "provenance", "report"}
    on_cluster = first[~first.local]
    assert set(on_cluster.rule[on_cluster.group.isna()]) == set()
    for allowance, least in {"runtime": 10, "mem_mb": 1000}.items():
        assert (first[allowance].astype(int) >= least)[~first.local].all()
        assert (second[allowance].astype(int) == 2 * first[allowance].astype(int))[~first.local].all()


def test_no_job_of_the_smoke_run_took_more_than_it_may(smoke_run, smoke_jobs):
    benchmarks = smoke_run / "results/smoke/benchmarks"
    first = smoke_jobs[smoke_jobs.attempt == 1].astype({"runtime": float, "mem_mb": float})
    table = allowances.compare(first, allowances.taken(benchmarks))
    assert table.jobs.sum() == len(list(benchmarks.rglob("*.tsv"))) == len(first)
    assert (table.time_margin > 4).all()
    assert (table.memory_margin.dropna() > 1.5).all()


def test_what_ran_is_compared_with_what_was_asked():
    rules = pd.DataFrame({"job": ["a/1.tsv", "a/2.tsv", "b.tsv"], "runtime": [10, 20, 10], "mem_mb": [2000, 2000, 500]})
    ran = pd.DataFrame({"job": ["a/1.tsv", "a/2.tsv", "b.tsv"], "minutes": [5, 2, 0.5], "mb": [400, 1000, None]})
    table = allowances.compare(rules, ran).set_index("stage")
    assert table.loc["a"].tolist() == [2, 20, 5, 2, 2000, 1000, 2]
    assert table.loc["b"].tolist()[:4] == [1, 10, 0.5, 20]
    with pytest.raises(ValueError, match=r"jobs of another run.* c/1"):
        allowances.compare(rules, pd.DataFrame({"job": ["c/1.tsv"], "minutes": [1], "mb": [1]}))


def test_a_folder_without_benchmarks_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no benchmarks"):
        allowances.taken(tmp_path)


def test_long_blocks_are_never_put_together(tmp_path):
    """A failure in a submission costs all its jobs, so training that takes long is one by itself."""
    (tmp_path / "more.yaml").write_text("engine: {device: cuda}\n")
    jobs = asked(ROOT / "config" / "paper_mnist.yaml", tmp_path / "more.yaml")
    blocks = jobs[jobs.rule.str.endswith("_block")]
    assert blocks.group.isna().all()
    assert (blocks.gpu == "1.0").all()
    training = blocks[(blocks.rule == "train_block") & (blocks.attempt == 1)].runtime.astype(int)
    assert (training > 5 * 78).all()  # minutes that an LSTM of MNIST's size took, times the networks of a block


@pytest.mark.parametrize("stage", BLOCKWISE)
def test_every_stage_of_a_block_counts_in_what_is_put_together(tmp_path, smoke_jobs, stage):
    (tmp_path / "long.yaml").write_text(f"resources: {{{stage}: {{minutes: 60}}}}\n")
    jobs = asked(ROOT / "config" / "smoke.yaml", tmp_path / "long.yaml")
    assert jobs[jobs.rule.str.endswith("_block")].group.isna().all()
    assert set(smoke_jobs[smoke_jobs.rule.str.endswith("_block")].group) == {"block"}


def test_large_images_of_ones_own_ask_for_more(tmp_path):
    for split, name in itertools.product(("train", "test"), ("a", "b")):
        (tmp_path / "images" / split / name).mkdir(parents=True)
        for image in range(2):
            Image.new("RGB", (128, 96), (image, 0, 0)).save(tmp_path / "images" / split / name / f"{image}.png")
    (tmp_path / "own.yaml").write_text(
        f"dataset: {{source: folder, folder: {tmp_path / 'images'}}}\nprotocols: [nacu]\n"
        "other_starts: {protocols: []}\nbacktrack: {protocols: []}\nregularise: {protocols: []}\n"
    )
    memory = {
        name: jobs[(jobs.rule == "train_block") & (jobs.attempt == 1)].mem_mb.astype(int)
        for name, jobs in {
            "own": asked(ROOT / "config" / "smoke.yaml", tmp_path / "own.yaml"),
            "digits": asked(ROOT / "config" / "smoke.yaml"),
        }.items()
    }
    numbers = 2 * 100 * 20 * (128 * 96 * 3 - 64)  # two networks, 100 logged trials of 20 steps
    assert (memory["own"] - memory["digits"].max() > 4 * numbers / 1e6).all()


def test_a_gpu_is_asked_for_where_the_configuration_insists_on_one(smoke_jobs):
    assert set(smoke_jobs.gpu.dropna()) == {"0.0"}
