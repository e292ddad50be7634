"""C3a: over classes, the speed of the slow points predicts how well a memory is held."""

from __future__ import annotations

import pandas as pd

from memrnn.analysis.claims.estimates import MEASURES, Evidence
from memrnn.analysis.claims.verdict import LEAST, decide, described, primary

TITLE = "The slower its point, the longer a class is remembered"
STATEMENT = "Over classes, the slower a memory's slow point, the better it is held beyond the delays of training."
SMALLEST = 0.2  # rho of interest
JUDGED = f"Supported if the interval of rho lies below 0. Contradicted if it lies above −{SMALLEST}."
UNJUDGED = f"fewer than {LEAST} seeds"
FIGURES = ("correlation", "budget")


def rule(low: float, high: float) -> str:
    """Supported if the interval lies below 0, contradicted if above -SMALLEST."""
    return decide(low, high, supported=high < 0, contradicted=low > -SMALLEST)


def of_classes(evidence: Evidence, predictor: str, steps: int, name: str) -> list[pd.DataFrame]:
    """For every cell, protocols pooled, rho of a predictor and M; beside it each protocol, and other targets."""
    rho, measure = evidence.rho(predictor, steps, "memory_score"), f"rho of {name} and {MEASURES['memory_score']}"
    pooled = rho.curriculum == "all"
    within = rho.assign(value=rho.within_rho, low=rho.within_low, high=rho.within_high, networks=rho.within_networks)
    others = {"extrapolation_score": MEASURES["extrapolation_score"], "memory_lifetime": "lifetime of the informedness"}
    return [
        primary(rho[pooled], measure, rule, rho[pooled].cell.map(evidence.seeds)),
        described(rho[~pooled], measure),
        described(within, f"{measure}, within networks"),
        *(
            described(evidence.rho(predictor, steps, target), f"rho of {name} and {words}")
            for target, words in others.items()
        ),
    ]


def rows(evidence: Evidence) -> list[pd.DataFrame]:
    """For every cell, of the points of the search."""
    return of_classes(evidence, "speed", evidence.search_steps, "log speed")
