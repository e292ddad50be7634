"""C5: a regulariser that lowers the speed at the points makes memories last."""

from __future__ import annotations

import pandas as pd

from memrnn.analysis.claims.estimates import MEASURES, Evidence
from memrnn.analysis.claims.verdict import decide, described, primary

TITLE = "A penalty on the speed of the points makes memories last longer"
STATEMENT = "A regulariser that lowers the speed at those points improves the robustness of the memory."
MODE = "slow_points"
SMALLEST = 0.02  # gain in M of interest
CEILING = 0.03  # a control whose M is within this of the nominal accuracy has nothing to gain
JUDGED = (
    f"Supported if the interval of the gain lies above 0. Contradicted if it lies below {SMALLEST}. Judged only if M "
    f"of the control is more than {CEILING} below its nominal accuracy."
)
UNJUDGED = "the control has nothing to gain"
FIGURES = ("regularisation",)


def rule(low: float, high: float) -> str:
    """Supported if the gain's interval lies above 0, contradicted if below SMALLEST."""
    return decide(low, high, supported=low > 0, contradicted=high < SMALLEST)


def rows(evidence: Evidence) -> list[pd.DataFrame]:
    """For every cell and protocol; beside it the other modes, and accuracies."""
    gain, measure = evidence.gains("memory_score"), f"{MEASURES['memory_score']}, difference to control"
    judged = gain["mode"] == MODE
    room = gain.nominal - gain.control > CEILING
    accuracy = evidence.gains("extrapolation_score")
    return [
        primary(gain[judged], measure, rule, gain.networks[judged], room[judged]),
        described(gain[~judged], measure),
        described(accuracy, f"{MEASURES['extrapolation_score']}, difference to control"),
    ]
