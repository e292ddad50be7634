"""The examples of docs/extending.md, put into a clone as a reader would, and their commands run.

A fenced block with a title is a file: a new one where it is code, an edit where it is a diff; `console` has commands.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import ROOT, copy_workflow

PAGE = ROOT / "docs" / "extending.md"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', re.MULTILINE | re.DOTALL)
# Sections whose commands start from the tables of a finished run, which the clone is then a copy of.
AFTER_A_RUN = {"A figure", "A predictor of memory"}


class Block(NamedTuple):
    """A fenced block."""

    kind: str
    title: str
    text: str


def sections() -> dict[str, list[Block]]:
    """Blocks of every section of the page that has any."""
    parts = re.split(r"^## (.+)\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    found = {
        name: [Block(*each) for each in BLOCK.findall(text)] for name, text in zip(parts[::2], parts[1::2], strict=True)
    }
    return {name: blocks for name, blocks in found.items() if blocks}


def edited(text: str, diff: str) -> str:
    """A text after an edit, which shows lines as they are (" "), go ("-") and come ("+")."""
    lines = [(line[:1], line[1:]) for line in diff.splitlines()]
    old, new = ("".join(f"{line}\n" for mark, line in lines if mark != other) for other in "+-")
    assert text.count(old) == 1, f"found {text.count(old)} times, expected once:\n{old}"
    return text.replace(old, new)


def test_an_edit_replaces_what_it_shows():
    assert edited("a\nb\nc\n", " a\n-b\n+d\n+e\n") == "a\nd\ne\nc\n"
    with pytest.raises(AssertionError, match="found 0 times"):
        edited("a\n", "-b\n")


@pytest.mark.parametrize("name", sections())
def test_the_examples_work_as_they_stand(name, tmp_path, request):
    clone = tmp_path / "clone"
    if name in AFTER_A_RUN:
        shutil.copytree(request.getfixturevalue("smoke_run"), clone, symlinks=True)
    else:
        copy_workflow(clone)
    for part in ("tests", "pyproject.toml"):
        source = ROOT / part
        (shutil.copytree if source.is_dir() else shutil.copy)(source, clone / part)
    commands = []
    for kind, title, text in sections()[name]:
        file = clone / title
        if kind == "console":
            commands += [line.removeprefix("$ ") for line in text.splitlines()]
        elif kind == "diff":
            file.write_text(edited(file.read_text(), text))
        elif title:
            assert not file.exists(), f"{title} is no new file"
            file.write_text(text)
    for check in (["check"], ["format", "--check"]):
        new = [clone / title for kind, title, _ in sections()[name] if title and kind == "python"]
        done = subprocess.run([sys.executable, "-m", "ruff", *check, *new], cwd=clone, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
    assert commands
    for command in commands:
        program, *arguments = shlex.split(command)
        run = [program, *arguments] if program == "cat" else [sys.executable, "-m", program, *arguments]
        done = subprocess.run(
            run, cwd=clone, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        made = [argument for argument in arguments if argument.startswith("results/") and Path(argument).suffix]
        assert all((clone / path).stat().st_size > 0 for path in made), done.stdout
