"""Blocks of seeds, ensembles, and what jobs may take."""

import json
import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from memrnn.run import planning
from memrnn.run.stages import BLOCKWISE

ROOT = Path(__file__).parents[2]

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


CONFIG = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


def test_every_stage_of_blocks_has_its_allowance():
    assert CONFIG["resources"].keys() == {"base", *BLOCKWISE}
    assert planning.states(CONFIG, 10).keys() == set(BLOCKWISE)


def test_allowances_grow_with_networks_and_with_what_a_batch_holds():
    config = CONFIG | {"resources": {"base": {"minutes": 10, "mb": 800}, "extrapolate": {"minutes": 0.3, "mb": 0}}}
    assert [planning.minutes(config, "extrapolate", networks) for networks in (0, 1, 30)] == [10, 11, 19]
    assert planning.minutes(config, "claims", 0) == 10
    assert planning.megabytes(config, "claims", 0, 10, 784, 70_000) == 800
    # 1,000 trials of 30 LSTM networks of MNIST's size, measured at 2,698 MiB = 2,829 MB with 10,000 images.
    config |= {"network": {"units": 200}, "extrapolate": {"trials": 100}}
    assert 2829 < planning.megabytes(config, "extrapolate", 30, 10, 784, 10_000) < 1.5 * 2829


def test_when_a_file_was_written(tmp_path):
    path = tmp_path / "made"
    assert planning.written(path) is None
    path.touch()
    os.utime(path, ns=(1, 12_345))
    assert planning.written(path) == 12_345


# --------------------------------------------------------------------------------------------------------- ensembles


def test_ensembles_are_every_cell_under_every_protocol_of_the_stage():
    config = {"cells": ["gru", "lstm"], "protocols": ["vocu", "nacu"], "regularise": {"protocols": ["vocu"]}}
    config |= {"backtrack": {"protocols": ["nacu"]}, "other_starts": {"protocols": []}}
    assert planning.ensembles(config) == {
        "train": [("gru", "vocu"), ("gru", "nacu"), ("lstm", "vocu"), ("lstm", "nacu")],
        "regularise": [("gru", "vocu"), ("lstm", "vocu")],
        "other_starts": [],
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
