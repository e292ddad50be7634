"""What a job's numbers depend on beside its settings, as digests of contents: code, and the user's images.

Code is a script, and every function, class and constant of memrnn that it reaches, each as its syntax tree. What no
number depends on stays out: comments, layout, docstrings, annotations, what is logged, the texts of errors, and what
writes files, holds locks or describes tables. So do the entries of a registry that the job does not use: a new cell
trains no network of another cell anew.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from memrnn.core.files import write_atomic

# Modules, and functions, that make no number. What `folder_tree` finds is in the digest of images, in its order.
WITHOUT_NUMBERS = (
    *("memrnn.core.files", "memrnn.core.tables", "memrnn.training.engine.describe", "memrnn.data.downloads.locate"),
    *("memrnn.data.sources.folder_tree", "memrnn.data.sources.folder_classes"),
    *("memrnn.core.jobs.log_to", "memrnn.core.jobs.told_to_stop", "memrnn.core.jobs.fingerprint_of"),
)
# Constants with an entry for each of something, of which a job uses some: an entry's key, or its class or the module of
# that, has the name by which the configuration chooses it.
REGISTRIES = ("CELLS", "PROTOCOLS", "FRONTS", "SOURCES", "CLASSES", "COLLECTIONS", "FIGURES", "PENALTIES")
LATE = re.compile(r"memrnn(\.\w+)+:\w+")  # what a registry imports when it is asked for: "memrnn.module:name"
LOGGERS = ("log", "logger", "logging", "warnings")  # and functions named _log_...


@dataclass(frozen=True, eq=False)
class Module:
    """What a module's text defines.

    Attributes:
        name: dotted; empty for a script.
        definitions: statements by the name that they define: of functions, classes, constants.
        rest: statements that run at import and define nothing.
        imports: dotted names by the name that they bear here; those that functions import are among them.
    """

    name: str
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    rest: list[ast.stmt] = field(default_factory=list)
    imports: dict[str, str] = field(default_factory=dict)


def of_code(script: str | Path, library: str | Path, used: Collection[str] = (), more: Sequence[str] = ()) -> str:
    """SHA-256 of the code that a script's numbers depend on.

    It does not matter in which module a definition lies, so that modules can be cut and moved.

    Args:
        script: a file of workflow/scripts.
        library: folder that holds the package.
        used: names of the registries' entries that the job uses; of a registry without any of them, all count.
        more: dotted names of modules that the script loads by name.
    Raises:
        SyntaxError: of a file that is not Python; it names the file.
    """
    parts = (_whole(node) for nodes in reached(script, library, used, more).values() for node in nodes)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def of_images(files: Sequence[str], cache: str | Path) -> str:
    """SHA-256 of the contents of the files of a tree .../split/class/image, and of their names from the split on.

    Tens of thousands are read only where one was written to, replaced or renamed since the digest was kept in `cache`.
    The time of change tells: unlike that of modification, no program that copies or unpacks files can set it.

    Args:
        files: paths, in order.
        cache: file that keeps the last digest; where it cannot be written, files are read every time.
    Raises:
        OSError: a file cannot be read.
    """
    state, digest = hashlib.sha256(), hashlib.sha256()
    for path in files:
        found = os.stat(path)
        state.update(f"{path}\0{found.st_size} {found.st_ctime_ns} {found.st_ino}\0".encode(errors="surrogateescape"))
    with contextlib.suppress(OSError, ValueError):
        kept, result = Path(cache).read_text().split()
        if kept == state.hexdigest():
            return result
    for path in files:
        with open(path, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{os.sep.join(path.split(os.sep)[-3:])}\0{content}\0".encode(errors="surrogateescape"))
    with contextlib.suppress(OSError), write_atomic(cache) as temporary:
        temporary.write_text(f"{state.hexdigest()} {digest.hexdigest()}\n")
    return digest.hexdigest()


def makes_no_number(name: str) -> bool:
    """Whether a definition, by its dotted name, is one of `WITHOUT_NUMBERS`, or lies in one."""
    return any(f"{name}.".startswith(f"{each}.") for each in WITHOUT_NUMBERS)


def reached(
    script: str | Path, library: str | Path, used: Collection[str] = (), more: Sequence[str] = ()
) -> dict[str, Sequence[ast.AST]]:
    """Dotted name and syntax of all that counts, in the order in which it is met; arguments as for `of_code`.

    The script itself has the empty name; what runs when a module is imported bears the module's.
    """
    main = _module("", Path(script))

    @cache  # no module is read twice
    def load(name: str) -> Module | None:
        place = Path(library, *name.split("."))
        path = next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)
        return _module(name, path) if path else Module(name) if place.is_dir() else None

    found: dict[str, Sequence[ast.AST]] = {
        "": [*main.rest, *(node for nodes in main.definitions.values() for node in nodes)]
    }
    waiting = [(main, found[""], tuple(more))]
    while waiting:
        module, nodes, also = waiting.pop()
        names = (*also, *(name for node in nodes for name in _all_references(node, module)))
        for dotted in dict.fromkeys(names):
            for name, home, definition in _resolve(dotted, load):
                if name in found or makes_no_number(name):
                    continue
                if name.rpartition(".")[2] in REGISTRIES:
                    definition = _used(definition, home, used)
                found[name] = definition
                waiting.append((home, definition, ()))
    return found


def _module(name: str, path: Path) -> Module:
    return _parse(name, path.read_bytes(), str(path))


@cache
def _parse(name: str, text: bytes, path: str) -> Module:
    tree, module = ast.parse(text, path), Module(name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                top = each.name.partition(".")[0]
                module.imports[each.asname or top] = each.name if each.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module:
            module.imports.update({each.asname or each.name: f"{node.module}.{each.name}" for each in node.names})
    for statement in _OnlyNumbers().visit(tree).body:
        names = [statement.name] if isinstance(statement, ast.FunctionDef | ast.ClassDef) else _bound(statement)
        for bound in names:
            module.definitions.setdefault(bound, []).append(statement)
        if not names:
            module.rest.append(statement)
    return module


def _bound(statement: ast.stmt) -> list[str]:
    """Names that a statement binds, also by changing what they refer to: TABLES["x"] = 1."""
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
    stored = (node for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    inner = (node for node in ast.walk(statement) if isinstance(node, ast.FunctionDef | ast.ClassDef))
    return [*(node.id for node in stored), *(node.name for node in inner)]


@cache
def _all_references(node: ast.AST, module: Module) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_references(node, module)))


def _references(node: ast.AST, module: Module) -> Iterator[str]:
    """Dotted names that a piece of syntax refers to, as far as they are the module's own or imported there."""
    if isinstance(node, ast.Name):
        if node.id in module.imports:
            yield module.imports[node.id]
        elif node.id in module.definitions and module.name:
            yield f"{module.name}.{node.id}"
    elif isinstance(node, ast.Attribute):
        inner = list(_references(node.value, module))
        whole = isinstance(node.value, ast.Name | ast.Attribute) and len(inner) == 1
        yield from [f"{inner[0]}.{node.attr}"] if whole else inner
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and LATE.fullmatch(node.value):
        yield node.value.replace(":", ".")
    else:
        for child in ast.iter_child_nodes(node):
            yield from _references(child, module)


