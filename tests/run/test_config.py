"""Validation of the configuration: the shipped files pass, every rule refuses, and what is sound passes."""

import copy
import datetime
import re
from collections import OrderedDict
from pathlib import Path

import pytest
import yaml
from PIL import Image
from snakemake.cli import parse_config
from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config

from memrnn.data import downloads
from memrnn.models.fronts import FRONTS
from memrnn.run import config
from memrnn.tasks import protocols
from memrnn.tasks.protocols import step_of
from memrnn.training import engine
from memrnn.training.penalties import PENALTIES

ROOT = Path(__file__).parents[2]
SCHEMA_PATH = ROOT / "workflow/schemas/config.schema.yaml"
SCHEMA = config.schema(SCHEMA_PATH)
DEFAULT = yaml.safe_load((ROOT / "config/config.yaml").read_text())
MISSING = object()


def changed(*changes: tuple[str, object]) -> dict:
    """The default configuration with values at dotted paths replaced (or removed, where the value is MISSING)."""
    made = copy.deepcopy(DEFAULT)
    for path, value in changes:
        *sections, key = path.split(".")
        place = made
        for section in sections:
            place = place[section]
        if value is MISSING:
            del place[key]
        else:
            place[key] = value
    return made


def problems(made: object) -> list[str]:
    """The lines of the refusal, without its heading."""
    with pytest.raises(config.ConfigError) as caught:
        config.validate(made, SCHEMA_PATH)
    heading, *lines = str(caught.value).split("\n")
    assert heading == f"The configuration has {len(lines)} problem{'s' * (len(lines) > 1)}:"
    assert all(line.startswith("  ") for line in lines)
    return [line[2:] for line in lines]


# ---------------------------------------------------------------- what is shipped


def test_the_default_configuration_is_valid():
    config.validate(DEFAULT, SCHEMA_PATH)


@pytest.mark.parametrize(
    "name", sorted(path.name for path in (ROOT / "config").glob("*.yaml") if path.stem != "config")
)
def test_every_override_is_valid_on_top_of_the_default(name):
    merged = overridden(name)
    config.validate(merged, SCHEMA_PATH)
    assert merged["run"] != DEFAULT["run"]  # an override must not write over the default run's results


def overridden(name: str) -> dict:
    """The default with a file of overrides, merged as Snakemake merges --configfile."""
    merged = load_configfile(ROOT / "config/config.yaml")
    update_config(merged, load_configfile(ROOT / "config" / name))
    return merged


