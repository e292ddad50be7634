"""The set-up around the science: lint, pinned versions, the two commands, and what a source file may not hold."""

import itertools
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from conftest import copy_workflow, snakemake
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

from memrnn.data import images

ROOT = Path(__file__).resolve().parents[2]
TORCH = "2.13.0"

# Where conda-forge calls a package something else than PyPI does.
CONDA_NAMES = {"matplotlib-base": "matplotlib", "pytorch": "torch", "seaborn-base": "seaborn"}

# Under what name a package is imported, where that is not its own.
IMPORT_NAMES = {"pillow": "PIL", "pyyaml": "yaml", "scikit-learn": "sklearn"}


# What `make test VENV=...` hands down, say.
OF_MAKE = ("MFLAGS", "VENV", "PYTHON", "CORES", "CONFIG", "PROFILE", "ARGS")


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command as from a fresh shell: without what an outer `make` hands to an inner one."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MAKE") and key not in OF_MAKE}
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=inherited | environment, capture_output=True, text=True
    )


def check(*command: str | Path) -> None:
    """Fail with all that the command printed unless it succeeds."""
    done = run(*command)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"


def requirements(extra: str | None = None) -> dict[str, Requirement]:
    """The direct dependencies of pyproject.toml by canonical name; those at run time, or of one extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["optional-dependencies"][extra] if extra else project["dependencies"]
    return {canonicalize_name(requirement.name): requirement for requirement in map(Requirement, lines)}


def of_workflow() -> dict[str, Requirement]:
    """What the workflow needs at run time: what the library does, and what comes on top."""
    return requirements() | requirements("workflow")


def locked(file: str = "requirements.lock") -> dict[str, str]:
    """The versions of a lock by canonical name; every line must be one exact version, or name the lock it adds to."""
    versions = {}
    for line in (ROOT / file).read_text().splitlines():
        if line.startswith("#") or (line == "--requirement requirements.lock" and file != "requirements.lock"):
            continue
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][0-9A-Za-z.!]*)( ; [^@:]+)?", line)
        assert match, f"{file}: {line!r} is not name==version"
        versions[canonicalize_name(match[1])] = match[2]
    return versions


def conda() -> dict[str, str]:
    """The versions of envs/memrnn.yaml, but Python's, by their PyPI name."""
    versions = {}
    for line in yaml.safe_load((ROOT / "envs/memrnn.yaml").read_text())["dependencies"]:
        name, _, version = line.partition(" ")
        if name != "python":
            versions[CONDA_NAMES.get(name, name)] = version
    return versions


def tracked() -> list[Path]:
    """The files of the repository: what git has or would take."""
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard")
    if listed.returncode != 0:
        pytest.skip("not a git checkout, so there is no telling which files are the repository's")
    return [path for path in (ROOT / name for name in listed.stdout.splitlines()) if path.is_file()]


def findings(pattern: re.Pattern[str], files: list[Path]) -> list[str]:
    """Every match of the pattern in the text files, as file:line: match."""
    found = []
    for path in files:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        hits = ((number, pattern.search(line)) for number, line in enumerate(lines, start=1))
        found += [f"{path.relative_to(ROOT)}:{number}: {hit[0]}" for number, hit in hits if hit]
    return found


def test_ruff_finds_nothing() -> None:
    check(sys.executable, "-m", "ruff", "check", ".")


def test_python_files_are_formatted() -> None:
    check(sys.executable, "-m", "ruff", "format", "--check", ".")


def test_snakemake_files_are_formatted() -> None:
    check(sys.executable, "-m", "snakefmt", "--check", "Snakefile", "workflow/rules")


def test_snakemake_lint_finds_nothing_with_the_default_profile() -> None:
    profile = ROOT / "profiles/default"
    check(sys.executable, "-m", "snakemake", "--workflow-profile", profile, "--lint")


def test_lock_holds_every_direct_dependency_within_its_range() -> None:
    versions = locked()
    for name, requirement in (of_workflow() | requirements("dev") | requirements("plot")).items():
        assert name in versions, f"{name} is missing in requirements.lock; write it anew with: make lock"
        assert requirement.specifier.contains(versions[name]), f"locked {name} {versions[name]} is not {requirement}"


def test_what_clusters_need_is_locked_apart() -> None:
    """With the plugin for Slurm installed, Snakemake waits for Slurm at every call, so most are better off without."""
    versions, text = locked("requirements-slurm.lock"), (ROOT / "requirements-slurm.lock").read_text()
    assert "\n--requirement requirements.lock\n" in text
    for name, requirement in requirements("slurm").items():
        assert requirement.specifier.contains(versions[name]), f"locked {name} {versions[name]} is not {requirement}"
    assert all(name.startswith("snakemake-executor-plugin-") for name in versions)
    assert not [name for name in locked() if name.startswith("snakemake-executor-plugin-")]


