"""The library alone: what `pip install .` brings finds fixed points where the packages of the workflow are absent."""

import re
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "finder.md"
# What the workflow has and a user of the library may lack; and what Windows has not.
ABSENT = ["snakemake", "matplotlib", "seaborn", "sklearn", "jsonschema", "yaml", "PIL", "pooch", "tqdm", "pytest"]


def needed(requirements: list[str], found: set[str]) -> Iterator[metadata.Distribution]:
    """Installed distributions that requirements name, and what those need, each once."""
    for line in requirements:
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        if name not in found and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            try:
                distribution = metadata.distribution(requirement.name)
            except metadata.PackageNotFoundError:
                continue  # of an accelerator that this machine has not
            found.add(name)
            yield distribution
            yield from needed(distribution.requires or [], found)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of a fresh environment: this library, built and installed by pip, and links to what it declares."""
    folder = tmp_path_factory.mktemp("library")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    source = folder / "source"
    listed = subprocess.run(["git", "ls-files", "workflow/lib"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in ["pyproject.toml", "README.md", "LICENSE", *listed.stdout.splitlines()]:
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run([*pip, "--no-compile", "--target", site, source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (installed,) = site.glob("memrnn-*.dist-info")
    declared = metadata.PathDistribution(installed).requires or []
    for distribution in needed(declared, set()):
        for top in {path.parts[0] for path in distribution.files or [] if path.parts[0] not in ("..", "__pycache__")}:
            if not (site / top).exists():
                (site / top).symlink_to(distribution.locate_file(top))
    return folder / "venv" / "bin" / "python"


def run(python: Path, code: str, **settings) -> str:
    """What code prints there, isolated from this environment."""
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, **settings)
    assert done.returncode == 0, done.stderr
    return done.stdout


def example(page: Path = PAGE) -> str:
    """The first program of the page."""
    return re.search(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)[1]


def test_the_page_s_example_runs_without_the_workflow_s_packages(python, tmp_path):
    checks = f"""
import importlib.util, sys
assert not [name for name in {ABSENT} if importlib.util.find_spec(name)]
sys.modules["fcntl"] = None  # as on Windows
import memrnn, memrnn.core.files, memrnn.core.jobs
assert "torch" not in sys.modules
assert memrnn.__file__.startswith(sys.prefix)
"""
    code, drawing = example().split("\nfound.plot", 1)
    printed = run(python, checks + code + "\nprint(repr(found))", cwd=tmp_path)
    assert "stable" in printed and "saddle" in printed
    wanted = """
try:
    found.plot()
except ImportError as error:
    print(error)
"""
    assert "matplotlib is missing" in run(python, code + wanted, cwd=tmp_path)
    assert drawing.splitlines()[0].endswith(")")


def test_every_public_name_is_there(python):
    names = run(python, "import memrnn\nfor name in memrnn.__all__: print(name, getattr(memrnn, name).__module__)")
    assert "find_fixed_points memrnn.dynamics.finder" in names
    done = subprocess.run([python, "-I", "-c", "import memrnn; memrnn.nothing"], capture_output=True, text=True)
    assert "module 'memrnn' has no attribute 'nothing'" in done.stderr


def test_what_is_for_the_workflow_alone_is_an_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    library = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    assert library == {"torch", "numpy", "scipy", "pandas", "safetensors"}
    assert not [line for line in project["dependencies"] if "==" in line]
