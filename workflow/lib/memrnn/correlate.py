"""Does the speed of the slow points predict extrapolation? Scores per class, and rank correlations with their doubt.

Intervals. The independent unit is the network: the ten classes of one network share its weights. The bootstrap
therefore resamples whole networks, within each protocol, because the design fixes how many networks a protocol has. Its
standard error is turned into an interval by Student's t (`bootstrap`), the same form as the t intervals of means in
`claims`; with so few networks the percentiles of the resamples are too narrow. Share of 95 % intervals that held the
true rho, measured over 500 simulated experiments in each of five settings (true rho from 0 to -0.95, ten classes per
network):

    networks            2           3           4           8           4 + 4 (two protocols)
    percentiles         0.52-0.61   0.73-0.86   0.81-0.90   0.86-0.92   0.82-0.91
    this module         0.98-1.00   0.94-1.00   0.93-1.00   0.89-0.98   0.88-0.98

Needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from memrnn.record import stream

NETWORK = ["dataset", "cell", "curriculum", "phase", "seed"]
POINT = [*NETWORK, "label"]
EXTRAPOLATION_COLUMNS = [*POINT, "delay", "accuracy"]
SLOW_POINT_COLUMNS = [*POINT, "search_steps", "speed", "readout", "start_speed", "nearest_distance"]
SCORE_COLUMNS = [*POINT, "nominal_accuracy", "extrapolation_score", "learned"]
CORRELATION_COLUMNS = [
    *("dataset", "cell", "curriculum", "predictor", "search_steps"),  # together they name a row
    *("target", "rho", "low", "high", "networks", "points"),
    *("left_out", "within_rho", "within_low", "within_high", "within_networks", "resamples"),
]
# Empty where they cannot be computed.
INTERVAL_COLUMNS = ["rho", "low", "high", "within_rho", "within_low", "within_high"]
DECIMALS = 7  # of scores: finer than one trial in any run, coarser than the tables' nine digits


class Estimate(NamedTuple):
    """A value and its interval; all NaN where they cannot be computed. `resamples`: how many the interval rests on."""

    value: float
    low: float
    high: float
    resamples: int


NOT_COMPUTABLE = Estimate(np.nan, np.nan, np.nan, 0)


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
            f"table {name}: {empty.sum()} rows with empty cells, the first is {_describe(frame.loc[empty, filled])}; "
            "expected every cell filled. Run the stage that writes it again."
        )
    double = frame.duplicated(list(key))
    if double.any():
        raise ValueError(
            f"table {name}: {double.sum()} rows are there twice, the first is {_describe(frame.loc[double, key])}; "
            "expected each once. Look for a seed, cell or protocol that is configured twice."
        )


def scores(extrapolation: pd.DataFrame, max_delay: int, learned_accuracy: float) -> pd.DataFrame:
    """Two numbers per network and class: accuracy at the nominal delay, and the extrapolation score.

    Args:
        extrapolation: the table of the extrapolate stage; one row per network, class and delay.
        max_delay: longest delay of the nominal task in time steps, T_max.
        learned_accuracy: mean accuracy over classes at `max_delay` from which a network counts as having learned.
    Returns:
        SCORE_COLUMNS, sorted, one row per network and class. `nominal_accuracy` is the accuracy at `max_delay`;
        `extrapolation_score` the mean accuracy over the delays above it, to DECIMALS decimals; `learned` is judged on
        the rows of phase `trained` and holds for every phase of that network.
    Raises:
        ValueError: columns or delays are missing, rows are doubled, a network lacks a class or a delay, or a network
            was trained on (phase control, centroid, slow_points) that has no rows of phase `trained`.
    Source: ours; Haviv et al. 2019 publish neither the measurement nor a score.
    """
    check_table(extrapolation, "extrapolation", EXTRAPOLATION_COLUMNS, [*POINT, "delay"])
    accuracy = extrapolation.pivot(index=POINT, columns="delay", values="accuracy")
    longer = accuracy.columns > max_delay
    if max_delay not in accuracy.columns or not longer.any():
        raise ValueError(
            f"table extrapolation has the delays {accuracy.columns.tolist()}; expected {max_delay} (T_max, the trial's "
            "steps) among them and at least one above it. Add them to the delays of the configuration."
        )
    _complete(accuracy, "extrapolation", "delay")
    _complete(accuracy.iloc[:, 0].unstack("label"), "extrapolation", "label")
    # Rounding makes equal shares of right answers equal numbers again, which sums in floating point need not be: ranks
    # and thresholds see the difference.
    score = accuracy.loc[:, longer].mean(axis=1).round(DECIMALS)
    table = pd.DataFrame({"nominal_accuracy": accuracy[max_delay], "extrapolation_score": score}).reset_index()

    origin = ["dataset", "cell", "curriculum", "seed"]
    trained = table[table.phase == "trained"].groupby(origin).nominal_accuracy.mean().round(DECIMALS)
    learned = (trained >= learned_accuracy).rename("learned").reset_index()
    table = table.merge(learned, on=origin, how="left", validate="many_to_one")
    orphans = table[table.learned.isna()]
    if len(orphans):
        raise ValueError(
            f"table extrapolation has no rows of phase trained for {_describe(orphans[NETWORK])}; expected them, "
            "because whether a network has learned is judged before it is trained on. Run the extrapolate stage again."
        )
    return table.astype({"learned": bool})[SCORE_COLUMNS].sort_values(POINT, ignore_index=True)


def rank_correlation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman's rho along the last axis, ties at their mean rank; NaN where x or y is constant.

    `scipy.stats.spearmanr` does one pair of samples at a time; this does all resamples at once and agrees with it.

    Args:
        x, y: (..., points), of one shape.
    Returns:
        (...).
    """
    a, b = stats.rankdata(x, axis=-1), stats.rankdata(y, axis=-1)
    middle = (a.shape[-1] + 1) / 2  # the mean rank, exact, so that constants give exactly zero below
    a, b = a - middle, b - middle
    scale = np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    return np.divide((a * b).sum(-1), scale, out=np.full(scale.shape, np.nan), where=scale > 0)


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray],
    strata: np.ndarray,
    seed: np.random.SeedSequence,
    resamples: int,
    confidence: float,
) -> Estimate:
    """A correlation and its interval, by resampling networks with replacement within each stratum.

    The interval is value -+ t * sqrt(N / df) * e, cut to [-1, 1]: e is the standard deviation over the resamples, N the
    number of networks, df = N - number of strata, t the quantile of Student's t with df degrees of freedom. The root
    undoes the bootstrap's bias (each stratum's variance is taken about its own mean); for a plain mean over one stratum
    all of it is the t interval of that mean. Why not percentiles: see the module's text.

    A resample in which the statistic is undefined (all values tied) is left out of e and not counted. Where no stratum
    has two networks there is a value without an interval (NaN); where the statistic itself is undefined there is none.

    Args:
        statistic: (resamples, networks) indices of networks -> (resamples,) values, NaN where undefined.
        strata: (networks,) protocol of each network.
        seed: stream of the resampling; the same stream and strata draw the same resamples.
        resamples: how many to draw.
        confidence: coverage aimed at, as a share.
    """
    networks = np.arange(len(strata))
    groups = [networks[strata == stratum] for stratum in np.unique(strata)]
    freedom = len(networks) - len(groups)
    value = float(statistic(networks[None])[0]) if len(networks) else np.nan
    if freedom < 1 or np.isnan(value):
        return Estimate(value, np.nan, np.nan, 0)
    rng = np.random.default_rng(seed)
    drawn = np.concatenate([rng.choice(group, (resamples, len(group))) for group in groups], axis=1)
    replicates = statistic(drawn)  # (resamples,)
    replicates = replicates[~np.isnan(replicates)]
    if len(replicates) < 2:
        return Estimate(value, np.nan, np.nan, 0)
    error = replicates.std(ddof=1) * np.sqrt(len(networks) / freedom)
    half = stats.t.ppf((1 + confidence) / 2, freedom) * error
    return Estimate(value, max(value - half, -1.0), min(value + half, 1.0), len(replicates))