def test_conda_environment_equals_the_lock() -> None:
    versions = locked()
    expected = {name: f"={versions[name]}" for name in of_workflow() if name != "snakemake"}
    assert conda() == expected


def test_torch_is_pinned_everywhere() -> None:
    assert str(of_workflow()["torch"].specifier) == f"=={TORCH}"
    assert requirements()["torch"].specifier.contains(TORCH)
    assert locked()["torch"] == TORCH
    assert conda()["torch"] == f"={TORCH}"


def test_python_version_is_the_same_everywhere() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert pyproject["project"]["requires-python"] == ">=3.11"
    assert pyproject["tool"]["ruff"]["target-version"] == "py311"
    assert "python >=3.11" in yaml.safe_load((ROOT / "envs/memrnn.yaml").read_text())["dependencies"]
    assert "sys.version_info < (3, 11)" in (ROOT / "Makefile").read_text()


def test_imports_are_the_direct_dependencies() -> None:
    sources = [path for part in ("lib", "scripts") for path in (ROOT / "workflow" / part).rglob("*.py")]
    pattern = re.compile(r"^\s*(?:import|from) (\w+)", re.MULTILINE)
    imported = {name for path in sources for name in pattern.findall(path.read_text())}
    third_party = imported - set(sys.stdlib_module_names) - {"memrnn", "snakemake"}
    assert third_party == {IMPORT_NAMES.get(name, name) for name in of_workflow() if name != "snakemake"}


def test_ci_runs_all_tests_and_fails_with_them(tmp_path: Path) -> None:
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    (tmp_path / ".ci").mkdir()
    shutil.copy(script, tmp_path / ".ci/run")
    (tmp_path / "bin").mkdir()
    for tool, script in {
        "make": 'echo "called with $*, may lack $MEMRNN_CANNOT, has $MEMRNN_MNIST"; exit 3',
        "apt-get": "exit 1",
        "chromium": "",
    }.items():
        (tmp_path / "bin" / tool).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / tool).chmod(0o755)
    done = run(
        ".ci/run", cwd=tmp_path, PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}", MEMRNN_MNIST="here", MEMRNN_CIFAR10=""
    )
    last = done.stdout.splitlines()[-1]
    assert re.fullmatch(r"called with test-all, may lack (.*), has here", last) and done.returncode == 3
    assert "cifar10" in last and "mnist" not in last.split("has")[0].split() and "chromium" not in last


@pytest.mark.parametrize(
    ("reason", "cannot", "code"),
    [
        ("needs a GPU", "", 0),
        ("no files of mnist: nowhere", None, 0),
        ("no files of mnist: nowhere", "chromium", 1),
        ("no files of mnist: nowhere", "chromium mnist", 0),
        ("it was late", None, 1),
    ],
)
def test_a_skip_that_nobody_expected_fails(tmp_path: Path, reason: str, cannot: str | None, code: int) -> None:
    shutil.copy(ROOT / "tests/conftest.py", tmp_path)
    (tmp_path / "test_some.py").write_text(f"import pytest\ndef test_skipped():\n    pytest.skip({reason!r})\n")
    lacking = {} if cannot is None else {"MEMRNN_CANNOT": cannot}
    without = {key: value for key, value in os.environ.items() if key != "MEMRNN_CANNOT"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path], env=without | lacking,
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == code, done.stdout
    assert ("nobody expected" in done.stdout) == bool(code)


