"""What MkDocs adds to docs/: pages made from elsewhere, of the configuration and of the library; links out of docs/."""

from __future__ import annotations

import ast
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "workflow" / "lib" / "memrnn"
sys.path.insert(0, str(LIBRARY.parent))
from memrnn.run.config import schema  # noqa: E402  the library is used from where it lies

# Pages that are files outside docs/, by their place in the repository.
ELSEWHERE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "results/README.md": "files.md",
}
CONFIGURATION, INSTRUCTIONS = "configuration.md", "config/README.md"
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for path, page in ELSEWHERE.items():
        files.append(File.generated(config, page, content=relinked((ROOT / path).read_text("utf-8"), path, page)))
    instructions = relinked((ROOT / INSTRUCTIONS).read_text("utf-8"), INSTRUCTIONS, CONFIGURATION)
    files.append(File.generated(config, CONFIGURATION, content=f"{instructions}\n{settings()}"))
    for package in packages():
        files.append(File.generated(config, f"reference/{package}.md", content=reference(package)))
    return files


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Write the library's packages into the navigation, and leave out pages that are not there."""
    existing = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    generated = {*ELSEWHERE.values(), CONFIGURATION}

    def filled(entry: Any) -> Any:
        if isinstance(entry, list):
            return [each for each in map(filled, entry) if each is not None]
        if isinstance(entry, dict):
            return {name: filled(inner) for name, inner in entry.items()}
        if entry == "reference/":
            return [{package: f"reference/{package}.md"} for package in packages()]
        return entry if entry in existing | generated else None

    config.nav = filled(config.nav)
    return config


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links that lead out of docs/."""
    source = page.file.src_uri
    if page.file.generated_by:
        return markdown
    return relinked(markdown, f"docs/{source}", source)


def relinked(markdown: str, place: str, page: str) -> str:
    """A page's text with links from its place in the repository turned to links from its place in the site.

    What the site does not have, such as a module, becomes its path in the repository.
    """

    def turned(found: re.Match[str]) -> str:
        picture, text, target, anchor = found[1], found[2], found[3], found[4] or ""
        if re.match(r"[a-z]+:", target):
            return found[0]
        file = posixpath.normpath(posixpath.join(posixpath.dirname(place), target))
        known = {**ELSEWHERE, INSTRUCTIONS: CONFIGURATION}
        inside = known.get(file, file.removeprefix("docs/") if file.startswith("docs/") else None)
        if inside is None or (ROOT / file).is_dir():
            return f"{text} (`{file}`)" if text.strip("`") not in file else f"`{file}`"
        return f"{picture}[{text}]({posixpath.relpath(inside, posixpath.dirname(page) or '.')}{anchor})"

    return LINK.sub(turned, markdown)


def packages() -> list[str]:
    """The library's packages."""
    return sorted(path.parent.name for path in LIBRARY.glob("*/__init__.py"))


def reference(package: str) -> str:
    """A page of one package: its text, and its modules' public names."""
    text = ast.get_docstring(ast.parse((LIBRARY / package / "__init__.py").read_text("utf-8"))) or ""
    modules = sorted(path for path in (LIBRARY / package).rglob("*.py") if path.name != "__init__.py")
    names = [".".join(path.relative_to(LIBRARY.parent).with_suffix("").parts) for path in modules]
    return f"# {package}\n\n{text}\n\n" + "\n\n".join(f"::: {name}" for name in names) + "\n"


def settings() -> str:
    """Every setting with its default and meaning, from the schema and the default configuration."""
    full = schema(ROOT / "workflow/schemas/config.schema.yaml")
    defaults = yaml.safe_load((ROOT / "config/config.yaml").read_text("utf-8"))
    lines = ["## Every setting", "", "| setting | default | meaning |", "|---|---|---|"]

    def add(name: str, part: dict[str, Any], value: Any) -> None:
        inner = part.get("properties")
        shown = "" if inner else f"`{yaml.safe_dump(value, default_flow_style=True, width=1000).split(chr(10))[0]}`"
        text = " ".join(str(part.get("description", "")).split()).replace("|", "\\|")
        lines.append(f"| `{name}` | {shown} | {text} |")
        for key, each in (inner or {}).items():
            add(f"{name}.{key}", each, (value or {}).get(key))

    for key, each in full["properties"].items():
        add(key, each, defaults.get(key))
    return "\n".join(lines) + "\n"
