"""Does the speed of the slow points predict memory? Scores per class, and rank correlations with their doubt.

Four targets (`scores`): how much of a memory is left beyond T_max, and how long it lasts, each in accuracy and in
informedness. Several predictors (`PREDICTORS`), of which
the paper's is `speed`; which of them is best, the module `predictors` asks.

Intervals. The independent unit is the seed. The ten classes of one network share its weights; the networks of one
seed start from the same weights under every protocol and see the same images. The bootstrap therefore resamples whole
seeds, each with its networks of all protocols. Its standard error is turned into an interval by Student's t
(`bootstrap`), the same form as the t intervals of means in `claims`; with so few networks the percentiles of the
resamples are too narrow. Share of 95 % intervals that held the true rho, measured over 500 simulated experiments in
each of five settings (true rho from 0 to -0.95, ten classes per network; one protocol):

    seeds               2           3           4           8
    percentiles         0.52-0.61   0.73-0.86   0.81-0.90   0.86-0.92
    this module         0.98-1.00   0.94-1.00   0.93-1.00   0.89-0.98

With two protocols of four seeds pooled, none to all of a network's own shift shared by the networks of a seed (250
experiments each): 0.95-1.00; resampling networks within each protocol as if they were independent, 0.90-1.00.

Absorbing classes. Some networks have a class that the others decay into. It is answered rightly for ever because it is
the answer to everything, and its lifetime, which outlasts the longest delay, says nothing about how well it is held.
`absorbing` marks such classes by where memories end without noise; they are counted in `predictors` and named in its
table of predictions, and not left out, as what they are is what the dynamics made them.

Needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from memrnn.analysis.scores import POINT, check_complete, only_trained
from memrnn.core.stats import NOT_COMPUTABLE, Estimate, bootstrap, bootstrap_mean, pooled_rho, rank_correlation
from memrnn.core.streams import stream
from memrnn.core.tables import columns_of, describe_rows

TARGETS = ("extrapolation_score", "memory_score", "lifetime", "memory_lifetime")  # columns of the scores


class Predictor(NamedTuple):
    """A quantity that may tell how long a memory lasts."""

    sign: int  # of the rho expected with a target: -1 where less of it should mean a longer memory
    table: str  # slow_points, spectrum or scores
    column: str  # of that table
    at_budget: bool  # belongs to a search budget; what does not is reported at budget 0
    # Less counts as this much, in ranks and regressions alike, which then take the logarithm; None: the value as it is.
    floor: float | None


# Per time step. A zero has no logarithm, and one close to zero would outweigh all others; the rounding of a search in
# float32 hides less, and no memory here lasts long enough to notice it.
LEAST = 1e-8
ROUND = 12  # decimals of a network's means: what agrees so far is tied


PREDICTORS = {
    "centroid_speed": Predictor(-1, "slow_points", "start_speed", at_budget=False, floor=LEAST),
    "speed": Predictor(-1, "slow_points", "speed", at_budget=True, floor=LEAST),
    # Where the memory is after a fixed time without noise, the same for all, so that it cannot hold the outcome as long
    # as every class is still read out right. Its budgets are times.
    "relaxed_speed": Predictor(-1, "relaxed", "speed", at_budget=True, floor=LEAST),
    # Holds the outcome, in part: it is the least of the more speeds the longer the class is kept without noise.
    "relaxation_speed": Predictor(-1, "spectrum", "relaxation_speed", at_budget=False, floor=LEAST),
    # The outcome but for the noise: with the next one, it tells what of the last one's success is which.
    "relaxation_kept": Predictor(+1, "spectrum", "relaxation_kept", at_budget=False, floor=1.0),
    # The same way as the two before through its first steps alone, so that it cannot hold the outcome.
    "window_speed": Predictor(-1, "spectrum", "window_speed", at_budget=False, floor=LEAST),
    "time_constant": Predictor(+1, "spectrum", "time_constant", at_budget=True, floor=LEAST),
    "drift": Predictor(-1, "spectrum", "drift", at_budget=True, floor=LEAST),
    "diffusion": Predictor(-1, "spectrum", "diffusion", at_budget=True, floor=LEAST),
    # The null predictor: what anybody knows without looking at the dynamics.
    "nominal_accuracy": Predictor(+1, "scores", "nominal_accuracy", at_budget=False, floor=None),
}


def correlate(
    slow_points: pd.DataFrame,
    spectrum: pd.DataFrame,
    relaxed: pd.DataFrame,
    scores: pd.DataFrame,
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> pd.DataFrame:
    """Spearman's rho of every predictor and target, for every cell and protocol.

    A point is one class of one network of phase `trained`; networks that have not learned are left out and counted. Rho
    sees ranks only, so a quantity stands for its logarithm; values below a predictor's floor are tied, and so are
    censored lifetimes, at the longest delay. Curriculum `all` pools the protocols of a cell; its resamples draw seeds,
    each with its networks of all protocols. `within_rho` is the mean over networks of the rho across one network's
    classes, with an interval from the same resamples; a network whose classes are all tied has no rho and does not
    enter it, and `within_networks` counts those that have one.

    Args:
        slow_points: the table of the slow-point stage; one row per network, class and search budget.
        spectrum: the table of the spectrum stage; one row per network and class.
        relaxed: its table of relaxed speeds; one row per network, class and time.
        scores: what `scores` returned.
        resamples, confidence: of the bootstrap.
        seed: of the bootstrap; each panel (dataset, cell, curriculum) draws from its own stream, so its numbers do not
            depend on the other panels, and its predictors and targets share their resamples.
    Returns:
        the table `correlation`. Every predictor of PREDICTORS: `speed` at every stored budget, what was measured at the
        slow points at the spectrum's budget, `relaxed_speed` at every time, and the rest with search_steps 0; with
        every target of TARGETS. What
        cannot be computed is NaN, such as the rho of a predictor that the spectrum could not tell of every point.
    Raises:
        ValueError: phase `trained` is missing, or the tables are not about the same networks and classes.
    """
    rows = []
    for panel in panels(slow_points, spectrum, relaxed, scores):
        source = panel.stream(seed)
        for target in TARGETS:
            for predictor, steps in panel.predictors.columns:
                x, y = panel.grid(panel.predictors[predictor, steps]), panel.grid(panel.scores[target])
                rho, within, defined = _associate(x, y, panel.clusters, source, resamples, confidence)
                if PREDICTORS[predictor].floor is not None:
                    x = np.log(x)
                network = between_networks(x, y, panel.clusters, source, resamples, confidence)
                rows.append(
                    panel.key
                    | {"predictor": predictor, "search_steps": steps, "target": target}
                    | {"rho": rho.value, "low": rho.low, "high": rho.high}
                    | {"within_rho": within.value, "within_low": within.low, "within_high": within.high}
                    | {"within_networks": defined, "resamples": rho.resamples}
                    | {"network_rho": network.value, "network_low": network.low, "network_high": network.high}
                    | panel.counts
                )
    return pd.DataFrame(rows)[columns_of("correlation")]


class Panel(NamedTuple):
    """The points of one cell and protocol, or of all protocols of a cell, from the networks that have learned."""

    key: dict[str, str]  # dataset, cell, curriculum (or all)
    predictors: pd.DataFrame  # one row per point, one column per (predictor, search_steps)
    scores: pd.DataFrame  # the same points, the columns of the scores, and `absorbing`
    everyone: pd.DataFrame  # the columns of the scores, and `absorbing`, of all networks, learned or not

    @property
    def networks(self) -> pd.MultiIndex:
        """Keys of the networks, in the order of `grid`'s rows."""
        return self.scores.index.droplevel("label").unique()

    @property
    def clusters(self) -> np.ndarray:
        """(networks,) seed of each network."""
        return self.networks.get_level_values("seed").to_numpy()

    @property
    def counts(self) -> dict[str, int]:
        """Networks and points that enter, and networks left out because they have not learned."""
        networks, trained = len(self.networks), _count_networks(self.everyone)
        return {"networks": networks, "points": len(self.scores), "left_out": trained - networks}

    def grid(self, values: pd.Series) -> np.ndarray:
        """(networks, classes) from one value per point."""
        return values.unstack("label").to_numpy()

    def stream(self, seed: int) -> np.random.SeedSequence:
        """Of its resampling."""
        return stream(seed, "correlate", *map(str, self.key.values()))


