"""A finished run as one page: verdicts, each claim with its figures and numbers, settings, and what made it.

The page holds all it shows, figures included, needs no network and runs no script. The same files give the same bytes.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, StrictUndefined

from memrnn.analysis.claims import CLAIMS
from memrnn.analysis.claims.verdict import NOT_JUDGED, count, why_not
from memrnn.core.tables import TABLES
from memrnn.figures.style import CELLS, PHASES, POOLED, PROTOCOLS
from memrnn.run.verify import invalid

WORDS = {**CELLS, **PROTOCOLS, **PHASES, POOLED: "all protocols", "-": "less"}  # of panels
KINDS = {".svg": "image/svg+xml", ".png": "image/png"}
DESCRIBED = "described"  # in the place of a verdict, of what stands beside a claim


class Picture(NamedTuple):
    """A figure on the page: its name, the first sentence of its caption, the paragraphs after it, and itself."""

    name: str
    title: str
    text: list[str]
    uri: str


def picture(png: str | Path, svg: str | Path, caption: str | Path) -> Picture:
    """A figure from its files; the smaller of both pictures is taken.

    Raises:
        ValueError: a picture is damaged, or there is no caption.
    """
    path = min(map(Path, (png, svg)), key=lambda path: path.stat().st_size)
    for fault in invalid(path):
        raise ValueError(f"{path}: expected a whole picture, found {fault}. Delete the file and run again.")
    text = Path(caption).read_text(encoding="utf-8").strip()
    if not text:
        raise ValueError(f"{caption}: expected a caption, found nothing. Delete the file and run again.")
    first, *rest = text.split("\n\n")
    title, after = re.fullmatch(r"(.*?(?:[.?!](?=\s)|$))\s*(.*)", first, re.DOTALL).groups()
    uri = f"data:{KINDS[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"
    return Picture(path.stem, title, [each for each in (after, *rest) if each], uri)


def page(
    template: str,
    claims: pd.DataFrame,
    numbers: Mapping[str, Any],
    pictures: Iterable[Picture],
    provenance: Mapping[str, Any],
    defaults: Mapping[str, Any],
    left_out: Sequence[str] = (),
) -> str:
    """The page of a run, HTML.

    Args:
        template: Jinja2; what it prints is escaped.
        claims: the table of that name.
        numbers: the headline numbers, `numbers.json`.
        pictures: in the order in which those show that belong to no claim.
        provenance: `provenance.json`, whose `config` tells the run's settings.
        defaults: the configuration to compare these with.
        left_out: sentences on images that are not used.
    Raises:
        ValueError: a claim is missing in the table, or one is in it that nothing is known of.
    """
    found = list(dict.fromkeys(claims["claim"]))
    if set(found) != set(CLAIMS):
        raise ValueError(
            f"claims: expected {', '.join(CLAIMS)}, found {', '.join(found) or 'none'}. Delete the table and run again."
        )
    rest = {each.name: each for each in pictures}
    sections = [_claim(name, claims[claims["claim"] == name], rest) for name in CLAIMS]
    shown = {each.name: section["id"] for section in sections for each in section["pictures"]}
    for section in sections:
        section["elsewhere"] = {name: shown[name] for name in section.pop("others") if name in shown}
    now, before = _flat(provenance["config"]), _flat(defaults)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = environment.from_string(template).render(
        claims=sections,
        networks=numbers["networks"],
        pictures=list(rest.values()),
        config=provenance["config"],
        confidence=f"{100 * provenance['config']['correlate']['confidence']:g} %",
        names=WORDS,
        settings=now,
        changed={
            key: (now.get(key, "not set"), before.get(key, "not set"))
            for key in sorted(now.keys() | before.keys())
            if now.get(key) != before.get(key)
        },
        provenance=provenance,
        left_out=left_out,
        tables={name: table.row for name, table in TABLES.items()},
    )
    return text.lstrip()


def _claim(name: str, rows: pd.DataFrame, pictures: dict[str, Picture]) -> dict[str, Any]:
    """What the page says of a claim; the pictures that it shows are taken out of `pictures`."""
    claim = CLAIMS[name]
    groups: list[dict[str, Any]] = []  # a measure, its panels, and the treatment that they share, if any
    for (measure, primary), panels in rows.groupby(["measure", "primary"], sort=False):
        told = [_panel(row, getattr(claim, "UNJUDGED", "")) for row in panels.to_dict("records")]
        ends = {panel["name"].rpartition(", ")[2] for panel in told}
        shared = ends.pop() if len(ends) == 1 and ends <= {*PHASES.values()} else ""
        groups.append({"measure": measure, "primary": primary, "panels": told, "shared": shared})
    groups.sort(key=lambda group: not group["primary"])
    judged = [group for group in groups if group["primary"]]
    reasons = dict.fromkeys(panel["why"] for group in judged for panel in group["panels"])
    own = [pictures.pop(figure) for figure in claim.FIGURES if figure in pictures]
    verdict = count(rows)
    return {
        "name": name,
        "id": "claim-" + name.lower().replace("'", "-prime"),
        "title": claim.TITLE,
        "statement": rows["statement"].iloc[0],
        "judged": claim.JUDGED,
        "verdict": verdict,
        "why": "; ".join(reasons) if verdict == NOT_JUDGED else "" if judged else "exploratory",
        "head": (judged or groups)[0],
        "groups": judged or groups[:1],
        "more": [group for group in groups if group not in (judged or groups[:1])],
        "pictures": own,
        "others": [figure for figure in claim.FIGURES if figure not in {each.name for each in own}],
    }


def _panel(row: Mapping[str, Any], unjudged: str) -> dict[str, Any]:
    """A row of the table of claims, in words."""
    named = "" if pd.isna(row["panel"]) else row["panel"]
    verdict = row["verdict"] if row["primary"] else DESCRIBED
    bounded = not (pd.isna(row["low"]) or pd.isna(row["high"]))
    return {
        "name": ", ".join(WORDS.get(word, word) for word in named.split()).replace(", less, ", " less ") or "none",
        "value": _number(row["value"]),
        "interval": f"{_number(row['low'])} to {_number(row['high'])}" if bounded else "none",
        "networks": row["networks"],
        "left_out": row["left_out"],
        "verdict": verdict,
        "why": why_not(row, unjudged) if verdict == NOT_JUDGED else "",
    }


def _number(value: float) -> str:
    """Three decimals, or one digit of what is smaller; with a minus sign rather than a hyphen."""
    if pd.isna(value):
        return "not computed"
    text = f"{value:.3f}"
    return (f"{value:.0e}" if value and not float(text) else text).replace("-", "−")


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted keys and texts, by key."""
    found: dict[str, str] = {}
    for key, value in sorted(settings.items()):
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return found
