"""The columns of every table, and checks of tables against them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
import pandas as pd

KEYS = ("dataset", "cell", "curriculum", "phase", "seed")


def label_rows(rows: pd.DataFrame, meta: Mapping[str, Any]) -> pd.DataFrame:
    """Put dataset, cell, curriculum and phase, as `meta` has them, before the columns of a block's rows."""
    labels = {key: meta[key] for key in KEYS if key in meta and key not in rows}
    return rows.assign(**labels)[[*labels, *rows.columns]]


# Types: text, integer, number (finite), truth (True or False). One that ends in ? may be empty.
NETWORK = {"dataset": "text", "cell": "text", "curriculum": "text", "phase": "text", "seed": "integer"}
CLASS = {**NETWORK, "label": "integer"}
PANEL = {"dataset": "text", "cell": "text", "curriculum": "text"}


def _each(names: str, kind: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), kind)


# A statistic is empty where too few networks learned, or where there is no spread to tell it from.
TABLES: dict[str, Mapping[str, str]] = {
    "extrapolation": {**CLASS, "delay": "integer", "accuracy": "number", "trials": "integer"}
    | _each("false_response", "number"),
    "slow_points": {**CLASS, **_each("search_steps", "integer"), **_each("speed distance", "number")}
    | {"readout": "integer", "start_speed": "number", "start_trials": "integer", "start_readout": "integer"}
    | {"nearest_distance": "number", "nearest_label": "integer"},
    "training": {**NETWORK, "step": "integer"}
    | _each("loss penalty response_accuracy null_accuracy", "number")
    | {"classes": "integer", "current_steps": "integer", "alpha": "number"},
    "scores": {**CLASS, **_each("nominal_accuracy extrapolation_score lifetime", "number")}
    | _each("lifetime_censored learned", "truth"),
    "correlation": {**PANEL, "predictor": "text", "search_steps": "integer", "target": "text"}
    | _each("rho low high", "number?")
    | _each("networks points left_out", "integer")
    | _each("within_rho within_low within_high", "number?")
    | _each("within_networks resamples", "integer"),
    "backtrack": {**CLASS, "step": "integer", "speed": "number", "distance_to_next": "number?"}
    | _each("readout parent search_steps", "integer")
    | {"in_play": "truth", "introduced": "integer", "nearest_distance": "number", "nearest_label": "integer"}
    | {"parent_distance": "number?"},
    "confusion": {**CLASS, "other": "integer", "step": "integer", "confusion": "number", "trials": "integer"},
    "formation": {**CLASS, "learned": "truth", "introduced": "integer", "appears": "integer?"}
    | {"steps": "integer", "parent": "integer"}
    | _each("parent_distance parent_speed_before parent_speed_after parent_speed_change", "number?")
    | {"others_speed_change": "number?", "candidates": "integer", "most_confused": "integer?"}
    | _each("confusion parent_confusion parent_expected parent_excess", "number?"),
    "confusion_test": {**PANEL, **_each("excess p", "number?")}
    | _each("classes classes_left_out networks resamples", "integer"),
    "spectrum": {**CLASS, **_each("search_steps readout", "integer")}
    | _each("leading_modulus leading_angle time_constant slow_modulus", "number")
    | {"unstable": "integer", "near_unit": "number", "kind": "text", "kind_reason": "text"}
    | _each("newton_speed newton_distance", "number")
    | _each("newton_readout newton_steps", "integer")
    | {"newton_slope": "number?", "newton_cut": "number", "fixed_unstable": "integer?"}
    | {"relaxation_speed": "number", "relaxation_kept": "integer", "relaxation_readout": "integer"}
    | {"window_speed": "number", **_each("drift diffusion slow_rate", "number?"), "direction": "text"}
    | {"relaxation_end_speed": "number", "relaxation_unstable": "integer"},
    "portraits": {**NETWORK, "what": "text", **_each("label trial step", "integer"), **_each("pc1 pc2 pc3", "number")},
    "predictors": {**PANEL, "target": "text", "predictor": "text", "search_steps": "integer"}
    | _each("rho low high over_speed over_nominal within_rho within_over_speed within_over_nominal", "number?")
    | _each("error gain noise_gain", "number?")
    | _each("networks points censored at_chance absorbing left_out within_networks resamples", "integer"),
    "predictions": {"dataset": "text", "cell": "text", "panel": "text", "curriculum": "text"}
    | {"seed": "integer", "label": "integer", "model": "text", "search_steps": "integer", "learned": "truth"}
    | {"lifetime": "number", **_each("censored at_chance absorbing", "truth"), "predicted": "number?"},
    "claims": {**_each("claim statement measure", "text"), **_each("value low high", "number?"), "verdict": "text"}
    | {"panel": "text", "side": "text?", "holds": "truth?", **_each("networks left_out", "integer")},
    "trial": {**PANEL, "step": "integer", "quantity": "text", "index": "integer", "value": "number"},
}

