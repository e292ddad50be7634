"""Bad input in bulk: configurations, image folders, IDX files, safetensors and tables that are wrong or damaged.

Whatever is tried is read rightly or refused with a message that names it, in bounded memory. docs/reliability.md states
the numbers of cases. They are drawn from seeded generators, so that a failure comes back.
"""

import ast
import copy
import gzip
import hashlib
import io
import json
import math
import os
import pickle  # to make what must be refused
import random
import re
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import test_faults
import torch
import yaml
from conftest import ROOT, copy_workflow, snakemake
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from memrnn.core.files import _checksum, load_json, load_table, save_json, save_table
from memrnn.core.tables import Column, Table
from memrnn.data import dataset, idx, sources
from memrnn.data import images as image_sets
from memrnn.models import fronts, networks
from memrnn.run import config as configuration
from memrnn.run import planning
from memrnn.run.stages import BLOCKWISE
from memrnn.tasks import protocols
from memrnn.tasks.protocols import checkpoint_steps
from memrnn.training.train import drop_of

CASES = {
    "configurations mutated": 2000,
    "configurations from the schema": 300,
    "names of runs": 400,
    "image folders": 150,
    "IDX files": 2000,
    "safetensors damaged": 1500,
    "safetensors made up": 300,
    "tables damaged": 1500,
    "JSON files damaged": 600,
}

SCHEMA_PATH = ROOT / "workflow" / "schemas" / "config.schema.yaml"
SCHEMA = configuration.schema(SCHEMA_PATH)
DEFAULT = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


# --------------------------------------------------------------------------------------------------- configurations


def problems(made: Any) -> list[str]:
    """Lines of the refusal; none where the configuration is accepted."""
    try:
        configuration.validate(made, SCHEMA_PATH)
    except configuration.ConfigError as error:
        heading, *lines = str(error).split("\n  ")
        assert re.fullmatch(r"The configuration has \d+ problems?:", heading)
        assert lines and all(re.search(r": (found|missing|unknown key)", line) for line in lines), lines
        assert len(str(error)) < 100_000
        return lines
    return []


def plan(config: dict) -> None:
    """All that planning computes, and what a job sets up before its first step: must succeed for an accepted run."""
    classes = len(sources.class_names(config["dataset"]))
    blocks = planning.blocks(config["seeds"][:50], config["block_size"])
    assert all(re.fullmatch(r"seeds[0-9_-]+", name) for name in blocks)
    steps, full = config["train"]["steps"], protocols.Lesson(classes, config["task"]["steps"])
    for stage in BLOCKWISE:
        assert 0 < planning.minutes(config, stage, 1) < 10**40, stage
        assert 0 < planning.megabytes(config, stage, 1, classes, 65, 10**6) < 10**40, stage
    for name in config["protocols"]:
        setting = config["protocol_settings"][name]
        protocols.schedule(name, setting, steps, full)
        assert planning.boundaries(setting, steps) == sorted(planning.boundaries(setting, steps))
    if config["dataset"]["source"] == "digits":
        fronts.choose(config["network"], (8, 8, 1))
    assert 0 <= drop_of(config["train"]["learning_rate_drop"], steps)[0] <= steps
    for section in ("train", "regularise"):
        kept = checkpoint_steps(config["train"]["checkpoints"], config[section]["steps"])
        assert kept[0] == 0 and kept[-1] == config[section]["steps"]
    results = Path("results", config["run"])
    assert os.path.normpath(results) == str(results) and len(results.parts) == 2
    json.dumps(config, allow_nan=False)  # the provenance holds it