RATE_DROP = "train.learning_rate_drop"
PAPER = {  # what the paper says of each data set; where its two agree, once
    "paper_mnist.yaml": {
        "dataset.source": "mnist",
        "network": {"units": 200, "front_end": "pixels"},
        "train": {"steps": 140_000, "batch": 128, "learning_rate": 1e-5},
        RATE_DROP: {"start": 120, "out_of": 140, "factor": 0.1},
        "protocol_settings.vocu": {"starts": [0, 8, 16, 26, 36, 48, 62, 78, 98], "out_of": 140},
        "protocol_settings.decu": {"starts": [0, 20, 30, 40, 50, 60, 70, 80], "out_of": 140},
        "protocol_settings.recu": {"starts": [0, 20, 30, 40, 60], "out_of": 140},
        "slow_points.noise_scale": pytest.approx(1 / 3),
        "regularise": {"steps": 5000, "batch": 128, "learning_rate": 1e-5},
        "mode_settings.centroid": {"strength": 1e-3},
        "mode_settings.slow_points": {"strength": 1e-3},
        "engine": {"precision": "bfloat16", "shared_frames": 64},  # not the paper's; docs/engine.md
    },
    "paper_cifar10.yaml": {
        "dataset.source": "cifar10",
        "network": {"units": 512, "front_end": "convnet"},
        "network.convnet": {"filters": [128] * 3, "kernel": 3, "dense": [2048, 2048, 1024], "leak": 0.2},
        "train": {"steps": 300_000, "batch": 64, "learning_rate": 1e-4},
        RATE_DROP: {"start": 280, "out_of": 300, "factor": 0.1},
        "protocol_settings.vocu": {"starts": list(range(0, 270, 30)), "out_of": 300},
        "protocol_settings.decu": {"starts": [0, 100, 120, 140, 160, 180, 200, 220], "out_of": 300},
        "protocol_settings.recu": {"starts": [0, 20, 30, 40, 60], "out_of": 300},
        "slow_points.noise_scale": 1,
        "regularise": {"steps": 5000, "batch": 64, "learning_rate": 1e-4},
        "mode_settings.centroid": {"strength": 1e-2},
        "mode_settings.slow_points": {"strength": 1e-2},
        "engine": {"precision": "float32", "shared_frames": None, "float32_library": "auto"},
    },
}
BOTH = {
    "": {"cells": ["gru", "lstm"], "protocols": ["vocu", "decu"]},
    "task.steps": 20,
    "protocol_settings.vocu.values": list(range(2, 11)),
    "protocol_settings.decu.values": list(range(6, 21, 2)),
    "protocol_settings.recu.values": [0, 0.25, 0.5, 0.75, 1],
    "protocol_settings.nacu.values": [],
    "slow_points": {"noise_steps": 14, "learning_rate": 1e-3},
    "slow_points.learning_rate_drop": {"step": 40_000, "factor": 0.1},
    "regularise": {"modes": ["control", "centroid", "slow_points"], "search_steps": 100_000},
    "mode_settings.control": {},
    "mode_settings.centroid": {"penalty": "speed", "at": "centroids", "noise_draws": 10},
    "mode_settings.slow_points": {"penalty": "speed", "at": "points", "noise_draws": 10},
    "claims.search_steps": 100_000,
}


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_settings_are_the_papers(name):
    merged = overridden(name)
    for path, expected in [*BOTH.items(), *PAPER[name].items()]:
        found = merged
        for key in filter(None, path.split(".")):
            found = found[key]
        if isinstance(expected, dict):
            found = {key: found[key] for key in expected}
        assert found == expected, path
    assert len(merged["seeds"]) == {"paper_mnist.yaml": 10, "paper_cifar10.yaml": 5}[name]


def test_registries_that_planning_reads_are_those_that_jobs_use():
    assert list(config.settings_of(config.FRONTS)) == list(FRONTS)
    assert list(config.settings_of(config.PENALTIES)) == list(PENALTIES)
    assert set(SCHEMA["properties"]["engine"]["properties"]["precision"]["enum"]) == set(engine.PRECISIONS)


def test_boundaries_are_checked_at_the_steps_where_training_places_them():
    full = protocols.Lesson(classes=10, steps=20)
    for name in ("vocu", "decu", "recu"):
        setting = DEFAULT["protocol_settings"][name]
        for steps in (150, 6000, 140_000):
            planned = tuple(step_of(start, setting["out_of"], steps) for start in setting["starts"])
            assert protocols.schedule(name, setting, steps, full).starts == planned


def objects(schema: dict, path: str = "") -> list[tuple[str, dict]]:
    """Every object of the schema with its dotted path."""
    if schema["type"] != "object" or "properties" not in schema:
        return []
    inner = [
        found
        for name, part in schema["properties"].items()
        if "type" in part
        for found in objects(part, f"{path}.{name}")
    ]
    return [(path, schema), *inner]


def test_every_key_of_the_schema_is_described_required_and_typed():
    for path, schema in objects(SCHEMA):
        assert schema["additionalProperties"] is False, path
        assert set(schema["required"]) == set(schema["properties"]), path
        for name, part in schema["properties"].items():
            assert part["description"], f"{path}.{name}"
            assert "type" in part or "enum" in part, f"{path}.{name}"


# ---------------------------------------------------------------- every rule refuses

