"""Write numbers of published tables into pages, between `<!-- number: NAME -->` and `<!-- end -->`.

python docs/fill_numbers.py            writes them
python docs/fill_numbers.py --check    says which pages are out of date; exit status 1 if there are any
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
BLOCK = re.compile(r"(<!-- number: ([\w-]+) -->).*?(<!-- end -->)", re.DOTALL)

# Of each claim: in plain words; the measure and the panel of each cell that the README shows.
CLAIMS = {
    "C1": ("**C1** Protocols that learn the task equally well differ at longer delays: gain in score, DeCu over VoCu",
           "extrapolation score, difference", "decu - vocu"),
    "C2": ("**C2** Every memory has a slow point: share of classes read out at theirs, VoCu",
           "share of classes read out at their slow point", "vocu"),
    "C3": ("**C3** The slower the point, the longer the memory: rank correlation, protocols pooled",
           "Spearman's rho of log speed and extrapolation score", "all"),
    "C4": ("**C4** A new class splits off from the one it is confused with: confusion above chance, VoCu",
           "confusion with the parent, above the expected", "vocu"),
    "C5": ("**C5** Slowing the points makes memories last: gain in score over control, VoCu",
           "extrapolation score, difference to control", "vocu slow_points"),
}  # fmt: skip
CELLS = {"gru": "GRU", "lstm": "LSTM"}


def table(run: str, name: str) -> pd.DataFrame:
    """A published table of a run."""
    return pd.read_csv(RESULTS / run / "tables" / f"{name}.csv")


def effect(claims: pd.DataFrame, claim: str, cell: str, interval: bool) -> str:
    """Value of a claim's measure in one cell, as `GRU 0.07 (0.01, 0.13)`."""
    _, measure, panel = CLAIMS[claim]
    rows = claims[(claims.claim == claim) & (claims.measure == measure) & (claims.panel == f"{cell} {panel}")]
    if len(rows) != 1:
        raise ValueError(f"claims: found {len(rows)} rows of {claim}, {measure}, {cell} {panel}; expected one")
    row = rows.iloc[0]
    value = f"{CELLS[cell]} {row.value:.2f}"
    return f"{value} ({row.low:.2f}, {row.high:.2f})" if interval else value


def claims() -> str:
    """The README's table of claims: digits with intervals and verdict, MNIST not yet, CIFAR-10 without intervals."""
    digits, cifar10 = table("digits", "claims"), table("cifar10_jpeg/full_noise", "claims")
    lines = ["| claim | digits | MNIST | CIFAR-10, pilot |", "|---|---|---|---|"]
    for claim, (text, *_) in CLAIMS.items():
        verdict = digits[digits.claim == claim].verdict.iloc[0]
        found = "<br>".join([*(effect(digits, claim, cell, True) for cell in CELLS), f"**{verdict}**"])
        pilot = "<br>".join(effect(cifar10, claim, cell, False) for cell in CELLS)
        lines.append(f"| {text} | {found} | running | {pilot} |")
    return "\n" + "\n".join(lines) + "\n"


def kept_rho(cell: str) -> str:
    """Rank correlation of the noise-free and the noisy lifetime on digits, protocols pooled."""
    rows = table("digits", "predictors").query(
        "cell == @cell and curriculum == 'all' and target == 'lifetime' and predictor == 'relaxation_kept'"
    )
    return f"{rows.rho.item():.2f}"


def points_with_a_fixed_point(run: str) -> str:
    """How many of a run's slow points have a fixed point near by."""
    kind = table(run, "spectrum").kind
    return f"{kind.isin(['stable', 'saddle']).sum()} of {len(kind)}"


def read_out_right(run: str) -> str:
    """Share of a run's slow points that are read out as their class, after 3,000 steps of search."""
    points = table(run, "slow_points").query("phase == 'trained' and search_steps == 3000")
    return f"{100 * (points.readout == points.label).mean():.0f} %"


NUMBERS: dict[str, Callable[[], str]] = {
    "claims": claims,
    "kept-rho-gru": lambda: kept_rho("gru"),
    "kept-rho-lstm": lambda: kept_rho("lstm"),
    "fixed-points-mnist10k": lambda: points_with_a_fixed_point("mnist10k"),
    "read-out-cifar10": lambda: read_out_right("cifar10_jpeg"),
    "read-out-cifar10-full-noise": lambda: read_out_right("cifar10_jpeg/full_noise"),
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
