"""C4: following the points back shows how they form. Described only."""

from __future__ import annotations

import pandas as pd

from memrnn.analysis.claims.estimates import Evidence
from memrnn.analysis.claims.verdict import described

TITLE = "A new class splits off from the one it is confused with"
STATEMENT = (
    "Followed back through training, the slow points show how they form and why protocols differ. (Exploratory: "
    "described, not judged.)"
)
JUDGED = "Nothing supports or contradicts it: the claim is exploratory, and its numbers are described."
FIGURES = ("formation", "backtrack")
DESCRIBED = {
    "parent_excess": "confusion with the parent, above the expected",
    "p": "p of the confusion with the parent, by permutation",
    "split_share": "share of later classes that split from one introduced before",
    "coincide_share": "the same share where the point lay on its parent's",
    "order_rho": "rho of order of introduction and step of appearance",
    "order_difference": "the same rho, difference between protocols",
    "parent_speed_change": "log10 change of the parent's speed at a split",
    "others_speed_change": "log10 change of the other points' speed meanwhile",
    "appears_share": "share of training after which points appear",
}


def rows(evidence: Evidence) -> list[pd.DataFrame]:
    """For every cell and protocol followed back."""
    return [described(evidence.formed[name], measure) for name, measure in DESCRIBED.items()]
