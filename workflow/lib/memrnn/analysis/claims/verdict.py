"""From the rows of every claim to the table of claims."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from memrnn.analysis.claims import c1, c2, c3, c4, c5
from memrnn.analysis.claims.estimates import DESCRIPTIVE, Evidence
from memrnn.core.tables import columns_of

CLAIMS = {"C1": c1, "C2": c2, "C3": c3, "C4": c4, "C5": c5}
NOTHING_JUDGED = " (Nothing could be judged: too few networks to compare.)"


def judge(evidence: Evidence) -> pd.DataFrame:
    """Verdicts on the claims.

    Returns:
        the table `claims`, one row per panel. `holds` is a nullable boolean, empty where a panel is not judged;
        `networks` (pairs of networks where two are compared) entered, `left_out` did not.
    """
    table = pd.concat(
        [rows.assign(claim=name) for name, claim in CLAIMS.items() for rows in claim.rows(evidence)], ignore_index=True
    )
    absent = [
        {"claim": claim, "measure": "not computable: the run has no such networks", "networks": 0, "left_out": 0}
        for claim in CLAIMS
        if claim not in set(table.claim)
    ]
    table = pd.concat([table, pd.DataFrame(absent)], ignore_index=True) if absent else table
    table["statement"] = table.claim.map({name: claim.STATEMENT for name, claim in CLAIMS.items()})
    for _, rows in table.groupby("claim"):
        judged = rows.holds.dropna()
        of_measures = rows[rows.side != DESCRIPTIVE].groupby("measure").holds
        table.loc[rows.index, "verdict"] = verdict(judged, all(holds.notna().any() for _, holds in of_measures))
        if judged.empty:
            table.loc[rows.index, "statement"] += NOTHING_JUDGED
    # A stable sort keeps the panels of a claim in the order above.
    return table.sort_values("claim", kind="stable", ignore_index=True)[columns_of("claims")]


def verdict(holds: Sequence[bool], complete: bool = True) -> str:
    """Verdict on a claim from its judged panels: supported (all hold), not supported (none, or no panel), or mixed.

    Args:
        holds: of every panel that could be judged.
        complete: whether every measure of the claim has such a panel; what has not been looked at is not supported.
    """
    if not any(holds):
        return "not supported"
    return "supported" if all(holds) and complete else "mixed"
