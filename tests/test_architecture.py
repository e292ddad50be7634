"""The library's floors: a package imports from those below it only, in no circle, and summaries start without torch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[1] / "workflow" / "lib"
# From the ground up; CONTRIBUTING.md and each package's docstring say what a floor holds.
FLOORS = ["core", "data", "models", "tasks", "dynamics", "training", "analysis", "figures", "run"]
# Loading torch takes seconds, and Snakemake imports what plans a run at every call. Summaries read tables alone.
WITHOUT_TORCH = ["analysis", "figures", "run"]


def module_of(path: Path, library: Path) -> str:
    parts = path.relative_to(library).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(library: Path, late: bool = True) -> dict[str, set[str]]:
    """What each module imports; of this library down to the module.

    Args:
        late: with what its functions import when they are called, and with what only a type checker imports.
    """
    modules = {module_of(path, library): path for path in library.rglob("*.py")}

    def resolved(name: str) -> str:
        while name.startswith("memrnn") and name not in modules:
            name = name.rpartition(".")[0]
        return name

    def nodes(node: ast.AST) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(node):
            for_types = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            if late or not (for_types or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)):
                yield child
                yield from nodes(child)

    def of(module: str) -> Iterator[str]:
        for node in nodes(ast.parse(modules[module].read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:  # a relative import starts from the module's package
                    package = modules[module].name == "__init__.py"
                    base = ".".join([*module.split(".")[: -node.level + package or None], *filter(None, [base])])
                yield from (f"{base}.{alias.name}" for alias in node.names)

    return {module: {resolved(name) for name in of(module)} - {module} for module in modules}


def arrows_up(found: dict[str, set[str]]) -> list[str]:
    """Imports from a higher floor, or from a package that is on none. `memrnn` is the door and may show anything."""

    def floor(name: str) -> int:
        parts = name.split(".")
        return FLOORS.index(parts[1]) if len(parts) > 1 else -1

    return [
        f"{module} imports {target}"
        for module, targets in sorted(found.items())
        for target in sorted(targets)
        if module != "memrnn" and target.split(".")[0] == "memrnn" and floor(target) > floor(module)
    ]


def circle(found: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle; empty where there is none."""
    try:
        TopologicalSorter({name: targets & set(found) for name, targets in found.items()}).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def torch_users(found: dict[str, set[str]], packages: list[str]) -> list[str]:
    """Modules of some packages that import torch, or a module that does, and so on up."""
    users = {name for name, targets in found.items() if any(target.split(".")[0] == "torch" for target in targets)}
    while more := {name for name, targets in found.items() if targets & users} - users:
        users |= more
    return sorted(name for name in users if name.split(".")[1] in packages)


def test_no_import_goes_up():
    assert arrows_up(imports(LIBRARY)) == []


def test_no_import_goes_in_a_circle():
    assert circle(imports(LIBRARY)) == []


def test_summaries_figures_and_planning_start_without_torch():
    assert torch_users(imports(LIBRARY, late=False), WITHOUT_TORCH) == []


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import memrnn.core.tables", {"torch", "numpy", "pandas"}),
        ("import memrnn.run.config", {"torch", "numpy", "pandas", "sklearn", "PIL", "pooch"}),
        (
            "from memrnn.figures import FIGURES, module_of; assert module_of('correlation').is_file()",
            {"torch", "numpy", "pandas", "scipy", "matplotlib", "seaborn"},
        ),
    ],
)
def test_what_plans_a_run_loads_nothing_heavy(code, heavy):
    check = f"import sys; {code}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], cwd=LIBRARY, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_package_is_a_floor_and_says_what_it_holds():
    packages = {path.parent.relative_to(LIBRARY / "memrnn") for path in LIBRARY.rglob("memrnn/*/__init__.py")}
    assert sorted(map(str, packages)) == sorted(FLOORS)
    for floor in FLOORS:
        text = ast.get_docstring(ast.parse((LIBRARY / "memrnn" / floor / "__init__.py").read_text()))
        assert text and "mport" in text, f"{floor}/__init__.py must say what the package holds and may import"


@pytest.fixture
def library(tmp_path: Path) -> Path:
    for floor in ["", *FLOORS]:
        (tmp_path / "memrnn" / floor).mkdir()
        (tmp_path / "memrnn" / floor / "__init__.py").touch()
    return tmp_path


@pytest.mark.parametrize(
    "line", ["import memrnn.models.cell", "from memrnn.models import cell", "from memrnn.models.cell import Cell",
             "from ..models import cell", "def late():\n    from ..models.cell import Cell"],
)  # fmt: skip
def test_an_arrow_that_goes_up_is_found_in_every_spelling(library, line):
    (library / "memrnn/models/cell.py").touch()
    (library / "memrnn/data/images.py").write_text(line)
    assert arrows_up(imports(library)) == ["memrnn.data.images imports memrnn.models.cell"]
    assert circle(imports(library)) == []


def test_a_circle_is_found(library):
    (library / "memrnn/data/a.py").write_text("from memrnn.data import b\nfrom memrnn.core import files")
    (library / "memrnn/data/b.py").write_text("def late():\n    from . import a")
    assert set(circle(imports(library))) == {"memrnn.data.a", "memrnn.data.b"}


def test_torch_is_found_behind_another_module(library):
    (library / "memrnn/core/files.py").write_text("import numpy\nfrom torch import nn")
    (library / "memrnn/analysis/scores.py").write_text("from memrnn.core.files import load_table")
    assert torch_users(imports(library, late=False), ["analysis"]) == ["memrnn.analysis.scores"]
    (library / "memrnn/core/files.py").write_text("def late():\n    import torch")
    assert torch_users(imports(library, late=False), ["analysis"]) == []
