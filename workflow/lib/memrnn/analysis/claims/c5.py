"""C5: a regulariser that lowers the speed at the points makes memories last."""

from __future__ import annotations

import pandas as pd

from memrnn.analysis.claims.estimates import Evidence, panel_rows

STATEMENT = "A regulariser that lowers the speed at those points improves the robustness of the memory."


def rows(evidence: Evidence) -> list[pd.DataFrame]:
    """For every cell, protocol and mode."""
    gain = evidence.gains
    return [panel_rows(gain, "extrapolation score, difference to control", "low > 0", gain.low > 0)]
