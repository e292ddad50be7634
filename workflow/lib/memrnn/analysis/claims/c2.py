"""C2: each memory has a slow point."""

from __future__ import annotations

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


def rule(low: float, high: float) -> str:
    """Supported if the share's interval lies above MAJORITY, contradicted if below."""
    return decide(low, high, supported=low > MAJORITY, contradicted=high < MAJORITY)


def rows(evidence: Evidence) -> list[pd.DataFrame]:
    """For every cell, protocols pooled; beside it each protocol, both conditions apart, and the centroids."""
    points = evidence.points
    kept = points.readout == points.label
    slow = points.nearest_distance > SLOW * evidence.max_delay * points.speed
    shares = evidence.of_points(
        points, both=kept & slow, kept=kept, slow=slow, started=points.start_readout == points.label
    )
    speeds = evidence.of_points(points, "median", speed=points.speed, start_speed=points.start_speed)
    pooled = by_cell(shares, "both", evidence.share_interval(shares.curriculum.nunique()))
    share, measure = evidence.share_interval(), "share of classes with a slow point of their own"
    return [
        primary(pooled, measure, rule, pooled.cell.map(evidence.seeds)),
        described(by_protocol(shares, "both", share), measure),
        described(by_protocol(shares, "kept", share), "share of classes read out at their point"),
        described(by_protocol(shares, "slow", share), "share of classes whose point is slow for the task"),
        described(by_protocol(shares, "started", share), "share of classes read out at their centroid"),
        described(by_protocol(speeds, "speed", median), "speed of the slow points, median"),
        described(by_protocol(speeds, "start_speed", median), "speed at the centroids, median"),
    ]
