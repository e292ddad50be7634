"""The site of docs/ is built without a warning, reads without a network, and shows what is made from elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from memrnn.run.config import schema

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. Its packages are installed apart from the workflow's."""
    packages, built = tmp_path_factory.mktemp("packages"), tmp_path_factory.mktemp("site")
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--target",
        packages,
        "-r",
        ROOT / "requirements-docs.lock",
    ]
    try:
        done = subprocess.run(install, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        pytest.skip("MkDocs is not installed: pip did not end within 300 s")
    if done.returncode != 0:
        pytest.skip(f"MkDocs is not installed: {done.stderr.strip()[-300:]}")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", built],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(packages), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return built


def test_every_page_is_built_and_in_the_navigation(site):
    def pages(entry: object) -> list[str]:
        if isinstance(entry, list | dict):
            return [page for each in (entry.values() if isinstance(entry, dict) else entry) for page in pages(each)]
        return [str(entry)]

    listed = set(pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    written = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert written <= listed
    for page in written | {"index.md", "changelog.md", "contributing.md", "files.md", "configuration.md"}:
        assert (site / page.replace("README.md", "index.html").replace(".md", ".html")).exists(), page


def test_the_reference_has_signatures_of_every_package(site):
    for package in (ROOT / "workflow/lib/memrnn").glob("*/__init__.py"):
        assert (site / "reference" / f"{package.parent.name}.html").stat().st_size > 10_000
    assert "SlowPoints" in (site / "reference" / "dynamics.html").read_text()


def test_every_setting_is_in_the_reference(site):
    full = schema(ROOT / "workflow/schemas/config.schema.yaml")
    text = (site / "configuration.html").read_text()
    for section, part in full["properties"].items():
        for key in part.get("properties", {}):
            assert f"<code>{section}.{key}</code>" in text


def test_pages_fetch_nothing_from_the_network(site):
    for page in site.rglob("*.html"):
        fetched = re.findall(r'<(?:script|link|img|iframe)[^>]*\b(?:src|href)="(https?:[^"]+)"', page.read_text())
        assert [url for url in fetched if "canonical" not in url] == [], page
