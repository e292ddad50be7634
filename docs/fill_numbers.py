"""Write numbers of published tables into pages, between `<!-- number: NAME -->` and `<!-- end -->`.

python docs/fill_numbers.py            writes them
python docs/fill_numbers.py --check    says which pages are out of date; exit status 1 if there are any
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "lib"))
from memrnn.analysis.claims import CLAIMS, c2  # noqa: E402  the library is used from where it lies
from memrnn.analysis.claims.verdict import count  # noqa: E402
from memrnn.figures import regularisation, style  # noqa: E402

RESULTS = ROOT / "docs" / "results"
BLOCK = re.compile(r"(<!-- number: ([\w-]+) -->).*?(<!-- end -->)", re.DOTALL)

CELLS = {cell: style.CELLS[cell] for cell in ("gru", "lstm")}  # of the published runs


def table(run: str, name: str) -> pd.DataFrame:
    """A published table of a run; large ones are packed."""
    path = RESULTS / run / "tables" / f"{name}.csv"
    return pd.read_csv(path if path.exists() else path.with_suffix(".csv.gz"))


def estimate(value: float, low: float, high: float, unit: str = "") -> str:
    """A value with its interval."""
    if np.isnan(value):
        return "not computable"
    return f"{value:.2f}{unit} ({'no interval' if np.isnan(low) else f'{low:.2f}, {high:.2f}'})"


def effects(rows: pd.DataFrame, cell: str) -> str:
    """A claim's primary measure in one cell, a line for each panel, as `VoCu 0.07 (0.01, 0.13)`."""
    lines = []
    for row in rows[rows.primary & rows.panel.str.startswith(f"{cell} ")].itertuples():
        protocol = style.PROTOCOLS.get(row.panel.split()[1]) if " - " not in row.panel else None
        lines.append(f"{f'{protocol} ' if protocol else ''}{estimate(row.value, row.low, row.high)}")
    return "<br>".join(lines)


def claims(run: str, measures: bool = True) -> str:
    """A table of a run's claims: what is measured, effect and interval in each cell, and the verdict."""
    every = table(run, "claims")
    cells = [cell for cell in style.CELLS if every.panel.str.startswith(f"{cell} ").any()]
    lines = head(["claim", *(style.CELLS[cell] for cell in cells), "verdict"])
    for claim, rows in every.groupby("claim", sort=False):
        found = [effects(rows, cell) for cell in cells]
        measure = f"<br>*{rows[rows.primary].measure.iloc[0]}*" if measures and rows.primary.any() else ""
        lines.append(" | ".join([f"| **{claim}** {CLAIMS[claim].TITLE}{measure}", *found, f"{count(rows)} |"]))
    return block(lines)


def head(titles: list[str]) -> list[str]:
    """The first two lines of a table."""
    return [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]


def block(lines: list[str]) -> str:
    """Lines of a table, apart from what surrounds them."""
    return "\n" + "\n".join(lines) + "\n"


# ------------------------------------------------------------------------------------------------------- benchmarks


def measured(name: str) -> pd.DataFrame:
    """A published table of a benchmark."""
    return pd.read_csv(RESULTS / "engine" / f"{name}.csv")


def milliseconds(name: str, keys: list[str]) -> str:
    """Per step and network, a column for each setting; in brackets, how many times as fast as `plain`."""
    rows = measured(name)
    settings = list(rows.setting.unique())
    lines = head([*keys, *(f"`{each}`" for each in settings)])
    for key, part in rows.groupby(keys, sort=False):
        of = part.set_index("setting")
        cells = [
            "" if each not in of.index else f"{of.median_ms[each]:.1f}"
            + ("" if each == "plain" else f" ({of.ratio[each]:.1f}x)")
            for each in settings
        ]  # fmt: skip
        lines.append(f"| {' | '.join([*(CELLS.get(each, str(each)) for each in key), *cells])} |")
    return block(lines)


def floors() -> str:
    """What products and noise take by themselves, beside a whole update, in milliseconds."""
    lines = ["| size | cell | setting | floor | update | of the floor |", "|---|---|---|---|---|---|"]
    for row in measured("limits").itertuples():
        times = [f"{row.floor_ms:.1f}", f"{row.update_ms:.1f}", f"{row.update_ms / row.floor_ms:.1f}x"]
        lines.append(f"| {' | '.join([row.size, CELLS[row.cell], f'`{row.setting}`', *times])} |")
    return block(lines)


def equivalent(name: str) -> str:
    """Pooled differences of every setting to the exact one, and their verdicts."""
    lines = ["| setting | measure | difference (90 % interval) | margin | verdict |", "|---|---|---|---|---|"]
    for row in measured(name).query("cell == 'all'").itertuples():
        between = f"{row.difference:+.3f} ({row.low_90:+.3f} to {row.high_90:+.3f})"
        measure = row.measure.replace("_", " ")
        lines.append(f"| `{row.setting}` | {measure} | {between} | ±{row.margin:g} | {row.verdict} |")
    return block(lines)