def leaves(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Paths of everything in a configuration, sections and lists too."""
    if path:
        yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from leaves(part, (*path, key))


ODD = [
    *(None, True, False, "", " ", "0", "1e-4", "../../x", "/etc", "a\0b", "é", "\ud800", "{cell}", "x" * 10_000, b"x"),
    *(0, -1, 1, 2, 3, 10, 100, 10**6, 10**6 + 1, 10**9, 10**18, 2**63, 10**400, -(10**400)),
    *(0.0, -0.0, 0.5, 1.0, 1e-320, 5e-324, 1e308, -1e308, math.nan, math.inf, -math.inf, 1 + 2**-52),
    *([], [0], [[]], [None], {}, {"a": 1}, {1: 2}, {None: None}, [0, 1], [1, 0], [0.0, 1e-12, 1.0], list(range(2000))),
]


def mutate(config: dict, draw: random.Random) -> dict:
    """One to four changes at random places."""
    made = copy.deepcopy(config)
    for _ in range(draw.choice([1, 1, 1, 2, 3, 4])):
        paths = list(leaves(made))
        if not paths:
            break
        *way, last = draw.choice(paths)
        place = made
        for key in way:
            place = place[key]
        value = place[last]
        kind = draw.choice(["odd", "odd", "scale", "scale", "delete", "add", "shuffle", "another"])
        if kind == "odd":
            place[last] = copy.deepcopy(draw.choice(ODD))
        elif kind == "scale" and isinstance(value, int | float) and not isinstance(value, bool):
            factor = draw.choice([-1, 0, 0.5, 2, 10, 1000, 1e9])
            place[last] = type(value)(value * factor) if math.isfinite(value * factor) else value
        elif kind == "delete":
            del place[last]
        elif kind == "add" and isinstance(value, dict):
            value[draw.choice([*value, "more", "", 3, None])] = copy.deepcopy(draw.choice(ODD))
        elif kind == "add" and isinstance(value, list):
            value.insert(draw.randint(0, len(value)), copy.deepcopy(draw.choice([*ODD, *value])))
        elif kind == "shuffle" and isinstance(value, list):
            draw.shuffle(value)
        else:
            other = made
            for key in draw.choice(paths):
                other = other[key] if isinstance(other, dict) and key in other else {}
            place[last] = copy.deepcopy(other)
    return made


def test_mutated_configurations_are_refused_with_a_reason_or_can_be_planned():
    draw, refused = random.Random(11), 0
    smoke = copy.deepcopy(DEFAULT)
    for key, section in yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text()).items():
        smoke[key] = smoke[key] | section if isinstance(section, dict) else section
    for case in range(CASES["configurations mutated"]):
        made = mutate((DEFAULT, smoke)[case % 2], draw)
        try:
            found = problems(made)
            if not found:
                plan(made)
        except Exception as error:
            raise AssertionError(f"case {case}: {made}") from error
        refused += bool(found)
    assert 0.5 < refused / CASES["configurations mutated"] < 0.99  # both outcomes are tried in numbers


def values(schema: dict) -> st.SearchStrategy:
    """Values that a part of the schema lets through by itself, its bounds among them."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return st.one_of(*(one_of_kind(kind, schema) for kind in kinds))


def one_of_kind(kind: str, schema: dict) -> st.SearchStrategy:
    if kind == "object":
        if "properties" not in schema:
            return st.dictionaries(st.sampled_from(["control", *DEFAULT["mode_settings"], "more"]), modes())
        return st.fixed_dictionaries({key: values(part) for key, part in schema["properties"].items()})
    if kind == "array":
        item = values(schema["items"]) if "items" in schema else st.nothing()
        least, most = schema.get("minItems", 0), schema.get("maxItems", 6)
        return st.lists(item, min_size=least, max_size=most).map(
            lambda each: sorted(set(each), key=str) if schema.get("uniqueItems") else sorted(each)
        )
    if kind == "integer":
        return st.integers(schema["minimum"], schema["maximum"]) | st.sampled_from(
            [schema["minimum"], schema["maximum"]]
        )
    if kind == "number":
        low, high = (schema.get(name, schema.get(f"exclusive{name.title()}")) for name in ("minimum", "maximum"))
        return st.floats(
            low, high, exclude_min="exclusiveMinimum" in schema, exclude_max="exclusiveMaximum" in schema,
            allow_infinity=False, allow_nan=False,
        )  # fmt: skip
    return {"null": st.none(), "string": st.from_regex(schema.get("pattern", "^[a-z]+$").removesuffix(r"(?!\n)"))}[kind]


def modes() -> st.SearchStrategy:
    """Settings of a mode with any penalty, or none."""
    strength = {"strength": values(SCHEMA["$defs"]["mode"]["properties"]["strength"])}
    made = [
        st.fixed_dictionaries(
            {"penalty": st.just(name)} | strength | {key: values(part) for key, part in settings.items()}
        )
        for name, settings in configuration.settings_of(configuration.PENALTIES).items()
    ]
    return st.one_of(st.just({}), *made)


DRAWN = values(SCHEMA)
drawn = {"cases": 0}


@settings(max_examples=CASES["configurations from the schema"], deadline=None, suppress_health_check=list(HealthCheck))
@given(made=DRAWN, data=st.data())
def test_what_the_schema_allows_is_refused_for_values_that_do_not_fit_or_can_be_planned(made, data):
    """Any values within their bounds, some sections from the default so that some runs pass."""
    drawn["cases"] += 1
    kept = data.draw(st.sets(st.sampled_from(sorted(DEFAULT)), min_size=len(DEFAULT) - 3))
    made |= {key: copy.deepcopy(DEFAULT[key]) for key in kept}
    if not problems(made):
        plan(made)


def test_every_number_of_the_schema_is_bounded():
    """What is not bounded overflows somewhere."""

    def check(schema: dict, path: str) -> None:
        kinds = schema.get("type", [])
        if "integer" in kinds or "number" in kinds:
            assert {"minimum", "exclusiveMinimum"} & set(schema), path
            assert {"maximum", "exclusiveMaximum"} & set(schema), path
        for key, part in schema.get("properties", {}).items():
            check(part, f"{path}.{key}")
        if "items" in schema:
            check(schema["items"], f"{path}[]")

    check(SCHEMA, "")


def test_no_name_of_a_run_leads_out_of_the_results():
    draw, accepted = random.Random(12), 0
    fine = ["a", "run", "9", "-", "_"]
    odd = ["..", "/", "\\", "~", " ", "\n", "\0", ".", "{x}", "*", "$HOME", "é", "%2e", ":", "\u2215"]
    for _ in range(CASES["names of runs"]):
        name = "".join(draw.choice(draw.choice([fine, fine, odd])) for _ in range(draw.randint(0, 5)))
        found = problems(DEFAULT | {"run": name})
        sound = re.fullmatch("[A-Za-z0-9][A-Za-z0-9_-]*", name) is not None
        assert bool(found) != sound, name
        if sound:
            accepted += 1
            assert Path("/results", name).resolve().parent == Path("/results")
        else:
            assert found[0].startswith("run: found ")
    assert accepted > 20


def test_a_configuration_that_grows_when_it_is_looked_at_is_refused_in_little_memory():
    """Ten lists of ten references each: 10,000,000,000 items if written out."""
    bomb: Any = "x"
    for _ in range(10):
        bomb = [bomb] * 10
    tracemalloc.start()
    try:
        for key in ("run", "seeds", "cells", "train", "more"):
            assert problems(copy.copy(DEFAULT) | {key: bomb})
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("run: ../../x\n", "run: found '../../x'"),
        ("run: [\n", "not valid JSON or YAML"),
        ("run: !!python/object/apply:os.system ['touch harmed']\n", "not valid JSON or YAML"),
        ("- a list\n", "keys at top level"),
        ("train: {steps: 1.0e+400}\nunknown: &a [*a]\n", "more than 100000 values"),
    ],
    ids=["path", "not YAML", "code", "no mapping", "itself"],
)
def test_a_bad_configuration_file_starts_no_job(fuzzed_clone, text, told):
    (fuzzed_clone / "bad.yaml").write_text(text)
    done = snakemake(fuzzed_clone, "--cores", "1", "--configfile", "bad.yaml")
    assert done.returncode != 0
    assert told in done.stdout
    assert "Job stats" not in done.stdout and "Select jobs" not in done.stdout
    assert not (fuzzed_clone / "harmed").exists() and not (fuzzed_clone / "results").exists()


