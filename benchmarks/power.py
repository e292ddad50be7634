"""How often each verdict comes out, and how often an interval holds what is true, in simulated studies.

    python benchmarks/power.py > docs/power.md

Every study draws values of networks from a model in which the truth is known, and applies the interval and the rule
that a run applies (memrnn.analysis.claims). Spreads are about those of exploratory networks. A study has one cell and
two protocols; what is drawn depends on nothing but the claim, the true value and the number of seeds.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow" / "lib"))  # of this clone, whatever the shell says

from memrnn.analysis.claims import CLAIMS, c1
from memrnn.analysis.claims.verdict import NOT_JUDGED, VERDICTS
from memrnn.core.stats import bootstrap, mean_interval, pooled_rho
from memrnn.core.streams import stream

SEEDS = (4, 10, 32)
CONFIDENCE, RESAMPLES = 0.95, 400
CLASSES, PROTOCOLS = 10, 2
# standard deviations over seeds, of differences between protocols and of gains in M, and of differences in accuracy
DIFFERENCE, GAIN, ACCURACY = 0.10, 0.06, 0.01
# of a quantity's variance over all classes: what the networks of a seed share, and what the classes of a network share
OF_SEED, OF_NETWORK = 0.15, 0.15
SHARE_SPREAD = 0.1  # standard deviation over networks of the chance that a class has a point of its own

Study = Callable[[np.random.Generator, float, int], tuple[float, float, bool]]  # -> low, high, whether it may be judged


class Case(NamedTuple):
    """A claim's simulation.

    Attributes:
        study: one study with a true value and a number of seeds.
        truths: true values: none, small, medium; of C2, below, at and above the majority.
        experiments: how many studies stand behind each row.
    """

    study: Study
    truths: tuple[float, float, float]
    experiments: int


def difference(rng: np.random.Generator, truth: float, seeds: int) -> tuple[float, float, bool]:
    """C1: paired differences of M, if those of the nominal accuracy are small."""
    _, low, high = mean_interval(rng.normal(0, ACCURACY, seeds), c1.PREMISE)
    equal = low >= -c1.EQUAL and high <= c1.EQUAL
    return *mean_interval(rng.normal(truth, DIFFERENCE, seeds), CONFIDENCE)[1:], equal


def share(rng: np.random.Generator, truth: float, seeds: int) -> tuple[float, float, bool]:
    """C2: means over protocols of shares of classes; networks differ in how often a class has a point of its own."""
    size = truth * (1 - truth) / SHARE_SPREAD**2 - 1
    chance = rng.beta(truth * size, (1 - truth) * size, (seeds, PROTOCOLS))
    shares = rng.binomial(CLASSES, chance).mean(axis=1) / CLASSES
    return *mean_interval(shares, CONFIDENCE, (0.0, 1.0), 1 / CLASSES / PROTOCOLS)[1:], True


def normal_pair(rng: np.random.Generator, rho: float, *shape: int) -> np.ndarray:
    """(2, ...) standard normal numbers whose Spearman correlation is rho."""
    r = 2 * np.sin(np.pi * rho / 6)  # Pearson's
    first, second = rng.normal(size=(2, *shape))
    return np.stack([first, r * first + np.sqrt(1 - r**2) * second])


def over_classes(rng: np.random.Generator, truth: float, seeds: int) -> tuple[float, float, bool]:
    """C3a, C3': a point a class; the same correlation among seeds, networks and classes."""
    parts = (
        (OF_SEED, normal_pair(rng, truth, seeds, 1, 1)),
        (OF_NETWORK, normal_pair(rng, truth, seeds, PROTOCOLS, 1)),
        (1 - OF_SEED - OF_NETWORK, normal_pair(rng, truth, seeds, PROTOCOLS, CLASSES)),
    )
    x, y = sum(np.sqrt(weight) * pair for weight, pair in parts).reshape(2, seeds * PROTOCOLS, CLASSES)
    return interval_of_rho(rng, x, y, np.repeat(np.arange(seeds), PROTOCOLS))


