"""Does the speed of the slow points predict memory? Scores per class, and rank correlations with their doubt.

Two targets: the extrapolation score and the memory's lifetime (`scores`). Several predictors (`PREDICTORS`), of which
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

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from memrnn.record import stream

NETWORK = ["dataset", "cell", "curriculum", "phase", "seed"]
POINT = [*NETWORK, "label"]
EXTRAPOLATION_COLUMNS = [*POINT, "delay", "accuracy"]
SLOW_POINT_COLUMNS = [*POINT, "search_steps", "speed", "readout", "start_speed", "nearest_distance"]
SPECTRUM_COLUMNS = [
    *(*POINT, "search_steps", "relaxation_readout", "relaxation_kept", "relaxation_speed", "window_speed"),
    *("time_constant", "drift", "diffusion"),
]
SCORE_COLUMNS = [*POINT, "nominal_accuracy", "extrapolation_score", "lifetime", "lifetime_censored", "learned"]
CORRELATION_KEY = ["dataset", "cell", "curriculum", "predictor", "search_steps", "target"]
CORRELATION_COLUMNS = [
    *CORRELATION_KEY,
    *("rho", "low", "high", "networks", "points"),
    *("left_out", "within_rho", "within_low", "within_high", "within_networks", "resamples"),
]
# Empty where they cannot be computed.
INTERVAL_COLUMNS = ["rho", "low", "high", "within_rho", "within_low", "within_high"]
DECIMALS = 7  # of scores: finer than one trial in any run, coarser than the tables' nine digits
ROUNDING = 1e-12  # values of order one that differ by less are equal
TARGETS = ("extrapolation_score", "lifetime")


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


PREDICTORS = {
    "centroid_speed": Predictor(-1, "slow_points", "start_speed", at_budget=False, floor=LEAST),
    "speed": Predictor(-1, "slow_points", "speed", at_budget=True, floor=LEAST),
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
    """Per network and class: accuracy at the nominal delay, extrapolation score, and the memory's lifetime.

    Args:
        extrapolation: the table of the extrapolate stage; one row per network, class and delay.
        max_delay: longest delay of the nominal task in time steps, T_max.
        learned_accuracy: mean accuracy over classes at `max_delay` from which a network counts as having learned.
    Returns:
        SCORE_COLUMNS, sorted, one row per network and class. `nominal_accuracy` is the accuracy at `max_delay`;
        `extrapolation_score` the mean accuracy over the delays above it, `lifetime` (time steps, see `lifetimes`) the
        delay at which it has fallen half-way to chance, 1 / classes, both to DECIMALS decimals; `lifetime_censored`
        marks those that outlast the longest delay. `learned` is judged on the rows of phase `trained` and holds for
        every phase of that network.
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
    classes = accuracy.iloc[:, 0].unstack("label")
    _complete(classes, "extrapolation", "label")
    # Rounding makes equal shares of right answers equal numbers again, which sums in floating point need not be: ranks
    # and thresholds see the difference.
    score = accuracy.loc[:, longer].mean(axis=1).round(DECIMALS)
    table = pd.DataFrame({"nominal_accuracy": accuracy[max_delay], "extrapolation_score": score})
    from_nominal = accuracy.loc[:, accuracy.columns >= max_delay]
    table["lifetime"], table["lifetime_censored"] = lifetimes(
        from_nominal.to_numpy(), from_nominal.columns.to_numpy(), chance=1 / classes.shape[1]
    )
    table = table.reset_index()

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