@pytest.fixture(scope="module")
def fuzzed_clone(tmp_path_factory) -> Path:
    return copy_workflow(tmp_path_factory.mktemp("fuzz") / "clone")


# ---------------------------------------------------------------------------------------------------- image folders


def image(draw: random.Random) -> bytes:
    """A file that may be an image."""
    kind = draw.choice(["PNG"] * 150 + ["JPEG", "GIF", "cut", "flipped", "bomb", "empty", "text"])
    if kind in ("empty", "text"):
        return b"" if kind == "empty" else b"<html>"
    if kind == "bomb":  # a header alone, of an image of 40,000 megapixels
        header = struct.pack(">IIBBBBB", 200_000, 200_000, 8, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
            for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(10))), (b"IEND", b""))
        )
    file, size = io.BytesIO(), draw.choice([(3, 2)] * 150 + [(1, 1), (2, 3)])
    mode = draw.choice(["L"] * 9 + ["RGB", "1"])
    pixels = [draw.choice([0, 255]) if mode == "1" else draw.randrange(256) for _ in range(6)]
    made = Image.new(mode, size)
    for position in range(size[0] * size[1]):
        shade = pixels[position % 6]
        made.putpixel((position % size[0], position // size[0]), (shade, 0, shade) if mode == "RGB" else shade)
    made.save(file, format=kind if kind in ("PNG", "JPEG", "GIF") else "PNG")
    content = bytearray(file.getvalue())
    if kind == "cut":
        return bytes(content[: draw.randrange(len(content))])
    if kind == "flipped":
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(content)


def grow(root: Path, draw: random.Random) -> None:
    """A tree of images with, often, something wrong about it."""
    names = draw.sample(
        ["a", "b", "c", "d", "e", "f", "é", "NA", "007", "x y", "{x}", "new\nline", ".hidden", os.fsdecode(b"\xff")], 2
    )
    for split in ("train", "test") if draw.random() < 0.95 else ("train",):
        (root / split).mkdir(parents=True)
        for name in names if draw.random() < 0.97 else names[:1]:
            folder = root / split / name
            folder.mkdir()
            for number in range(draw.choice([0] + [1] + [2, 3] * 10)):
                path = folder / draw.choice(
                    [f"{number}.png"] * 10 + [f"{number}.JPG", f".{number}.png", f"{number}.txt"]
                )
                oddity = draw.random()
                if oddity < 0.01:
                    path.mkdir()
                elif oddity < 0.02:
                    path.symlink_to(draw.choice([path, "nowhere", "/dev/null"]))
                else:
                    path.write_bytes(image(draw))


def test_image_folders_are_read_or_refused_by_name(tmp_path):
    draw, read = random.Random(13), 0
    tracemalloc.start()
    try:
        for case in range(CASES["image folders"]):
            root = tmp_path / str(case)
            root.mkdir()
            grow(root, draw)
            section = {"source": "folder", "folder": str(root), "data_dir": None}
            found = problems(
                DEFAULT
                | {
                    "dataset": section,
                    "protocols": ["nacu"],
                    "regularise": DEFAULT["regularise"] | {"protocols": []},
                    "backtrack": DEFAULT["backtrack"] | {"protocols": []},
                }
            )
            try:
                sources.image_files(section)  # the rule's inputs
                made = dataset.build(section)
            except ValueError as error:
                assert str(root) in str(error) or str(error).startswith(f"{case}: "), error
            else:
                read += 1
                assert not found, found  # what can be read, planning lets through
                assert len(made.classes) == 2 and bool(((made.train_images >= 0) & (made.train_images <= 1)).all())
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()
    assert 0.1 < read / CASES["image folders"] < 0.9


# -------------------------------------------------------------------------------------------------------- IDX files

PIXELS = np.arange(24, dtype=np.uint8).reshape(4, 2, 3) * 10
SOUND = bytes([0, 0, 8, 3]) + b"".join(size.to_bytes(4, "big") for size in PIXELS.shape) + PIXELS.tobytes()
BOMB = gzip.compress(SOUND[:16] + bytes(2**27), 1)  # 128 MiB


def hostile_idx(draw: random.Random) -> bytes:
    content = bytearray(SOUND)
    for _ in range(draw.randint(1, 3)):
        kind = draw.choice(["magic", "size", "byte", "cut", "more"])
        if kind == "magic":
            content[: min(4, len(content))] = draw.choice(
                [b"\0\0\x08\xff", b"\0\0\x0d\x03", b"\x1f\x8b\x08\0", b"PK\3\4"]
            )[: len(content)]
        elif kind == "size" and len(content) >= 16:
            place = 4 * draw.randint(1, 3)
            content[place : place + 4] = draw.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, -1 % 2**32]).to_bytes(4, "big")
        elif kind == "byte" and content:
            content[draw.randrange(len(content))] = draw.randrange(256)
        elif kind == "cut":
            del content[draw.randint(0, len(content)) :]
        else:
            content += bytes(draw.randint(1, 4000))
    if draw.random() < 0.5:
        content = bytearray(gzip.compress(bytes(content), mtime=0))
        if draw.random() < 0.3:
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(content)