REFUSED = [
    # the schema
    ("run", "", r"run: found '' \(text\); allowed: text.*letters, digits, _ and -"),
    ("run", "../elsewhere", r"run: found '\.\./elsewhere'"),
    ("run", "r" * 101, "run: found 'r+.*at most 100 characters"),
    ("run", 2024, r"run: found 2024; allowed: text.*put it in quotes"),
    ("run", False, r"run: found False; allowed: text.*put it in quotes"),
    ("run", datetime.date(2024, 1, 31), r"run: found datetime\.date\(2024, 1, 31\); allowed: text.*put it in quotes"),
    ("cells", [], r"cells: found \[\]; allowed: a list, 1 or more items"),
    ("cells", "gru", r"cells: found 'gru' \(text\); allowed: a list"),
    ("cells", ["gru", "elman"], r"cells\[1\]: found 'elman' \(text\); allowed: one of gru, lstm, rnn, mgu"),
    (
        "cells",
        ["gru", "gru"],
        r"cells: found \['gru', 'gru'\], with 'gru' \(text\) more than once; allowed: each item once",
    ),
    ("seeds", [0, 1, 1], r"seeds: found \[0, 1, 1\], with 1 more than once"),
    ("seeds", [-1], r"seeds\[0\]: found -1; allowed: a whole number, at least 0"),
    ("seeds", [2**32], r"seeds\[0\]: found 4294967296; .*at most 4294967295"),
    ("seeds", [True], r"seeds\[0\]: found True; allowed: a whole number"),
    ("dataset.folder", 3, r"dataset\.folder: found 3; allowed: text or null"),
    ("dataset.data_dir", "", r"dataset\.data_dir: found '' \(text\); allowed: text or null, at least 1 characters"),
    ("task", None, "task: found null; allowed: a section of keys"),
    ("network.convnet.kernel", 4, r"network\.convnet\.kernel: found 4; allowed: one of 1, 3, 5, 7"),
    ("train.steps", 6000.0, r"train\.steps: found 6000\.0; allowed: a whole number.*Write 6000$"),
    ("train.batch", "64", r"train\.batch: found '64' \(text\);.*number written as text: write 64 without quotes"),
    (
        "train.learning_rate",
        0,
        r"train\.learning_rate: found 0; allowed: a number, above 0, at most 1 \[Adam's step size\]",
    ),
    (
        "train.learning_rate",
        "1e-4",
        r"train\.learning_rate: found '1e-4' \(text\); .*YAML.*dot and a sign: write 1\.0e-4$",
    ),
    ("train.learning_rate", "1.0e4", r"write 1\.0e\+4$"),
    ("train.learning_rate", "-.5E3", r"write -0\.5e\+3$"),
    ("train.learning_rate", "fast", r"train\.learning_rate: found 'fast' \(text\); allowed: a number, above 0[^.]*$"),
    ("train.learning_rate", float("nan"), r"train\.learning_rate: found nan; allowed: a number"),
    ("train.learning_rate", float("inf"), r"train\.learning_rate: found inf; allowed: a number"),
    ("train.learning_rate", True, r"train\.learning_rate: found True; allowed: a number"),
    (
        "protocol_settings.nacu.values",
        [10],
        r"protocol_settings\.nacu\.values: found \[10\]; allowed: a list, 0 or fewer",
    ),
    ("mode_settings.centroid.strength", 0, r"mode_settings\.centroid\.strength: found 0; allowed: a number, above 0"),
    ("mode_settings.centroid.strength", MISSING, r"mode_settings\.centroid\.strength: missing; allowed: a number"),
    ("mode_settings.centroid.noise_draws", 0, r"mode_settings\.centroid\.noise_draws: found 0"),
    ("mode_settings.centroid.at", "here", r"mode_settings\.centroid\.at: found 'here' .*one of centroids, points"),
    ("mode_settings.centroid.penalty", "sped", r"mode_settings\.centroid\.penalty: found 'sped' .*one of .*, speed"),
    ("mode_settings.centroid.penalty", [], r"mode_settings\.centroid\.penalty: found \[\]; allowed: one of"),
    (
        "mode_settings.mine",
        {"penalty": "activity", "strength": 1.0, "at": "points"},
        r"mode_settings\.mine\.at: unknown key; allowed: penalty, strength",
    ),
    ("mode_settings.mine", {"strength": 1.0}, r"mode_settings\.mine\.strength: unknown key"),
    ("mode_settings.mine", 1, r"mode_settings\.mine: found 1; allowed: a section of keys"),
    ("mode_settings.a b", {}, r"mode_settings: found 'a b' .*letters, digits and _"),
    ("mode_settings", [], r"mode_settings: found \[\]; allowed: a section of keys"),
    ("correlate.confidence", 1, r"correlate\.confidence: found 1; allowed: a number, above 0, below 1"),
    ("engine.shared_frames", True, r"engine\.shared_frames: found True; allowed: a whole number or"),
    ("engine.shared_frames", 64.0, r"engine\.shared_frames: found 64\.0; allowed: a whole number.*Write 64$"),
    # how values fit each other
    (
        "spectrum.relaxed_times",
        [40, 0],
        r"spectrum\.relaxed_times: found \[40, 0\]; allowed: times in strictly ascending",
    ),
    ("dataset.source", "folder", r"dataset\.folder: found null; allowed: the path of a folder, because .* is folder"),
    (
        "dataset.folder",
        "images",
        r"dataset\.folder: found 'images' \(text\); allowed: null, because dataset\.source is digits",
    ),
    (
        "dataset.data_dir",
        "files",
        r"dataset\.data_dir: found 'files' \(text\); allowed: null, because dataset\.source is digits",
    ),
    (
        "dataset",
        {"source": "mnist", "folder": None, "data_dir": "nowhere"},
        r"dataset\.data_dir: found 'nowhere' \(text\); .* a folder with the files of mnist\. nowhere: no such folder",
    ),
    ("task.min_delay", 20, r"task\.min_delay: found 20; allowed: below task\.steps, 20"),
    (
        "train.learning_rate_drop.start",
        141,
        r"train\.learning_rate_drop\.start: found 141; allowed: at most its out_of, 140",
    ),
    (
        "train.checkpoints",
        [0.1, 1],
        r"train\.checkpoints: found \[0\.1, 1\]; allowed: shares in .*the first 0 and the last 1",
    ),
    ("train.checkpoints", [0, 0.9], r"train\.checkpoints: found \[0, 0\.9\]"),
    (
        "engine.shared_frames",
        19,
        r"engine\.shared_frames: found 19; allowed: null, or from the steps of the longest trial, 20, so that",
    ),
    ("engine.shared_frames", 1281, r"engine\.shared_frames: found 1281; .*, to 1280, the frames of all trials"),
    ("train.checkpoints", [0, 0.5, 0.5, 1], r"train\.checkpoints: found \[0, 0\.5, 0\.5, 1\]; .*strictly ascending"),
    (
        "train.checkpoints",
        [0, 0.5, 0.50001, 1],
        r"train\.checkpoints: .*of train\.steps, \d+, the shares 0\.5 and 0\.50001 of 1 both fall on step \d+",
    ),
    (
        "train.steps",
        10,
        r"protocol_settings\.vocu\.starts: .*of train\.steps, 10, the shares 8 and 16 of 140 both fall on step 1",
    ),
    ("protocol_settings.vocu.values", [2, 3, 4, 5, 6, 7, 9, 8, 10], r"vocu\.values: .*strictly ascending order"),
    (
        "protocol_settings.vocu.values",
        [2, 3, 4, 5, 6, 7, 8, 9, 11],
        r"protocol_settings\.vocu\.values: found .*; allowed: numbers of classes from 2 to 10,.* must be the last",
    ),
    (
        "protocol_settings.vocu.values",
        [2, 3, 4, 5, 6, 7, 11, 8, 10],
        r"vocu\.values: .*numbers of classes from 2 to 10",
    ),
    (
        "protocol_settings.vocu.starts",
        [0, 8],
        r"vocu\.starts: found \[0, 8\]; allowed: one start for each of the 9 values",
    ),
    (
        "protocol_settings.decu.starts",
        [0, 20, 30, 50, 40, 60, 70, 80],
        r"protocol_settings\.decu\.starts: found .*strictly ascending order, the first 0",
    ),
    ("protocol_settings.decu.starts", [1, 20, 30, 40, 50, 60, 70, 80], r"decu\.starts: .*the first 0"),
    ("protocol_settings.decu.starts", [0, 20, 30, 40, 50, 60, 70, 140], r"decu\.starts: .*starts below out_of, 140"),
    (
        "protocol_settings.decu.starts",
        [0, 20, 30, 40, 50, 60, 70, 139.999],
        r"decu\.starts: .*starts before the end; 139\.999 of 140 falls on train\.steps, \d+",
    ),
    (
        "protocol_settings.decu.values",
        [4, 8, 10, 12, 14, 16, 18, 20],
        r"protocol_settings\.decu\.values: found \[4, .*; allowed: time steps above task\.min_delay, 4$",
    ),
    (
        "protocol_settings.decu.values",
        [6, 8, 10, 12, 14, 16, 18, 24],
        r"decu\.values: found .* 24\]; allowed: time steps up to task\.steps, 20, .*is longer than the trial",
    ),
    (
        "protocol_settings.decu.values",
        [6, 8, 10, 12, 14, 16, 17, 18],
        r"decu\.values: .*task\.steps, 20, which must be the last",
    ),
    ("protocol_settings.decu.values", [6, 6, 10, 12, 14, 16, 18, 20], r"decu\.values: .*strictly ascending"),
    (
        "protocol_settings.recu.values",
        [0, 0.2, 0.4, 0.6, 0.8],
        r"recu\.values: found .*; allowed: weights of which the last is 1",
    ),
    ("protocol_settings.recu.values", [0, 0.5, 0.25, 0.75, 1], r"recu\.values: .*strictly ascending"),
    ("protocol_settings.recu.starts", [0, 20, 20, 40, 60], r"recu\.starts: .*strictly ascending"),
    (
        "extrapolate.delays",
        [1, 10, 30],
        r"extrapolate\.delays: found \[1, 10, 30\]; allowed: delays with task\.steps, 20, among",
    ),
    ("extrapolate.delays", [10, 20], r"extrapolate\.delays: found \[10, 20\]; .*at least one above task\.steps, 20"),
    ("extrapolate.delays", [20, 10, 30], r"extrapolate\.delays: found \[20, 10, 30\]; .*strictly ascending"),
    (
        "slow_points.search_steps",
        [3000, 3000],
        r"slow_points\.search_steps: found \[3000, 3000\]; .*strictly ascending",
    ),
    (
        "regularise.search_steps",
        2000,
        r"regularise\.search_steps: found 2000; allowed: one of slow_points\.search_steps, \[300",
    ),
    (
        "claims.search_steps",
        2000,
        r"claims\.search_steps: found 2000; allowed: one of slow_points\.search_steps, \[300",
    ),
    (
        "backtrack.start_steps",
        2000,
        r"backtrack\.start_steps: found 2000; allowed: one of slow_points\.search_steps, \[300",
    ),
    (
        "spectrum.search_steps",
        2000,
        r"spectrum\.search_steps: found 2000; allowed: one of slow_points\.search_steps, \[300",
    ),
    ("backtrack.protocols", ["vocu", "recu"], r"backtrack\.protocols: found 'recu' .*are trained, vocu, decu;"),
    ("other_starts.protocols", ["recu"], r"other_starts\.protocols: found 'recu' .*are trained, vocu, decu;"),
    ("regularise.protocols", ["vocu", "recu"], r"regularise\.protocols: found 'recu' .*are trained, vocu, decu;"),
    (
        "regularise.modes",
        ["centroid", "slow_points"],
        r"regularise\.modes: found .*; allowed: control, which the claims",
    ),
    (
        "regularise.modes",
        ["control"],
        r"regularise\.modes: found \['control'\]; .*at least one of centroid, slow_points",
    ),
    ("regularise.modes", ["control", "none"], r"regularise\.modes: found 'none' .*keys of mode_settings, control, cen"),
    (
        "mode_settings.control",
        {"penalty": "activity", "strength": 1.0},
        r"mode_settings\.control: found .*; allowed: \{\}",
    ),
    (
        "mode_settings.mine",
        {"trial_steps": 4},
        r"mode_settings\.mine\.trial_steps: found 4; allowed: above task\.min_del",
    ),
    ("mode_settings.mine", {"passed_states": 1.5}, r"mode_settings\.mine\.passed_states: found 1\.5; .*at most 1"),
    ("mode_settings.trained", {}, r"mode_settings\.trained: found \{\}; allowed: another name"),
    ("regularise.modes", [], r"regularise\.modes: found \[\]; .*make regularise\.protocols an empty list"),
]