def correlate(
    slow_points: pd.DataFrame, scores: pd.DataFrame, *, resamples: int, confidence: float, seed: int
) -> pd.DataFrame:
    """Spearman's rho of log10 speed and extrapolation score, for every cell, protocol and predictor.

    A point is one class of one network of phase `trained`; networks that have not learned are left out and counted. Rho
    sees ranks only, so the speed stands for its logarithm and a speed of zero is no trouble. Curriculum `all` pools the
    protocols of a cell; its resamples draw networks within each protocol. `within_rho` is the mean over networks of the
    rho across one network's classes, with an interval from the same resamples; a network whose classes are all tied has
    no rho and does not enter it, and `within_networks` counts those that have one.

    Args:
        slow_points: the table of the slow-point stage; one row per network, class and search budget.
        scores: what `scores` returned.
        resamples, confidence: of the bootstrap.
        seed: of the bootstrap; each panel (dataset, cell, curriculum) draws from its own stream, so its numbers do not
            depend on the other panels, and its predictors share their resamples.
    Returns:
        CORRELATION_COLUMNS. predictor `speed` at every stored budget (`search_steps`, in steps of Adam), and
        `centroid_speed`, the speed where the search starts, with search_steps 0. `networks` and `points` entered,
        `left_out` networks have not learned, `resamples` is the number behind low and high. What cannot be computed
        is NaN.
    Raises:
        ValueError: columns or phase `trained` are missing, rows are doubled, or the two tables are not about the same
            networks and classes.
    """
    check_table(slow_points, "slow_points", SLOW_POINT_COLUMNS, [*POINT, "search_steps"])
    check_table(scores, "scores", SCORE_COLUMNS, POINT)
    points = only_trained(slow_points, "slow_points")
    speeds = points.pivot(index=POINT, columns="search_steps", values="speed")
    _complete(speeds, "slow_points", "search_steps")
    # Every budget starts at the same centroid, so any one of them knows its speed.
    speeds[0] = points[points.search_steps == points.search_steps.max()].set_index(POINT).start_speed
    targets = only_trained(scores, "scores").set_index(POINT)[["extrapolation_score", "learned"]]
    odd = speeds.index.symmetric_difference(targets.index)
    if len(odd):
        raise ValueError(
            f"tables slow_points and scores disagree about {_describe(odd.to_frame())}: only one of them has it. "
            "Run the slow-point and extrapolate stages again."
        )

    table = speeds.join(targets)
    rows = []
    for (dataset, cell), of_cell in table.groupby(["dataset", "cell"]):
        curricula = of_cell.index.unique("curriculum").sort_values()
        for curriculum in [*curricula, "all"]:
            panel = of_cell if curriculum == "all" else of_cell.xs(curriculum, level="curriculum", drop_level=False)
            source = stream(seed, "correlate", str(dataset), str(cell), str(curriculum))
            learned = panel[panel.learned]
            counts = {
                "networks": _count_networks(learned),
                "points": len(learned),
                "left_out": _count_networks(panel) - _count_networks(learned),
            }
            score = learned.extrapolation_score.unstack("label")  # networks x classes
            _complete(score, "slow_points", "label")
            for steps in speeds.columns.sort_values():
                speed = learned[steps].unstack("label")
                rho, within, defined = _associate(speed.to_numpy(), score, source, resamples, confidence)
                rows.append(
                    {"dataset": dataset, "cell": cell, "curriculum": curriculum}
                    | {"predictor": "speed" if steps else "centroid_speed", "search_steps": steps}
                    | {"target": "extrapolation_score", "rho": rho.value, "low": rho.low, "high": rho.high}
                    | {"within_rho": within.value, "within_low": within.low, "within_high": within.high}
                    | {"within_networks": defined, "resamples": rho.resamples}
                    | counts
                )
    return pd.DataFrame(rows)[CORRELATION_COLUMNS]