def test_hostile_idx_files_are_read_rightly_or_refused_in_little_memory(tmp_path):
    draw, path = random.Random(14), tmp_path / "images-idx3-ubyte"
    md5 = hashlib.md5(SOUND).hexdigest()
    tracemalloc.start()
    try:
        for _ in range(CASES["IDX files"]):
            path.write_bytes(hostile_idx(draw))
            try:
                assert np.array_equal(idx.read(path, PIXELS.shape, md5), PIXELS)
            except ValueError as error:
                assert str(error).startswith(f"{path}: ")
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


LIMITED = """
import resource, sys
from memrnn.data import idx
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**25, used + 2**25))
try:
    idx.read(sys.argv[1], (4, 2, 3), "0")
except ValueError as error:
    print(error)
"""


def test_a_gzip_bomb_is_refused_where_it_would_not_fit(tmp_path):
    """128 MiB of zeros, in a process that may take 32 MiB more than it has."""
    path = tmp_path / "bomb"
    path.write_bytes(BOMB)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, path], cwd=ROOT / "workflow/lib", capture_output=True, text=True
    )
    assert done.stdout == f"{path}: expected 24 bytes after the header, found more. Fetch it again.\n", done.stderr


# ------------------------------------------------------------------------------------------ files of earlier stages


def damage(content: bytes, draw: random.Random) -> bytes:
    """The content with bytes flipped, replaced, cut off, doubled, or put in another place."""
    made = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 2, 5])):
        if not made:
            break
        at, length = draw.randrange(len(made)), draw.choice([1, 1, 4, 100])
        kind = draw.choice(["flip", "flip", "set", "cut", "drop", "double", "zero"])
        if kind == "flip":
            made[at] ^= 1 << draw.randrange(8)
        elif kind == "set":
            made[at] = draw.randrange(256)
        elif kind == "cut":
            del made[at:]
        elif kind == "drop":
            del made[at : at + length]
        elif kind == "double":
            made[at:at] = made[at : at + length]
        else:
            made[at : at + length] = bytes(len(made[at : at + length]))
    return bytes(made)