# Changes at which several keys truly no longer fit. Any other fault told twice would hide the rest.
SEVERAL = {
    *("train.steps", "task.min_delay", "slow_points.search_steps"),
    *("protocol_settings.vocu.values", "protocol_settings.decu.values"),
}


@pytest.mark.parametrize(
    ("path", "value", "message"), REFUSED, ids=[f"{path}-{n}" for n, (path, *_) in enumerate(REFUSED)]
)
def test_each_rule_refuses(path, value, message):
    lines = problems(changed((path, value)))
    assert any(re.search(message, line) for line in lines), lines
    assert len(lines) == 1 or path in SEVERAL


CONVNET = {"filters": [4, 4, 4, 4], "kernel": 3, "dense": [8], "leak": 0.1}


@pytest.mark.parametrize(("source", "most"), [("digits", 3), ("mnist", 4), ("cifar10", 5)])
def test_images_are_large_enough_for_every_convolution(source, most):
    deep = {"units": 10, "front_end": "convnet", "convnet": CONVNET | {"filters": [4] * (most + 1)}}
    line, *others = problems(changed(("dataset.source", source), ("network", deep)))
    assert f"network.convnet.filters: found {[4] * (most + 1)}; allowed: {most} convolutions or fewer" in line
    assert not others
    for fits in (deep | {"convnet": CONVNET | {"filters": [4] * most}}, deep | {"front_end": "pixels"}):
        config.validate(changed(("dataset.source", source), ("network", fits)), SCHEMA_PATH)


