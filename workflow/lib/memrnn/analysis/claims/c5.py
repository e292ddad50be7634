"""C5: a regulariser that lowers the speed at the points makes memories last."""

from __future__ import annotations

import pandas as pd

from memrnn.analysis.claims.estimates import DESCRIPTIVE, Evidence, panel_rows

STATEMENT = "A regulariser that lowers the speed at those points improves the robustness of the memory."
MODES = ("centroid", "slow_points")  # the paper's


def rows(evidence: Evidence) -> list[pd.DataFrame]:
    """For every cell, protocol and mode of the paper; what other modes gain is described."""
    measure, papers = "extrapolation score, difference to control", evidence.gains["mode"].isin(MODES)
    gain, others = evidence.gains[papers], evidence.gains[~papers]
    judged = [panel_rows(gain, measure, "low > 0", gain.low > 0)]
    return judged if others.empty else [*judged, panel_rows(others, f"{measure}, of another mode", DESCRIPTIVE, None)]