def in_bulk(path: Path, load: Callable[[Path], Any], cases: int, seed: int, most: int) -> int:
    """Damage a file in place again and again; returns how often it was refused, by name and with a remedy."""
    whole, draw, refused = path.read_bytes(), random.Random(seed), 0
    tracemalloc.start()
    try:
        for case in range(cases):
            content = damage(whole, draw)
            path.write_bytes(content)
            try:
                load(path)
                assert content == whole, case
            except ValueError as error:
                assert content != whole
                assert str(error).startswith(f"{path}: ") and "again." in str(error), error
                refused += 1
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()
    return refused


def test_damaged_safetensors_are_never_used(tmp_path):
    path = tmp_path / "networks.safetensors"
    networks.save(path, networks.initial("gru", [0, 1], 5, 3, 4), {"dataset": "digits", "curriculum": "vocu"})
    cases = CASES["safetensors damaged"]
    assert in_bulk(path, networks.load, cases, seed=15, most=20_000_000) > 0.95 * cases


def test_damaged_tables_are_never_used(tmp_path):
    path = tmp_path / "t.csv"
    rows = pd.DataFrame({"cell": "gru", "seed": range(60), "speed": np.linspace(0, 1, 60), "learned": True})
    kinds = {"cell": "text", "seed": "integer", "speed": "number", "learned": "truth"}
    table = Table("", ["seed"], {name: Column(kind, "1", "") for name, kind in kinds.items()}, True)
    save_table(path, rows, table)
    cases = CASES["tables damaged"]
    assert in_bulk(path, lambda path: load_table(path, table), cases, 16, 20_000_000) > 0.95 * cases