def lifetimes(accuracy: np.ndarray, delays: np.ndarray, chance: float) -> tuple[np.ndarray, np.ndarray]:
    """Delays at which accuracies have fallen half-way from where they begin to chance.

    The lifetime is the first crossing of (accuracy at the first delay + chance) / 2, on straight lines in accuracy
    against the logarithm of the delay between measured delays. An accuracy that falls no further than above that within
    the measured delays outlasts them: its lifetime is the longest of them, and censored. A class that is no better than
    chance to begin with has no memory to lose: its lifetime is the first delay, the shortest there is, and only such a
    class has it.

    Args:
        accuracy: (points, delays), as shares.
        delays: (delays,) in time steps, ascending, the first the nominal one.
        chance: accuracy of a guess, as a share.
    Returns:
        lifetimes (points,) in time steps, to DECIMALS decimals, and whether they are censored (points,).
    Source: ours.
    """
    # Rounded like the scores: otherwise an accuracy that equals the level could miss it by a rounding error.
    accuracy = accuracy.round(DECIMALS)
    level = ((accuracy[:, 0] + chance) / 2).round(DECIMALS)
    fallen = accuracy[:, 1:] <= level[:, None]  # (points, delays - 1)
    hopeless = accuracy[:, 0] <= round(chance, DECIMALS)
    censored = ~fallen.any(axis=1) & ~hopeless
    after = fallen.argmax(axis=1) + 1  # (points,) index of the first delay past the crossing; 1 where there is none
    points = np.arange(len(accuracy))
    above, below = accuracy[points, after - 1], accuracy[points, after]
    share = np.divide(above - level, above - below, out=np.zeros(len(accuracy)), where=~censored & ~hopeless)
    logs = np.log(delays)
    crossing = np.exp(logs[after - 1] + share * (logs[after] - logs[after - 1]))
    found = np.where(hopeless, delays[0], np.where(censored, delays[-1], crossing))
    return found.round(DECIMALS), censored


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


