"""C1: protocols that solve the nominal task equally well extrapolate differently."""

from __future__ import annotations

from functools import partial

import pandas as pd

from memrnn.analysis.claims.estimates import DESCRIPTIVE, Evidence, by_protocol, panel_rows, protocol_differences
from memrnn.core.stats import spread_interval

STATEMENT = (
    "Networks trained by different protocols solve the nominal task about equally well, and differ substantially "
    "when they must hold the memory for longer."
)


def rows(evidence: Evidence) -> list[pd.DataFrame]:
    """For every cell and pair of protocols, and how far networks of one protocol differ."""
    margin, confidence = evidence.settings["nominal_margin"], evidence.confidence
    nominal = protocol_differences(evidence.trained, "nominal_accuracy", confidence)
    longer = protocol_differences(evidence.trained, "extrapolation_score", confidence)
    spread = by_protocol(evidence.trained, "extrapolation_score", partial(spread_interval, confidence=confidence))
    equal = (nominal.low >= -margin) & (nominal.high <= margin)
    differ = (longer.low > 0) | (longer.high < 0)
    return [
        panel_rows(nominal, "nominal accuracy, difference", f"within ±{margin:g}", equal),
        panel_rows(longer, "extrapolation score, difference", "excludes 0", differ),
        panel_rows(spread, "extrapolation score, standard deviation between networks", DESCRIPTIVE, None),
    ]
