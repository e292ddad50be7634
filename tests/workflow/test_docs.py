"""Pages and docstrings point to what exists: files, headings, sections of the method, terms of the glossary."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "results" / "README.md"])
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)
CITATION = re.compile(r"docs/(\w+)\.md, ([A-Z][\w -]*\w)")


def slug(heading: str) -> str:
    """Anchor of a heading, as GitHub and MkDocs make it."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", heading)
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", plain.lower()))


def headings(page: Path) -> list[str]:
    return HEADING.findall(FENCE.sub("", page.read_text(encoding="utf-8")))


def broken_links(page: Path) -> list[str]:
    """Links of a page to files of this repository that are not there, or to headings that the file has not."""
    found = []
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists():
            found.append(f"{target}: no such file")
        elif anchor and anchor not in map(slug, headings(file)):
            found.append(f"{target}: no such heading")
    return found


def test_headings_become_anchors():
    assert slug("Do the *faster* settings `x` change?") == "do-the-faster-settings-x-change"


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "other.md").write_text("# Two words\n")
    page = tmp_path / "page.md"
    page.write_text("# Here\n[a](other.md#two-words) [b](#here) [c](https://x.org) [d](gone.md) ![e](other.md#three)\n")
    assert broken_links(page) == ["gone.md: no such file", "other.md#three: no such heading"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert broken_links(page) == []


def test_code_names_pages_that_exist():
    named = {
        (path.relative_to(ROOT), page)
        for folder in ("workflow", "tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        for page in re.findall(r"\bdocs/\w+\.md\b", path.read_text(encoding="utf-8"))
    }
    assert [each for each in sorted(named) if not (ROOT / each[1]).exists()] == []


def test_code_cites_sections_that_exist():
    found = [
        (path.relative_to(ROOT), page, section)
        for folder in ("workflow", "tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        for page, section in CITATION.findall(path.read_text(encoding="utf-8"))
    ]
    assert found, "the pattern must find what it is for"
    known = {page.stem: [heading.lower() for heading in headings(page)] for page in ROOT.glob("docs/*.md")}
    assert [each for each in found if each[2].lower() not in known.get(each[1], [])] == []


def test_the_readme_is_one_screen():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 900


def test_numbers_in_pages_are_those_of_the_published_tables():
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "fill_numbers.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_glossary_has_every_term_once_and_in_order():
    rows = re.findall(r"^\| (.+?) \|", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)
    terms = [row.lower() for row in rows if row != "term" and set(row) != {"-"}]
    assert len(terms) == len(set(terms))
    assert terms == sorted(terms)