# In others it is the same: each requires all its keys and allows no more, as a test of the schema above says.
AT_EACH_DEPTH = pytest.mark.parametrize("path", ["", ".task", ".protocol_settings.vocu"])


@AT_EACH_DEPTH
def test_every_key_is_required(path):
    for key in dict(objects(SCHEMA))[path]["required"]:
        where = f"{path}.{key}".lstrip(".")
        assert [line for line in problems(changed((where, MISSING))) if line.startswith(f"{where}: missing; allowed: ")]


@AT_EACH_DEPTH
def test_unknown_keys_are_refused_at_every_level_with_the_allowed_ones(path):
    where = f"{path}.zzz".lstrip(".")
    allowed = ", ".join(dict(objects(SCHEMA))[path]["properties"])
    assert problems(changed((where, 1))) == [f"{where}: unknown key; allowed: {allowed}"]


@pytest.mark.parametrize(
    ("path", "guess"),
    [
        ("trian", "train"),
        ("train.learning_rat", "learning_rate"),
        ("protocol_settings.vocv", "vocu"),
        ("engine.precison", "precision"),
    ],
)
def test_a_misspelt_key_gets_a_suggestion(path, guess):
    (line,) = problems(changed((path, 1)))
    assert line.startswith(f"{path}: unknown key; did you mean {guess}? allowed: ")


