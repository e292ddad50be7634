"""The page on coverage and power: that it is of this code, and that the rules do what they should."""

import re
import sys

import numpy as np
import pytest
from conftest import ROOT
from scipy import stats

sys.path.insert(0, str(ROOT / "benchmarks"))

import power

from memrnn.analysis.claims.verdict import VERDICTS

PAGE = (ROOT / "docs" / "power.md").read_text()
ROWS = {
    (claim, float(truth), int(seeds)): dict(zip(("covered", *VERDICTS), map(float, shares.split(" | ")), strict=True))
    for claim, truth, seeds, shares in re.findall(r"^\| (C\w+) \| (\S+) \| (\d+) \| (.*) \|$", PAGE, re.MULTILINE)
}


def test_the_page_has_every_case():
    """If not: python benchmarks/power.py > docs/power.md"""
    assert list(ROWS) == [
        (claim, truth, seeds) for claim, case in power.CASES.items() for truth in case.truths for seeds in power.SEEDS
    ]
    assert PAGE.startswith(power.HEAD)


@pytest.mark.parametrize(("claim", "truth", "seeds"), [("C1", 0.05, 10), ("C2", 0.8, 4), ("C5", 0.05, 32)])
def test_the_page_is_of_this_code(claim, truth, seeds):
    assert power.line(power.simulate(claim, truth, seeds)) in PAGE.splitlines()


@pytest.mark.parametrize(("claim", "truth"), [("C3a", -0.5), ("C3b", -0.2)])
def test_a_few_simulations_of_rho_agree_with_the_page(claim, truth):
    few = power.simulate(claim, truth, 10, experiments=100)
    for verdict, share in few.verdicts.items():
        assert share == pytest.approx(ROWS[claim, truth, 10][verdict], abs=0.16)  # three standard errors


def test_intervals_hold_what_is_true():
    for row, shares in ROWS.items():
        assert shares["covered"] >= (0.85 if row[:2] == ("C2", 0.95) else 0.92), row  # shares near 1 are skewed


def test_wrong_verdicts_are_rare():
    # Supported although there is nothing: two sides for C1, one for the others; C2 below its majority.
    for (claim, truth, seeds), shares in ROWS.items():
        nothing = truth == power.CASES[claim].truths[0]
        if nothing:
            assert shares["supported"] <= (0.07 if claim == "C1" else 0.04), (claim, seeds)
        else:
            assert shares["contradicted"] <= 0.05, (claim, truth, seeds)


def test_a_confirmatory_study_sees_what_it_looks_for():
    for claim, case in power.CASES.items():
        assert ROWS[claim, case.truths[2], 32]["supported"] > 0.8, claim


def test_simulated_speeds_and_scores_have_the_rho_they_should():
    x, y = power.normal_pair(np.random.default_rng(0), -0.5, 100_000)
    assert stats.spearmanr(x, y).statistic == pytest.approx(-0.5, abs=0.01)
