"""The schema of every table: its columns, their types and units, what may be empty, and which columns name a row.

Who writes a table, who reads it, `memrnn.run.verify`, the tests and docs/tables.md all use this one description:

    python -m memrnn.core.tables > docs/tables.md

A table is CSV. Text in it is text, whatever it looks like: a folder of images named `007` or `NA` keeps its name.

Importing this takes no time: pandas is loaded when a table is read, so that a run can be planned without it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd


class Column(NamedTuple):
    """One column of a table.

    Attributes:
        kind: text, integer, number (finite) or truth (True or False).
        unit: of an integer or a number; 1 for a pure number, `class` for the number of a class.
        meaning: in words.
        may_be_empty: whether a row may have nothing here.
    """

    kind: str
    unit: str
    meaning: str
    may_be_empty: bool = False


class Table(NamedTuple):
    """One kind of table.

    Attributes:
        row: what a row is about, in words.
        key: the columns that together name a row.
        columns: by name, in the order of the file.
        may_be_without_rows: whether a run may have nothing to put into it.
    """

    row: str
    key: Sequence[str]
    columns: Mapping[str, Column]
    may_be_without_rows: bool = False


def text(meaning: str) -> Column:
    """A column of text."""
    return Column("text", "", meaning)


def truth(meaning: str) -> Column:
    """A column of True and False."""
    return Column("truth", "", meaning)


def integer(unit: str, meaning: str) -> Column:
    """A column of whole numbers."""
    return Column("integer", unit, meaning)


def number(unit: str, meaning: str) -> Column:
    """A column of finite numbers."""
    return Column("number", unit, meaning)


def or_empty(column: Column) -> Column:
    """The same column, in which a row may have nothing."""
    return column._replace(may_be_empty=True)


def with_interval(name: str, column: Column, prefix: str | None = None) -> dict[str, Column]:
    """A statistic and the ends of its interval, all of which may be empty: too few networks learned, or all are alike.

    Args:
        prefix: of the columns `low` and `high`; by default the name of the statistic and an underscore.
    """
    prefix = f"{name}_" if prefix is None else prefix
    ends = {
        f"{prefix}{end}": number(column.unit, f"{side} end of the interval of `{name}`")
        for end, side in (("low", "lower"), ("high", "upper"))
    }
    return {each: or_empty(about) for each, about in ({name: column} | ends).items()}


# What a state's place is measured in: h, and for an LSTM tanh c as well. A distance is Euclidean.
DISTANCE, SPEED = "state units", "state units per time step"
UPDATES, TIME, SEARCH = "training updates", "time steps", "steps of Adam"
DECADES = "log10 of a ratio"

DATASET = {"dataset": text("source of the images; `folder` for a folder of one's own")}
PANEL = DATASET | {"cell": text("kind of network"), "curriculum": text("protocol of training")}
NETWORK = PANEL | {
    "phase": text("`trained`, or how the trained network was trained on: a mode of the regulariser"),
    "seed": integer("1", "number of the network; it sets initial weights, images and noise"),
}
POINT = NETWORK | {"label": integer("class", "the class, from 0")}
POOLED = PANEL | {"curriculum": text("protocol of training; `all` for all protocols of the cell together")}

_READOUT = "class that the network answers when it is triggered there; -1 is null"
_TARGET = "a column of `scores`: `extrapolation_score`, `memory_score`, `lifetime` or `memory_lifetime`"
_STEPS = "steps of Adam behind its points; of `relaxed_speed`, time steps from the centroid; else 0"
_NETWORKS = {
    "networks": integer("networks", "networks that enter"),
    "points": integer("points", "classes of those networks"),
}
_LEFT_OUT = integer("networks", "networks that are left out because they have not learned")
_RESAMPLES = integer("resamples", "resamples of the bootstrap that the interval rests on")
_BEYOND_CHANCE = {
    "false_alarm": number("share", "trials of the other classes that are answered with this one"),
    "informedness": number("1", "`accuracy` less `false_alarm`; 0 if the answer does not depend on what was shown"),
}
_INTRODUCED = integer(UPDATES, "when the protocol introduces the class")

_SLOW_POINT = POINT | {
    "search_steps": integer(SEARCH, "budget after which the search's point was stored"),
    "speed": number(SPEED, "speed at the point, under the held mean input"),
    "noisy_speed": number(SPEED, "root mean square of the move in one step under the task's noise"),
    "distance": number(DISTANCE, "from where the search started"),
    "readout": integer("class", _READOUT),
    "start_speed": number(SPEED, "speed where the search started"),
    "start_trials": integer("trials", "correct trials behind the centroid; 0: none, the mean of all trials"),
    "start_readout": integer("class", "the same as `readout`, of where the search started"),
    "nearest_distance": number(DISTANCE, "to the nearest point of another class"),
    "nearest_label": integer("class", "whose point that is"),
}

TABLES: dict[str, Table] = {
    "training": Table(
        "network and logged update",
        (*NETWORK, "step"),
        NETWORK
        | {
            "step": integer(UPDATES, "updates done"),
            "loss": number("1", "on held-out trials of the task as the protocol has it then, without the penalty"),
            "penalty": number("1", "the regulariser's term, as it is added to the loss; 0 without a regulariser"),
            "response_accuracy": number("share", "held-out trials answered with their class at the trigger"),
            "null_accuracy": number("share", "other time steps of those trials that are answered with null"),
            "classes": integer("classes", "classes in play"),
            "current_steps": integer(TIME, "length of a trial as the protocol has it then"),
            "alpha": number("1", "weight of null answers in the loss"),
        },
    ),
    "extrapolation": Table(
        "network, class and delay",
        (*POINT, "delay"),
        POINT
        | {
            "delay": integer(TIME, "noise frames between the image and the trigger"),
            "accuracy": number("share", "held-out trials of the class that are answered with it at the trigger"),
            "trials": integer("trials", "trials of the class"),
            "false_response": number("share", "noise frames up to the delay with an answer other than null"),
        }
        | _BEYOND_CHANCE,
    ),
    "nominal": Table(
        "network and class",
        POINT,
        POINT
        | {
            "accuracy": number("share", "held-out trials of the training task that are answered with their class"),
            "trials": integer("trials", "trials of the class; trials are drawn as in training"),
        }
        | _BEYOND_CHANCE,
    ),
    "slow_points": Table(
        "network, class and budget of the search",
        (*POINT, "search_steps"),
        _SLOW_POINT,
    ),
    "other_starts": Table(
        "network and class",
        (*POINT, "search_steps"),
        _SLOW_POINT
        | {"phase": text("`untrained`, or `trial_states`: of the trained network, from states of single trials")},
        may_be_without_rows=True,
    ),
    "spectrum": Table(
        "trained network and class",
        POINT,
        POINT
        | {
            "search_steps": integer(SEARCH, "budget of the point that was examined"),
            "readout": integer("class", _READOUT),
            "leading_modulus": number("1", "modulus of the largest eigenvalue of one time step's map at the point"),
            "leading_angle": number("radians", "angle of that eigenvalue, 0 to pi"),
            "time_constant": number(TIME, "1 / |ln leading_modulus|, at most 1e9; of an unstable point, of growth"),
            "slow_modulus": number("1", "modulus of the eigenvalue nearest the unit circle"),
            "unstable": integer("eigenvalues", "outside the unit circle"),
            "near_unit": number("share", "eigenvalues whose modulus is within `spectrum.near_unit` of 1"),
            "kind": text("`stable`, `saddle`, `ghost`, `slope` or `undecided` (docs/method.md)"),
            "kind_reason": text("how the kind was told (docs/method.md)"),
            "newton_speed": number(SPEED, "speed where Newton's steps ended"),
            "newton_distance": number(DISTANCE, "from the point to where Newton's steps ended"),
            "newton_readout": integer("class", "the same as `readout`, of where Newton's steps ended"),
            "newton_steps": integer("Newton steps", "steps taken or tried"),
            "newton_slope": or_empty(number("share", "gradient of the speed there, of the largest it could be")),
            "newton_cut": number(DISTANCE, "by which the point was cut to the bounds of the state beforehand"),
            "fixed_unstable": or_empty(integer("eigenvalues", "outside the unit circle at the fixed point, if any")),
            "relaxation_speed": number(SPEED, "least on the noise-free way from the centroid, while the class is kept"),
            "relaxation_kept": integer(TIME, "how long the class is answered on that way"),
            "relaxation_readout": integer("class", "the same as `readout`, at the end of that way"),
            "window_speed": number(
                SPEED, "least of the first `spectrum.noise_steps` steps of that way, whatever is kept"
            ),
            "relaxation_end_speed": number(SPEED, "at the end of that way"),
            "relaxation_unstable": integer("eigenvalues", "outside the unit circle at the end of that way"),
            "drift": or_empty(number(SPEED, "of noisy states from the point, along the slowest direction")),
            "diffusion": or_empty(
                number("state units squared per time step", "of noisy states, alike; their variance is 2 diffusion t")
            ),
            "slow_rate": or_empty(number("1 per time step", "ln `slow_modulus` of that direction; above 0 it grows")),
            "direction": text("`real` or `complex`; `no basis` or `unseen`: none, drift and diffusion are empty"),
        },
    ),
    "relaxed": Table(
        "trained network, class and time",
        (*POINT, "time"),
        POINT
        | {
            "time": integer(TIME, "noise-free time steps from the centroid"),
            "speed": number(SPEED, "speed there, under the held mean input"),
            "readout": integer("class", _READOUT),
        },
    ),
    "portraits": Table(
        "point of a portrait of the first seed's networks",
        (*NETWORK, "what", "label", "trial", "step"),
        NETWORK
        | {
            "what": text("`trajectory`, `slow_point`, `centroid`, or `share`: shares of the variance"),
            "label": integer("class", "the class; -1 where there is none"),
            "trial": integer("1", "number of the trial; -1 where there is none"),
            "step": integer(TIME, "after the image; -1 where there is none"),
        }
        | {
            f"pc{n}": number("units of h", f"along principal component {n}; of a `share` row, a share")
            for n in (1, 2, 3)
        },
    ),
    "backtrack": Table(
        "network followed back, class and checkpoint",
        (*POINT, "step"),
        POINT
        | {
            "step": integer(UPDATES, "updates done at the checkpoint"),
            "speed": number(SPEED, "speed at the class's point"),
            "distance_to_next": or_empty(number(DISTANCE, "to the next later checkpoint's point, if there is one")),
            "readout": integer("class", "class in play that the point is read out as; -1 is null"),
            "parent": integer("class", "whose memory the point belongs to, if not its own class's; -1 for none"),
            "search_steps": integer(SEARCH, "budget of the search behind the point"),
            "in_play": truth("whether the network has met the class by then"),
            "introduced": _INTRODUCED,
            "nearest_distance": number(DISTANCE, "to the nearest point of another class"),
            "nearest_label": integer("class", "whose point that is"),
            "parent_distance": or_empty(number(DISTANCE, "to the parent's point, if there is a parent")),
        },
        may_be_without_rows=True,
    ),
    "confusion": Table(
        "network followed back, class that the protocol introduces, and class before it",
        (*POINT, "other"),
        POINT
        | {
            "other": integer("class", "a class that was there before"),
            "step": integer(UPDATES, "updates done at the last checkpoint before the network meets `label`"),
            "confusion": number("share", "held-out trials of `label` answered with `other`; they add up to 1"),
            "trials": integer("trials", "trials of `label`"),
        },
        may_be_without_rows=True,
    ),
    "scores": Table(
        "network and class",
        POINT,
        POINT
        | {
            "nominal_accuracy": number("share", "accuracy in the training task, as in `nominal`"),
            "extrapolation_score": number("share", "mean accuracy over the delays above T_max (`task.steps`)"),
            "lifetime": number(TIME, "delay at which accuracy has first fallen half-way from T_max's to chance"),
            "lifetime_censored": truth("not fallen so far by the longest delay, which then stands as the lifetime"),
            "learned": truth("whether the network has learned the task (`correlate.learned_level`)"),
            "accuracy_at_t_max": number("share", "accuracy at the delay T_max"),
            "memory_score": number("1", "M, mean informedness over the delays above T_max"),
            "memory_lifetime": number(TIME, "delay at which informedness has first fallen to half of T_max's"),
            "memory_lifetime_censored": truth("not fallen so far by the longest delay"),
        },
    ),
    "correlation": Table(
        "cell, protocol or all of them, predictor, budget and target",
        (*PANEL, "predictor", "search_steps", "target"),
        POOLED
        | {
            "predictor": text("what may tell how long a memory lasts (docs/method.md)"),
            "search_steps": integer("steps", _STEPS),
            "target": text(_TARGET),
        }
        | with_interval("rho", number("1", "Spearman's rank correlation over all points"), prefix="")
        | _NETWORKS
        | {"left_out": _LEFT_OUT}
        | with_interval("within_rho", number("1", "mean over networks of rho within a network"), prefix="within_")
        | {
            "within_networks": integer("networks", "networks that have a rho: not all of their classes are tied"),
            "resamples": _RESAMPLES,
        }
        | with_interval("network_rho", number("1", "rho of the networks' means over classes"), prefix="network_"),
    ),
    "formation": Table(
        "network followed back and class",
        POINT,
        POINT
        | {
            "learned": truth("whether the network has learned the task"),
            "introduced": _INTRODUCED,
            "appears": or_empty(integer(UPDATES, "first checkpoint from which on the point is its own, if any")),
            "steps": integer(UPDATES, "updates of the whole training"),
            "parent": integer("class", "whose point it was at the checkpoint before; -1 for none"),
        }
        | {
            name: or_empty(column)
            for name, column in {
                "parent_distance": number(DISTANCE, "to the parent's point at the checkpoint before"),
                "parent_speed_before": number(SPEED, "speed at the parent's point at the checkpoint before"),
                "parent_speed_after": number(SPEED, "speed at the parent's point when the class's own appears"),
                "parent_speed_change": number(DECADES, "the second of these over the first"),
                "others_speed_change": number(DECADES, "the same for the other points, mean"),
            }.items()
        }
        | {
            "candidates": integer("classes", "classes introduced before it"),
            "most_confused": integer("class", "the candidate that it is most taken for; -1 without candidates"),
        }
        | {
            name: or_empty(column)
            for name, column in {
                "confusion": number("share", "trials taken for that candidate when the class is introduced"),
                "parent_confusion": number("share", "trials taken for the parent"),
                "parent_expected": number("share", "expected of a network that answers every new class alike"),
                "parent_excess": number("share", "`parent_confusion` less `parent_expected`"),
            }.items()
        },
        may_be_without_rows=True,
    ),
    "confusion_test": Table(
        "cell and protocol that introduces classes",
        PANEL,
        PANEL
        | {
            "excess": or_empty(number("share", "mean of `parent_excess` over classes")),
            "p": or_empty(number("probability", "of at least this excess if parents and confusions go separate ways")),
            "classes": integer("classes", "classes of all networks that enter"),
            "classes_left_out": integer("classes", "without a parent or an expectation of it"),
            "networks": integer("networks", "networks with a class that enters"),
            "resamples": integer("resamples", "permutations drawn"),
        },
        may_be_without_rows=True,
    ),
    "predictors": Table(
        "cell, protocol or all of them, target, predictor and budget; of lifetimes, models of several predictors too",
        (*PANEL, "target", "predictor", "search_steps"),
        POOLED
        | {
            "target": text(_TARGET),
            "predictor": text("one predictor, several joined by ` + `, or `constant`"),
            "search_steps": integer("steps", f"of the first one: {_STEPS}"),
        }
        | with_interval("rho", number("1", "rank correlation, positive where it is as expected"), prefix="")
        | with_interval("over_speed", number("1", "rho less that of the speed at `claims.search_steps`"))
        | with_interval("over_nominal", number("1", "rho less that of the nominal accuracy"))
        | with_interval("within_rho", number("1", "mean over networks of rho within a network"), prefix="within_")
        | with_interval("within_over_speed", number("1", "the same as `over_speed`, within networks"))
        | with_interval("within_over_nominal", number("1", "the same as `over_nominal`, within networks"))
        | with_interval("error", number("log10 of time steps", "of lifetimes predicted from networks of other seeds"))
        | with_interval("gain", number("log10 of time steps", "error of the nominal accuracy less this one's"))
        | with_interval(
            "noise_gain", number("log10 of time steps", "error without drift and diffusion less this one's")
        )
        | _NETWORKS
        | {
            "censored": integer("points", "lifetimes that outlast the longest delay"),
            "at_chance": integer("points", "classes without a memory at T_max"),
            "absorbing": integer("points", "classes in which most others of their network end without noise"),
            "left_out": _LEFT_OUT,
            "within_networks": integer("networks", "networks that have a rho: not all of their classes are tied"),
            "resamples": _RESAMPLES,
        },
    ),
    "predictions": Table(
        "network, class, model and panel",
        ("dataset", "cell", "panel", "curriculum", "seed", "label", "model", "search_steps"),
        {
            "dataset": DATASET["dataset"],
            "cell": PANEL["cell"],
            "panel": text("protocol whose networks are fitted, or `all`"),
            "curriculum": text("the network's own protocol"),
            "seed": NETWORK["seed"],
            "label": POINT["label"],
            "model": text("predictors joined by ` + `, or `constant`"),
            "search_steps": integer("steps", f"of the first one: {_STEPS}"),
            "learned": truth("whether the network has learned the task"),
            "lifetime": number(TIME, "as in `scores`"),
            "censored": truth("longer than the longest delay"),
            "at_chance": truth("no memory at T_max: it lasts no longer"),
            "absorbing": truth("most other classes of the network end in this one without noise"),
            "predicted": or_empty(number(TIME, "lifetime predicted from the panel's networks of other seeds")),
        },
    ),
    "claims": Table(
        "claim, measure and panel",
        ("claim", "measure", "panel"),
        {
            "claim": text("C1, C2, C3a, C3b, C3', C4, C5 (docs/claims.md)"),
            "statement": text("the claim in words"),
            "measure": text("what is measured"),
            "panel": or_empty(text("cell, protocol or pair of protocols, mode; empty if the run has no such networks")),
            "primary": truth("whether the claim is judged by this measure; the others stand beside it"),
        }
        | with_interval("value", number("as the measure", "of the panel"), prefix="")
        | {
            "networks": integer("networks", "networks that enter, or pairs of networks where two are compared"),
            "verdict": text("`supported`, `contradicted`, `inconclusive` or `not judged`"),
            "left_out": integer("networks", "networks or pairs that do not enter"),
        },
    ),
    "trial": Table(
        "time step, quantity and index, of one trial of the first network",
        (*PANEL, "step", "quantity", "index"),
        PANEL
        | {
            "step": integer(TIME, "from the start of the trial"),
            "quantity": text("`pixel`; `trigger` or `stimulus`, 1 at its step; `target`; `output`; `shape`, at step 0"),
            "index": integer(
                "1",
                "of a pixel; of an output, 0 for null and k + 1 for class k; of the shape, height, width and channels",
            ),
            "value": number("as the quantity", "pixels from 0 to 1 but for noise, outputs from 0 to 1"),
        },
    ),
}


def columns_of(name: str) -> list[str]:
    """Names of a table's columns, in order."""
    return list(TABLES[name].columns)