# Tables that need not have rows: where no network is followed back through training, or no vocabulary grows. Their
# header then has these columns at least; a joined table has those of any block's.
WITHOUT_ROWS: dict[str, Mapping[str, str]] = {
    **dict.fromkeys(("backtrack", "confusion"), NETWORK),
    **{name: TABLES[name] for name in ("formation", "confusion_test")},
}


def faults(
    path: str | Path, columns: Mapping[str, str], without_rows: Mapping[str, str] | None = None
) -> Iterator[str]:
    """What is wrong with a table, in words; nothing if it keeps to its contract.

    Args:
        path: a CSV file.
        columns: type of each column, as in `TABLES`.
        without_rows: columns of the table where it has no rows, as in `WITHOUT_ROWS`; None if it must have some.
    """
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, UnicodeDecodeError, pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        yield f"expected a CSV table, found {type(error).__name__}: {error}"
        return
    if frame.empty and without_rows is None:
        yield "the table has no rows; expected some"
    elif frame.empty:
        columns = without_rows
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        yield f"lacks the columns {', '.join(missing)}; found {', '.join(frame.columns)}"
    for name, kind in columns.items():
        if name not in frame.columns:
            continue
        values, expected = frame[name], kind.removesuffix("?")
        empty = values == ""
        wrong = ~_fits(values, expected) & ~empty
        if not kind.endswith("?"):
            wrong |= empty
        if wrong.any():
            found = values[wrong].iloc[0] or "nothing"
            yield f"column {name}: expected {expected} in every row, found {found} in row {int(np.argmax(wrong)) + 1}"


def _fits(values: pd.Series, kind: str) -> pd.Series:
    """Which texts are of a type."""
    if kind == "text":
        return values != ""
    if kind == "truth":
        return values.isin(["True", "False"])
    numbers = pd.to_numeric(values, errors="coerce")
    finite = pd.Series(np.isfinite(numbers.to_numpy(dtype=float)), index=values.index)
    return finite if kind == "number" else finite & (numbers.round() == numbers)


def check_table(
    frame: pd.DataFrame, name: str, columns: Sequence[str], key: Sequence[str], may_be_empty: Sequence[str] = ()
) -> None:
    """Refuse a table that lacks columns, has an empty cell in one of them, or says something twice.

    Args:
        frame: the table.
        name: what to call it in the message.
        columns: columns that must be there and filled.
        key: columns that together name a row.
        may_be_empty: those of `columns` that need not be filled.
    Raises:
        ValueError: naming the table and the columns or the first bad row.
    """
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(
            f"table {name} lacks the columns {', '.join(missing)}; found {', '.join(map(str, frame.columns))}. "
            "Run the stage that writes it again."
        )
    filled = [column for column in columns if column not in may_be_empty]
    empty = frame[filled].isna().any(axis=1)
    if empty.any():
        raise ValueError(
            f"table {name}: {empty.sum()} rows with empty cells, the first is "
            f"{describe_rows(frame.loc[empty, filled])}; expected every cell filled. "
            "Run the stage that writes it again."
        )
    double = frame.duplicated(list(key))
    if double.any():
        raise ValueError(
            f"table {name}: {double.sum()} rows are there twice, the first is {describe_rows(frame.loc[double, key])}; "
            "expected each once. Look for a seed, cell or protocol that is configured twice."
        )


def describe_rows(rows: pd.DataFrame) -> str:
    """First row as `column=value` words."""
    return ", ".join(f"{column}={value}" for column, value in rows.iloc[0].items())
