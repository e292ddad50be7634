"""Blocks of seeds, ensembles, and which library modules a script stands on."""

import json
import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from memrnn.models.fronts import Convnet
from memrnn.run import planning
from memrnn.tasks.delayed_classification import MEAN_FRAMES

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "workflow" / "lib"
SCRIPTS = sorted((ROOT / "workflow" / "scripts").glob("*.py"))

seed_lists = st.lists(st.integers(0, 60), unique=True, min_size=1, max_size=25)


# ------------------------------------------------------------------------------------------------------------ blocks


@pytest.mark.parametrize(
    ("seeds", "size", "expected"),
    [
        ([0, 1, 2, 3], 4, {"seeds0-3": [0, 1, 2, 3]}),
        ([0, 1, 2], 2, {"seeds0-1": [0, 1], "seeds2": [2]}),
        ([0, 5, 6, 7], 4, {"seeds0_5-7": [0, 5, 6, 7]}),
        ([3, 2, 1], 3, {"seeds3_2_1": [3, 2, 1]}),
        ([7], 10, {"seeds7": [7]}),
        ([9, 10, 1, 11], 2, {"seeds9-10": [9, 10], "seeds1_11": [1, 11]}),
    ],
)
def test_blocks_by_hand(seeds, size, expected):
    found = planning.blocks(seeds, size)
    assert found == expected
    assert list(found) == list(expected)


def spelled(name: str) -> list[int]:
    """The seeds that a name spells out."""
    found = []
    for part in name.removeprefix("seeds").split("_"):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


@given(seed_lists, st.integers(1, 30))
def test_blocks_hold_all_seeds_in_order_and_are_named_by_them(seeds, size):
    found = planning.blocks(seeds, size)
    assert [seed for block in found.values() for seed in block] == seeds
    assert [len(block) for block in found.values()][:-1] == [size] * (len(found) - 1)
    assert 1 <= len(list(found.values())[-1]) <= size
    for name, block in found.items():
        assert spelled(name) == block
        assert name.startswith("seeds")
        assert set(name) <= set("seds0123456789-_")  # safe in a file's name and in a regular expression


@given(seed_lists, st.lists(st.integers(61, 99), unique=True, max_size=9), st.integers(1, 6))
def test_full_blocks_outlive_new_seeds(seeds, more, size):
    before, after = planning.blocks(seeds, size), planning.blocks(seeds + more, size)
    full = {name: block for name, block in before.items() if len(block) == size}
    assert full.items() <= after.items()


# ------------------------------------------------------------------------------------------------- sizes, and times


def test_time_and_memory_follow_the_size_of_a_job():
    # The two measurements behind the rates, 4.4 ms and 90 ms for a training step, and the margin of four.
    small, large = 20 * 32 * 10**6 * planning.BACKWARD, 20 * 128 * 10**5 * planning.BACKWARD
    assert planning.minutes(small, 1, 65, 100) == pytest.approx(4 * 4400 / 60, rel=0.03)
    assert planning.minutes(large, 1, 785, 200) == pytest.approx(4 * 9000 / 60, rel=0.03)
    assert planning.minutes(small, 10, 65, 100) == pytest.approx(10 * planning.minutes(small, 1, 65, 100), rel=0.01)
    assert planning.minutes(1, 1, 65, 100) == 10
    # 64 shared frames and 128 images in place of 2,560 frames.
    assert planning.shared_inputs(785, None, 128, 20) == 785
    assert planning.shared_inputs(785, 64, 128, 20) == 59
    # 1,000 trials of 30 networks of MNIST's size, measured at 2,698 MiB = 2,829 MB.
    assert 2829 < planning.megabytes(1000, 30, 785, 200) < 2 * 2829
    assert planning.megabytes(1000, 300, 785, 200) > 8 * 2829
    assert planning.megabytes(1, 1, 65, 100) == 2000