def label_rows(rows: pd.DataFrame, meta: Mapping[str, Any]) -> pd.DataFrame:
    """Put dataset, cell, curriculum and phase, as `meta` has them, before the columns of a block's rows."""
    labels = {key: meta[key] for key in NETWORK if key in meta and key not in rows}
    return rows.assign(**labels)[[*labels, *rows.columns]]


def parse(content: bytes, table: Table, compression: str | None = None) -> tuple[pd.DataFrame, list[str]]:
    """A table from the content of its file, and what is wrong with it.

    Args:
        content: CSV.
        compression: how it is compressed, as pandas names it.
    Returns:
        the rows, as their columns' types say: text as str, integers as int64, numbers as float64, truths as bool; in a
        column that may be empty, nothing is NaN among text and numbers (then float64) and NA among truths (boolean).
        Further columns of the file are text. And the faults, in words; the rows are of use only if there are none.
    """
    import pandas as pd

    try:
        frame = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False, compression=compression)
    except (OSError, EOFError, ValueError) as error:  # pandas' own are ValueErrors
        names = ", ".join(table.columns)
        return pd.DataFrame(), [f"expected a CSV table with columns {names}, found {type(error).__name__}: {error}"]
    if not isinstance(frame.index, pd.RangeIndex):
        return frame, ["rows have more cells than the table has columns"]
    frame = frame.fillna("")  # a row that ends early
    faults = [] if len(frame) or table.may_be_without_rows else ["the table has no rows; expected some"]
    missing = [name for name in table.columns if name not in frame]
    if missing:
        faults.append(f"lacks the columns {', '.join(missing)}; found {', '.join(frame.columns)}")
    for name, column in table.columns.items():
        if name in frame:
            frame[name], wrong = _typed(frame[name], column)
            faults += [f"column {name}: {text}" for text in wrong]
    double = frame.duplicated(list(table.key)) if table.key and not faults else []
    if any(double):
        faults.append(
            f"{sum(double)} rows are there twice, the first is {describe_rows(frame.loc[double, list(table.key)])}; "
            "expected each once. Look for a seed, cell or protocol that is configured twice"
        )
    return frame, faults


