"""C2: each memory has a slow point of its own."""

from __future__ import annotations

import pandas as pd

from memrnn.analysis.claims.estimates import DESCRIPTIVE, Evidence, by_protocol, panel_rows
from memrnn.core.stats import median

STATEMENT = (
    "Most memories have a slow point of their own: the point that the search finds is read out as its class, and "
    "lies apart from every other class's."
)


def rows(evidence: Evidence) -> list[pd.DataFrame]:
    """For every cell and protocol; how slow the points are is described."""
    majority, shares = evidence.settings["majority"], evidence.shares
    read_out, distinct = (by_protocol(shares, column, evidence.class_share) for column in ("readout", "distinct"))
    speed, start_speed = (by_protocol(shares, column, median) for column in ("speed", "start_speed"))
    most = f"low > {majority:g}"
    return [
        panel_rows(read_out, "share of classes read out at their slow point", most, read_out.low > majority),
        panel_rows(distinct, "share of classes with a distinct slow point", most, distinct.low > majority),
        panel_rows(speed, "speed of the slow points, median", DESCRIPTIVE, None),
        panel_rows(start_speed, "speed at the centroids, median", DESCRIPTIVE, None),
    ]
