"""What the claims rest on: the tables of a run, its networks' means, and estimates with their intervals.

A network counts once: its mean over classes. Networks that have not learned are left out and counted.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd

from memrnn.analysis.correlate import about_speed
from memrnn.analysis.formation import SUMMARY_COLUMNS, summarise
from memrnn.analysis.scores import only_trained
from memrnn.core.stats import mean_interval

ESTIMATE_COLUMNS = ["cell", "curriculum", "value", "low", "high", "networks", "left_out"]
DESCRIPTIVE = "(descriptive)"  # the side of what is listed and not judged

Interval = Callable[[Sequence[float]], tuple[float, float, float]]


class Evidence:
    """The tables of a run, the settings of the rules, and what several claims compute from them, once.

    Attributes:
        tables: scores, correlation, slow_points, formation and confusion_test, the last two without rows where no
            network was followed back through training.
        settings: the configuration's section `claims`.
        confidence: coverage of the intervals, as a share.
    """

    def __init__(self, tables: Mapping[str, pd.DataFrame], settings: Mapping[str, Any], confidence: float) -> None:
        """Check that the tables belong together.

        Raises:
            ValueError: a phase or the search budget is missing, there are several datasets, or the tables are not about
                the same networks.
        """
        self.tables, self.settings, self.confidence = tables, settings, confidence
        _check(tables, settings["search_steps"])

    @cached_property
    def means(self) -> pd.DataFrame:
        """One row per cell, curriculum, phase and seed: the means over classes of the two scores, and `learned`."""
        return (
            self.tables["scores"]
            .groupby(["cell", "curriculum", "phase", "seed"], as_index=False)
            .agg(
                nominal_accuracy=("nominal_accuracy", "mean"),
                extrapolation_score=("extrapolation_score", "mean"),
                learned=("learned", "first"),
            )
        )

    @property
    def trained(self) -> pd.DataFrame:
        """`means` of phase `trained`."""
        return self.means[self.means.phase == "trained"]

    @cached_property
    def rho(self) -> pd.DataFrame:
        """Rows of the correlation table about the speed and the extrapolation score, at every budget."""
        return about_speed(self.tables["correlation"])

    @cached_property
    def shares(self) -> pd.DataFrame:
        """Of each trained network, the shares of classes whose slow point keeps its read-out, or is apart; its speeds.

        One row per network: cell, curriculum, phase, seed, readout, distinct (shares), speed, start_speed (medians over
        classes, of the points and of the centroids), and the columns of `means`.
        """
        points = self.tables["slow_points"]
        points = points[(points.phase == "trained") & (points.search_steps == self.settings["search_steps"])]
        distinct = points.nearest_distance > self.settings["distinct_distance"]
        network = ["cell", "curriculum", "phase", "seed"]
        shares = (
            points.assign(readout=points.readout == points.label, distinct=distinct)
            .groupby(network, as_index=False)
            .agg(
                readout=("readout", "mean"),
                distinct=("distinct", "mean"),
                speed=("speed", "median"),
                start_speed=("start_speed", "median"),
            )
        )
        return shares.merge(self.means, on=network, validate="one_to_one")

    @property
    def class_share(self) -> Interval:
        """`mean_interval` of shares of the classes."""
        step = 1 / self.tables["slow_points"].label.nunique()
        return partial(mean_interval, confidence=self.confidence, bounds=(0.0, 1.0), step=step)

    @cached_property
    def gains(self) -> pd.DataFrame:
        """Differences in extrapolation score between a mode of regularisation and control, paired by network.

        ESTIMATE_COLUMNS counting pairs, mode, score and control (means of the two over the same networks); every mode
        that the run has.
        """
        rows = []
        treated = self.means[self.means.phase != "trained"]
        for (cell, curriculum), group in treated.groupby(["cell", "curriculum"]):
            wide = group.pivot(index="seed", columns="phase", values="extrapolation_score")
            learned = group.groupby("seed").learned.first()
            pairs = wide[learned]
            for mode in wide.columns.drop("control"):
                difference = (pairs[mode] - pairs["control"]).dropna()
                interval = mean_interval(difference, self.confidence)
                left_out = len(wide) - len(difference)
                levels = pairs.loc[difference.index, [mode, "control"]].mean()
                rows.append([cell, curriculum, *interval, len(difference), left_out, mode, *levels])
        return pd.DataFrame(rows, columns=[*ESTIMATE_COLUMNS, "mode", "score", "control"])

    @cached_property
    def formed(self) -> dict[str, pd.DataFrame]:
        """`formation_estimates` of the tables."""
        return formation_estimates(
            self.tables["formation"],
            self.tables["confusion_test"],
            self.settings["distinct_distance"],
            self.confidence,
        )


def by_protocol(networks: pd.DataFrame, column: str, estimate: Interval) -> pd.DataFrame:
    """One estimate per cell and protocol, from its learned networks.

    Args:
        networks: one row per network with cell, curriculum, learned and `column`.
        column: what to estimate from.
        estimate: values of the learned networks -> value, low, high.
    Returns:
        ESTIMATE_COLUMNS.
    """
    rows = []
    for (cell, curriculum), group in networks.groupby(["cell", "curriculum"]):
        learned = group.loc[group.learned, column]
        rows.append([cell, curriculum, *estimate(learned), len(learned), len(group) - len(learned)])
    return pd.DataFrame(rows, columns=ESTIMATE_COLUMNS)


def protocol_differences(trained: pd.DataFrame, measure: str, confidence: float) -> pd.DataFrame:
    """Differences between protocols, paired by seed, over the seeds that learned under both.

    Args:
        trained: one row per network, from `Evidence.trained`.
        measure: its column to compare.
        confidence: of the interval.
    Returns:
        ESTIMATE_COLUMNS with curriculum `first - second` and networks and left_out counting pairs; every pair of
        protocols of a cell, in alphabetical order.
    """
    rows = []
    for cell, of_cell in trained.groupby("cell"):
        wide = of_cell.pivot(index="seed", columns="curriculum", values=measure)
        wide = wide.where(of_cell.pivot(index="seed", columns="curriculum", values="learned").eq(True))
        for first, second in itertools.combinations(sorted(wide.columns), 2):
            difference = (wide[first] - wide[second]).dropna()
            interval = mean_interval(difference, confidence)
            left_out = len(wide) - len(difference)
            rows.append([cell, f"{first} - {second}", *interval, len(difference), left_out])
    return pd.DataFrame(rows, columns=ESTIMATE_COLUMNS)


def formation_estimates(
    formation: pd.DataFrame, test: pd.DataFrame, coincide_distance: float, confidence: float
) -> dict[str, pd.DataFrame]:
    """What claim C4 rests on, over the learned networks of every cell and protocol.

    Args:
        formation, test: tables of the formation stage.
        coincide_distance: points closer than this are one.
        confidence: of the intervals.
    Returns:
        ESTIMATE_COLUMNS of every measure of `formation.summarise`; networks in which it is undefined are left out and
        counted. split_share, coincide_share, order_rho, parent_excess and p are of VoCu alone, the others of every
        protocol; order_difference has curriculum `vocu - decu` and counts pairs of one seed; p has no interval.
    """
    networks = summarise(formation, coincide_distance)
    bounds = {
        "split_share": (0.0, 1.0), "coincide_share": (0.0, 1.0), "order_rho": (-1.0, 1.0), "parent_excess": (-1.0, 1.0),
        "appears_share": (0.0, 1.0),
    }  # fmt: skip

    def estimates(measure: str) -> pd.DataFrame:
        defined = networks.assign(learned=networks.learned.eq(True) & networks[measure].notna())
        interval = partial(mean_interval, confidence=confidence, bounds=bounds.get(measure, (-np.inf, np.inf)))
        return by_protocol(defined, measure, interval)

    found = {measure: estimates(measure) for measure in SUMMARY_COLUMNS}
    for measure in ("split_share", "coincide_share", "order_rho", "parent_excess"):
        found[measure] = found[measure][found[measure].curriculum == "vocu"]
    rows = []
    for cell, of_cell in networks.groupby("cell"):
        rho = of_cell[of_cell.learned].pivot(index="seed", columns="curriculum", values="order_rho")
        if {"vocu", "decu"} <= set(of_cell.curriculum):
            rho = rho.reindex(columns=["vocu", "decu"])  # no network of a protocol may have learned
            difference = (rho.vocu - rho.decu).dropna()
            pairs = of_cell[of_cell.curriculum == "vocu"].seed.nunique()
            interval = mean_interval(difference, confidence, (-2.0, 2.0))
            rows.append([cell, "vocu - decu", *interval, len(difference), pairs - len(difference)])
    found["order_difference"] = pd.DataFrame(rows, columns=ESTIMATE_COLUMNS)
    p = test[test.curriculum == "vocu"].assign(value=test.p, low=np.nan, high=np.nan)
    every = networks[networks.curriculum == "vocu"].groupby("cell").size()
    found["p"] = p.assign(left_out=p.cell.map(every).sub(p.networks))[ESTIMATE_COLUMNS]
    return found


def panel_rows(
    frame: pd.DataFrame,
    measure: str,
    side: str,
    holds: pd.Series | None,
    counts: pd.Series | None = None,
) -> pd.DataFrame:
    """Rows of the claims table from a frame of estimates; not judged where `holds` is None or there is no interval, or
    where `counts` is false."""
    names = [column for column in ("cell", "curriculum", "mode") if column in frame]
    judged = pd.Series(pd.NA, index=frame.index, dtype="boolean")
    if holds is not None:
        judged = holds.astype("boolean").mask(frame.low.isna() | (False if counts is None else ~counts))
    panel = [" ".join(map(str, values)) for values in frame[names].to_numpy()]
    columns = ["value", "low", "high", "networks", "left_out"]
    return frame[columns].assign(measure=measure, side=side, holds=judged, panel=panel)


def _check(tables: Mapping[str, pd.DataFrame], search_steps: int) -> None:
    """Refuse tables that do not belong together, or that the rules could not use."""
    scores, slow_points, correlation = (tables[name] for name in ("scores", "slow_points", "correlation"))
    if scores.dataset.nunique() > 1:
        raise ValueError(
            f"table scores has the datasets {', '.join(sorted(scores.dataset.unique()))}; expected one, because a "
            "run has one. Judge them one at a time."
        )
    network = ["cell", "curriculum", "phase", "seed"]
    odd = pd.MultiIndex.from_frame(only_trained(scores, "scores")[network]).symmetric_difference(
        pd.MultiIndex.from_frame(only_trained(slow_points, "slow_points")[network])
    )
    if len(odd):
        raise ValueError(
            f"tables scores and slow_points disagree about the network {' '.join(map(str, odd[0]))}: only one of them "
            "has it. Run the slow-point and extrapolate stages again."
        )
    for name, steps in (
        ("slow_points", slow_points.search_steps),
        ("correlation", correlation.search_steps[correlation.predictor == "speed"]),
    ):
        if search_steps not in steps.unique():
            raise ValueError(
                f"table {name} has the search budgets {sorted(steps.unique().tolist())}; expected {search_steps} "
                "(claims.search_steps) among them. Choose one of slow_points.search_steps."
            )
    for (cell, curriculum), group in scores[scores.phase != "trained"].groupby(["cell", "curriculum"]):
        if "control" not in set(group.phase):
            raise ValueError(
                f"table scores has the phases {', '.join(sorted(group.phase.unique()))} for {cell} {curriculum}; "
                "expected control among them, which the others are compared with. Add control to regularise.modes."
            )
    columns = ["dataset", *network, "learned"]
    known = set(scores[columns].itertuples(index=False, name=None))
    odd = set(tables["formation"][columns].itertuples(index=False, name=None)) - known
    if odd:
        raise ValueError(
            f"tables formation and scores disagree about the network {' '.join(map(str, min(odd)[:-1]))}. "
            "Run the formation stage again."
        )
