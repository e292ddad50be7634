"""C2: each memory has a slow point."""

from __future__ import annotations

import numpy as np
import pandas as pd

from memrnn.analysis.claims.estimates import Evidence, by_cell, by_protocol
from memrnn.analysis.claims.verdict import LEAST, decide, described, primary
from memrnn.core.stats import median

TITLE = "Each memory has a slow point"
STATEMENT = (
    "Each memory has a slow point: the point that the search finds is read out as its class, and a state there would "
    "take far longer than any trial to get to another class's point."
)
MAJORITY = 0.8  # share of classes
SLOW = 10  # times T_max that the way to the nearest other class's point takes at the point's speed
JUDGED = f"Supported if the interval of the share lies above {MAJORITY}. Contradicted if it lies below."
UNJUDGED = f"fewer than {LEAST} seeds"
FIGURES = ("states", "kinds")

OTHER_STARTS = {"untrained": "in untrained networks", "trial_states": "from states of single trials"}


def rule(low: float, high: float) -> str:
    """Supported if the share's interval lies above MAJORITY, contradicted if below."""
    return decide(low, high, supported=low > MAJORITY, contradicted=high < MAJORITY)


def rows(evidence: Evidence) -> list[pd.DataFrame]:
    """For every cell, protocols pooled; beside it each protocol, both conditions apart, the centroids, other starts."""
    points = evidence.points
    kept, slow = conditions(points, evidence.max_delay)
    shares = evidence.of_points(
        points, both=kept & slow, kept=kept, slow=slow, started=points.start_readout == points.label
    )
    speeds = evidence.of_points(points, "median", speed=points.speed, start_speed=points.start_speed)
    pooled = by_cell(shares, "both", evidence.share_interval(shares.curriculum.nunique()))
    share, measure = evidence.share_interval(), "share of classes with a slow point of their own"
    elsewhere = []
    for start, table in evidence.tables["other_starts"].groupby("phase"):
        own = evidence.of_points(
            table.assign(phase="trained"), both=np.logical_and(*conditions(table, evidence.max_delay))
        )
        elsewhere.append(described(by_protocol(own, "both", share), f"{measure}, {OTHER_STARTS[start]}"))
    return [
        primary(pooled, measure, rule, pooled.cell.map(evidence.seeds)),
        described(by_protocol(shares, "both", share), measure),
        *elsewhere,
        described(by_protocol(shares, "kept", share), "share of classes read out at their point"),
        described(by_protocol(shares, "slow", share), "share of classes whose point is slow for the task"),
        described(by_protocol(shares, "started", share), "share of classes read out at their centroid"),
        described(by_protocol(speeds, "speed", median), "speed of the slow points, median"),
        described(by_protocol(speeds, "start_speed", median), "speed at the centroids, median"),
    ]


def conditions(points: pd.DataFrame, max_delay: int) -> tuple[pd.Series, pd.Series]:
    """Of each point, whether it is read out as its class, and whether it is slow for the task."""
    return points.readout == points.label, points.nearest_distance > SLOW * max_delay * points.speed
