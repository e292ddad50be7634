"""What a run writes down about itself."""

import copy
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
import torch

from memrnn.core.files import load_json, save_json
from memrnn.core.jobs import log_to
from memrnn.run import provenance, verify
from memrnn.training import engine

CONFIG = {"run": "made", "threads": 3, "seeds": [0, 1], "train": {"steps": 5, "learning_rate": 3e-3}}
HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def benchmark(path, seconds: float, memory: str, processor: str = "-", ended: float = 1028) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{HEADER}{seconds}\t0:00:01\t{memory}\t-\t-\t-\t0.0\t0.0\t0.0\t{processor}\n")
    os.utime(path, (ended, ended))


@pytest.fixture
def found(tmp_path):
    return provenance.collect(CONFIG, tmp_path, [], [], tmp_path)


def git(folder, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "-c", "core.hooksPath=")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_all_that_is_promised_is_there(found):
    assert set(found) == {
        *("config", "made_with", "config_hash", "commit", "clean", "versions", "machine", "threads", "devices"),
        *("started", "ended", "rules"),
    }
    assert set(found) == set(verify.PROVENANCE)
    assert found["threads"] == 3
    assert found["config"] == CONFIG
    assert found["versions"]["python"] == platform.python_version()
    assert found["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    for name in ("numpy", "pandas", "pillow", "safetensors", "scikit-learn", "scipy", "seaborn", "snakemake"):
        assert found["versions"][name] == metadata.version(name)
    assert found["machine"]["cores"] == os.cpu_count()
    assert platform.machine() in found["machine"]["system"]
    assert found["machine"]["processor"].strip()
    assert found["machine"]["kernels"] in torch.__config__.show()


def test_what_the_shell_says_of_kernels_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")  # other last bits
    monkeypatch.setenv("MKLX", "something else")
    environment = provenance.collect(CONFIG, tmp_path, [], [], tmp_path)["machine"]["environment"]
    assert environment["MKL_CBWR"] == "COMPATIBLE" and "MKLX" not in environment


def test_it_is_json(found, tmp_path):
    save_json(tmp_path / "p.json", found)
    assert load_json(tmp_path / "p.json") == found


def test_the_hash_follows_the_configuration(found, tmp_path):
    changed = copy.deepcopy(CONFIG)
    changed["train"]["learning_rate"] = 3.1e-3
    assert provenance.collect(changed, tmp_path, [], [], tmp_path)["config_hash"] != found["config_hash"]
    again = provenance.collect(dict(reversed(CONFIG.items())), tmp_path, [], [], tmp_path)
    assert again["config_hash"] == found["config_hash"]


def test_the_hash_does_not_depend_on_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = CONFIG | {"run": "digits"}
    before = provenance.collect(config, tmp_path, [], [], tmp_path)["config_hash"]
    Path("digits").write_text("a file that bears the name of a setting's value")
    assert provenance.collect(config, tmp_path, [], [], tmp_path)["config_hash"] == before


def test_outside_a_clone_nothing_is_claimed(found):
    assert found["commit"] is None
    assert found["clean"] is None


def test_without_git_nothing_is_claimed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = provenance.collect(CONFIG, tmp_path, [], [], tmp_path)
    assert (found["commit"], found["clean"]) == (None, None)


def test_in_a_clone_the_commit_and_its_cleanness(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("1")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-q", "-m", "first")
    found = provenance.collect(CONFIG, tmp_path, [], [], tmp_path)
    assert found["commit"] == git(tmp_path, "rev-parse", "HEAD")
    assert found["clean"] is True
    (tmp_path / "file").write_text("2")
    found = provenance.collect(CONFIG, tmp_path, [], [], tmp_path)
    assert found["commit"] == git(tmp_path, "rev-parse", "HEAD")
    assert found["clean"] is False


def test_a_folder_inside_another_clone_does_not_take_its_commit(tmp_path):
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "of something else")
    (tmp_path / "unpacked").mkdir()
    found = provenance.collect(CONFIG, tmp_path / "unpacked", [], [], tmp_path)
    assert (found["commit"], found["clean"]) == (None, None)


def test_seconds_and_memory_per_rule(tmp_path):
    folder = tmp_path / "benchmarks"
    benchmark(folder / "claims.tsv", 1.5, "80.0", ended=1030)
    benchmark(folder / "train" / "gru-vocu" / "seeds0-1.tsv", 10.25, "350.5", "9.5", ended=1010.25)
    benchmark(folder / "train" / "lstm-vocu" / "seeds0-1.tsv", 20.5, "410.0", "18.0", ended=1021)
    benchmark(folder / "train" / "lstm-vocu" / "seeds2.tsv", 0.25, "-", "-", ended=1025)
    benchmark(folder / "tables" / "training.tsv", 0.75, "-")  # too short for Snakemake to have looked
    benchmarks = list(folder.rglob("*.tsv"))
    benchmark(folder / "train" / "gru-vocu" / "seeds3.tsv", 99.0, "999.0")  # of a seed that is no longer configured
    benchmarks.append(folder / "correlate.tsv")  # somebody has deleted it
    found = provenance.collect(CONFIG, tmp_path, benchmarks, [], tmp_path)
    assert found["rules"] == {
        "claims": {"jobs": 1, "seconds": 1.5, "longest_seconds": 1.5, "cpu_seconds": 0.0, "max_rss_mib": 80.0},
        "tables": {"jobs": 1, "seconds": 0.75, "longest_seconds": 0.75, "cpu_seconds": 0.0, "max_rss_mib": 0.0},
        "train": {"jobs": 3, "seconds": 31.0, "longest_seconds": 20.5, "cpu_seconds": 27.5, "max_rss_mib": 410.0},
    }
    # The first job began 10.25 s before it ended; and UTC's seconds are counted from 1970.
    assert (found["started"], found["ended"]) == ("1970-01-01T00:16:40+00:00", "1970-01-01T00:17:10+00:00")


def test_no_benchmarks_no_rules(found):
    assert found["rules"] == {}
    assert (found["started"], found["ended"]) == (None, None)


def test_devices_are_those_that_training_says_it_ran_on(tmp_path, monkeypatch):
    chosen = engine.choose({"device": "cpu", "precision": "float32", "shared_frames": None, "float32_library": "mkl"})
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100, 80GB")
    on_gpu = engine.Engine(torch.device("cuda"), torch.float32, None)
    logs = []
    for number, line in enumerate([engine.describe(chosen), engine.describe(on_gpu), "7 rows from 2 files"]):
        log = log_to(tmp_path / "logs" / f"{number}.log", "test")
        log.info("found on a shelf")
        log.info("%s", line)
        logs.append(tmp_path / "logs" / f"{number}.log")
    logs.append(tmp_path / "logs" / "deleted.log")
    found = provenance.collect(CONFIG, tmp_path, [], logs, tmp_path)
    assert found["devices"] == ["NVIDIA H100, 80GB", "cpu"]


def test_the_record_tells_what_each_part_was_made_with_whatever_the_configuration_says(tmp_path):
    then, now = ({"code": "x", "train": {"learning_rate": rate}} for rate in (0.2, 3e-3))
    logs = [tmp_path / "logs" / name for name in ("train/a.log", "train/b.log", "train/c.log", "claims.log")]
    for path, settings in zip(logs, [now | {"seeds": [0]}, then, now | {"seeds": [1]}, None], strict=True):
        log_to(path, "test", settings).info("settings are told by the line before")
    found = provenance.collect(CONFIG, tmp_path, [], [*logs, tmp_path / "logs" / "gone.log"], tmp_path)
    assert found["made_with"] == {"train": [now, then]}
