"""The run's headline numbers, for captions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd

from memrnn.analysis.claims.estimates import Evidence, by_protocol
from memrnn.core.stats import mean_interval, spread_interval


def numbers(
    claims: pd.DataFrame, evidence: Evidence, *, correlate: Mapping[str, Any], max_delay: int
) -> dict[str, Any]:
    """The run's headline numbers, for captions.

    Args:
        claims: what `judge` returned.
        evidence: what it was given.
        correlate: the configuration's section.
        max_delay: longest delay of the nominal task, T_max.
    Returns:
        JSON-able; what cannot be computed is None.
        verdicts: claim -> verdict. judged: claim -> whether any panel could be. networks: {trained, learned, left_out}.
        nominal: [{cell, curriculum, mean, low, high, networks, left_out, all_mean}] over learned networks, all_mean
        over all of them; extrapolation: the same, and sd between learned networks.
        rho: [{cell, curriculum, search_steps, rho, low, high, networks, points, left_out, within_rho, ...}] at the
        budget of the claims; budget_rho: the same for curriculum all at every budget, 0 being the centroid.
        regularise: [{cell, curriculum, mode, difference, low, high, networks, left_out, score, control}].
        readout_share, distinct_share: [{cell, curriculum, value, low, high, networks, left_out}].
        formation: {measure: the same} for every measure of `formation_estimates`.
        settings: {max_delay} and both sections.
    """
    trained, confidence = evidence.trained, evidence.confidence
    share_interval = partial(mean_interval, confidence=confidence, bounds=(0.0, 1.0))

    def levels(column: str) -> pd.DataFrame:
        learned = by_protocol(trained, column, share_interval).rename(columns={"value": "mean"})
        every = trained.groupby(["cell", "curriculum"], as_index=False)[column].mean()
        return learned.merge(every.rename(columns={column: "all_mean"}))

    spreads = by_protocol(trained, "extrapolation_score", partial(spread_interval, confidence=confidence))
    extrapolation = levels("extrapolation_score").assign(sd=spreads.value)
    rho = evidence.rho.drop(columns=["dataset", "target", "resamples"])
    judged = (rho.predictor == "speed") & (rho.search_steps == evidence.settings["search_steps"])
    return {
        "verdicts": dict(zip(claims.claim, claims.verdict, strict=True)),
        "judged": claims.holds.notna().groupby(claims.claim).any().to_dict(),
        "networks": {
            "trained": len(trained),
            "learned": int(trained.learned.sum()),
            "left_out": int((~trained.learned).sum()),
        },
        "nominal": _records(levels("nominal_accuracy")),
        "extrapolation": _records(extrapolation),
        "rho": _records(rho[judged]),
        "budget_rho": _records(rho[rho.curriculum == "all"]),
        "regularise": _records(evidence.gains.rename(columns={"value": "difference"})),
        "readout_share": _records(by_protocol(evidence.shares, "readout", evidence.class_share)),
        "distinct_share": _records(by_protocol(evidence.shares, "distinct", evidence.class_share)),
        "formation": {measure: _records(rows) for measure, rows in evidence.formed.items()},
        "settings": {"max_delay": max_delay, **evidence.settings, **correlate},
    }


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dictionaries; NaN becomes None."""
    return json.loads(frame.to_json(orient="records", double_precision=15))