def speeds(run: str) -> str:
    """Rank correlations of speeds with M: of every budget of the search, and of every time without noise."""
    rows = table(run, "correlation").query("curriculum == 'all' and target == 'memory_score'")
    relaxed = table(run, "relaxed")
    right = (relaxed.readout == relaxed.label).groupby([relaxed.cell, relaxed.time]).mean()
    title = "over classes | within networks"
    lines = [f"| speed | GRU, {title} | LSTM, {title} | read out right |", "|---|---|---|---|---|---|"]
    places = {
        "speed": "after {:,} steps of search",
        "relaxed_speed": "after {} noise-free steps",
        "relaxation_kept": "for comparison: the noise-free lifetime",
    }
    for predictor, words in places.items():
        for steps, part in rows[rows.predictor == predictor].groupby("search_steps"):
            cells = [
                estimate(row[f"{kind}rho"], row[f"{kind}low"], row[f"{kind}high"])
                for _, row in part.sort_values("cell").iterrows()
                for kind in ("", "within_")
            ]
            shares = f"{right['gru', steps]:.2f}, {right['lstm', steps]:.2f}" if predictor == "relaxed_speed" else ""
            lines.append(f"| {words.format(int(steps))} | {' | '.join([*cells, shares])} |")
    return block(lines)


def by_protocol(run: str) -> str:
    """Rank correlations of speeds with M within each protocol and over both, of classes and of whole networks."""
    rows = table(run, "claims").set_index(["measure", "panel"])
    protocols = {"decu": "DeCu", "vocu": "VoCu", "all": "both"}
    lines = head(["ranked", "speed", *(f"{cell}, {words}" for cell in CELLS.values() for words in protocols.values())])
    for what, measure in (
        ("classes", "rho of log {}speed and memory score M"),
        ("networks", "rho of networks' mean log {}speed and mean memory score M"),
    ):
        for relaxed, words in (("", "of the search"), ("relaxed ", "relaxed")):
            found = [
                estimate(*rows.loc[(measure.format(relaxed), f"{cell} {protocol}"), ["value", "low", "high"]])
                for cell in CELLS
                for protocol in protocols
            ]
            lines.append(f"| {what} | {words} | {' | '.join(found)} |")
    return block(lines)


def compared(run: str, budget: int, time: int) -> str:
    """How much better the relaxed speed ranks the classes than other predictors, over classes and within networks."""
    rows = table(run, "predictors").query("curriculum == 'all' and target == 'memory_score'")
    rows = rows.set_index(["cell", "predictor", "search_steps"])
    kinds = ("", "within_")
    title = "over classes | within networks"
    lines = [f"| compared | GRU, {title} | LSTM, {title} |", "|---|---|---|---|---|"]
    for words, predictor, steps, other in (
        ("relaxed speed against speed of the search", "relaxed_speed", time, "speed"),
        ("relaxed speed against nominal accuracy", "relaxed_speed", time, "nominal"),
        ("speed of the search against nominal accuracy", "speed", budget, "nominal"),
    ):
        found = [
            estimate(*(rows.loc[(cell, predictor, steps), f"{kind}over_{other}{end}"] for end in ("", "_low", "_high")))
            for cell in CELLS
            for kind in kinds
        ]
        lines.append(f"| {words} | {' | '.join(found)} |")
    return block(lines)


def manipulation(run: str, budget: int) -> str:
    """What each mode of training on does to M, and to both speeds of the points, against its control."""
    tables = {name: table(run, name) for name in ("slow_points", "scores")}
    settings = {"search_steps": budget, "confidence": 0.95}
    learned = tables["scores"][tables["scores"].learned]
    found = {
        "gain in M": regularisation.differences(learned, "memory_score", settings),
        "against `slow_points`": regularisation.differences(learned, "memory_score", settings, "slow_points"),
        "noise-free speed": regularisation.speed_ratios(tables, "speed", settings),
        "noisy speed": regularisation.speed_ratios(tables, "noisy_speed", settings),
    }
    keys = [*regularisation.PANEL, "phase"]
    of = {title: rows.set_index(keys) for title, rows in found.items()}
    lines = head(["cell, protocol", "mode", *found])
    for key in of["gain in M"].index:
        cells = []
        for title, rows in of.items():
            unit = "x" if title.endswith("speed") else ""
            cells.append(estimate(*rows.loc[key, ["value", "low", "high"]], unit) if key in rows.index else "")
        cell, protocol, mode = key
        lines.append(f"| {style.panel_name(cell, protocol)} | `{mode}` | {' | '.join(cells)} |")
    return block(lines)


