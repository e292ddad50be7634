"""Which predictor of memory is best? Rank correlations compared on the same networks, and lifetimes predicted.

Ranks. Every predictor of `correlate.PREDICTORS` has an expected sign; an oriented rho is positive where the predictor
does what is expected. It is compared with that of the reference, the speed at the budget of the claims, and with that
of the null predictor, the nominal accuracy, which needs no look at the dynamics. The difference is taken within each
resample of `correlate.bootstrap`, so that what the two share cancels; its interval is that function's, cut to [-2, 2].

Prediction. The lifetimes of a network's classes are predicted from the panel's networks of all other seeds (those of
its own seed share its initial weights and its images under the other protocols), by a straight line between log10
lifetime and the predictor (its log10, but for the nominal accuracy). A censored lifetime is known to be longer than the
longest delay and nothing else, that of a class that is at chance at T_max to be no longer than that, and they enter as
what they are (`tobit`). Predictions are cut to what can be measured, T_max to the longest delay. The error of a network
is the mean over its classes of |log10 predicted - log10 measured|, where a censored lifetime counts as the longest
delay, and one at chance as T_max. Models: `constant`, which knows the other networks' lifetimes alone; each single
predictor; speed, and time constant, with the drift and diffusion that noise causes at the point. A gain is a difference
of two models' errors, paired by network, positive where it is an improvement. Errors and gains are means over seeds of
the mean over a seed's networks, with Student's t interval over seeds. Two fits share most of their networks, so errors
are not quite independent.

How to read `relaxation_speed`. It holds the outcome: it is the least of the more speeds the longer the class is kept
without noise. `relaxation_kept` is that noise-free lifetime alone, the outcome but for the noise; `window_speed`, the
least speed on the same way through its first steps, whatever is answered there, cannot hold it. What `relaxation_speed`
has over `window_speed` it may owe to the outcome. Of a class that the others decay into, the lifetime says little
(`correlate.absorbing`); how many there are is counted.

Share of 95 % intervals that held the true value, measured over 300 simulated experiments in each of six settings (two
predictors equally good, with noise of their own or in part the same, or differing by 0.35 in rho; 2 to 4 % or 26 to
39 % of lifetimes censored; ten classes per network):

    seeds (one protocol)         2           3           4           8
    difference of rho            0.99-1.00   0.97-0.99   0.98-0.99   0.96-0.98
    the same, within networks    0.94-0.96   0.94-0.96   0.95-0.97   0.92-0.95
    gain                         0.87-0.95   0.90-0.94   0.91-0.94   0.91-0.95

Nothing is corrected for the number of predictors: of many that are alike, the best looking one looks better than it is.

Needs no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import log_ndtr

from memrnn.analysis.correlate import PREDICTORS, TARGETS, Panel
from memrnn.core.stats import Estimate, bootstrap, bootstrap_mean, mean_interval, pooled_rho, rank_correlation
from memrnn.core.tables import columns_of

REFERENCE, NULL, CONSTANT = "speed", "nominal_accuracy", "constant"
NOISE = ("drift", "diffusion")
WITH_NOISE = ("speed", "time_constant")  # are also fitted together with those of the noise
RIDGE = 1e-6  # see `tobit`
# Newton's steps at most, and the logarithm of likelihood left to climb at which they end.
NEWTON_STEPS, LEFT_TO_CLIMB = 200, 1e-10

DIFFERENCES = ("over_speed", "over_nominal")  # of oriented rho, to the reference and to the null predictor


def _with_bounds(*names: str) -> list[str]:
    return [f"{name}{end}" for name in names for end in ("", "_low", "_high")]


class Line(NamedTuple):
    """y = intercept + x @ slopes, give or take sigma."""

    intercept: float
    slopes: np.ndarray
    sigma: float

    def at(self, x: np.ndarray) -> np.ndarray:
        """(points,) from (points, predictors)."""
        return self.intercept + x @ self.slopes


def tobit(x: np.ndarray, y: np.ndarray, censored: np.ndarray) -> Line:
    """Straight line of greatest Gaussian likelihood through values of which some are only known to be greater or less.

    Where nothing is censored that is least squares. Newton's method in the unknowns slopes / sigma and 1 / sigma, in
    which the logarithm of the likelihood is concave (Olsen 1978), of standardised x and y. RIDGE / 2 times the sum of
    the squared unknowns is taken off, as much as a millionth of a value weighs: it makes the maximum unique where
    predictors are collinear or tell y exactly, and keeps sigma above y's spread times sqrt(RIDGE / points).

    Args:
        x: (points, predictors), possibly (points, 0); a predictor that does not vary gets the slope 0.
        y: (points,); of a censored point, the value on one side of which it lies.
        censored: (points,), 0 (or False) where y is known, 1 (or True) where it is greater, -1 where it is less.
    Returns:
        the line. Where all points are censored there is none to fit; slopes are 0, sigma is NaN, and the intercept is
        where the likelihood rises to, inf or -inf, if all lie on one side, and else the mean of y.
    Raises:
        ValueError: no points, shapes that disagree, or values that are not finite.
    Source: Tobin 1958; Olsen 1978, Econometrica 46, 1211.
    """
    if x.ndim != 2 or not len(x) == len(y) == len(censored) > 0:
        raise ValueError(f"x {x.shape}, y {y.shape}, censored {censored.shape}; expected the same points, one at least")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("x or y has values that are not finite; expected finite ones")
    side = np.asarray(censored).astype(int)
    if side.all():
        level = y.mean() if len(np.unique(side)) > 1 else side[0] * np.inf
        return Line(float(level), np.zeros(x.shape[1]), np.nan)
    x_mean, x_spread = _moments(x)
    y_mean, y_spread = _moments(y)
    # (points, unknowns): rows @ unknowns is (intercept + x slopes - y) / sigma
    rows = np.column_stack([np.ones(len(y)), (x - x_mean) / x_spread, -(y - y_mean) / y_spread])
    known, beyond = rows[side == 0], (side[:, None] * rows)[side != 0]  # to lie below is to lie above, upside down

    def height(unknowns: np.ndarray) -> float:
        if unknowns[-1] <= 0:
            return -np.inf
        squares = ((known @ unknowns) ** 2).sum() + RIDGE * (unknowns @ unknowns)
        return len(known) * np.log(unknowns[-1]) - squares / 2 + log_ndtr(beyond @ unknowns).sum()

    unknowns = np.zeros(rows.shape[1])
    unknowns[-1] = 1.0
    for _ in range(NEWTON_STEPS):
        above = beyond @ unknowns
        hazard = np.exp(-(above**2) / 2 - log_ndtr(above)) / np.sqrt(2 * np.pi)  # derivative of log_ndtr
        slope = beyond.T @ hazard - known.T @ (known @ unknowns) - RIDGE * unknowns
        slope[-1] += len(known) / unknowns[-1]
        bend = known.T @ known + (beyond.T * (hazard * (above + hazard))) @ beyond + RIDGE * np.eye(len(unknowns))
        bend[-1, -1] += len(known) / unknowns[-1] ** 2
        step = np.linalg.solve(bend, slope)
        if slope @ step < LEFT_TO_CLIMB:
            break
        here = height(unknowns)
        while height(unknowns + step) < here:  # too far, or to where sigma is negative
            step /= 2
        unknowns = unknowns + step
    sigma = y_spread / unknowns[-1]
    slopes = sigma * unknowns[1:-1] / x_spread
    return Line(float(y_mean + sigma * unknowns[0] - slopes @ x_mean), slopes, float(sigma))


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation along the first axis; 1 for the latter where values do not vary."""
    mean, spread = values.mean(axis=0), values.std(axis=0)
    return mean, np.where(spread > 1e-12 * np.abs(mean), spread, 1.0)  # rounding is no variation


