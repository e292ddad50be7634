"""C4: following the points back shows how they form."""

from __future__ import annotations

import pandas as pd

from memrnn.analysis.claims.estimates import DESCRIPTIVE, Evidence, panel_rows

STATEMENT = (
    "Under VoCu, the point of a new class splits off from that of the class it is confused with. (Of the paper's "
    "claim, that following the points back shows how they form and why protocols differ, this alone is judged.)"
)
DESCRIBED = {
    "split_share": "share of later classes that split from one introduced before",
    "coincide_share": "the same share where the point lay on its parent's",
    "order_rho": "rho of order of introduction and step of appearance",
    "order_difference": "the same rho, difference between protocols",
    "p": "p of the confusion with the parent, by permutation",
    "parent_speed_change": "log10 change of the parent's speed at a split",
    "others_speed_change": "log10 change of the other points' speed meanwhile",
    "appears_share": "share of training after which points appear",
}


def rows(evidence: Evidence) -> list[pd.DataFrame]:
    """For every cell: the confusion with the parent is judged, the rest described."""
    formed, chance = evidence.formed, (1 - evidence.confidence) / 2
    excess = formed["parent_excess"]
    p = excess.cell.map(formed["p"].set_index("cell").value)
    holds = (excess.low > 0) & (p < chance)
    judged = panel_rows(excess, "confusion with the parent, above the expected", f"low > 0, p < {chance:.3g}", holds)
    return [judged, *(panel_rows(formed[name], measure, DESCRIPTIVE, None) for name, measure in DESCRIBED.items())]