def test_a_key_that_is_no_text_is_refused():
    (line,) = problems({**DEFAULT, 3: 1})
    assert line.startswith("3: unknown key; allowed: run, ")


@pytest.mark.parametrize("nothing", [None, [], "run", 3])
def test_something_else_than_a_configuration_is_refused(nothing):
    (line,) = problems(nothing)
    assert line.startswith("configuration: found ") and "allowed: a section of keys" in line


def test_all_problems_are_told_at_once_and_good_parts_are_still_compared():
    lines = problems(
        changed(
            ("train.learning_rate", "1e-4"),
            ("train.checkpoints", [0, 2]),
            ("train.learning_rate_drop.start", 200),
            ("task.min_delay", 30),
            ("extrapolate.delays", [1, 2]),
            ("seed", 3),
            ("threads", MISSING),
        )
    )
    assert [line.split(": ")[0] for line in lines] == [
        *("seed", "threads"),
        *("train.checkpoints[1]", "train.learning_rate"),
        *("task.min_delay", "train.learning_rate_drop.start", "protocol_settings.decu.values"),
        *("extrapolate.delays", "extrapolate.delays"),
    ]


# ---------------------------------------------------------------- the command line


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("seeds=[0,1]", {"seeds": [0, 1]}),
        ("train={steps: 200, learning_rate: 1.0e-4}", {"train": {"steps": 200, "learning_rate": 1e-4}}),
        ("dataset={source: folder, folder: ~}", {"dataset": {"source": "folder", "folder": None}}),
        ("extrapolate={delays: [1, 20, 30]}", {"extrapolate": {"delays": [1, 20, 30]}}),
        ("run=mine", {"run": "mine"}),
        ("run=1e3", {"run": 1000.0}),
        ("dataset={folder: '{'}", {"dataset": {"folder": "{"}}),
    ],
)
def test_settings_of_the_command_line_have_the_types_of_a_file(given, expected):
    assert config.retyped(parse_config([given])) == expected