def pooled_rho(x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Spearman's rho over all points of resampled networks, as a statistic for `bootstrap`.

    The same number as `rank_correlation` of the resample's points: the rank of a value is the weight of the values
    below it, and half that of those equal to it. Sums of halves are exact in floating point, so the two agree to the
    last bit; this one needs no sorting.

    Args:
        x, y: (networks, classes), of one shape.
    Returns:
        (resamples, networks) how often each network was drawn -> (resamples,) rho, NaN where x or y is constant.
    """
    networks, classes = x.shape

    def below(values: np.ndarray) -> np.ndarray:  # (networks, points): what each network adds to the rank of each point
        flat = values.ravel()
        less = (flat[:, None] < flat) + 0.5 * (flat[:, None] == flat)
        return less.reshape(networks, classes, flat.size).sum(axis=1)

    below_x, below_y = below(x), below(y)

    def rho(counts: np.ndarray) -> np.ndarray:
        middle = counts.sum(axis=1, keepdims=True) * classes / 2  # the mean rank, less the half that `below` leaves out
        a, b = counts @ below_x - middle, counts @ below_y - middle  # (resamples, points)
        weights = np.repeat(counts, classes, axis=1)
        scale = np.sqrt((weights * a * a).sum(-1) * (weights * b * b).sum(-1))
        return np.divide((weights * a * b).sum(-1), scale, out=np.full(scale.shape, np.nan), where=scale > 0)

    return rho


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray],
    clusters: np.ndarray,
    seed: np.random.SeedSequence,
    resamples: int,
    confidence: float,
    bounds: tuple[float, float] = (-1.0, 1.0),
) -> Estimate:
    """A statistic and its interval, by resampling clusters of networks with replacement.

    The interval is value -+ t * sqrt(N / df) * e, cut to `bounds`: e is the standard deviation over the resamples, N
    the number of clusters, df = N - 1, t the quantile of Student's t with df degrees of freedom. The root undoes the
    bootstrap's bias; for a plain mean all of it is the t interval of that mean. Why not percentiles: see the module's
    text.

    A resample in which the statistic is undefined (all values tied) is left out of e and not counted. Where there are
    not two clusters, or no resample differs from another, there is a value without an interval (NaN): networks that
    happen to agree are no certainty. Where the statistic itself is undefined there is none.

    Args:
        statistic: (resamples, networks) how often each network was drawn -> (resamples,) values, NaN where undefined.
        clusters: (networks,) seed of each network.
        seed: stream of the resampling; the same stream and clusters draw the same resamples.
        resamples: how many to draw.
        confidence: coverage aimed at, as a share.
        bounds: least and greatest value that the statistic can have; by default a correlation's.
    """
    names, member = np.unique(clusters, return_inverse=True)
    value = float(statistic(np.ones((1, len(clusters)), dtype=np.int64))[0]) if len(clusters) else np.nan
    if len(names) < 2 or np.isnan(value):
        return Estimate(value, np.nan, np.nan, 0)
    times = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), resamples)
    replicates = statistic(times[:, member])  # (resamples,)
    replicates = replicates[~np.isnan(replicates)]
    if len(replicates) < 2:
        return Estimate(value, np.nan, np.nan, 0)
    spread = replicates.std(ddof=1)
    if spread <= ROUNDING:
        return Estimate(value, np.nan, np.nan, len(replicates))
    freedom = len(names) - 1
    half = stats.t.ppf((1 + confidence) / 2, freedom) * spread * np.sqrt(len(names) / freedom)
    return Estimate(value, max(value - half, bounds[0]), min(value + half, bounds[1]), len(replicates))


def bootstrap_mean(
    values: np.ndarray,
    clusters: np.ndarray,
    seed: np.random.SeedSequence,
    resamples: int,
    confidence: float,
    bounds: tuple[float, float] = (-1.0, 1.0),
) -> Estimate:
    """`bootstrap` of a mean over networks, of those that have a value.

    Args:
        values: (networks,), NaN where a network has none.
    """
    defined = ~np.isnan(values)
    single = values[defined]
    return bootstrap(
        lambda times: times @ single / times.sum(axis=1), clusters[defined], seed, resamples, confidence, bounds
    )


def correlate(
    slow_points: pd.DataFrame,
    spectrum: pd.DataFrame,
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
        scores: what `scores` returned.
        resamples, confidence: of the bootstrap.
        seed: of the bootstrap; each panel (dataset, cell, curriculum) draws from its own stream, so its numbers do not
            depend on the other panels, and its predictors and targets share their resamples.
    Returns:
        CORRELATION_COLUMNS. Every predictor of PREDICTORS: `speed` at every stored budget (`search_steps`, in steps of
        Adam), what was measured at the slow points at the spectrum's budget, and the rest with search_steps 0; with
        every target of TARGETS. `networks` and `points` entered, `left_out` networks have not learned, `resamples` is
        the number behind low and high. What cannot be computed is NaN, such as the rho of a predictor that the
        spectrum could not tell of every point.
    Raises:
        ValueError: columns or phase `trained` are missing, rows are doubled, or the tables are not about the same
            networks and classes.
    """
    rows = []
    for panel in panels(slow_points, spectrum, scores):
        source = panel.stream(seed)
        for target in TARGETS:
            for predictor, steps in panel.predictors.columns:
                rho, within, defined = _associate(
                    panel.grid(panel.predictors[predictor, steps]), panel.grid(panel.scores[target]),
                    panel.clusters, source, resamples, confidence,
                )  # fmt: skip
                rows.append(
                    panel.key
                    | {"predictor": predictor, "search_steps": steps, "target": target}
                    | {"rho": rho.value, "low": rho.low, "high": rho.high}
                    | {"within_rho": within.value, "within_low": within.low, "within_high": within.high}
                    | {"within_networks": defined, "resamples": rho.resamples}
                    | panel.counts
                )
    return pd.DataFrame(rows)[CORRELATION_COLUMNS]


def about_speed(correlation: pd.DataFrame) -> pd.DataFrame:
    """The rows that claim C3 is about: rho of the points' or the centroids' speed and the extrapolation score."""
    return correlation[
        correlation.predictor.isin(["centroid_speed", "speed"]) & (correlation.target == "extrapolation_score")
    ]


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


def panels(slow_points: pd.DataFrame, spectrum: pd.DataFrame, scores: pd.DataFrame) -> Iterator[Panel]:
    """Every cell and protocol, and every cell with its protocols pooled (curriculum `all`).

    Args and Raises: as `correlate`.
    """
    check_table(slow_points, "slow_points", SLOW_POINT_COLUMNS, [*POINT, "search_steps"])
    check_table(spectrum, "spectrum", SPECTRUM_COLUMNS, [*POINT, "search_steps"], may_be_empty=SPECTRUM_COLUMNS[9:])
    check_table(scores, "scores", SCORE_COLUMNS, POINT)
    tables = {
        name: only_trained(frame, name).set_index(POINT).sort_index()
        for name, frame in [("slow_points", slow_points), ("spectrum", spectrum), ("scores", scores)]
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
            _complete(learned.learned.astype("object").unstack("label"), "scores", "label")
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
                f"tables {kind.table} and scores disagree about {_describe(odd.to_frame())}: only one of them has it. "
                "Run the slow-point, spectrum and extrapolate stages again."
            )
        if kind.table == "slow_points":
            _complete(values, kind.table, "search_steps")
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