def test_the_papers_front_end_by_hand():
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    pixels = planning.front(config["network"], 3072)
    assert (pixels.inputs, pixels.shown, pixels.seconds) == (3073, 3073, 0)
    assert set(planning.front_seconds(config, 10, pixels).values()) == {0}
    assert set(planning.front_bytes(config, pixels).values()) == {0}
    assert planning.updates(config, 10).keys() == planning.front_seconds(config, 10, pixels).keys()
    config["network"]["front_end"] = "convnet"
    found = planning.front(config["network"], 3072)
    assert (found.inputs, found.shown) == (1025, 3073)
    assert found.numbers == 128 * (32**2 + 16**2 + 8**2)
    weights = [27 * 128, 1152 * 128, 1152 * 128, 2048 * 2048, 2048 * 2048, 2048 * 1024]
    assert found.parameters == sum(weights) + 3 * 128 + 2 * 2048 + 1024
    start = Convnet((32, 32, 3), (128,) * 3, 3, (2048, 2048, 1024), 0.2).initial(0)
    assert found.parameters == sum(values.numel() for values in start.values())
    # 128 frames with their gradients took 0.84 s on a busy core, without the dense layers
    assert 0.84 < planning.BACKWARD * 128 * found.seconds < 3 * 0.84
    assert planning.MEAN_FRAMES == MEAN_FRAMES
    # 28 x 28 pixels, grey
    grey = planning.front({"front_end": "convnet", "convnet": {"filters": [4], "kernel": 5, "dense": [7]}}, 784)
    assert grey.parameters == 25 * 4 + 4 + 14 * 14 * 4 * 7 + 7
    # 64 shared frames and 32 images, 3 modes' noise apart, for each of 4,000 updates, and 40 evaluations
    config["engine"]["shared_frames"] = 64
    seconds = planning.front_seconds(config, 10, found)
    assert seconds["train"] == pytest.approx(found.seconds * (3 * 4000 * 96 + 40 * 200 * 20))
    assert seconds["regularise"] == pytest.approx(found.seconds * (3 * 500 * (96 + 100) + 5 * 200 * 20))
    assert planning.front_bytes(config, found)["train"] > 4 * found.parameters * (21 + 5)
    assert planning.network(config).keys() == {"units", "front_end", "convnet"}
    config["network"]["front_end"] = "pixels"
    assert planning.network(config).keys() == {"units", "front_end"}


def test_updates_of_the_default_run_by_hand():
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    assert planning.updates(config, 10) == {
        "train": 3 * 4000 * 32 * 20,
        "regularise": 3 * 500 * 32 * 20,
        "slow_points": 3 * 100_000 * 10,  # a point per class
        "backtrack": 3 * 10_000 * 10 * (21 + 9),  # shares of training, and VoCu's changes of the task
        "spectrum": 10 * (200 * 20 + 1000 + 200 * 32 * 100),
        "extrapolate": 1000 * 100 * 10,
        "portraits": 200 * 3 * 10,
    }
    # Four networks took 74.7 s on the processor of the measurements (docs/results/digits), LSTMs longer than GRUs.
    assert planning.seconds(3 * 4000 * 32 * 20, 4, 65, 100) == pytest.approx(74.7, rel=0.1)


def test_when_a_file_was_written(tmp_path):
    path = tmp_path / "made"
    assert planning.written(path) is None
    path.touch()
    os.utime(path, ns=(1, 12_345))
    assert planning.written(path) == 12_345


# --------------------------------------------------------------------------------------------------------- ensembles


def test_ensembles_are_every_cell_under_every_protocol_of_the_stage():
    config = {"cells": ["gru", "lstm"], "protocols": ["vocu", "nacu"], "regularise": {"protocols": ["vocu"]}}
    config["backtrack"] = {"protocols": ["nacu"]}
    assert planning.ensembles(config) == {
        "train": [("gru", "vocu"), ("gru", "nacu"), ("lstm", "vocu"), ("lstm", "nacu")],
        "regularise": [("gru", "vocu"), ("lstm", "vocu")],
        "backtrack": [("gru", "nacu"), ("lstm", "nacu")],
    }


def test_boundaries_are_where_the_task_changes():
    assert planning.boundaries({"starts": [0, 8, 16], "out_of": 140}, 1000) == [57, 114]
    assert planning.boundaries({"starts": [], "out_of": 140}, 1000) == []


def test_a_configuration_is_put_in_order_where_it_lies():
    inner = {"z": 1, "b": [{"d": 1, "c": 2}], "a": {"y": 0, "x": None}}
    config = {"train": inner, "run": "digits"}
    planning.put_in_order(config)
    assert json.dumps(config) == (
        '{"run": "digits", "train": {"a": {"x": null, "y": 0}, "b": [{"d": 1, "c": 2}], "z": 1}}'
    )
    assert config["train"] is inner  # Snakemake keeps hold of the same objects