def _typed(values: pd.Series, column: Column) -> tuple[pd.Series, list[str]]:
    """The values of a column of texts as what they are, and what is wrong with them."""
    import numpy as np
    import pandas as pd

    empty = values == ""
    if column.kind == "text":
        right, found = ~empty, values.mask(empty)
    elif column.kind == "truth":
        right, found = values.isin(["True", "False"]), (values == "True").astype("boolean").mask(empty)
    else:
        numbers = pd.to_numeric(values, errors="coerce")
        floats = numbers.to_numpy(dtype=float, na_value=np.nan)
        right = pd.Series(np.isfinite(floats), values.index)
        if column.kind == "integer":
            # Beyond 2^53 not every integer is a float
            right &= (floats.round() == floats) & (np.abs(floats) < 2**53)
        found = numbers.astype(float)
    wrong = ~right & ~(empty & column.may_be_empty)
    if wrong.any():
        told = values[wrong].iloc[0] or "nothing"
        row = int(wrong.to_numpy().argmax()) + 1
        return values, [f"expected {column.kind} in every row, found {told} in row {row}"]
    if not column.may_be_empty:
        found = found.astype({"truth": bool, "integer": "int64"}.get(column.kind, found.dtype))
    return found, []


def describe_rows(rows: pd.DataFrame) -> str:
    """First row as `column=value` words."""
    return ", ".join(f"{column}={value}" for column, value in rows.iloc[0].items())


