"""What the claims rest on: the tables of a run, its networks' means, and estimates with their intervals.

A network counts once: its mean over classes. Networks that have not learned are left out and counted.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial

import numpy as np
import pandas as pd

from memrnn.analysis.formation import SUMMARY_COLUMNS, summarise
from memrnn.analysis.scores import only_trained
from memrnn.core.stats import mean_interval

ESTIMATE_COLUMNS = ["cell", "curriculum", "value", "low", "high", "networks", "left_out"]
NETWORK = ["cell", "curriculum", "phase", "seed"]
MEASURES = {"memory_score": "memory score M", "extrapolation_score": "extrapolation score"}

Interval = Callable[[Sequence[float]], tuple[float, float, float]]


class Evidence:
    """The tables of a run, and what several claims compute from them, once.

    Attributes:
        tables: scores, correlation, slow_points, other_starts, relaxed, formation and confusion_test. other_starts, and
            the last two where no network was followed back through training, may have no rows.
        search_steps: budget of the search whose points are judged.
        max_delay: longest delay of the nominal task in time steps, T_max.
        coincide_distance: points closer than this are one, in state units.
        confidence: coverage of the intervals, as a share.
    """

    def __init__(
        self,
        tables: Mapping[str, pd.DataFrame],
        *,
        search_steps: int,
        max_delay: int,
        coincide_distance: float,
        confidence: float,
    ) -> None:
        """Check that the tables belong together.

        Raises:
            ValueError: a phase, the search budget or the time of the relaxed speed is missing, there are several
                datasets, or the tables are not about the same networks.
        """
        self.tables, self.search_steps, self.max_delay = tables, search_steps, max_delay
        self.coincide_distance, self.confidence = coincide_distance, confidence
        _check(tables, search_steps, self.relaxed_time)

    @property
    def relaxed_time(self) -> int:
        """Noise-free time steps from the centroid after which the relaxed speed is judged."""
        return 2 * self.max_delay

    @cached_property
    def means(self) -> pd.DataFrame:
        """One row per cell, curriculum, phase and seed: means over classes of the scores, and `learned`."""
        columns = ("nominal_accuracy", "extrapolation_score", "memory_score")
        means = {name: (name, "mean") for name in columns} | {"learned": ("learned", "first")}
        return self.tables["scores"].groupby(NETWORK, as_index=False).agg(**means)

    @property
    def trained(self) -> pd.DataFrame:
        """`means` of phase `trained`."""
        return self.means[self.means.phase == "trained"]

    @property
    def seeds(self) -> pd.Series:
        """Of each cell, how many seeds have a network that learned."""
        trained = self.trained
        return trained[trained.learned].groupby("cell").seed.nunique()

    @cached_property
    def points(self) -> pd.DataFrame:
        """Slow points of the trained networks at the budget that is judged, a row per network and class."""
        points = self.tables["slow_points"]
        return points[(points.phase == "trained") & (points.search_steps == self.search_steps)]

    def of_points(self, points: pd.DataFrame, aggregate: str = "mean", **columns: pd.Series) -> pd.DataFrame:
        """Means (or medians) over classes of columns, a row per network, with the columns of `means`.

        Args:
            points: one row per network and class.
            aggregate: how the classes are put together.
            columns: one value per row of `points`.
        """
        found = points.assign(**columns).groupby(NETWORK, as_index=False)[[*columns]].agg(aggregate)
        return found.merge(self.means, on=NETWORK, validate="one_to_one")

    def share_interval(self, protocols: int = 1) -> Interval:
        """`mean_interval` of shares of the classes, as means over this many protocols."""
        step = 1 / self.tables["scores"].label.nunique() / protocols
        return partial(mean_interval, confidence=self.confidence, bounds=(0.0, 1.0), step=step)

    def rho(self, predictor: str, steps: int, target: str) -> pd.DataFrame:
        """Rows of the correlation table about one predictor and target, with `value` for its rho."""
        table = self.tables["correlation"]
        chosen = (table.predictor == predictor) & (table.search_steps == steps) & (table.target == target)
        return table[chosen].rename(columns={"rho": "value"})

    def gains(self, measure: str) -> pd.DataFrame:
        """Differences between a mode of regularisation and control, paired by network.

        Args:
            measure: column of `means`.
        Returns:
            ESTIMATE_COLUMNS counting pairs, mode, control and nominal (means of the measure and of the nominal accuracy
            over the same networks under control); every mode that the run has.
        """
        rows = []
        treated = self.means[self.means.phase != "trained"]
        for (cell, curriculum), group in treated.groupby(["cell", "curriculum"]):
            wide = group.pivot(index="seed", columns="phase", values=measure)
            nominal = group[group.phase == "control"].set_index("seed").nominal_accuracy
            pairs = wide[group.groupby("seed").learned.first()]
            for mode in wide.columns.drop("control"):
                difference = (pairs[mode] - pairs["control"]).dropna()
                interval = mean_interval(difference, self.confidence)
                levels = pairs.control[difference.index].mean(), nominal[difference.index].mean()
                rows.append([cell, curriculum, *interval, len(difference), len(wide) - len(difference), mode, *levels])
        return pd.DataFrame(rows, columns=[*ESTIMATE_COLUMNS, "mode", "control", "nominal"])

    @cached_property
    def formed(self) -> dict[str, pd.DataFrame]:
        """`formation_estimates` of the tables."""
        tables = self.tables["formation"], self.tables["confusion_test"]
        return formation_estimates(*tables, self.coincide_distance, self.confidence)


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


def by_cell(networks: pd.DataFrame, column: str, estimate: Interval) -> pd.DataFrame:
    """One estimate per cell, from the means over protocols of each seed's learned networks.

    Args:
        networks, column, estimate: as for `by_protocol`, of values of seeds.
    Returns:
        ESTIMATE_COLUMNS with curriculum `all`; networks counts networks.
    """
    rows = []
    for cell, group in networks.groupby("cell"):
        learned = group[group.learned]
        values = learned.groupby("seed")[column].mean()
        rows.append([cell, "all", *estimate(values), len(learned), len(group) - len(learned)])
    return pd.DataFrame(rows, columns=ESTIMATE_COLUMNS)


def _check(tables: Mapping[str, pd.DataFrame], search_steps: int, relaxed_time: int) -> None:
    """Refuse tables that do not belong together, or that the rules could not use."""
    scores, slow_points, correlation = (tables[name] for name in ("scores", "slow_points", "correlation"))
    if scores.dataset.nunique() > 1:
        raise ValueError(
            f"table scores has the datasets {', '.join(sorted(scores.dataset.unique()))}; expected one, because a "
            "run has one. Judge them one at a time."
        )
    odd = pd.MultiIndex.from_frame(only_trained(scores, "scores")[NETWORK]).symmetric_difference(
        pd.MultiIndex.from_frame(only_trained(slow_points, "slow_points")[NETWORK])
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
    if relaxed_time not in set(correlation.search_steps[correlation.predictor == "relaxed_speed"]):
        raise ValueError(
            f"table correlation has no relaxed speed after {relaxed_time} time steps, twice T_max; expected the "
            "spectrum stage to have taken it. Run that stage again."
        )
    for (cell, curriculum), group in scores[scores.phase != "trained"].groupby(["cell", "curriculum"]):
        if "control" not in set(group.phase):
            raise ValueError(
                f"table scores has the phases {', '.join(sorted(group.phase.unique()))} for {cell} {curriculum}; "
                "expected control among them, which the others are compared with. Add control to regularise.modes."
            )
    columns = ["dataset", *NETWORK, "learned"]
    known = set(scores[columns].itertuples(index=False, name=None))
    odd = set(tables["formation"][columns].itertuples(index=False, name=None)) - known
    if odd:
        raise ValueError(
            f"tables formation and scores disagree about the network {' '.join(map(str, min(odd)[:-1]))}. "
            "Run the formation stage again."
        )