def test_a_table_cut_anywhere_is_refused(tmp_path):
    """Between two rows, too, where nothing in it shows."""
    path = tmp_path / "t.csv"
    kinds = {"seed": "integer", "speed": "number"}
    table = Table("", ["seed"], {name: Column(kind, "1", "") for name, kind in kinds.items()}, True)
    save_table(path, pd.DataFrame({"seed": range(30), "speed": np.linspace(0, 1, 30)}), table)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"t\.csv: .*Delete the file and run again"):
            load_table(path, table)
    path.write_bytes(whole)
    (tmp_path / "t.csv.sha256").unlink()
    with pytest.raises(ValueError, match=r"t\.csv: comes without its checksum, t\.csv\.sha256"):
        load_table(path, table)
    assert len(load_table(path, table, sealed=False)) == 30


def test_damaged_json_is_never_used(tmp_path):
    path = tmp_path / "numbers.json"
    save_json(path, {"verdicts": {"C1": "mixed"}, "rho": [0.1234567, -3e-9], "panels": 4})
    cases = CASES["JSON files damaged"]
    assert in_bulk(path, load_json, cases, seed=17, most=20_000_000) > 0.95 * cases


def test_a_checksum_is_what_sha256sum_writes(tmp_path):
    save_table(tmp_path / "t.csv", pd.DataFrame({"seed": [0]}))
    save_json(tmp_path / "n.json", {})
    for name in ("t.csv", "n.json"):
        digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        assert (tmp_path / f"{name}.sha256").read_text() == f"{digest}  {name}\n"


def safetensors(header: Any, body: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


class Harm:
    def __reduce__(self):
        return os.mkdir, ("harmed",)


def made_up(draw: random.Random) -> bytes:
    """A file that claims to be safetensors of ours, its checksum right as often as can be."""
    kind = draw.choice(["length", "shape", "offsets", "nested", "meta", "networks", "pickle", "torch", "huge integer"])
    tensor = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    if kind == "length":
        return safetensors({"a": tensor}, bytes(8), draw.choice([0, 1, 2**31, 2**63 - 1, 2**64 - 1]))
    if kind == "shape":
        sizes = draw.choice([[2**62, 4], [2**40], [-1], [0] * 70, ["2"], [2.0], None])
        return safetensors({"a": tensor | {"shape": sizes}}, bytes(8))
    if kind == "offsets":
        offsets = draw.choice([[8, 0], [0, 2**50], [-8, 0], [0, 8, 9], []])
        return safetensors({"a": tensor | {"data_offsets": offsets}}, bytes(8))
    if kind == "nested":
        deep = "[" * draw.choice([100, 100_000])
        return safetensors({"a": tensor, "__metadata__": {"memrnn": deep}}, bytes(8))
    if kind == "pickle":
        return pickle.dumps({"weights": [1.0], "meta": Harm()}, protocol=draw.randint(0, 5))
    if kind == "torch":
        file = io.BytesIO()
        torch.save({"weights": torch.ones(2), "meta": Harm()}, file, _use_new_zipfile_serialization=draw.random() < 0.5)
        return file.getvalue()
    deep = "[" * 100_000 if kind == "nested" else None
    meta = draw.choice([[], 3, "x", None, {}, {"cell": []}, {"cell": "gru"}, {"cell": "gru", "seeds": 3, "phases": {}}])
    text = deep or ("1" * 5000 if kind == "huge integer" else json.dumps(meta))
    arrays = {"a": torch.zeros(2)}
    if kind == "networks":
        arrays = {
            name: torch.zeros(draw.choice([(), (0,), (1,), (1, 2), (2, 3, 4)]))
            for name in networks.initial("gru", [0], 5, 3, 4).parameters
        }
        front = draw.choice([{"name": "pixels"}, {"name": "convnet"}, {"name": []}, {"pixels": 3}, [], 3])
        cell = draw.choice(["gru", "lstm", "none", []])
        text = json.dumps({"cell": cell, "seeds": [0], "phases": ["trained"], "front": front})
    entry = json.dumps({"meta": text, "checksum": _checksum(arrays, text)})
    body = b"".join(array.numpy().tobytes() for array in arrays.values())
    header, at = {"__metadata__": {"memrnn": entry}}, 0
    for name, array in arrays.items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [at, at := at + 4 * array.numel()]}
    return safetensors(header, body)