def rivals(run: str, budget: int) -> str:
    """Gain in M of every mode of training on over its control, in each group, and what it does to the speeds."""
    tables = {name: table(run, name) for name in ("slow_points", "scores")}
    settings = {"search_steps": budget, "confidence": 0.95}
    learned = tables["scores"][tables["scores"].learned]
    gains = regularisation.differences(learned, "memory_score", settings).set_index(["phase", *regularisation.PANEL])
    speeds = [
        regularisation.speed_ratios(tables, name, settings)
        .groupby(["phase", "cell"])
        .value.agg(lambda ratios: np.exp(np.log(ratios).mean()))
        for name in ("speed", "noisy_speed")
    ]
    groups = sorted(gains.index.droplevel("phase").unique())
    ratios = (f"{speed} speed, GRU and LSTM" for speed in ("noise-free", "noisy"))
    lines = head(["mode", *(style.panel_name(*group) for group in groups), *ratios])
    for mode in gains.groupby("phase").value.mean().sort_values(ascending=False).index:
        found = [estimate(*gains.loc[(mode, *group), ["value", "low", "high"]]) for group in groups]
        found += [", ".join(f"{means[mode, cell]:.2f}x" for cell in CELLS) for means in speeds]
        lines.append(f"| `{mode}` | {' | '.join(found)} |")
    return block(lines)


def against_slow_points(run: str, modes: tuple[str, ...]) -> str:
    """Gain in M of some modes less that of the paper's penalty, and what a mode costs in nominal accuracy."""
    scores = table(run, "scores")
    learned, settings, panel = scores[scores.learned], {"confidence": 0.95}, regularisation.PANEL
    found = regularisation.differences(learned, "memory_score", settings, "slow_points").set_index(["phase", *panel])
    cost = regularisation.differences(learned, "nominal_accuracy", settings).groupby("phase").value.mean()
    groups = sorted(found.index.droplevel("phase").unique())
    lines = head(["mode", *(style.panel_name(*group) for group in groups), "nominal accuracy, less control's"])
    for mode in modes:
        cells = [estimate(*found.loc[(mode, *group), ["value", "low", "high"]]) for group in groups]
        lines.append(f"| `{mode}` | {' | '.join(cells)} | {cost[mode]:.3f} |")
    return block(lines)


def starts(run: str) -> str:
    """Share of classes with a slow point of their own, by where the search started."""
    rows = table(run, "claims").query("claim == 'C2'")
    (measure,) = rows[rows.primary].measure.unique()
    lines = [f"| the search starts | cell, protocol | {measure} |", "|---|---|---|"]
    for where in ("", *(f", {words}" for words in c2.OTHER_STARTS.values())):
        for row in rows[~rows.primary & (rows.measure == f"{measure}{where}")].itertuples():
            cell, protocol = row.panel.split()
            share = estimate(row.value, row.low, row.high)
            lines.append(f"| {where[2:] or 'at the centroids'} | {style.panel_name(cell, protocol)} | {share} |")
    return block(lines)


def points_with_a_fixed_point(run: str) -> str:
    """How many of a run's slow points have a fixed point near by."""
    kind = table(run, "spectrum").kind
    return f"{kind.isin(['stable', 'saddle']).sum()} of {len(kind)}"


def read_out_right(run: str) -> str:
    """Share of a run's slow points that are read out as their class, after 3,000 steps of search."""
    points = table(run, "slow_points").query("phase == 'trained' and search_steps == 3000")
    return f"{100 * (points.readout == points.label).mean():.0f} %"


def titles() -> str:
    """What each claim says."""
    return block(["| | claim |", "|---|---|", *(f"| {name} | {claim.TITLE} |" for name, claim in CLAIMS.items())])


NUMBERS: dict[str, Callable[[], str]] = {
    "titles": titles,
    "claims": lambda: claims("confirmatory", measures=False),
    "confirmatory-speeds": lambda: speeds("confirmatory"),
    "confirmatory-protocols": lambda: by_protocol("confirmatory"),
    "confirmatory-compared": lambda: compared("confirmatory", 100_000, 40),
    "rivals-against": lambda: against_slow_points(
        "regularisers", ("noise_free", "noise_gain", "placebo", "relaxed", "longer_delays")
    ),
    "rivals": lambda: rivals("regularisers", 3_000),
    "confirmatory-starts": lambda: starts("confirmatory"),
    "bench-training": lambda: milliseconds("training", ["size", "cell", "networks", "threads"]),
    "bench-convnet": lambda: milliseconds("convnet", ["size", "cell"]),
    "bench-floors": floors,
    "equivalence": lambda: equivalent("equivalence"),
    "equivalence-convnet": lambda: equivalent("equivalence_convnet"),
    "fixed-points-mnist10k": lambda: points_with_a_fixed_point("mnist10k"),
    "read-out-cifar10": lambda: read_out_right("cifar10_jpeg"),
    "read-out-cifar10-full-noise": lambda: read_out_right("cifar10_jpeg/full_noise"),
    "cells-claims": lambda: claims("cells"),
}
for _run in ("digits", "confirmatory"):
    NUMBERS |= {
        f"{_run}-claims": partial(claims, _run),
        f"{_run}-manipulation": partial(manipulation, _run, 100_000),
    }


def written(text: str) -> str:
    """A page's text with its numbers written anew."""
    return BLOCK.sub(lambda found: found[1] + NUMBERS[found[2]]() + found[3], text)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args(arguments).check
    stale = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        if (new := written(text)) != text:
            stale.append(page.relative_to(ROOT))
            if not check:
                page.write_text(new, encoding="utf-8")
    for page in stale:
        print(f"{page}: {'numbers are out of date; run python docs/fill_numbers.py' if check else 'written'}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