def only_trained(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Rows of phase `trained`.

    Raises:
        ValueError: there are none.
    """
    trained = frame[frame.phase == "trained"]
    if trained.empty:
        raise ValueError(
            f"table {name} has the phases {', '.join(sorted(frame.phase.unique()))}; expected trained among them. "
            "Run the stage that writes it again for the trained networks."
        )
    return trained


def _associate(
    speed: np.ndarray, score: pd.DataFrame, source: np.random.SeedSequence, resamples: int, confidence: float
) -> tuple[Estimate, Estimate, int]:
    """Pooled and mean within-network rho of speed and score, each networks x classes, and how many have the latter."""
    protocols = score.index.get_level_values("curriculum").to_numpy()
    target = score.to_numpy()

    def pooled(drawn: np.ndarray) -> np.ndarray:
        flat = (len(drawn), -1)  # (resamples, networks, classes) -> (resamples, points)
        return rank_correlation(speed[drawn].reshape(flat), target[drawn].reshape(flat))

    if not speed.size:
        return NOT_COMPUTABLE, NOT_COMPUTABLE, 0
    single = rank_correlation(speed, target)  # (networks,)
    defined = ~np.isnan(single)
    single = single[defined]
    return (
        bootstrap(pooled, protocols, source, resamples, confidence),
        bootstrap(lambda drawn: single[drawn].mean(axis=1), protocols[defined], source, resamples, confidence),
        len(single),
    )


def _count_networks(table: pd.DataFrame) -> int:
    return len(table.index.droplevel("label").unique())


def _complete(wide: pd.DataFrame, name: str, column: str) -> None:
    """Refuse a table, spread over the values of `column`, in which a row lacks one of them."""
    holes = wide.isna()
    if holes.to_numpy().any():
        row = holes.any(axis=1).argmax()
        where = _describe(wide.index[[row]].to_frame())
        lacking = wide.columns[holes.iloc[row]].tolist()
        raise ValueError(
            f"table {name} lacks {column} {lacking} for {where}; expected every network to have all of "
            f"{wide.columns.tolist()}. Run the stage that writes it again."
        )


def _describe(rows: pd.DataFrame) -> str:
    """First row as `column=value` words."""
    return ", ".join(f"{column}={value}" for column, value in rows.iloc[0].items())