def models(panel: Panel, search_steps: int) -> dict[tuple[str, int], list[tuple[str, int]]]:
    """Predictors of every model, by the model's name and the search budget of its first predictor.

    Raises:
        ValueError: no speed was stored at that budget.
    """
    columns = list(panel.predictors.columns)
    if (REFERENCE, search_steps) not in columns:
        stored = [steps for name, steps in columns if name == REFERENCE]
        raise ValueError(
            f"table slow_points has the search budgets {stored}; expected {search_steps} (claims.search_steps) among "
            "them. Choose one of slow_points.search_steps."
        )
    found = {column: [column] for column in columns}
    noise = [column for column in columns if column[0] in NOISE]
    for first in columns:
        if first[0] in WITH_NOISE and (first[0] != REFERENCE or first[1] == search_steps):
            found[" + ".join([first[0], *NOISE]), first[1]] = [first, *noise]
    return found | {(CONSTANT, 0): []}


def predict(
    panels: Sequence[Panel],
    *,
    search_steps: int,
    max_delay: int,
    longest_delay: int,
) -> pd.DataFrame:
    """Lifetimes of every network's classes, predicted from the networks of other seeds of its panel.

    Args:
        panels: of `correlate.panels`.
        search_steps: budget of the speed that is fitted together with the noise.
        max_delay, longest_delay: T_max and the longest delay measured, in time steps; predictions are cut to them.
    Returns:
        the table `predictions`, for each network and class, by `model` and by the `panel` whose networks are fitted.
        `at_chance` marks classes without a memory at T_max, `absorbing` those of `correlate.absorbing`.
        `predicted` (time steps) is empty where the network has not learned, none of another seed has, or a predictor is
        not known of every point.
    Raises:
        ValueError: no speed was stored at that budget, or a lifetime lies outside the delays.
    """
    frames = []
    for panel in panels:
        if not panel.everyone.lifetime.between(max_delay, longest_delay).all():
            found = panel.everyone.lifetime.min(), panel.everyone.lifetime.max()
            raise ValueError(
                "table scores has lifetimes from {:g} to {:g}; expected them within the delays measured, {} to {}. "
                "Run the correlate stage again.".format(*found, max_delay, longest_delay)
            )
        rows = panel.everyone.reset_index().rename(columns={"lifetime_censored": "censored"})
        # No other class has this lifetime (`correlate.lifetimes`).
        rows = rows.assign(panel=panel.key["curriculum"], at_chance=rows.lifetime == max_delay)
        learned = rows.learned.to_numpy()
        lifetime = np.log10(rows.lifetime.to_numpy()[learned])
        side = (rows.censored.astype(int) - rows.at_chance.astype(int)).to_numpy()[learned]
        seeds = rows.seed.to_numpy()[learned]
        for (model, steps), columns in models(panel, search_steps).items():
            values = np.full(len(lifetime), np.nan)
            x = _regressors(panel, columns)
            if np.isfinite(x).all():
                for seed in np.unique(seeds) if len(np.unique(seeds)) > 1 else ():
                    here = seeds == seed
                    values[here] = tobit(x[~here], lifetime[~here], side[~here]).at(x[here])
            predicted = np.full(len(rows), np.nan)
            with np.errstate(over="ignore"):  # what overflows is cut
                predicted[learned] = np.clip(10**values, max_delay, longest_delay)
            frames.append(rows.assign(model=model, search_steps=steps, predicted=predicted))
    return pd.concat(frames, ignore_index=True)[columns_of("predictions")]