HEAD = """\
# Tables

Made from the schema, `memrnn.core.tables`, by `python -m memrnn.core.tables > docs/tables.md`: not to be edited here.

A run's tables are the CSV files in `results/<run>/tables/`. Numbers have nine significant digits. Text is text, even if
it looks like a number: read such columns as text. A column *may be empty* where its meaning says when, or where a
statistic cannot be computed.

- A **state unit** is the unit of length in which speeds and distances are measured: the Euclidean norm over the hidden
  state h, and for an LSTM over h and tanh c. The unit 1 marks a pure number.
- A **time step** is one step of a trial, a **training update** one step of the optimiser in training, and a **step of
  Adam** one step of the search for slow points.
- `low` and `high` bound an interval that aims at the coverage `correlate.confidence`. Means and differences have
  Student's t interval over networks. Rank correlations have Student's t times the standard error of a bootstrap of
  seeds, standard deviations the chi-squared interval, medians none. Values that are all equal have no interval either,
  but for shares of classes: theirs is never narrower than if one network had differed by one class.
- A network that has not learned the task keeps its rows in the tables of measurements. Statistics leave it out, and
  `left_out` counts it.
"""


def document() -> str:
    """docs/tables.md: every table with its key and its columns."""
    lines = [HEAD]
    for name, table in TABLES.items():
        key = ", ".join(f"`{column}`" for column in table.key)
        lines += [f"## {name}.csv", "", f"One row per {table.row}. These columns name a row: {key}."]
        if table.may_be_without_rows:
            lines[-1] += " It may have no rows: the configuration says which networks it is about."
        lines += ["", "| column | type | unit | meaning |", "|---|---|---|---|"]
        for column, about in table.columns.items():
            kind = f"{about.kind}, may be empty" if about.may_be_empty else about.kind
            meaning = about.meaning.replace("|", "\\|")
            lines.append(f"| `{column}` | {kind} | {about.unit} | {meaning} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    print(document(), end="")