def panels(
    slow_points: pd.DataFrame, spectrum: pd.DataFrame, relaxed: pd.DataFrame, scores: pd.DataFrame
) -> Iterator[Panel]:
    """Every cell and protocol, and every cell with its protocols pooled (curriculum `all`).

    Args and Raises: as `correlate`.
    """
    tables = {
        name: only_trained(frame, name).set_index(POINT).sort_index()
        for name, frame in {
            "slow_points": slow_points,
            "spectrum": spectrum,
            "relaxed": relaxed.rename(columns={"time": "search_steps"}),
            "scores": scores,
        }.items()
    }
    budgets = tables["spectrum"].search_steps.unique()
    if len(budgets) > 1:
        raise ValueError(
            f"table spectrum has the search budgets {sorted(budgets.tolist())}; expected one, whose points were "
            "examined. Run the spectrum stage again."
        )
    predictors = _predictors(tables)
    points = tables["scores"].assign(absorbing=absorbing(tables["spectrum"].relaxation_readout))
    for (dataset, cell), of_cell in points.groupby(["dataset", "cell"]):
        for curriculum in [*of_cell.index.unique("curriculum").sort_values(), "all"]:
            here = of_cell if curriculum == "all" else of_cell.xs(curriculum, level="curriculum", drop_level=False)
            learned = here[here.learned]
            check_complete(learned.learned.astype("object").unstack("label"), "scores", "label")
            key = {"dataset": dataset, "cell": cell, "curriculum": curriculum}
            yield Panel(key, predictors.loc[learned.index], learned, here)