def _regressors(panel: Panel, columns: list[tuple[str, int]]) -> np.ndarray:
    """(points, predictors), as they enter a line."""
    x = np.empty((len(panel.predictors), len(columns)))
    for place, column in enumerate(columns):
        values = panel.predictors[column].to_numpy(float)
        x[:, place] = values if PREDICTORS[column[0]].floor is None else np.log10(values)
    return x


def compare(
    panels: Sequence[Panel],
    predictions: pd.DataFrame,
    *,
    search_steps: int,
    resamples: int,
    confidence: float,
    seed: int,
) -> pd.DataFrame:
    """Every predictor against the reference and the null predictor, for every cell and protocol.

    Args:
        panels: of `correlate.panels`.
        predictions: what `predict` returned for them.
        resamples, confidence, seed: as for `correlate.correlate`; the resamples are the same, and so are rho and its
            interval but for the sign.
        search_steps: budget of the reference, the speed.
    Returns:
        the table `predictors`, for the lifetime also with a row per further model. Differences of the mean within
        networks are over those that have both. What cannot be computed, or makes no sense, is NaN.
    Raises:
        ValueError: no speed was stored at that budget.
    """
    settings = {"resamples": resamples, "confidence": confidence}
    rows = []
    for panel in panels:
        of_panel = predictions[
            (predictions.dataset == panel.key["dataset"])
            & (predictions.cell == panel.key["cell"])
            & (predictions.panel == panel.key["curriculum"])
        ]
        errors = network_errors(of_panel)
        everything = models(panel, search_steps)
        one = of_panel[of_panel.learned & (of_panel.model == CONSTANT)]  # a row per point
        shared = panel.counts | {name: int(one[name].sum()) for name in ("censored", "at_chance", "absorbing")}
        for target in TARGETS:
            ranks = _Ranks(panel, target, panel.stream(seed), settings)
            for model in everything:
                single = model in panel.predictors.columns
                if not single and target != "lifetime":
                    continue
                row = panel.key | {"target": target, "predictor": model[0], "search_steps": model[1]} | shared
                row |= {"within_networks": 0, "resamples": 0}
                if single:
                    row |= ranks.row(model, (REFERENCE, search_steps), (NULL, 0))
                if target == "lifetime":
                    row |= _error_row(errors, model, everything, confidence)
                rows.append(row)
    return pd.DataFrame(rows).reindex(columns=columns_of("predictors"))


