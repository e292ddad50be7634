"""The run's headline numbers, for captions."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pandas as pd

from memrnn.analysis.claims.estimates import Evidence, by_protocol
from memrnn.analysis.claims.verdict import NOT_JUDGED, count
from memrnn.core.stats import spread_interval


def numbers(claims: pd.DataFrame, evidence: Evidence) -> dict[str, Any]:
    """The run's headline numbers, for captions.

    Args:
        claims: what `judge` returned.
        evidence: what it was given.
    Returns:
        JSON-able; what cannot be computed is None.
        verdicts: claim -> how many of its panels are supported and contradicted, in words. judged: claim -> whether any
        panel could be. networks: {trained, learned, left_out}.
        memory: [{cell, curriculum, mean, sd, networks, left_out}] of the memory score over learned networks.
        rho: [{cell, curriculum, search_steps, value, low, high, networks, points, left_out, ...}] of the speed and the
        memory score, at the budget of the claims; relaxed_rho: the same of the relaxed speed.
        readout_share: [{cell, curriculum, value, low, high, networks, left_out}], of points read out as their class.
        formation: {measure: the same} for every measure of `formation_estimates`.
    """
    trained, points = evidence.trained, evidence.points
    kept = evidence.of_points(points, kept=points.readout == points.label)
    memory = trained[trained.learned].groupby(["cell", "curriculum"]).memory_score.mean().rename("mean").reset_index()
    spread = by_protocol(trained, "memory_score", partial(spread_interval, confidence=evidence.confidence))
    spread = spread.rename(columns={"value": "sd"}).drop(columns=["low", "high"])
    return {
        "verdicts": {claim: count(rows) for claim, rows in claims.groupby("claim", sort=False)},
        "judged": {claim: bool((rows.verdict != NOT_JUDGED).any()) for claim, rows in claims.groupby("claim")},
        "networks": {
            "trained": len(trained),
            "learned": int(trained.learned.sum()),
            "left_out": int((~trained.learned).sum()),
        },
        "memory": _records(spread.merge(memory, how="left")),
        "rho": _records(evidence.rho("speed", evidence.search_steps, "memory_score")),
        "relaxed_rho": _records(evidence.rho("relaxed_speed", evidence.relaxed_time, "memory_score")),
        "readout_share": _records(by_protocol(kept, "kept", evidence.share_interval())),
        "formation": {measure: _records(rows) for measure, rows in evidence.formed.items()},
    }


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dictionaries; NaN becomes None."""
    return json.loads(frame.to_json(orient="records", double_precision=15))