def _resolve(dotted: str, load: Callable[[str], Module | None]) -> Iterator[tuple[str, Module, Sequence[ast.stmt]]]:
    """Full name, module and statements of what a dotted name refers to, and of what runs at its modules' import."""
    parts, module, depth = dotted.split("."), None, 0
    while depth < len(parts) and (inner := load(".".join(parts[: depth + 1]))):
        module, depth = inner, depth + 1
        if module.rest:
            yield module.name, module, module.rest
    if module is None:
        return
    if depth < len(parts) and parts[depth] in module.definitions:
        yield f"{module.name}.{parts[depth]}", module, module.definitions[parts[depth]]
    elif depth < len(parts) and parts[depth] in module.imports:
        yield from _resolve(".".join([module.imports[parts[depth]], *parts[depth + 1 :]]), load)
    else:  # the module as a value, which may be asked for anything
        for name, statements in module.definitions.items():
            yield f"{module.name}.{name}", module, statements


def _used(statements: Sequence[ast.stmt], module: Module, used: Collection[str]) -> list[ast.AST]:
    """Those entries of a registry whose names are used; where none is, those without a name; else all of it."""
    entries: list[tuple[set[str], ast.AST]] = []
    for statement in statements:
        value = statement.value if isinstance(statement, ast.Assign | ast.AnnAssign) else None
        if isinstance(value, ast.Dict):
            for key, each in zip(value.keys, value.values, strict=True):
                entries.append(({key.value} if isinstance(key, ast.Constant) else set(), each))
        else:
            group = next((node for node in ast.walk(statement) if isinstance(node, ast.Tuple | ast.List)), None)
            for each in group.elts if group else ():
                entries.append(({part.lower() for name in _references(each, module) for part in name.split(".")}, each))
    chosen = [each for names, each in entries if names & set(used)] or [each for names, each in entries if not names]
    return chosen or list(statements)


class _OnlyNumbers(ast.NodeTransformer):
    """Takes out of a syntax tree what no number depends on."""

    def visit_Import(self, node: ast.Import) -> None:
        return None

    visit_ImportFrom = visit_Import

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        called = node.value.func if isinstance(node.value, ast.Call) else None
        owner = called.value if isinstance(called, ast.Attribute) else called
        is_log = isinstance(owner, ast.Name) and (owner.id in LOGGERS or owner.id.startswith("_log_"))
        return None if isinstance(node.value, ast.Constant) or is_log else self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | None:
        names = {each.id for each in ast.walk(node.test) if isinstance(each, ast.Name)}
        return None if names & {"TYPE_CHECKING", "__name__"} else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return ast.Raise(exc=node.exc.func if isinstance(node.exc, ast.Call) else node.exc, cause=None)

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        return ast.Assert(test=self.visit(node.test), msg=None)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        value = node.value and self.visit(node.value)
        return ast.AnnAssign(target=node.target, annotation=ast.Constant(None), value=value, simple=node.simple)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(arg=node.arg)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        only_refuses = isinstance(node.returns, ast.Name) and node.returns.id == "NoReturn"
        node.returns, node.body = None, [] if only_refuses else node.body
        self.generic_visit(node)
        read = {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load)}
        return _WithoutUnread(read).visit(node)


class _WithoutUnread(ast.NodeTransformer):
    """Takes out texts that are given a name which nothing reads, now that messages are gone."""

    def __init__(self, read: Collection[str]) -> None:
        self.read = read

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        unread = all(isinstance(each, ast.Name) and each.id not in self.read for each in node.targets)
        is_text = isinstance(node.value, ast.JoinedStr) or (
            isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        )
        return None if unread and is_text else node


@cache
def _whole(node: ast.AST) -> str:
    return _text(node)


def _text(value: object) -> str:
    """A syntax tree as text, the same under every version of Python: what is empty is left out."""
    if isinstance(value, list):
        return f"[{' '.join(map(_text, value))}]"
    if not isinstance(value, ast.AST):
        return repr(value)
    fields = (
        (name, part) for name, part in ast.iter_fields(value) if name != "ctx" and part is not None and part != []
    )
    return f"({type(value).__name__} {' '.join(f'{name}={_text(part)}' for name, part in fields)})"