def test_readme_commands_are_makefile_targets() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    readme = (ROOT / "README.md").read_text()
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", readme, flags=re.MULTILINE | re.DOTALL)
    code = "\n".join(blocks + re.findall(r"`([^`\n]+)`", readme))
    commands = set(re.findall(r"\bmake ([a-z-]+)\b", code))
    assert {"reproduce", "test"} <= commands
    assert commands <= targets, f"README names make targets that do not exist: {sorted(commands - targets)}"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the Makefile and the lock and a finished set-up, newer than both."""
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path / name)
        os.utime(tmp_path / name, (1000, 1000))
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/.installed").touch()
    os.utime(tmp_path / ".venv/.installed", (2000, 2000))
    return tmp_path


def test_second_setup_installs_nothing(clone: Path) -> None:
    assert run("make", "--question", "setup", cwd=clone).returncode == 0
    os.utime(clone / "requirements.lock", (3000, 3000))
    assert run("make", "--question", "setup", cwd=clone).returncode == 1
    assert "--requirement requirements.lock" in run("make", "--dry-run", "setup", cwd=clone).stdout


def test_setup_refuses_an_old_python(clone: Path) -> None:
    (clone / ".venv/.installed").unlink()
    (clone / "old").write_text('#!/bin/sh\ntest "$1" = --version && echo Python 3.9.2 && exit\nexit 1\n')
    (clone / "old").chmod(0o755)
    done = run("make", "setup", "PYTHON=./old", cwd=clone)
    assert done.returncode != 0
    assert "Python >= 3.11 is needed, but ./old is Python 3.9.2" in done.stderr


def test_setup_installs_into_the_environment_whatever_the_shell_says(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements.lock").write_text("# nothing\n")
    done = run("make", "setup", cwd=tmp_path, PIP_USER="1", PIP_TARGET="elsewhere", PIP_ROOT="elsewhere")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / ".venv/.installed").exists() and not (tmp_path / "elsewhere").exists()


def tools(folder: Path, note: str) -> None:
    """An environment whose tools do nothing; Snakemake leaves the note that it was all of a run, and reports of it."""
    snakemake = f"""case "$*" in
    *"--configfile $MEMRNN_NOTE --report "*) cat "$MEMRNN_NOTE" >&2;;
    *) printf %s '{note}' > "$MEMRNN_NOTE";;
    esac"""
    python = f'if [ "$1" = -c ]; then exec {sys.executable} "$@"; else echo "python $*"; fi'
    (folder / ".venv/bin").mkdir()
    for name, script in {"snakemake": snakemake, "python": python}.items():
        (folder / ".venv/bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / ".venv/bin" / name).chmod(0o755)


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        (["reproduce"], "--workflow-profile profiles/default --cores 3"),
        (
            ["reproduce", "CONFIG=mine.yaml", "ARGS=--config run=other -- all"],
            "--configfile mine.yaml --workflow-profile profiles/default --cores 3 --config run=other -- all",
        ),
        (["smoke"], "--configfile config/smoke.yaml --workflow-profile profiles/default --cores 3"),
    ],
)
@pytest.mark.parametrize("wanted", [False, True])
def test_make_reports_the_run_that_snakemake_made(clone: Path, arguments: list[str], call: str, wanted: bool) -> None:
    settings = '{"run": "other", "seeds": [1]}'
    tools(clone, settings)
    done = run("make", *arguments, "CORES=3", *["SNAKEMAKE_REPORT=1"] * wanted, cwd=clone)
    assert done.returncode == 0, done.stderr
    workflow, *report, claims = done.stdout.splitlines()
    assert workflow == f".venv/bin/snakemake {call}"
    assert claims == "python -m memrnn.analysis.claims results/other"
    assert len(report) == wanted
    assert all(line.endswith(" --report results/other/snakemake_report.html") for line in report)
    assert done.stderr.strip() == (settings if wanted else "")  # those of the report


def test_make_reports_nothing_where_a_part_or_a_plan_was_made(clone: Path) -> None:
    tools(clone, "")
    done = run("make", "smoke", "ARGS=-n", cwd=clone)
    assert done.returncode == 0, done.stderr
    (only,) = done.stdout.splitlines()
    assert only.endswith(" -n")


def test_make_submits_to_a_cluster_as_the_profile_says() -> None:
    """With --cores, this machine's processors would be those of all jobs together."""
    wanted = ("reproduce", "PROFILE=slurm", "SNAKEMAKE_REPORT=1", f"VENV={sys.prefix}")
    done = run("make", "--dry-run", "--always-make", *wanted)
    assert done.returncode == 0, done.stderr
    pattern = re.compile("slurm.lock|bin/snakemake")
    install, workflow, report = filter(pattern.search, done.stdout.splitlines())
    assert install.endswith("--requirement requirements-slurm.lock")
    assert workflow.split("snakemake")[1].split() == ["--workflow-profile", "profiles/slurm", ";", "\\"]
    assert "--workflow-profile profiles/slurm --configfile" in report


# ---------------------------------------------------------------- where the clone lies, and who calls it

IMAGES = "results/smoke/dataset/digits.safetensors"


def test_the_clone_and_its_environment_may_lie_at_a_path_with_spaces_and_brackets(tmp_path: Path) -> None:
    clone = copy_workflow(tmp_path / "a b & (c) d'e $f")
    (clone / "environment").symlink_to(sys.prefix)
    python = clone / "environment/bin/python"
    done = run(python, "-m", "snakemake", IMAGES, "--cores", "1", "--configfile", "config/smoke.yaml", cwd=clone)
    assert done.returncode == 0 and (clone / IMAGES).exists(), done.stderr


