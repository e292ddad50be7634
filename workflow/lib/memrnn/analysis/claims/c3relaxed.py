"""C3', ours: the speed where the memory is, rather than where a search leads, predicts how well it is held."""

from __future__ import annotations

import pandas as pd

from memrnn.analysis.claims.c3a import JUDGED, UNJUDGED, of_classes, rule
from memrnn.analysis.claims.estimates import Evidence, by_protocol
from memrnn.analysis.claims.verdict import described

__all__ = ["FIGURES", "JUDGED", "STATEMENT", "TITLE", "UNJUDGED", "rows", "rule"]

TITLE = "The slower the memory itself, not its slow point, the longer it lasts (ours)"
STATEMENT = (
    "Over classes, the slower the network is after 2 T_max noise-free steps from a memory's centroid, the better the "
    "memory is held beyond the delays of training. (Ours, not the paper's.)"
)
FIGURES = ("predictors",)


def rows(evidence: Evidence) -> list[pd.DataFrame]:
    """For every cell; beside it the share of classes still read out right by then."""
    relaxed = evidence.tables["relaxed"]
    here = relaxed[relaxed.time == evidence.relaxed_time]
    right = evidence.of_points(here, right=here.readout == here.label)
    share = by_protocol(right, "right", evidence.share_interval())
    return [
        *of_classes(evidence, "relaxed_speed", evidence.relaxed_time, "log relaxed speed"),
        described(share, f"share of classes read out right after {evidence.relaxed_time} noise-free steps"),
    ]