class _Ranks:
    """Oriented rank correlations of a panel's predictors with one target, and their differences."""

    def __init__(self, panel: Panel, target: str, source: np.random.SeedSequence, settings: dict[str, Any]) -> None:
        self.clusters, self.source, self.settings = panel.clusters, source, settings
        y = panel.grid(panel.scores[target])
        self.pooled, self.within = {}, {}
        for column in panel.predictors.columns:
            x = PREDICTORS[column[0]].sign * panel.grid(panel.predictors[column])
            if x.size and not np.isnan(x).any():
                self.pooled[column], self.within[column] = pooled_rho(x, y), rank_correlation(x, y)

    def row(self, column: tuple[str, int], reference: tuple[str, int], null: tuple[str, int]) -> dict[str, Any]:
        """Columns of the table for one predictor."""
        if column not in self.pooled:
            return {}
        rho = bootstrap(self.pooled[column], self.clusters, self.source, **self.settings)
        within = bootstrap_mean(self.within[column], self.clusters, self.source, **self.settings)
        found: dict[str, Any] = {"rho": rho.value, "low": rho.low, "high": rho.high, "resamples": rho.resamples}
        found |= {"within_rho": within.value, "within_low": within.low, "within_high": within.high}
        found["within_networks"] = int((~np.isnan(self.within[column])).sum())
        for name, other in zip(DIFFERENCES, (reference, null), strict=True):
            if other != column and other in self.pooled:
                found |= _cells(name, self.difference(column, other))
                found |= _cells(f"within_{name}", self.within_difference(column, other))
        return found

    def difference(self, one: tuple[str, int], other: tuple[str, int]) -> Estimate:
        first, second = self.pooled[one], self.pooled[other]
        return bootstrap(
            lambda drawn: first(drawn) - second(drawn), self.clusters, self.source, **self.settings, bounds=(-2.0, 2.0)
        )

    def within_difference(self, one: tuple[str, int], other: tuple[str, int]) -> Estimate:
        values = self.within[one] - self.within[other]
        return bootstrap_mean(values, self.clusters, self.source, **self.settings, bounds=(-2.0, 2.0))


def network_errors(predictions: pd.DataFrame) -> pd.DataFrame:
    """Mean over a network's classes of |log10 predicted - log10 lifetime|, of one panel of `predict`'s table.

    Returns:
        one row per network that has predictions, one column per (model, search_steps) that has.
    """
    known = predictions.dropna(subset="predicted")
    off = (np.log10(known.predicted) - np.log10(known.lifetime)).abs()
    keys = [known[name] for name in ("curriculum", "seed", "model", "search_steps")]
    return off.groupby(keys).mean().unstack(["model", "search_steps"])


def _error_row(
    errors: pd.DataFrame,
    model: tuple[str, int],
    models: dict[tuple[str, int], list[tuple[str, int]]],
    confidence: float,
) -> dict[str, float]:
    """Columns of the table for one model's errors."""
    if model not in errors:
        return {}
    errors = errors.groupby(level="seed").mean()  # networks of one seed are no independent evidence
    found = _cells("error", mean_interval(errors[model], confidence, (0.0, np.inf)))
    without_noise = models[model][0] if len(models[model]) > 1 else None
    for name, other in (("gain", (NULL, 0)), ("noise_gain", without_noise)):
        if other in errors and other != model:
            found |= _cells(name, mean_interval(errors[other] - errors[model], confidence))
    return found


def _cells(name: str, estimate: Sequence[float]) -> dict[str, float]:
    return dict(zip(_with_bounds(name), estimate[:3], strict=True))