def test_a_path_that_would_part_the_library_s_is_refused(tmp_path: Path) -> None:
    done = snakemake(copy_workflow(tmp_path / "a:b"), "--cores", "1", "--dry-run")
    assert done.returncode != 0 and "expected a path without :" in done.stdout


OUTER = """
configfile: "outer.yaml"

module memory:
    snakefile: "{clone}/Snakefile"
    config: config["memory"]

use rule * from memory as memory_*

rule count:
    default_target: True
    input: rules.memory_claims.output.claims, "results/inner/dataset/digits.safetensors"
    output: "count.txt"
    shell: "wc -c {{input}} > {{output}}"
"""
INNER = """
memory:
  run: inner
  seeds: [3]
  protocols: [nacu]
  backtrack: {protocols: []}
  regularise: {protocols: []}
"""


def test_images_of_ones_own_may_have_names_that_look_like_something_else(tmp_path: Path) -> None:
    clone = copy_workflow(tmp_path / "clone")
    for number, (split, name) in enumerate(itertools.product(("train", "test"), ("007", "NA", '{a}, "b" é'))):
        for k in range(2):
            image = tmp_path / "{NA}" / split / name / f"scan{{{k}}}.png"
            image.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (2, 1), 10 * number + k).save(image)
    settings = {"run": "007", "dataset": {"source": "folder", "folder": str(tmp_path / "{NA}")}, "protocols": ["nacu"]}
    nobody = {"backtrack": {"protocols": []}, "regularise": {"protocols": []}}
    (clone / "own.yaml").write_text(yaml.safe_dump(settings | nobody))
    done = snakemake(clone, "dataset", "--cores", "1", "--configfile", "own.yaml")
    assert done.returncode == 0, done.stdout
    made = images.load(clone / "results/007/dataset/folder.safetensors")
    assert (made.name, made.classes) == ("{NA}", ("007", "NA", '{a}, "b" é'))


def test_another_workflow_may_use_this_one_as_a_module(tmp_path: Path) -> None:
    clone, outer = copy_workflow(tmp_path / "clone"), tmp_path / "outer"
    outer.mkdir()
    (outer / "Snakefile").write_text(OUTER.format(clone=clone))
    (outer / "outer.yaml").write_text(INNER)
    plan = snakemake(outer, "--dry-run")
    assert plan.returncode == 0, plan.stdout
    assert "results/inner/train/lstm-nacu/seeds3.safetensors" in plan.stdout and "vocu/" not in plan.stdout
    done = snakemake(outer, "--cores", "1", "results/inner/dataset/digits.safetensors")
    assert done.returncode == 0 and (outer / "results/inner/dataset/digits.safetensors").exists(), done.stdout
    assert not (clone / "results").exists()


def test_results_may_lie_in_another_folder_than_the_clone(tmp_path: Path) -> None:
    clone = copy_workflow(tmp_path / "clone")
    done = snakemake(tmp_path, "--snakefile", "clone/Snakefile", "--directory", "work", "--dry-run")
    assert done.returncode == 0, done.stdout
    assert not (clone / "results").exists()


def test_settings_without_a_name_do_not_go_on_in_the_default_run(tmp_path: Path) -> None:
    clone = copy_workflow(tmp_path / "clone")
    (clone / "mine.yaml").write_text("threads: 2\n")
    done = snakemake(clone, "--dry-run", "--configfile", "mine.yaml")
    assert done.returncode != 0 and re.search(r"run: missing in \S*mine\.yaml; expected a name", done.stdout)
    done = snakemake(clone, "--dry-run", "--configfile", "mine.yaml", "--config", "run=mine", "seeds=[7,8]")
    assert done.returncode == 0 and "results/mine/train/gru-decu/seeds7-8.safetensors" in done.stdout, done.stdout


def test_no_path_of_one_machine_and_nothing_unfinished() -> None:
    pattern = re.compile(r"(?<![\w.})])/(?:work|tmp|home|root|Users)/|\b(?:TO[D]O|FIX[M]E)\b")
    assert pattern.search('open("' + "/home" + '/me/x")'), "the pattern must find what it is for"
    assert findings(pattern, tracked()) == []


def test_results_are_never_committed() -> None:
    ignored = run("git", "check-ignore", "results/digits/tables/claims.csv", ".snakemake/log", ".venv/bin/python")
    if ignored.returncode == 128:
        pytest.skip("not a git checkout")
    assert len(ignored.stdout.splitlines()) == 3
    assert run("git", "check-ignore", "results/README.md").returncode == 1
