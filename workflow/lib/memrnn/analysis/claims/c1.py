"""C1: protocols that solve the nominal task equally well hold memories differently beyond it."""

from __future__ import annotations

from functools import partial

import pandas as pd

from memrnn.analysis.claims.estimates import MEASURES, Evidence, by_protocol, protocol_differences
from memrnn.analysis.claims.verdict import decide, described, primary
from memrnn.core.stats import spread_interval

TITLE = "Protocols that learn the task equally well differ at longer delays"
STATEMENT = (
    "Networks trained by different protocols solve the nominal task about equally well, and differ substantially "
    "when they must hold the memory for longer."
)
PAIR = "decu - vocu"
PREMISE, EQUAL = 0.90, 0.05  # confidence of the interval that must lie within this of 0: nominal accuracies are equal
SMALLEST = 0.03  # difference in M of interest
JUDGED = (
    f"Supported if the interval of the difference excludes 0. Contradicted if it lies within ±{SMALLEST}. Judged only "
    f"if the {PREMISE:.0%} interval of the difference in nominal accuracy lies within ±{EQUAL}."
)
UNJUDGED = "the protocols do not learn the task equally well"
FIGURES = ("extrapolation",)


def rule(low: float, high: float) -> str:
    """Supported if the interval excludes 0, contradicted if it lies within SMALLEST of 0."""
    return decide(low, high, supported=low > 0 or high < 0, contradicted=low >= -SMALLEST and high <= SMALLEST)


def rows(evidence: Evidence) -> list[pd.DataFrame]:
    """For every cell, DeCu less VoCu; beside it all pairs of protocols, and how far networks of one protocol differ."""
    trained, confidence = evidence.trained, evidence.confidence
    nominal = protocol_differences(trained, "nominal_accuracy", PREMISE)
    equal = (nominal.low >= -EQUAL) & (nominal.high <= EQUAL)
    longer = {measure: protocol_differences(trained, measure, confidence) for measure in MEASURES}
    spread = by_protocol(trained, "memory_score", partial(spread_interval, confidence=confidence))
    memory, named = longer["memory_score"], f"{MEASURES['memory_score']}, difference"
    judged = memory.curriculum == PAIR
    return [
        primary(memory[judged], named, rule, memory.networks[judged], equal[judged]),
        described(memory[~judged], named),
        described(nominal, f"nominal accuracy, difference ({PREMISE:.0%} interval)"),
        described(longer["extrapolation_score"], f"{MEASURES['extrapolation_score']}, difference"),
        described(spread, f"{MEASURES['memory_score']}, standard deviation between networks"),
    ]