def _predictors(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """One row per point and one column per (predictor, search_steps), from tables indexed by POINT."""
    points = tables["scores"].index
    found = {}
    for name, kind in PREDICTORS.items():
        table = tables[kind.table]
        values = table.assign(search_steps=0) if kind.table == "scores" else table
        values = values.set_index("search_steps", append=True)[kind.column].unstack("search_steps")
        values = values.clip(lower=kind.floor)
        odd = values.index.symmetric_difference(points)
        if len(odd):
            raise ValueError(
                f"tables {kind.table} and scores disagree about {describe_rows(odd.to_frame())}: only one of them "
                "has it. Run the slow-point, spectrum and extrapolate stages again."
            )
        if kind.table in ("slow_points", "relaxed"):
            check_complete(values, kind.table, "search_steps")
        budgets = values.columns.sort_values()
        if kind.at_budget:
            found |= {(name, steps): values[steps] for steps in budgets}
        else:
            found[name, 0] = values[budgets[-1]]  # the same at any budget: every search starts at the same centroid
    return pd.DataFrame(found).rename_axis(columns=["predictor", "search_steps"])


def absorbing(ends: pd.Series) -> pd.Series:
    """Whether more than half of a network's other classes end in a class when they run on without noise.

    Args:
        ends: class read out at the end (-1 is null), indexed by POINT.
    Returns:
        bool, alike indexed.
    """
    wide = ends.unstack("label")
    strangers = pd.DataFrame({one: (wide.drop(columns=one) == one).mean(axis=1) > 0.5 for one in wide.columns})
    return strangers.rename_axis(columns="label").stack().reindex(ends.index)


def _associate(
    predictor: np.ndarray,
    target: np.ndarray,
    clusters: np.ndarray,
    source: np.random.SeedSequence,
    resamples: int,
    confidence: float,
) -> tuple[Estimate, Estimate, int]:
    """Pooled and mean within-network rho of a predictor and a target, each networks x classes, and how many have the
    latter."""
    if not predictor.size or np.isnan(predictor).any():
        return NOT_COMPUTABLE, NOT_COMPUTABLE, 0
    single = rank_correlation(predictor, target)  # (networks,)
    return (
        bootstrap(pooled_rho(predictor, target), clusters, source, resamples, confidence),
        bootstrap_mean(single, clusters, source, resamples, confidence),
        int((~np.isnan(single)).sum()),
    )


def between_networks(
    predictor: np.ndarray,
    target: np.ndarray,
    clusters: np.ndarray,
    source: np.random.SeedSequence,
    resamples: int,
    confidence: float,
) -> Estimate:
    """Rho of the networks' means over classes, one point a network.

    Args:
        predictor: (networks, classes), its logarithm where it has one.
        target: alike.
        clusters: (networks,) seed of each network.
        source, resamples, confidence: of the bootstrap.
    """
    if not predictor.size or not np.isfinite(predictor).all():
        return NOT_COMPUTABLE
    x, y = (values.mean(axis=1, keepdims=True).round(ROUND) for values in (predictor, target))
    return bootstrap(pooled_rho(x, y), clusters, source, resamples, confidence)


def _count_networks(table: pd.DataFrame) -> int:
    return len(table.index.droplevel("label").unique())
