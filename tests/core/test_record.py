"""Seed streams, and files that are whole, absent, or refused with a reason."""

import json
import logging
import os
import socket
import stat
import subprocess
import sys
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import wait_for

from memrnn.core import streams
from memrnn.core.files import load_arrays, load_json, save_arrays, save_json, write_atomic
from memrnn.core.jobs import fingerprint_of, log_to

LIBRARY = Path(__file__).parents[2] / "workflow" / "lib"
META = {"cell": "gru", "seeds": [0, 1], "nested": {"deep": None}}


def arrays() -> dict[str, torch.Tensor]:
    return {"weights": torch.arange(12.0).reshape(3, 4) / 7, "counts": torch.tensor([[1, -(2**40)], [3, 4]])}


# ----------------------------------------------------------------------------------------------------------- streams


def test_streams_keep_their_values():
    # Written down once: a change would silently give every network other weights and trials.
    assert streams.stream(3, "train", "noise").generate_state(3).tolist() == [2963062506, 3378207756, 3688772932]
    assert streams.generator(3, "train", "noise").initial_seed() == 14509291834076610282
    drawn = torch.randint(1000, (5,), generator=streams.generator(3, "train", "noise"))
    assert drawn.tolist() == [950, 196, 889, 244, 120]


def test_a_stream_is_spawned_by_seed_and_names():
    expected = np.random.SeedSequence(5, spawn_key=(zlib.crc32(b"train"), zlib.crc32(b"draws")))
    assert (streams.stream(5, "train", "draws").generate_state(8) == expected.generate_state(8)).all()


def test_streams_differ_by_seed_by_name_by_order_and_by_depth():
    names = [(), ("a",), ("b",), ("a", "b"), ("b", "a"), ("ab",), ("a", "b", "a"), ("a", "a")]
    states = {tuple(streams.stream(seed, *name).generate_state(4).tolist()) for seed in range(20) for name in names}
    assert len(states) == 20 * len(names)
    initial = {streams.generator(seed, *name).initial_seed() % 2**32 for seed in range(20) for name in names}
    assert len(initial) == 20 * len(names)  # also in the 32 bits that torch uses


def test_streams_are_not_correlated():
    names = [(seed, purpose) for seed in (0, 1, 2) for purpose in ("weights", "noise", "draws")]
    drawn = torch.stack([torch.randn(20_000, generator=streams.generator(*name)) for name in names])
    off_diagonal = torch.corrcoef(drawn) - torch.eye(len(names))
    assert off_diagonal.abs().max() < 5 / 20_000**0.5


def test_a_stream_leaves_the_global_state_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    torch.rand(5, generator=streams.generator(0, "noise"))
    assert torch.equal(torch.rand(3), expected)


# ------------------------------------------------------------------------------------------------------ atomic files


def test_an_exception_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="half way"), write_atomic(tmp_path / "new" / "table.csv") as path:
        path.write_text("half")
        raise RuntimeError("half way")
    assert list((tmp_path / "new").iterdir()) == []


def test_an_exception_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), write_atomic(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_shows_before_the_end(tmp_path):
    path = tmp_path / "table.csv"
    with write_atomic(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.parent == tmp_path  # a rename within a file system is atomic, a copy across is not
        assert temporary.suffix == path.suffix  # pandas and matplotlib tell the format by it
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_others_may_read_what_the_umask_lets_them(tmp_path):
    before = os.umask(0o027)
    try:
        save_json(tmp_path / "a.json", 1)
    finally:
        assert os.umask(before) == 0o027  # looked at, not changed
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("save", "bad"),
    [
        (save_json, {"x": float("nan")}),
        (save_json, object()),
        (lambda path, meta: save_arrays(path, arrays(), meta), {"x": object()}),
        (lambda path, array: save_arrays(path, {"a": array}, {}), torch.eye(2).to_sparse()),
    ],
    ids=["nan", "no json", "no json in the metadata", "sparse array"],
)
def test_what_cannot_be_written_leaves_no_file(tmp_path, save, bad):
    with pytest.raises((ValueError, TypeError, NotImplementedError, RuntimeError)):
        save(tmp_path / "file", bad)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------------------ arrays


def test_arrays_come_back(tmp_path):
    path = tmp_path / "a.safetensors"
    saved = {**arrays(), "part": torch.arange(6.0).reshape(2, 3).T, "grad": torch.ones(2, requires_grad=True)}
    save_arrays(path, saved, META)
    loaded, meta = load_arrays(path)
    assert meta == META
    assert list(loaded) == sorted(saved)
    for name, values in saved.items():
        assert loaded[name].dtype == values.dtype
        assert torch.equal(loaded[name], values)
        assert not loaded[name].requires_grad


def test_the_same_arrays_give_the_same_bytes(tmp_path):
    save_arrays(tmp_path / "a", arrays(), META)
    save_arrays(tmp_path / "b", dict(reversed(arrays().items())), dict(reversed(META.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_missing_arrays_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a\.safetensors: no such file.*Run that stage again"):
        load_arrays(tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="no such file"):
        load_arrays(tmp_path)  # a folder


def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    save_arrays(path, arrays(), META)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"a\.safetensors: expected a whole safetensors file"):
            load_arrays(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(ValueError, match="expected a whole safetensors file"):
        load_arrays(path)


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80])
def test_every_flipped_byte_is_refused(tmp_path, mask):
    path = tmp_path / "a.safetensors"
    save_arrays(path, arrays(), META)
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ mask]) + whole[position + 1 :])
        with pytest.raises(ValueError, match=r"a\.safetensors: expected a whole safetensors file"):
            load_arrays(path)


