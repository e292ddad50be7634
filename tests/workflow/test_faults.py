"""Jobs that are killed, told to end, or out of disk; files that are damaged: what comes out is the same, or refused.

Real processes and the workflow's own scripts; tests/test_reruns.py does the same to whole calls of Snakemake.
"""

import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from conftest import wait_for
from jobs import ROOT, WORKED, Server

from memrnn.core.files import load_table, save_json, save_table, write_atomic
from memrnn.core.tables import Table, integer
from memrnn.data import images as image_sets

# What docs/reliability.md states; counted there and asserted here.
KILLS, TERMINATIONS, SEARCH_KILLS = 4, 4, 3

STEPS = 400
DEFAULT = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


@pytest.fixture(scope="module")
def server() -> Server:
    """Processes that it starts find the library and these tests."""
    paths = [str(ROOT / "workflow" / "lib"), str(ROOT / "tests")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")]))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield Server()


@pytest.fixture(scope="module")
def images(digits, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("images") / "digits.safetensors"
    image_sets.save(path, digits)
    return path


class Block:
    """A block of one small network in a folder of its own."""

    def __init__(self, folder: Path, images: Path, server: Server):
        self.folder, self.images, self.server = folder, images, server
        self.printed = folder.with_name(f"{folder.name}.printed")

    @property
    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text() if path.exists() else ""

    def job(self, stage: str) -> dict[str, Any]:
        at = {name: str(self.folder / f"{stage}.{name}") for name in ("safetensors", "checkpoints.safetensors", "csv")}
        networks = str(self.folder / "train.safetensors")
        common = {"threads": 1, "log": [str(self.folder / "log")]}
        if stage == "train":
            shares = [share / 10 for share in range(11)]
            settings = {"steps": STEPS, "batch": 4, "log_every": 40, "log_trials": 10, "checkpoints": shares}
            return common | {
                "wildcards": {"cell": "gru", "protocol": "vocu"},
                "input": {"images": str(self.images)},
                "output": {"networks": networks, "checkpoints": at["checkpoints.safetensors"], "table": at["csv"]},
                "params": {
                    "seeds": [3],
                    "task": DEFAULT["task"],
                    "network": DEFAULT["network"] | {"units": 8},
                    "train": DEFAULT["train"] | settings,
                    "engine": DEFAULT["engine"] | {"device": "cpu", "shared_frames": None},
                    "protocol_settings": {"vocu": DEFAULT["protocol_settings"]["vocu"]},
                },
            }
        return common | {
            "input": {"images": str(self.images), "networks": networks},
            "output": {"points": at["safetensors"], "table": at["csv"]},
            "params": {
                "slow_points": DEFAULT["slow_points"] | {"search_steps": [200, 3000]},
                "device": "cpu",
                "float32_library": "auto",
            },
        }

    def run(self, stage: str = "train", alarm: tuple[int, float | str] | None = None) -> int:
        return self.server.run(stage, self.job(stage), self.printed, alarm)

    @property
    def seconds(self) -> float:
        """Of the processor, that its last job took that was not killed."""
        return float(self.printed.read_text().rpartition(WORKED)[2].split()[0])

    def results(self) -> dict[str, str]:
        """SHA-256 of every file but the log and its lock, which these jobs' ends leave; no other is left over."""
        files = {path for path in self.folder.rglob("*") if path.is_file() and path.name not in ("log", "log.lock")}
        return {str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def undisturbed(images, server, tmp_path_factory) -> tuple[Block, dict[str, str], dict[str, float]]:
    """A block trained and searched without any fault, its files, and the seconds that each stage worked."""
    block, seconds = Block(tmp_path_factory.mktemp("undisturbed") / "block", images, server), {}
    for stage in ("train", "slow_points"):
        assert block.run(stage) == 0, block.printed.read_text()
        seconds[stage] = block.seconds
    found = block.results()
    assert {name for name in found if not name.endswith(".sha256")} == {
        "train.safetensors", "train.checkpoints.safetensors", "train.csv", "slow_points.safetensors", "slow_points.csv",
    }  # fmt: skip
    return block, found, seconds


@pytest.fixture
def block(tmp_path, images, server) -> Block:
    return Block(tmp_path / "block", images, server)


def of_stage(found: dict[str, str], stage: str) -> dict[str, str]:
    return {name: digest for name, digest in found.items() if name.startswith(stage)}


# ------------------------------------------------------------------------------------------------- killed and told


def lives(count: int, seed: int, seconds: float) -> list[float]:
    """Random lengths of `count` lives that are together shorter than `seconds`."""
    moments = random.Random(seed)
    return [seconds * moments.uniform(0.02, 0.8 / count) for _ in range(count)]


def test_training_killed_at_random_moments_ends_with_the_same_bits(block, undisturbed):
    for moment in lives(KILLS, 1, undisturbed[2]["train"]):
        assert block.run(alarm=(signal.SIGPROF, moment)) == -signal.SIGPROF
    assert block.run() == 0
    assert "continuing from the checkpoint at step" in block.log
    for leftover in block.folder.glob(".*"):  # a file that was killed before it had its name
        leftover.unlink()
    assert block.results() == of_stage(undisturbed[1], "train")


def test_training_told_to_end_saves_at_once_and_goes_on_from_there(block, undisturbed):
    reached = []
    for moment in lives(TERMINATIONS, 2, undisturbed[2]["train"]):
        assert block.run(alarm=(signal.SIGTERM, moment)) == 128 + signal.SIGTERM
        log = block.log
        assert "Traceback" not in log
        if reached and reached[-1]:
            assert f"continuing from the checkpoint at step {reached[-1]} of {STEPS}" in log
        reached.append(int(log.split("saved at step ")[1].split(",")[0]))
    assert block.run() == 0
    assert reached == sorted(reached)
    assert any(step % (STEPS / 10) for step in reached)  # not where it is saved anyhow
    assert block.results() == of_stage(undisturbed[1], "train")


def test_a_search_killed_at_random_moments_ends_with_the_same_bits(block, undisturbed):
    """A search saves nothing on its way: it is made again, and leaves nothing where it was killed."""
    block.folder.mkdir()
    shutil.copy(undisturbed[0].folder / "train.safetensors", block.folder)
    for moment in lives(SEARCH_KILLS, 3, undisturbed[2]["slow_points"]):
        assert block.run("slow_points", alarm=(signal.SIGPROF, moment)) == -signal.SIGPROF
        # A file that was killed before it had its name is left behind, and no other.
        assert [name for name in block.results() if not name.startswith(".")] == ["train.safetensors"]
    assert block.run("slow_points") == 0
    assert of_stage(block.results(), "slow_points") == of_stage(undisturbed[1], "slow_points")


@pytest.mark.parametrize("stage", ["train", "slow_points"])
def test_a_job_waits_for_one_that_was_left_behind_and_has_the_last_word(block, server, undisturbed, tmp_path, stage):
    """As when Snakemake was killed, its job lives on, and the workflow is started again with other settings."""
    changed = {"train": {"learning_rate": 1e-4}, "slow_points": {"search_steps": [100, 200]}}[stage]
    alone = Block(tmp_path / "alone", block.images, server)
    for each in (block, alone):
        each.folder.mkdir()
        if stage == "slow_points":
            shutil.copy(undisturbed[0].folder / "train.safetensors", each.folder)

    def job(each: Block) -> dict:
        made = each.job(stage)
        return made | {"params": made["params"] | {stage: made["params"][stage] | changed}}

    assert server.run(stage, job(alone), alone.printed) == 0
    with server.started(stage, block.job(stage), block.printed) as first:
        wait_for(block.folder / "log", "s", 120, block.printed)
        os.kill(first.pid, signal.SIGSTOP)
        (block.folder / "log").unlink()  # as Snakemake does before it starts a job again
        with server.started(stage, job(block), block.printed) as second:
            wait_for(block.folder / "log", f"waiting for the end of process {first.pid} on ", 120, block.printed)
            os.kill(first.pid, signal.SIGCONT)
            first.join(120)
            second.join(120)
            assert (first.exitcode, second.exitcode) == (0, 0)
    assert of_stage(alone.results(), stage) != of_stage(undisturbed[1], stage)
    assert block.results() == alone.results()


# ------------------------------------------------------------------------------------------------ disks and folders


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """Something mounted on a folder; a skipped test where this may not be done."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"nothing may be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_named_and_training_goes_on_when_there_is_room(block, undisturbed):
    with mounted(block.folder, "-t", "tmpfs", "-o", "size=1m", "tmpfs"):
        ballast = block.folder / "ballast"
        # Room for some checkpoints, not for all.
        ballast.write_bytes(bytes(2**20 - 2**12 * 40))
        assert block.run() == 1
        assert "safetensors: cannot be written: " in block.printed.read_text()
        assert "No space left on device" in block.printed.read_text()
        kept = sorted(path.name for path in (block.folder / "train.partial").iterdir())
        assert "resume.safetensors" in kept and not any(name.startswith(".") for name in kept)
        assert not list(block.folder.glob("train.*s*"))
        ballast.unlink()
        assert block.run() == 0
        assert "continuing from the checkpoint at step " in block.log
        assert block.results() == of_stage(undisturbed[1], "train")


def test_a_table_that_finds_no_room_leaves_the_old_one_and_its_checksum(tmp_path):
    folder, table = tmp_path / "small", pd.DataFrame({"seed": range(40_000)})
    with mounted(folder, "-t", "tmpfs", "-o", "size=300k", "tmpfs"):
        save_table(folder / "t.csv", table[:20])
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        with pytest.raises(OSError, match=r"t\.csv: cannot be written: No space left on device.*run again"):
            save_table(folder / "t.csv", pd.concat([table, table]))
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        assert len(load_table(folder / "t.csv", Table("", ["seed"], {"seed": integer("1", "")}))) == 20


def test_a_folder_that_may_not_be_written_to_is_named(block, undisturbed):
    block.folder.mkdir()
    with mounted(block.folder, "-t", "tmpfs", "-o", "ro", "tmpfs"):
        job = block.job("train") | {"log": [str(block.folder.with_name("log"))]}
        assert block.server.run("train", job, block.printed) == 1
        told = block.printed.read_text()
        assert "Read-only file system" in told and str(block.folder) in told
    with mounted(block.folder, "-t", "tmpfs", "-o", "ro", "tmpfs"):
        for save in (save_json, lambda path, _: save_table(path, pd.DataFrame({"a": [1]}))):
            with pytest.raises(OSError, match=r"x: cannot be written: Read-only file system.*run again"):
                save(block.folder / "x", 1)


def test_a_new_name_is_on_the_disk_before_work_goes_on(tmp_path, monkeypatch):
    """The file is synced before it is renamed, its folder after."""
    path, done = tmp_path / "t.csv", []
    sync, rename = os.fsync, Path.replace

    def synced(handle):
        done.append(Path(os.readlink(f"/proc/self/fd/{handle}")))
        sync(handle)

    def renamed(self, target):
        done.append("renamed")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    with write_atomic(path) as temporary:
        temporary.write_text("new")
    assert done == [temporary, "renamed", tmp_path]


# ------------------------------------------------------------------------------------------------- damaged files


@pytest.fixture(scope="module")
def halfway(images, server, tmp_path_factory) -> Block:
    """A block whose training was told to end when it had saved some checkpoints."""
    block = Block(tmp_path_factory.mktemp("halfway") / "block", images, server)
    assert block.run(alarm=(signal.SIGTERM, f"step {STEPS // 5} of {STEPS}")) == 128 + signal.SIGTERM
    assert (block.folder / "train.partial" / f"step{STEPS // 10}.safetensors").exists()
    return block


def flip(path: Path, place: float, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 1 << bit
    path.write_bytes(content)


def cut(path: Path, place: float) -> None:
    os.truncate(path, int(place * path.stat().st_size))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("resume", lambda path: cut(path, 0.5)),
        ("resume", lambda path: flip(path, 0.8)),
        (f"step{STEPS // 10}", lambda path: cut(path, 0.5)),
        (f"step{STEPS // 10}", lambda path: flip(path, 0.8)),
        (f"step{STEPS // 10}", Path.unlink),
    ],
    ids=["state cut", "state flipped", "weights cut", "weights flipped", "weights gone"],
)
def test_a_damaged_checkpoint_is_refused_when_training_goes_on(halfway, images, tmp_path, name, damage):
    """And not at the end of it. What the message says to delete is enough to be deleted."""
    folder = shutil.copytree(halfway.folder, tmp_path / "block")
    damage(folder / "train.partial" / f"{name}.safetensors")
    block = Block(folder, images, halfway.server)
    assert block.run() == 1
    assert f"{name}.safetensors: " in block.log
    assert ("delete the folder " if name != "resume" else "Delete the file and run again") in block.log
    assert block.log.count(" of 400: loss") == 0  # nothing was trained
