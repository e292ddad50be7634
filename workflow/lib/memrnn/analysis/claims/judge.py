"""The table of claims, from the rows of every claim."""

from __future__ import annotations

import pandas as pd

from memrnn.analysis.claims import c1, c2, c3a, c3b, c3relaxed, c4, c5
from memrnn.analysis.claims.estimates import Evidence
from memrnn.analysis.claims.verdict import NOT_JUDGED
from memrnn.core.tables import columns_of

CLAIMS = {"C1": c1, "C2": c2, "C3a": c3a, "C3b": c3b, "C3'": c3relaxed, "C4": c4, "C5": c5}


def judge(evidence: Evidence) -> pd.DataFrame:
    """Verdicts on the claims.

    Returns:
        the table `claims`, one row per measure and panel, claim after claim. A claim whose primary measure has no panel
        in this run has a row that says so.
    """
    tables = []
    for name, claim in CLAIMS.items():
        rows = [part for part in claim.rows(evidence) if len(part)]
        judged = hasattr(claim, "rule")
        if not any(part.primary.any() for part in rows) and (judged or not rows):
            absent = {"measure": "not computable: the run has no such networks", "networks": 0, "left_out": 0}
            rows = [pd.DataFrame([absent | {"primary": judged, "verdict": NOT_JUDGED}]), *rows]
        tables.append(pd.concat(rows, ignore_index=True).assign(claim=name, statement=claim.STATEMENT))
    return pd.concat(tables, ignore_index=True).reindex(columns=columns_of("claims"))
