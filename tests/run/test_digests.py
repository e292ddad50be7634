"""What makes a job be done again: another digest of its code or its images; and what does not."""

import json
import os
import shutil
from pathlib import Path

import pytest

from memrnn.figures import FIGURES
from memrnn.run import digests

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "workflow" / "lib"
SCRIPTS = {path.stem: path for path in sorted((ROOT / "workflow" / "scripts").glob("*.py"))}
USED = {"gru", "vocu", "pixels", "digits"}


@pytest.fixture
def library(tmp_path):
    return shutil.copytree(LIBRARY, tmp_path / "lib", ignore=shutil.ignore_patterns("__pycache__"))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"{path} no longer has {old!r}: choose another place for this edit"
    path.write_text(text.replace(old, new))


def train(library: Path, script: Path = SCRIPTS["train"], used: set[str] = USED) -> str:
    return digests.of_code(script, library, used)


# What a maintainer does to a library while networks train.
WORDING = {
    "a log message": ("training/train.py", "continuing from the checkpoint at", "goes on from the checkpoint at"),
    "an error": ("training/train.py", "no checkpoint was taken before", "there is no checkpoint"),
    "an error's helper": ("training/train.py", "A lower learning rate usually helps.", "Lower the learning rate."),
    "a docstring": ("training/train.py", '"""Train an ensemble.', '"""Train networks.'),
    "a comment": ("training/train.py", "# as last set", "# of the last update"),
    "an annotation": ("training/train.py", "steps: int, rate: float", "steps: float, rate: float"),
    "layout": ("training/train.py", "    rate = None ", "\n    rate = (\n        None\n    )"),
    "how files are written": ("core/files.py", "def write_atomic(", "def write_atomic_(x): ...\ndef write_atomic("),
    "how jobs wait": ("core/jobs.py", "fcntl.LOCK_EX | fcntl.LOCK_NB", "fcntl.LOCK_EX"),
    "what is said of the engine": ("training/engine.py", "noise frames shared by trials", "frames of noise shared"),
    "another stage": ("dynamics/extrapolate.py", "def extrapolate(", "X = 1\n\n\ndef extrapolate("),
    "another cell": ("models/lstm.py", "torch.", "torch.nn."),
    "a new cell": ("models/cells.py", '    "mgu":', '    "new": "memrnn.models.new:New",\n    "mgu":'),
    "another penalty": ("training/penalties/speed.py", "return ", "return 1 + "),
}


NUMBERS = {
    "the loss": ("tasks/delayed_classification.py", "def loss(", "@torch.no_grad\ndef loss("),
    "a constant": ("training/engine.py", "WARM_UP = 3", "WARM_UP = 4"),
    "its cell": ("models/gru.py", "torch.", "torch.nn."),
    "what its cell inherits": ("models/cell.py", "def plain_unroll(", "@torch.no_grad\ndef plain_unroll("),
    "its threads": ("core/jobs.py", "torch.set_num_threads(threads)", "torch.set_num_threads(2 * threads)"),
    "its random numbers": ("core/streams.py", "return ", "return 1 + "),
    "its protocol": ("tasks/protocols.py", "round(share * steps / out_of)", "int(share * steps / out_of)"),
}


@pytest.mark.parametrize("what", WORDING | NUMBERS)
def test_only_what_makes_numbers_trains_anew(library, what):
    name, old, new = (WORDING | NUMBERS)[what]
    before = train(library)
    edit(library / "memrnn" / name, old, new)
    assert (train(library) != before) == (what in NUMBERS)


EDITS = {  # of a function: the scripts whose numbers depend on it
    "data.downloads.locate": set(),
    "data.cifar.read": set(),  # of another source
    "data.dataset.digits": {"dataset"},
    "core.files.save_table": set(),
    "core.jobs.told_to_stop": set(),
    "dynamics.extrapolate.extrapolate": {"extrapolate"},
    "dynamics.backtrack.follow": {"backtrack"},
    "dynamics.spectrum.examine": {"spectrum"},
    "dynamics.portraits.portrait": {"portraits"},
    "dynamics.points.centroids": {"slow_points", "other_starts"},
}


@pytest.mark.parametrize("function", EDITS)
def test_an_edit_does_again_what_uses_it(library, function):
    module, _, name = function.rpartition(".")
    before = {script: digests.of_code(path, library, USED) for script, path in SCRIPTS.items()}
    path = library / "memrnn" / f"{module.replace('.', '/')}.py"
    path.write_text(f"{path.read_text()}\n\n_before = {name}\n\n\ndef {name}(*args):\n    return _before(*args)\n")
    after = {script: digests.of_code(path, library, USED) for script, path in SCRIPTS.items()}
    assert {script for script in SCRIPTS if after[script] != before[script]} == EDITS[function]


def test_the_script_counts_too(library, tmp_path):
    script = shutil.copy(SCRIPTS["train"], tmp_path / "train.py")
    edit(script, 'log_to(snakemake.log[0], "train"', 'log_to(snakemake.log[0], "training"')
    edit(script, '"""Train one block of networks under one protocol."""', '"""Train."""')
    told = train(library, script)
    edit(script, 'settings["log_trials"]', 'settings["batch"]')
    assert train(library, script) != told


def test_cells_have_digests_of_their_own(library):
    gru, lstm = train(library), train(library, used=USED - {"gru"} | {"lstm"})
    assert gru != lstm
    edit(library / "memrnn/models/lstm.py", "torch.", "torch.nn.")
    assert train(library) == gru
    assert train(library, used=USED - {"gru"} | {"lstm"}) != lstm


