"""C3: the speed of the slow points predicts extrapolation."""

from __future__ import annotations

import pandas as pd

from memrnn.analysis.claims.estimates import Evidence, panel_rows

STATEMENT = "The speed of the slow points predicts extrapolation, in every protocol and architecture."


def rows(evidence: Evidence) -> list[pd.DataFrame]:
    """For every cell and protocol, and for every cell with its protocols pooled."""
    rho = evidence.rho
    chosen = (rho.predictor == "speed") & (rho.search_steps == evidence.settings["search_steps"])
    rho = rho[chosen].rename(columns={"rho": "value"})
    protocols = rho[(rho.curriculum != "all") & (rho.networks > 0)].groupby("cell").size()
    alone = (rho.curriculum == "all") & ~rho.cell.map(protocols).gt(1)  # the same networks as one protocol's panel
    return [
        panel_rows(rho, "Spearman's rho of log speed and extrapolation score", "high < 0", rho.high < 0, ~alone),
    ]
