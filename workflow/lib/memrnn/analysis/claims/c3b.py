"""C3b: between networks, the speed of the slow points predicts how well memories are held."""

from __future__ import annotations

import pandas as pd

from memrnn.analysis.claims.c3a import JUDGED, UNJUDGED, rule
from memrnn.analysis.claims.estimates import MEASURES, Evidence
from memrnn.analysis.claims.verdict import described, primary

__all__ = ["FIGURES", "JUDGED", "STATEMENT", "TITLE", "UNJUDGED", "rows", "rule"]

TITLE = "The slower its points, the longer a network remembers"
STATEMENT = "Between networks, the slower the slow points, the better memories are held beyond the delays of training."
FIGURES = ("correlation",)


def rows(evidence: Evidence) -> list[pd.DataFrame]:
    """For every cell and protocol, one point a network; beside it protocols pooled, and the relaxed speed."""
    measure = f"rho of networks' mean {{}} and mean {MEASURES['memory_score']}"
    rho = of_networks(evidence, "speed", evidence.search_steps)
    judged = rho.curriculum != "all"
    relaxed = of_networks(evidence, "relaxed_speed", evidence.relaxed_time)
    return [
        primary(rho[judged], measure.format("log speed"), rule, rho.networks[judged]),
        described(rho[~judged], measure.format("log speed")),
        described(relaxed, measure.format("log relaxed speed")),
    ]


def of_networks(evidence: Evidence, predictor: str, steps: int) -> pd.DataFrame:
    """Estimates of rho between networks."""
    rho = evidence.rho(predictor, steps, "memory_score")
    return rho.assign(value=rho.network_rho, low=rho.network_low, high=rho.network_high)