def test_a_definition_may_move(tmp_path):
    (tmp_path / "script.py").write_text("from memrnn.a import f\nf()\n")
    (tmp_path / "memrnn").mkdir()
    (tmp_path / "memrnn/a.py").write_text("def f():\n    return g() + K\n\n\ndef g():\n    return 1\n\n\nK = 2\n")
    before = digests.of_code(tmp_path / "script.py", tmp_path)
    (tmp_path / "memrnn/b.py").write_text("def g():\n    # one\n    return 1\n")
    (tmp_path / "memrnn/a.py").write_text("from memrnn.b import g\nK = 2\n\n\ndef f():\n    return g() + K\n")
    assert digests.of_code(tmp_path / "script.py", tmp_path) == before
    (tmp_path / "memrnn/b.py").write_text("def g():\n    return 3\n")
    assert digests.of_code(tmp_path / "script.py", tmp_path) != before


WAYS = {  # of coming to a number that lies in the module x
    "a name": "from memrnn.x import N\nprint(N)",
    "another name": "from memrnn.x import N as M\nprint(M)",
    "a module's": "from memrnn import x\nprint(x.N)",
    "a module's under another name": "import memrnn.x as y\nprint(y.N)",
    "a dotted name": "import memrnn.x\nprint(memrnn.x.N)",
    "a function's import": "def f():\n    from memrnn.x import N\n    return N\nf()",
    "through another module": "from memrnn.through import N\nprint(N)",
    "a default": "from memrnn import x\ndef f(n=x.N):\n    return n\nf()",
    "a late import": "KINDS = {'k': 'memrnn.x:N'}",
    "a module handed on": "from memrnn import x\nprint(getattr(x, 'N'))",
    "a class": "from memrnn.x import C\nprint(C().n)",
    "a change where it is defined": "from memrnn.x import TABLE\nprint(TABLE)",
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_a_number_is_followed(tmp_path, way):
    (tmp_path / "script.py").write_text(WAYS[way])
    (tmp_path / "memrnn").mkdir()
    (tmp_path / "memrnn/through.py").write_text("from memrnn.x import N\n")
    found = set()
    for number in (1, 2):
        text = f"N = {number}\nTABLE = {{}}\nTABLE['n'] = N\n\n\nclass C:\n    n = N\n"
        (tmp_path / "memrnn/x.py").write_text(text)
        found.add(digests.of_code(tmp_path / "script.py", tmp_path))
    assert len(found) == 2


def test_a_script_with_an_error_is_named(tmp_path):
    (tmp_path / "script.py").write_text("import (")
    with pytest.raises(SyntaxError) as caught:
        digests.of_code(tmp_path / "script.py", tmp_path)
    assert caught.value.filename == str(tmp_path / "script.py")


# ------------------------------------------------------------------------------------------------------------- images


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    for name in ("train/a/1.png", "train/a/2.png", "test/a/1.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def of_images(folder: Path) -> str:
    files = sorted(map(str, folder.rglob("*.png")))
    return digests.of_images(files, folder.with_name("cache"))


def test_images_count_by_name_and_content_alone(images, monkeypatch):
    before = of_images(images)
    for path in images.rglob("*.png"):
        os.utime(path, (1000, 1000))
    assert of_images(images) == before
    moved = images.rename(images.with_name("moved"))
    assert of_images(moved) == before
    monkeypatch.chdir(moved.parent)
    assert of_images(Path("moved")) == before


@pytest.mark.parametrize("how", ["written", "replaced", "renamed", "swapped", "removed"])
def test_another_image_is_seen_whatever_its_times_say(images, how):
    """As tar, rsync and cp leave files: the times and the size are those of before."""
    before = of_images(images)
    first, second = images / "train/a/1.png", images / "train/a/2.png"
    times = first.stat()
    if how == "written":
        first.write_bytes(b"TRAIN/a/1.png")
    elif how == "replaced":
        (images / "new").write_bytes(b"TRAIN/a/1.png")
        os.utime(images / "new", ns=(times.st_atime_ns, times.st_mtime_ns))
        (images / "new").replace(first)
    elif how == "renamed":
        first.rename(images / "train/a/3.png")
    elif how == "swapped":
        first.rename(images / "kept")
        second.rename(first)
        (images / "kept").rename(second)
    else:
        second.unlink()
    if first.exists():
        os.utime(first, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert of_images(images) != before


def test_unchanged_images_are_not_read_again(images, monkeypatch):
    before = of_images(images)
    monkeypatch.setattr(digests.hashlib, "file_digest", None)
    assert of_images(images) == before


def test_a_cache_that_is_damaged_or_cannot_be_written_changes_nothing(images):
    before = of_images(images)
    cache = images.with_name("cache")
    for content in ("", "a b c", before):
        cache.write_text(content)
        assert of_images(images) == before
    cache.unlink()
    cache.mkdir()
    assert of_images(images) == before


# Called by nothing but functions and log messages that make no number.
LEFT_OUT = {"memrnn.core.jobs._claim", "memrnn.training.train._log_progress", "memrnn.analysis.claims.summary.summary"}


def test_every_function_that_ran_in_a_job_is_in_its_digest(smoke_run):
    ran: dict[str, set[str]] = {}
    for path in smoke_run.with_name("calls").glob("*.json"):
        script, names = json.loads(path.read_text())
        # Neither lambdas nor what dataclasses write.
        ran.setdefault(script, set()).update(name for name in names if not name.endswith((">", "__create_fn__")))
    assert ran.keys() == SCRIPTS.keys()
    used = USED | {"lstm", "nacu"}
    for script, names in ran.items():
        more = [f"memrnn.figures.{name}" for name in FIGURES] if script == "figures" else []
        found = digests.reached(SCRIPTS[script], LIBRARY, used, more)
        unseen = names - found.keys() - LEFT_OUT
        assert {name for name in unseen if not digests.makes_no_number(name)} == set(), script
