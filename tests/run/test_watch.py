"""What is said of a run under way, from made-up logs and from those of a run."""

import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from conftest import copy_workflow, snakemake
from PIL import Image

from memrnn.run import watch

LOG = """\
SNAKEMAKE
=========
  Date: 2026-11-25 12:43:40
Building DAG of jobs...
Job stats:
job              count
-------------  -------
train_block          4
tables               2
all                  1
total                7

Select jobs to execute...
[Wed Nov 25 12:00:00 2026]
Job 2: Train gru under vocu, seeds0-1
Reason: Missing output files: results/made/train/gru-vocu/seeds0-1.csv
[Wed Nov 25 12:00:05 2026]
Job 3: Train lstm under vocu, seeds0-1
Reason: Missing output files: results/made/train/lstm-vocu/seeds0-1.csv
[Wed Nov 25 12:01:00 2026]
Finished jobid: 2 (Rule: train_block)
1 of 7 steps (14%) done
[Wed Nov 25 12:01:00 2026]
Job 4: Train gru under decu, seeds0-1
"""
FAILED = """\
[Wed Nov 25 12:01:20 2026]
Error in rule train_block:
    message: Train gru under decu, seeds0-1
    jobid: 4
    output: results/made/train/gru-decu/seeds0-1.csv
"""
AT = datetime(2026, 11, 25, 12, 1, 30)


def test_the_log_says_what_is_done_and_what_runs():
    found = watch.read(LOG)
    assert found.jobs == {"train_block": 4, "tables": 2, "all": 1}
    assert (found.done, found.took, found.most, found.ended) == (1, {"train_block": [60.0]}, 2, False)
    assert {number: message for number, (message, _) in found.running.items()} == {
        3: "Train lstm under vocu, seeds0-1", 4: "Train gru under decu, seeds0-1",
    }  # fmt: skip
    assert watch.read(LOG + "Complete log(s): somewhere\n").ended


def test_every_cut_of_a_log_is_read():
    text = LOG + FAILED
    for length in range(len(text)):
        if "[" not in text[:length].rpartition("\n")[2]:
            watch.read(text[:length])


def test_time_left_by_hand():
    """Three of training to come and two tables, 60 s each as far as is known, less 85 s and 30 s that two have run."""
    found = watch.read(LOG)
    assert watch.time_left(found, AT) == (5 * 60 - 85 - 30) / 2
    assert watch.time_left(found, AT + timedelta(hours=1)) == 0
    # Once a table is done, in 10 s, the other counts as much.
    done = "[Wed Nov 25 12:01:10 2026]\nJob 5: Table training\n"
    done += "[Wed Nov 25 12:01:20 2026]\nFinished jobid: 5 (Rule: tables)\n"
    assert watch.time_left(watch.read(LOG + done), AT) == pytest.approx((3 * 60 + 10 - 85 - 30) / 3)
    assert watch.time_left(watch.read(LOG.partition("[Wed Nov 25 12:01:00")[0]), AT) is None


def test_what_failed_is_told_until_it_is_begun_again():
    found = watch.read(LOG + FAILED)
    assert found.failed == {4: "Train gru under decu, seeds0-1"}
    assert list(found.running) == [3]
    assert "FAILED: Train gru under decu, seeds0-1" in watch.tell(found, 1.0, {})
    again = watch.read(LOG + FAILED + "[Wed Nov 25 12:01:30 2026]\nJob 4: Train gru under decu, seeds0-1\n")
    assert (again.failed, list(again.running)) == ({}, [3, 4])


def test_what_is_told():
    told = watch.tell(watch.read(LOG), 92.4, {"train/lstm-vocu/seeds0-1": "step 100 of 4000"}).splitlines()
    assert told[0] == "1 of 7 jobs (14 %), 2 begun, about 0:01:32 left"
    assert [line.split() for line in told[1:3]] == [["train_block", "1", "of", "4"], ["tables", "0", "of", "2"]]
    assert told[3] == "  train/lstm-vocu/seeds0-1: step 100 of 4000"
    assert "not known yet" in watch.tell(watch.read(LOG), None, {})


def test_logs_that_grow_are_those_without_a_newer_benchmark(tmp_path):
    def write(name: str, at: float, text: str = "") -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        os.utime(tmp_path / name, (at, at))

    write("logs/train/a/seeds0.log", 1000, "first\nlast\n\n")
    write("logs/train/b/seeds0.log", 1000, "done\n")
    write("benchmarks/train/b/seeds0.tsv", 1001)
    write("logs/train/c/seeds0.log", 1000, "again\n")
    write("benchmarks/train/c/seeds0.tsv", 900)  # of an earlier run
    write("logs/train/d/seeds0.log", 800, "of an earlier run\n")
    assert watch.unfinished(tmp_path, 950) == {"train/a/seeds0": "last", "train/c/seeds0": "again"}


def test_a_job_that_fails_says_why_in_its_log_and_is_seen(tmp_path, capsys, monkeypatch):
    """An image that is none, among the training images."""
    clone = copy_workflow(tmp_path / "clone")
    for split in ("train", "test"):
        for label in "ab":
            folder = clone / "images" / split / label
            folder.mkdir(parents=True)
            Image.new("L", (8, 8), 100).save(folder / "0.png")
    (clone / "images/train/b/0.png").write_text("not an image")
    (clone / "more.yaml").write_text(
        "dataset: {source: folder, folder: images}\nprotocols: [nacu]\n"
        "backtrack: {protocols: []}\nregularise: {protocols: []}\n"
    )
    target = "results/smoke/dataset/folder.safetensors"
    flags = ("--cores", "1", "--configfile", "config/smoke.yaml", "more.yaml", "--show-failed-logs")
    done = snakemake(clone, target, *flags)
    assert done.returncode != 0
    log = (clone / "results/smoke/logs/dataset/folder.log").read_text()
    for text in ("failed: ", "Traceback", "images/train/b/0.png"):
        assert text in log
        assert text in done.stdout
    monkeypatch.chdir(clone)
    assert watch.main(["results/smoke"]) == 0
    told = capsys.readouterr().out
    assert "0 of 1 jobs (0 %), 0 begun, Snakemake has ended" in told
    assert "FAILED: Images of folder: split, balance, scale" in told
    assert f"  dataset/folder: {log.splitlines()[-1]}" in told


def test_without_a_run_nothing_is_made_up(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert watch.main(["results/smoke"]) == 1
    assert "no log of a run" in capsys.readouterr().out


def test_a_whole_run_is_read(smoke_run: Path):
    (log,) = (log for log in (smoke_run / watch.LOGS).glob("*.log") if "Job stats" in log.read_text())
    found = watch.read(log.read_text())
    assert found.ended and not found.running and not found.failed
    assert found.done == sum(found.jobs.values()) == 54
    assert {rule: len(took) for rule, took in found.took.items()} == found.jobs
    assert watch.time_left(found, datetime.now()) == 0