# ---------------------------------------------------------------- what YAML lets pass


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("train: {steps: 1}\nrun: a\ntrain: {batch: 2}\n", 3, "train: found a second time; allowed: once"),
        ("train:\n  steps: 1\n  batch: 2\n  steps: 3\n", 4, "steps: found a second time; allowed: once"),
        ("seeds: [1, 010]\n", 1, "found 010, which YAML reads as 8; allowed: a plain whole number"),
        ("train:\n  steps: 1:30\n", 2, "found 1:30, which YAML reads as 90; allowed: a plain whole number"),
        ('{"run": "a", "run": "b"}', 1, "run: found a second time; allowed: once"),
    ],
)
def test_what_yaml_would_pass_in_silence_is_refused_with_its_line(tmp_path, text, line, message):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(config.ConfigError) as found:
        config.check_files([tmp_path / "mine.yaml"])
    assert str(found.value) == f"The configuration has 1 problem:\n  {tmp_path}/mine.yaml, line {line}: {message}"


def test_sound_files_pass(tmp_path):
    (tmp_path / "mine.yaml").write_text("a: &x {steps: 0, b: '010'}\nc: *x\nd: 0x1f\ne: 1.0e-4\nf: 1_000\n")
    (tmp_path / "itself.yaml").write_text("a: &x [*x]\n")
    (tmp_path / "empty.yaml").write_text("")
    config.check_files([*tmp_path.iterdir(), *(ROOT / "config").glob("*.yaml")])


# ---------------------------------------------------------------- what is allowed


