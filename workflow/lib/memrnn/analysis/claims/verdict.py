"""Four verdicts, and rows of the table of claims that carry them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

SUPPORTED, CONTRADICTED, INCONCLUSIVE, NOT_JUDGED = "supported", "contradicted", "inconclusive", "not judged"
VERDICTS = (SUPPORTED, CONTRADICTED, INCONCLUSIVE, NOT_JUDGED)
LEAST = 4  # networks, pairs of them or seeds: fewer judge nothing

Rule = Callable[[float, float], str]


def decide(low: float, high: float, *, supported: bool, contradicted: bool) -> str:
    """Verdict on one panel.

    Args:
        low, high: its interval; NaN where there is none, and then nothing is judged.
        supported, contradicted: whether the interval meets the rule for either. One that meets both tells of an effect
            that exists and is smaller than any of interest: contradicted.
    """
    if np.isnan(low) or np.isnan(high):
        return NOT_JUDGED
    return CONTRADICTED if contradicted else SUPPORTED if supported else INCONCLUSIVE


def primary(
    frame: pd.DataFrame, measure: str, rule: Rule, units: pd.Series, premise: pd.Series | None = None
) -> pd.DataFrame:
    """Rows of a claim's primary measure, each with its verdict.

    Args:
        frame: estimates; a row per panel.
        measure: what is measured, in words.
        rule: low, high -> verdict.
        units: how many independent networks, pairs or seeds each estimate rests on.
        premise: whether each panel may be judged at all; None if all may.
    """
    may = units >= LEAST if premise is None else (units >= LEAST) & premise
    verdicts = [
        rule(low, high) if judged else NOT_JUDGED
        for low, high, judged in zip(frame.low, frame.high, may.fillna(False), strict=True)
    ]
    return described(frame, measure).assign(primary=True, verdict=verdicts)


def why_not(row: Mapping[str, Any], otherwise: str) -> str:
    """Why a row of a primary measure is not judged, in words.

    Args:
        row: of the table of claims.
        otherwise: the reason of the claim, where there are networks and an interval.
    """
    if pd.isna(row["panel"]):
        return "the run has no such networks"
    if row["networks"] < LEAST:
        none = not row["networks"] and row["left_out"]
        return "no network learned the task" if none else f"fewer than {LEAST} networks"
    return "no interval" if pd.isna(row["low"]) or pd.isna(row["high"]) else otherwise


def described(frame: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Rows of a measure that stands beside a claim and is never judged."""
    names = [column for column in ("cell", "curriculum", "mode") if column in frame]
    panel = [" ".join(map(str, values)) for values in frame[names].to_numpy()]
    columns = ["value", "low", "high", "networks", "left_out"]
    return frame[columns].assign(measure=measure, panel=panel, primary=False, verdict=NOT_JUDGED)


def count(rows: pd.DataFrame) -> str:
    """The verdict on a claim, from its rows: k of n supported, m contradicted."""
    verdicts = rows.verdict[rows.primary]
    if verdicts.empty:
        return "described only"
    if (verdicts == NOT_JUDGED).all():
        return NOT_JUDGED
    told = [f"{(verdicts == SUPPORTED).sum()} of {len(verdicts)} {SUPPORTED}"]
    told += [f"{(verdicts == verdict).sum()} {verdict}" for verdict in VERDICTS[1:] if (verdicts == verdict).any()]
    return ", ".join(told)