def test_arrays_of_others_are_refused(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "a.safetensors"
    for metadata in (None, {"format": "pt"}, {"memrnn": "{not json"}, {"memrnn": "3"}, {"memrnn": '{"meta": "{}"}'}):
        save_file(arrays(), path, metadata)
        with pytest.raises(ValueError, match="written by this project"):
            load_arrays(path)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="expected a whole safetensors file"):
        load_arrays(path)


# -------------------------------------------------------------------------------------------------------------- JSON


def test_json_comes_back_and_bad_json_is_refused(tmp_path):
    path = tmp_path / "a.json"
    save_json(path, {"b": [1, 2.5, None], "a": "é"})
    assert load_json(path) == {"b": [1, 2.5, None], "a": "é"}
    assert list(json.loads(path.read_text())) == ["a", "b"]
    path.write_text('{"a": ')
    with pytest.raises(ValueError, match=r"a\.json: expected a JSON file, found JSONDecodeError"):
        load_json(path)
    with pytest.raises(ValueError, match=r"b\.json: expected a JSON file, found FileNotFoundError"):
        load_json(tmp_path / "b.json")


# ------------------------------------------------------------------------------------------------------- fingerprint


def test_a_fingerprint_changes_with_every_part():
    parts = [
        (), ({},), ([],), ("",), (0,), (None,), (1,), (1.0,), (True,), ("1",), ([1],), ([[1]],), ([1, 2],), ([1], [2]),
        (1, 2), ([1, [2]],), ("12",), ("1", "2"), ({"a": 1},), ({"a": 2},), ({"b": 1},), ({"a": 1, "b": 2},),
        ({"a": 1}, {"b": 2}), ({"a": {"b": 1}},), ({"a": [1]},), ("a;str:b",), ("a", "b"), ({"a": None},),
    ]  # fmt: skip
    assert len({fingerprint_of(*each) for each in parts}) == len(parts)


def test_a_fingerprint_does_not_depend_on_the_order_of_keys():
    assert fingerprint_of({"a": 1, "b": [2]}) == fingerprint_of({"b": [2], "a": 1})
    assert fingerprint_of((1, 2)) == fingerprint_of([1, 2])  # Snakemake hands on lists or tuples


def test_a_fingerprint_counts_the_content_of_files_not_their_place(tmp_path):
    first, second = tmp_path / "a.py", tmp_path / "b.py"
    first.write_text("x = 1\n")
    second.write_text("x = 1\n")
    before = fingerprint_of([str(first)], {"steps": 3})
    assert fingerprint_of([str(second)], {"steps": 3}) == before
    os.utime(first, (1, 1))
    assert fingerprint_of([str(first)], {"steps": 3}) == before
    first.write_text("x = 2\n")
    assert fingerprint_of([str(first)], {"steps": 3}) != before
    assert fingerprint_of([str(tmp_path / "gone.py")], {"steps": 3}) != before


# -------------------------------------------------------------------------------------------------------------- logs


def test_a_log_goes_to_its_file_and_to_standard_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    path = tmp_path / "logs" / "a.log"
    log_to(path, "stage").info("first %d", 1)
    logger = log_to(path, "stage")  # a second call starts anew and does not double the lines
    logger.info("second")
    logger.debug("not shown")
    assert [line[20:] for line in path.read_text().splitlines()] == ["second"]
    assert [line[20:] for line in capsys.readouterr().err.splitlines()] == ["first 1", "second"]
    logging.getLogger("memrnn.stage").handlers.clear()


@pytest.mark.parametrize("end", ["kill", "exit"])
def test_two_processes_never_do_the_same_job(tmp_path, end):
    path, lock = tmp_path / "a.log", tmp_path / "a.log.lock"
    code = f"from memrnn.core.jobs import log_to\nlog_to({str(path)!r}, 'stage').info('begun')\ninput()\n"
    run = partial(subprocess.Popen, [sys.executable, "-c", code], cwd=LIBRARY, text=True, stdin=subprocess.PIPE)

    with run() as first:
        wait_for(path, "begun", 60)
        path.unlink()  # as Snakemake does before it starts a job again
        with run() as second:
            wait_for(path, f"waiting for the end of process {first.pid} on {socket.gethostname()}", 60)
            assert "begun" not in path.read_text()
            if end == "kill":
                first.kill()
            else:
                first.communicate("\n")
            wait_for(path, "begun", 60)
            assert lock.read_text() == f"process {second.pid} on {socket.gethostname()}\n"
            second.communicate("\n")
        assert second.returncode == 0
    assert not lock.exists()


def test_an_uncaught_exception_reaches_the_log(tmp_path):
    path = tmp_path / "a.log"
    code = f"from memrnn.core.jobs import log_to\nlog_to({str(path)!r}, 'stage')\nraise ValueError('the reason')\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=LIBRARY, capture_output=True, text=True)
    assert done.returncode == 1
    for text in (path.read_text(), done.stderr):
        assert text.count("failed: the reason") == 1
        assert text.count("Traceback (most recent call last)") == 1
        assert text.rstrip().endswith("ValueError: the reason")