@pytest.mark.parametrize(
    "changes",
    [
        [("regularise.protocols", [])],
        [("regularise.protocols", []), ("regularise.modes", [])],
        [("regularise.modes", ["slow_points", "control"])],
        [
            ("mode_settings.weak", {"penalty": "activity", "strength": 1e-4}),
            ("mode_settings.strong", {"penalty": "activity", "strength": 1}),
            ("mode_settings.longer", {"trial_steps": 40}),
            ("mode_settings.passing", {"passed_states": 0.5}),
            ("regularise.modes", ["control", "weak", "strong", "longer", "passing"]),
        ],
        [("train.learning_rate_drop.start", 140)],
        [("engine.shared_frames", 20), ("engine.precision", "bfloat16")],  # as many as a trial has steps
        [("engine.shared_frames", 1280)],  # as many as all trials have
        [("engine.device", "cuda")],  # whether there is a GPU is known only where training runs
        [("protocols", ["recu"]), ("regularise.protocols", ["recu"]), ("backtrack.protocols", [])],
        [("backtrack.protocols", ["decu"])],
        # protocols that are not trained need not fit the task
        [
            ("protocols", ["nacu"]),
            ("regularise.protocols", []),
            ("backtrack.protocols", []),
            ("train.steps", 20),
        ],
        [
            ("protocols", ["vocu"]),
            ("regularise.protocols", []),
            ("backtrack.protocols", ["vocu"]),
            ("task.steps", 30),
            ("extrapolate.delays", [30, 31]),
        ],
        [("protocol_settings.vocu", {"values": [10], "starts": [0], "out_of": 1})],
    ],
)
def test_unusual_and_sound_settings_pass(changes):
    config.validate(changed(*changes), SCHEMA_PATH)


def test_mappings_of_other_kinds_pass():
    config.validate(OrderedDict((key, DEFAULT[key]) for key in reversed(DEFAULT)), SCHEMA_PATH)


def test_a_folder_of_images_sets_the_number_of_classes(tmp_path):
    for split in ("train", "test"):
        for name in ("cat", "dog", "owl"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("L", (2, 2)).save(tmp_path / split / name / "1.png")
    folder = ("dataset", {"source": "folder", "folder": str(tmp_path), "data_dir": None})
    (line,) = problems(changed(folder))
    assert (
        line.startswith("protocol_settings.vocu.values: found [2, 3, 4")
        and "from 2 to 3, the number of classes" in line
    )
    config.validate(
        changed(folder, ("protocol_settings.vocu", {"values": [2, 3], "starts": [0, 1], "out_of": 2})), SCHEMA_PATH
    )
    (tmp_path / "test/owl/1.png").unlink()
    (line,) = problems(changed(folder))
    assert line.startswith(
        f"dataset.folder: found '{tmp_path}' (text); allowed: a tree of images. {tmp_path}/test/owl: "
    )


@pytest.mark.parametrize("source", ["mnist", "fashion_mnist", "mnist10k", "cifar10"])
def test_a_data_dir_must_hold_the_files_of_the_source_before_anything_runs(tmp_path, source):
    made = changed(("dataset", {"source": source, "folder": None, "data_dir": str(tmp_path)}))
    names = [archive.name for archive in downloads.COLLECTIONS[source].archives]
    (line,) = problems(made)
    assert line.startswith(f"dataset.data_dir: found '{tmp_path}' (text); allowed: null, to download, or a folder")
    assert f"lacks {', '.join(names)}; expected" in line
    for archive in downloads.COLLECTIONS[source].archives:
        for name in archive.unpacked:
            (tmp_path / name).touch()  # what is in them is not read at planning time
    config.validate(made, SCHEMA_PATH)
    config.validate(changed(("dataset.source", source)), SCHEMA_PATH)


def test_no_penalty_acts_before_an_image_that_begins_every_trial():
    settings = {"penalty": "speed", "strength": 1, "part": "all", "at": "before_image", "noise_draws": 10}
    lines = problems(changed(("mode_settings.mine", settings), ("task.min_delay", 19)))
    assert [line for line in lines if line.startswith("mode_settings.mine.at: found 'before_image'")]
