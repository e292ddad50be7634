"""What a run writes down about itself."""

import copy
import os
import platform
import subprocess
from importlib import metadata

import pytest
import torch

from memrnn import provenance, record

CONFIG = {"run": "made", "seeds": [0, 1], "train": {"steps": 5, "learning_rate": 3e-3}}
HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def benchmark(path, seconds: float, memory: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{HEADER}{seconds}\t0:00:01\t{memory}\t-\t-\t-\t0.0\t0.0\t0.0\t0\n")


@pytest.fixture
def found(tmp_path):
    return provenance.collect(CONFIG, tmp_path, [], tmp_path)


def git(folder, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "-c", "core.hooksPath=")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_all_that_is_promised_is_there(found):
    assert set(found) == {"config", "config_hash", "commit", "clean", "versions", "machine", "rules"}
    assert found["config"] == CONFIG
    assert found["versions"]["python"] == platform.python_version()
    assert found["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    for name in ("numpy", "pandas", "safetensors", "scikit-learn", "scipy", "seaborn", "snakemake"):
        assert found["versions"][name] == metadata.version(name)
    assert found["machine"]["cores"] == os.cpu_count()
    assert platform.machine() in found["machine"]["system"]
    assert found["machine"]["processor"].strip()


def test_it_is_json(found, tmp_path):
    record.save_json(tmp_path / "p.json", found)
    assert record.load_json(tmp_path / "p.json") == found


def test_the_hash_follows_the_configuration(found, tmp_path):
    changed = copy.deepcopy(CONFIG)
    changed["train"]["learning_rate"] = 3.1e-3
    assert provenance.collect(changed, tmp_path, [], tmp_path)["config_hash"] != found["config_hash"]
    again = provenance.collect(dict(reversed(CONFIG.items())), tmp_path, [], tmp_path)
    assert again["config_hash"] == found["config_hash"]


def test_outside_a_clone_nothing_is_claimed(found):
    assert found["commit"] is None
    assert found["clean"] is None


def test_without_git_nothing_is_claimed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = provenance.collect(CONFIG, tmp_path, [], tmp_path)
    assert (found["commit"], found["clean"]) == (None, None)


def test_in_a_clone_the_commit_and_its_cleanness(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("1")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-q", "-m", "first")
    found = provenance.collect(CONFIG, tmp_path, [], tmp_path)
    assert found["commit"] == git(tmp_path, "rev-parse", "HEAD")
    assert found["clean"] is True
    (tmp_path / "file").write_text("2")
    found = provenance.collect(CONFIG, tmp_path, [], tmp_path)
    assert found["commit"] == git(tmp_path, "rev-parse", "HEAD")
    assert found["clean"] is False


def test_a_folder_inside_another_clone_does_not_take_its_commit(tmp_path):
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "of something else")
    (tmp_path / "unpacked").mkdir()
    found = provenance.collect(CONFIG, tmp_path / "unpacked", [], tmp_path)
    assert (found["commit"], found["clean"]) == (None, None)


def test_seconds_and_memory_per_rule(tmp_path):
    benchmark(tmp_path / "claims.tsv", 1.5, "80.0")
    benchmark(tmp_path / "train" / "gru-vocu" / "seeds0-1.tsv", 10.25, "350.5")
    benchmark(tmp_path / "train" / "lstm-vocu" / "seeds0-1.tsv", 20.5, "410.0")
    benchmark(tmp_path / "train" / "lstm-vocu" / "seeds2.tsv", 0.25, "-")
    benchmark(tmp_path / "tables" / "training.tsv", 0.75, "-")  # too short for Snakemake to have looked
    benchmarks = list(tmp_path.rglob("*.tsv"))
    benchmark(tmp_path / "train" / "gru-vocu" / "seeds3.tsv", 99.0, "999.0")  # of a seed that is no longer configured
    benchmarks.append(tmp_path / "correlate.tsv")  # somebody has deleted it
    assert provenance.collect(CONFIG, tmp_path, benchmarks, tmp_path)["rules"] == {
        "claims": {"jobs": 1, "seconds": 1.5, "max_rss_mib": 80.0},
        "tables": {"jobs": 1, "seconds": 0.75, "max_rss_mib": 0.0},
        "train": {"jobs": 3, "seconds": 31.0, "max_rss_mib": 410.0},
    }


def test_no_benchmarks_no_rules(found):
    assert found["rules"] == {}