def between_networks(rng: np.random.Generator, truth: float, seeds: int) -> tuple[float, float, bool]:
    """C3b: a point a network, of one protocol."""
    x, y = normal_pair(rng, truth, seeds, 1)
    return interval_of_rho(rng, x, y, np.arange(seeds))


def interval_of_rho(
    rng: np.random.Generator, x: np.ndarray, y: np.ndarray, clusters: np.ndarray
) -> tuple[float, float, bool]:
    seed = np.random.SeedSequence(int(rng.integers(2**32)))
    found = bootstrap(pooled_rho(x, y), clusters, seed, RESAMPLES, CONFIDENCE)
    return found.low, found.high, True


def gain(rng: np.random.Generator, truth: float, seeds: int) -> tuple[float, float, bool]:
    """C5: paired gains in M."""
    return *mean_interval(rng.normal(truth, GAIN, seeds), CONFIDENCE)[1:], True


CASES = {
    "C1": Case(difference, (0.0, 0.05, 0.15), 2000),
    "C2": Case(share, (0.6, 0.8, 0.95), 2000),
    "C3a": Case(over_classes, (0.0, -0.2, -0.5), 500),
    "C3b": Case(between_networks, (0.0, -0.2, -0.5), 1000),
    "C5": Case(gain, (0.0, 0.05, 0.15), 2000),
}


class Row(NamedTuple):
    """Shares of simulated studies.

    Attributes:
        covered: those whose interval holds the true value, of those that have one.
        verdicts: how often each came out.
    """

    claim: str
    truth: float
    seeds: int
    covered: float
    verdicts: dict[str, float]


def simulate(claim: str, truth: float, seeds: int, experiments: int | None = None) -> Row:
    """One row of the table.

    Args:
        claim: key of CASES.
        truth: true value of its measure.
        seeds: of a study.
        experiments: how many studies; by default those of the case.
    """
    case = CASES[claim]
    experiments = experiments or case.experiments
    rng = np.random.default_rng(stream(0, "power", claim, f"{truth:g}", str(seeds)))
    told: Counter[str] = Counter()
    held = there = 0
    for _ in range(experiments):
        low, high, may = case.study(rng, truth, seeds)
        told[CLAIMS[claim].rule(low, high) if may else NOT_JUDGED] += 1
        there += not np.isnan(low)
        held += low <= truth <= high
    return Row(claim, truth, seeds, held / max(there, 1), {each: told[each] / experiments for each in VERDICTS})


def table() -> Iterator[Row]:
    """Every claim, true value and number of seeds."""
    for claim, case in CASES.items():
        for truth in case.truths:
            for seeds in SEEDS:
                yield simulate(claim, truth, seeds)


def line(row: Row) -> str:
    """A row as the page has it."""
    shares = " | ".join(f"{row.verdicts[verdict]:.2f}" for verdict in VERDICTS)
    return f"| {row.claim} | {row.truth:g} | {row.seeds} | {row.covered:.2f} | {shares} |"


HEAD = f"""\
# Coverage and power

Made by `python benchmarks/power.py > docs/power.md`: not to be edited here. How often each [verdict](claims.md) comes
out when the truth is known, and how often the 95 % interval holds it (*covered*), in simulated studies of one cell and
{PROTOCOLS} protocols.

- C1 and C5: differences and gains in M are normal over seeds, with standard deviations {DIFFERENCE:g} and {GAIN:g},
  about those of exploratory networks. Differences in nominal accuracy have {ACCURACY:g}.
- C2: shares are binomial over {CLASSES} classes; the chance itself differs between networks, with standard deviation
  {SHARE_SPREAD:g}.
- C3: log speed and M are normal, with the true rho. Of their variance over classes, the networks of a seed share
  {OF_SEED:g}, and the classes of a network another {OF_NETWORK:g}. C3' has C3a's rule and interval.

Where the true value is not what a verdict says, the column shows how often the verdict is wrong.

| claim | true value | seeds | covered | {" | ".join(VERDICTS)} |
|---|---|---|---|---|---|---|---|
"""


if __name__ == "__main__":
    print(HEAD, end="")
    for row in table():
        print(line(row), flush=True)