def test_made_up_safetensors_are_refused_and_no_code_in_them_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw, path = random.Random(18), tmp_path / "networks.safetensors"
    tracemalloc.start()
    try:
        for case in range(CASES["safetensors made up"]):
            path.write_bytes(made_up(draw))
            for load in (networks.load, image_sets.load):
                with pytest.raises(ValueError, match=re.escape(f"{path}: ")):
                    load(path)
                    raise AssertionError(f"case {case} was taken by {load.__module__}")
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()
    assert not (tmp_path / "harmed").exists()


# ------------------------------------------------------------------------------------------------------- no pickle

# Modules and functions that run what a file says, or may.
FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
FORBIDDEN_CALLS = {
    "torch.load", "torch.save", "torch.jit.load", "pd.read_pickle", "pandas.read_pickle", "np.load", "numpy.load",
    "yaml.load", "yaml.unsafe_load", "yaml.full_load", "eval", "exec", "os.system", "to_pickle",
}  # fmt: skip


def forbidden(source: str) -> list[str]:
    """What a source would load as code; keyword arguments that allow pickles too."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names if name.name.split(".")[0] in FORBIDDEN_MODULES]
        elif isinstance(node, ast.ImportFrom):
            names = {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
            found += [name for name in names if name and name.split(".")[0] in FORBIDDEN_MODULES | FORBIDDEN_CALLS]
            found += [name for name in names if name in FORBIDDEN_CALLS]
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            found += [name] if name in FORBIDDEN_CALLS or name.split(".")[-1] == "to_pickle" else []
            found += [f"{name}({key.arg})" for key in node.keywords if key.arg in ("allow_pickle", "weights_only")]
    return found


def test_no_source_loads_a_pickle():
    files = [path for folder in ("workflow", "benchmarks", "docs") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 40
    for path in files:
        assert forbidden(path.read_text()) == [], path
    for path in (ROOT / "Snakefile", *(ROOT / "workflow" / "rules").glob("*.smk")):
        assert not re.search(r"pickle|torch\.load|joblib|\beval\(|\bexec\(", path.read_text()), path


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "import joblib as j", "from pickle import load", "from torch import load", "torch.load('x')",
        "np.load('x', allow_pickle=True)", "pd.read_pickle('x')", "frame.to_pickle('x')", "yaml.load(text)",
        "eval('1')",
    ],
)  # fmt: skip
def test_the_scan_finds_what_it_looks_for(source):
    assert forbidden(source)


# ---------------------------------------------------------------------------------------------------- what is stated


def test_the_page_on_reliability_states_what_the_tests_do():
    page = (ROOT / "docs" / "reliability.md").read_text()
    stated = {
        re.split(": |, such", what)[0]: int(count) for what, count in re.findall(r"^\| (.+) \| (\d+) \|", page, re.M)
    }
    assert stated == CASES
    for text in (
        f"{test_faults.KILLS} kills |",
        f"{test_faults.TERMINATIONS} times |",
        f"; {test_faults.SEARCH_KILLS} kills |",
    ):
        assert text in page
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name in re.findall(r"`(?:test_\w+\.py::)?(test_\w+)`", page) if f"def {name}(" not in tests] == []
