"""Censored regression against other implementations; predictions and comparisons where the answer is known."""

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import filled, spectrum_of
from jobs import Named
from scipy import optimize, stats

from memrnn.analysis.correlate import PREDICTORS, TARGETS, correlate, panels
from memrnn.analysis.predictors import (
    compare,
    network_errors,
    predict,
    tobit,
)
from memrnn.core.files import load_table, save_table
from memrnn.core.stats import bootstrap, bootstrap_mean, mean_interval, pooled_rho, rank_correlation
from memrnn.core.streams import stream
from memrnn.core.tables import TABLES, columns_of

SCRIPT = Path(__file__).parents[2] / "workflow" / "scripts" / "predictors.py"
DELAYS = {"max_delay": 20, "longest_delay": 1000}
BOOTSTRAP = {"resamples": 100, "confidence": 0.95, "seed": 0}
STEPS = 3000
POINT = ["dataset", "cell", "curriculum", "phase", "seed", "label"]
NETWORK = ["curriculum", "seed"]
ESTIMATES = [name for name, column in TABLES["predictors"].columns.items() if column.may_be_empty]
COMBINED = ("speed + drift + diffusion", "time_constant + drift + diffusion")
BUDGETS = {"slow_points": (300, STEPS), "relaxed": (40,)}
# Every model of the lifetime: predictors with their budgets, in order, combinations of them, and none.
SINGLE = [
    (name, steps)
    for name, kind in PREDICTORS.items()
    for steps in (BUDGETS.get(kind.table, (STEPS,)) if kind.at_budget else (0,))
]
MODELS = [*SINGLE, *((name, STEPS) for name in COMBINED), ("constant", 0)]


def tables(curricula=("decu", "vocu"), seeds=3, classes=6, learned=lambda curriculum, seed: True, cells=("gru",), **of):
    """Slow points, spectrum and scores; `of`: a predictor's name -> function of log10 lifetime, (points,) -> (points,).

    Lifetimes are random, from 30 to 3000 steps, and censored at 1000; a predictor that is not named is random.
    """
    rng = np.random.default_rng(11)
    keys = [
        ["digits", cell, curriculum, "trained", seed, label]
        for cell in cells
        for curriculum in curricula
        for seed in range(seeds)
        for label in range(classes)
    ]
    score = pd.DataFrame(keys, columns=POINT)
    true = rng.uniform(np.log10(30), np.log10(3000), len(score))
    score["extrapolation_score"] = score["memory_score"] = true / 4
    score["lifetime"], score["lifetime_censored"] = np.minimum(10**true, 1000), true >= 3
    score["memory_lifetime"], score["memory_lifetime_censored"] = score.lifetime, score.lifetime_censored
    score["learned"] = [learned(*network) for network in zip(score.curriculum, score.seed, strict=True)]
    made = {name: of[name](true) if name in of else 10 ** rng.normal(size=len(score)) for name in PREDICTORS}
    score["nominal_accuracy"] = made["nominal_accuracy"]
    early = 10 ** rng.normal(size=len(score))
    slow = pd.concat(
        score[POINT].assign(search_steps=steps, speed=speed, readout=0, start_speed=made["centroid_speed"])
        for steps, speed in ((300, early), (STEPS, made["speed"]))
    ).assign(nearest_distance=1.0)
    of_points = {kind.column: made[name] for name, kind in PREDICTORS.items() if kind.table == "spectrum"}
    return slow.reset_index(drop=True), spectrum_of(score, STEPS, **of_points), score


def with_relaxed(made):
    """The same tables with one of relaxed speeds, which are the least speeds of the window."""
    slow, spectrum, score = made
    relaxed = spectrum[POINT].assign(time=40, speed=spectrum.window_speed, readout=spectrum.label)
    return slow, spectrum, relaxed, score


def panels_of(made):
    return list(panels(*with_relaxed(made)))


def predicted(made, **changes):
    return predict(panels_of(made), **({"search_steps": STEPS} | DELAYS | changes))


def compared(made, predictions=None, **changes):
    predictions = predicted(made) if predictions is None else predictions
    return compare(panels_of(made), predictions, **({"search_steps": STEPS} | BOOTSTRAP | changes))


def of_model(predictions, model, panel="all", steps=None):
    found = predictions[(predictions.model == model) & (predictions.panel == panel)]
    return found if steps is None else found[found.search_steps == steps]


def row(table, predictor, curriculum="all", target="lifetime", steps=None, cell="gru"):
    found = table[(table.predictor == predictor) & (table.curriculum == curriculum) & (table.target == target)]
    found = found[found.cell == cell]
    found = found if steps is None else found[found.search_steps == steps]
    assert len(found) == 1
    return found.iloc[0]


class TestTobit:
    def simulated(self, points=80, beyond=0.4, seed=0):
        rng = np.random.default_rng(seed)
        x = rng.normal([3.0, -200.0], [2.0, 50.0], (points, 2))
        y = 1 + x @ [0.1, -0.01] + 0.3 * rng.normal(size=points)
        limit = np.quantile(y, 1 - beyond)
        return x, np.minimum(y, limit), y > limit

    @pytest.mark.parametrize("predictors", [0, 1, 2])
    def test_is_least_squares_where_nothing_is_censored(self, predictors):
        x, y, censored = self.simulated(beyond=0)
        x = x[:, :predictors]
        assert not censored.any()
        line = tobit(x, y, censored)
        coefficients, *_ = np.linalg.lstsq(np.column_stack([np.ones(len(y)), x]), y, rcond=None)
        assert [line.intercept, *line.slopes] == pytest.approx(coefficients, rel=1e-5)
        assert line.sigma == pytest.approx(np.sqrt(np.mean((y - line.at(x)) ** 2)), rel=1e-5)

    @pytest.mark.parametrize("beyond", [0.1, 0.5, 0.9])
    @pytest.mark.parametrize("predictors", [0, 1, 2])
    def test_has_the_greatest_likelihood(self, predictors, beyond):
        """Against the textbook's likelihood in intercept, slopes and log sigma, climbed without derivatives."""
        x, y, censored = self.simulated(beyond=beyond)
        x = x[:, :predictors] / [1.0, 50.0][:predictors]

        def loss(p):
            mean, sigma = p[0] + x @ p[1:-1], np.exp(p[-1])
            known = stats.norm.logpdf(y[~censored], mean[~censored], sigma).sum()
            return -known - stats.norm.logsf(y[censored], mean[censored], sigma).sum()

        line = tobit(x, y, censored)
        ours = np.array([line.intercept, *line.slopes, np.log(line.sigma)])
        options = {"xatol": 1e-8, "fatol": 1e-11, "maxfev": 20_000, "maxiter": 20_000}
        found = optimize.minimize(loss, [y.mean(), *np.zeros(predictors), 0.0], method="Nelder-Mead", options=options)
        assert ours == pytest.approx(found.x, abs=1e-4)

    def test_what_is_less_is_what_is_greater_upside_down(self):
        x, y, censored = self.simulated()
        line, other = tobit(x, y, censored), tobit(x, -y, -censored.astype(int))
        assert [-other.intercept, *-other.slopes, other.sigma] == pytest.approx(
            [line.intercept, *line.slopes, line.sigma], rel=1e-6
        )

    def test_censored_on_both_sides(self):
        x, y, _ = self.simulated(points=20_000, beyond=0)
        low, high = np.quantile(y, [0.3, 0.7])
        side = (y > high).astype(int) - (y < low)
        line = tobit(x, np.clip(y, low, high), side)
        assert line.slopes == pytest.approx([0.1, -0.01], rel=0.04)
        assert line.sigma == pytest.approx(0.3, rel=0.04)

    def test_finds_the_line_that_least_squares_bends(self):
        x, y, censored = self.simulated(points=20_000, beyond=0.5)
        line = tobit(x, y, censored)
        assert line.slopes == pytest.approx([0.1, -0.01], rel=0.03)
        assert line.intercept == pytest.approx(1, abs=0.05)
        assert line.sigma == pytest.approx(0.3, rel=0.03)
        assert tobit(x, y, np.zeros(len(y), bool)).slopes[0] < 0.08

    def test_what_is_told_exactly(self):
        x = np.linspace(0, 1, 30)[:, None]
        for limit in (9.0, 2.3):
            y = 2 + 0.5 * x[:, 0]
            line = tobit(x, np.minimum(y, limit), y > limit)
            assert [line.intercept, *line.slopes] == pytest.approx([2, 0.5], abs=1e-3)
            assert line.sigma < 1e-3

    def test_collinear_and_constant_predictors_change_nothing(self):
        x, y, censored = self.simulated()
        alone = tobit(x[:, :1], y, censored)
        more = np.column_stack([x[:, 0], 3 - 2 * x[:, 0], np.full(len(y), 0.1)])
        line = tobit(more, y, censored)
        assert line.at(more) == pytest.approx(alone.at(x[:, :1]), abs=1e-5)
        assert line.slopes[2] == pytest.approx(0, abs=1e-12)

    def test_units_do_not_matter(self):
        x, y, censored = self.simulated()
        line, other = tobit(x, y, censored), tobit(1e6 * x - 5, y + 100, censored)
        assert other.at(1e6 * x - 5) == pytest.approx(line.at(x) + 100, abs=1e-6)

    def test_little_or_nothing_known(self):
        x, y = np.arange(5.0)[:, None], np.full(5, 3.0)
        line = tobit(x, y, np.ones(5, bool))
        assert line.at(x).tolist() == [np.inf] * 5
        assert tobit(x, y, -np.ones(5)).at(x).tolist() == [-np.inf] * 5
        assert tobit(x, np.arange(5.0), [-1, -1, 1, 1, 1]).at(x).tolist() == [2.0] * 5
        y[2] = 1.0
        assert (tobit(x, y, np.arange(5) != 2).at(x) > 1.0).all()
        same = tobit(x, np.full(5, 0.1 + 0.2), np.zeros(5, bool))
        assert same.at(x) == pytest.approx(np.full(5, 0.3))

    def test_refuses(self):
        x, y, censored = self.simulated()
        with pytest.raises(ValueError, match=r"x \(80, 2\), y \(79,\), censored \(80,\)"):
            tobit(x, y[1:], censored)
        with pytest.raises(ValueError, match="one at least"):
            tobit(x[:0], y[:0], censored[:0])
        with pytest.raises(ValueError, match="one at least"):
            tobit(x[:, 0], y, censored)
        with pytest.raises(ValueError, match="not finite"):
            tobit(np.where(x > 3, np.inf, x), y, censored)


class TestPredict:
    def test_a_predictor_that_tells_the_lifetime_predicts_it(self):
        made = tables(speed=lambda true: 10 ** (-3 * true + 1))
        table = predicted(made)
        assert list(table.columns) == columns_of("predictions")
        found = of_model(table, "speed", steps=STEPS)
        assert len(found) == 36 and 0 < found.censored.sum() < 20
        assert found.predicted.to_numpy() == pytest.approx(found.lifetime.to_numpy(), rel=2e-3)
        assert (found.predicted[found.censored] == 1000).all()
        assert (found.lifetime[found.censored] == 1000).all()
        noise = of_model(table, "speed", steps=300)
        assert network_errors(noise).mean().item() > 20 * network_errors(found).mean().item()

    def test_by_hand(self):
        """Two networks without censoring: each is predicted by least squares through the other."""
        slow, spectrum, score = tables(curricula=("vocu",), seeds=2)
        score = score.assign(lifetime=np.minimum(score.lifetime, 900), lifetime_censored=False)
        found = of_model(predicted((slow, spectrum, score)), "diffusion", "vocu")
        x, y = np.log10(spectrum.diffusion.to_numpy()), np.log10(score.lifetime.to_numpy())
        of_first = 10 ** np.polyval(np.polyfit(x[6:], y[6:], 1), x[:6])
        of_second = 10 ** np.polyval(np.polyfit(x[:6], y[:6], 1), x[6:])
        expected = np.clip([*of_first, *of_second], 20, 1000)
        assert found.predicted.to_numpy() == pytest.approx(expected, rel=1e-5)
        constant = of_model(predicted((slow, spectrum, score)), "constant", "vocu")
        assert constant.predicted.to_numpy() == pytest.approx(
            10 ** np.repeat([y[6:].mean(), y[:6].mean()], 6), rel=1e-5
        )
        # The nominal accuracy enters as it is, without a logarithm.
        found = of_model(predicted((slow, spectrum, score)), "nominal_accuracy", "vocu")
        x = score.nominal_accuracy.to_numpy()
        of_first = 10 ** np.polyval(np.polyfit(x[6:], y[6:], 1), x[:6])
        assert found.predicted.to_numpy()[:6] == pytest.approx(np.clip(of_first, 20, 1000), rel=1e-5)

    def test_predictions_are_cut_to_what_is_measured(self):
        slow, spectrum, score = tables(speed=lambda true: 10**-true)
        speed = slow.speed.mask(slow.index == 36 + 2, 1e40).mask(slow.index == 36 + 4, 1e-7)
        found = of_model(predicted((slow.assign(speed=speed), spectrum, score)), "speed", steps=STEPS).predicted
        assert (found.iloc[2], found.iloc[4]) == (20, 1000)
        assert found.between(20, 1000).all()

    def test_a_network_does_not_enter_its_own_prediction(self):
        slow, spectrum, score = tables()
        before = predicted((slow, spectrum, score))
        mine = (score.curriculum == "vocu") & (score.seed == 1)
        after = predicted((slow, spectrum, score.assign(lifetime=score.lifetime.mask(mine, 50.0))))
        mine = (before.curriculum == "vocu") & (before.seed == 1)
        pd.testing.assert_series_equal(before.predicted[mine], after.predicted[mine])
        # Nor does it enter that of the other protocol's network of its seed.
        others = (before.panel == "all") & (before.model == "constant")
        changed = before.predicted[others] != after.predicted[others]
        assert changed.eq(before.seed[others] != 1).all()

    def test_what_a_seed_has_of_its_own_cannot_be_predicted(self):
        """Each seed's lifetimes lie apart, alike in both protocols, and its predictor is a name tag, not a reason."""
        slow, spectrum, score = tables(seeds=4)
        tag = score.seed.map({0: 50.0, 1: 400.0, 2: 60.0, 3: 380.0})
        score = score.assign(lifetime=tag, lifetime_censored=False)
        spectrum = spectrum.assign(drift=10.0 ** score.seed.to_numpy())
        found = predicted((slow, spectrum, score))
        errors = network_errors(found[found.panel == "all"]).mean()
        assert errors["drift", STEPS] > 0.9 * errors["constant", 0] > 0.3
        # Leaving out the network alone would fit the tag.
        x, y, network = np.log10(spectrum.drift), np.log10(tag), score.groupby(["curriculum", "seed"]).ngroup()
        lines = [tobit(x[network != one].to_numpy()[:, None], y[network != one], np.zeros(42)) for one in range(8)]
        off = [
            np.abs(line.at(x[network == one].to_numpy()[:, None]) - y[network == one]).mean()
            for one, line in enumerate(lines)
        ]
        assert np.mean(off) < 0.75 * errors["drift", STEPS]

    def test_a_class_at_chance_is_known_to_last_no_longer_than_the_nominal_delay(self):
        slow, spectrum, score = tables(diffusion=lambda true: 10**-true)
        lost = score.label == 2
        at_chance = score.assign(
            lifetime=score.lifetime.mask(lost, 20.0), lifetime_censored=score.lifetime_censored & ~lost
        )
        # so weak that the line goes far below what can be measured
        spectrum = spectrum.assign(diffusion=spectrum.diffusion.mask(lost.to_numpy(), 1e6))
        table = predicted((slow, spectrum, at_chance))
        assert table.at_chance.equals(table.label == 2)
        found = of_model(table, "diffusion")
        assert found.predicted.to_numpy() == pytest.approx(found.lifetime.to_numpy(), rel=5e-3)
        counted = row(compared((slow, spectrum, at_chance)), "diffusion")
        assert (counted.at_chance, counted.absorbing, counted.points) == (6, 0, 36)

    def test_absorbing_classes_are_named_and_counted(self):
        slow, spectrum, score = tables()
        ends = spectrum.label.mask((spectrum.curriculum == "vocu") & (spectrum.seed == 1), 4)
        made = slow, spectrum.assign(relaxation_readout=ends), score
        table = predicted(made)
        assert table.absorbing.equals((table.curriculum == "vocu") & (table.seed == 1) & (table.label == 4))
        found = compared(made, table)
        assert row(found, "drift").absorbing == row(found, "drift", "vocu", "extrapolation_score").absorbing == 1
        assert row(found, "drift", "decu").absorbing == 0

    def test_panels_and_order_of_rows_do_not_matter(self):
        made = tables(cells=("gru", "lstm"))
        table = predicted(made)
        mixed = predicted([frame.sample(frac=1, random_state=at) for at, frame in enumerate(made)])
        pd.testing.assert_frame_equal(table, mixed)
        alone = predicted([frame[(frame.cell == "lstm") & (frame.curriculum == "vocu")] for frame in made])
        rows = table[(table.cell == "lstm") & (table.panel == "vocu")]
        pd.testing.assert_frame_equal(alone[alone.panel == "vocu"].reset_index(drop=True), rows.reset_index(drop=True))

    def test_every_model_has_every_point_of_its_panel(self):
        table = predicted(tables())
        sizes = table.groupby(["panel", "model", "search_steps"]).size()
        assert {index[1:] for index in sizes.index} == set(MODELS)
        assert sizes.to_dict() == {
            (panel, *m): 36 if panel == "all" else 18 for panel in ("all", "decu", "vocu") for m in MODELS
        }
        assert (table.panel[table.panel != "all"] == table.curriculum[table.panel != "all"]).all()

    def test_networks_that_have_not_learned_are_kept_and_neither_fitted_nor_predicted(self):
        made = tables(learned=lambda curriculum, seed: curriculum == "vocu" or seed == 2)
        slow, spectrum, score = made
        table = predicted(made)
        assert (table.predicted.notna() == (table.learned & (table.panel != "decu"))).all()
        changed = score.assign(lifetime=score.lifetime.where(score.learned, 25.0))
        after = predicted((slow, spectrum, changed))
        pd.testing.assert_series_equal(table.predicted, after.predicted)
        nothing = predicted(tables(learned=lambda *network: False))
        assert len(nothing) == len(table) and nothing.predicted.isna().all()

    def test_all_censored_is_predicted_as_the_longest_delay(self):
        slow, spectrum, score = tables()
        table = predicted((slow, spectrum, score.assign(lifetime=1000.0, lifetime_censored=True)))
        assert table.predicted.to_numpy() == pytest.approx(np.full(len(table), 1000.0))

    def test_a_speed_of_zero_counts_as_the_floor(self):
        slow, spectrum, score = tables(speed=lambda true: 10 ** (-true))
        zero = slow.assign(speed=slow.speed.mask(slow.label == 3, 0.0))
        floor = slow.assign(speed=slow.speed.mask(slow.label == 3, PREDICTORS["speed"].floor))
        table = predicted((zero, spectrum, score))
        assert table.predicted.notna().all()
        pd.testing.assert_frame_equal(table, predicted((floor, spectrum, score)))

    def test_what_the_spectrum_could_not_tell_is_not_fitted(self):
        slow, spectrum, score = tables()
        holed = spectrum.assign(drift=spectrum.drift.mask((spectrum.curriculum == "vocu") & (spectrum.label == 2)))
        table, before = predicted((slow, holed, score)), predicted((slow, spectrum, score))
        lost = table.model.str.contains("drift") & (table.panel != "decu")
        assert table.predicted[lost].isna().all()
        pd.testing.assert_frame_equal(table[~lost], before[~lost])

    def test_refuses(self):
        slow, spectrum, score = made = tables()
        with pytest.raises(
            ValueError, match=r"lifetimes from .* to 1000; expected them within the delays measured, 20 to 500"
        ):
            predicted(made, longest_delay=500)
        with pytest.raises(ValueError, match=r"search budgets \[300, 3000\]; expected 1000 \(claims.search_steps\)"):
            predicted(made, search_steps=1000)
        with pytest.raises(ValueError, match=r"relaxed and scores disagree about .*curriculum=vocu"):
            predicted((slow, spectrum[spectrum.curriculum != "vocu"], score))
        with pytest.raises(ValueError, match=r"slow_points and scores disagree about .*label=5"):
            predicted((slow[slow.label < 5], spectrum, score))


def test_intervals_hold_what_is_true():
    """Of five networks: two predictors with equal noise, which differ by nothing in rho, alone and within networks; and
    one that knows nothing, which gains nothing on another such one."""
    rng, seeds, experiments = np.random.default_rng(2), np.arange(5), 150
    held = {"rho": 0, "within": 0, "gain": 0}

    def noise(shared=0.15, own=0.3):  # (networks, classes)
        return rng.normal(0, shared, (5, 1)) + rng.normal(0, own, (5, 6))

    for experiment in range(experiments):
        true, source = 2.3 + noise(), stream(experiment, "coverage")
        y, censored = np.minimum(true, 3.0), true >= 3.0
        one, other = true + noise(), true + noise()
        first, second = pooled_rho(one, y), pooled_rho(other, y)
        found = bootstrap(
            lambda drawn, a=first, b=second: a(drawn) - b(drawn), seeds, source, 100, 0.95, bounds=(-2, 2)
        )
        held["rho"] += found.low <= 0 <= found.high
        within = rank_correlation(one, y) - rank_correlation(other, y)
        found = bootstrap_mean(within, seeds, source, 100, 0.95, bounds=(-2, 2))
        held["within"] += found.low <= 0 <= found.high
        errors = []
        for x in (noise(), noise()):
            lines = [
                tobit(x[rest].reshape(-1, 1), y[rest].ravel(), censored[rest].ravel())
                for rest in ~np.eye(5, dtype=bool)
            ]
            errors.append(
                [np.abs(np.minimum(line.at(x[at, :, None]), 3) - y[at]).mean() for at, line in enumerate(lines)]
            )
        _, low, high = mean_interval(np.subtract(*errors), 0.95)
        held["gain"] += low <= 0 <= high
    assert min(held.values()) > 0.88 * experiments, held


class TestCompare:
    def test_rho_is_that_of_the_correlation_as_expected(self):
        made = tables()
        table, correlation = compared(made), correlate(*with_relaxed(made), **BOOTSTRAP)
        assert list(table.columns) == columns_of("predictors")
        keys = ["dataset", "cell", "curriculum", "target", "predictor", "search_steps"]
        both = table[~table.predictor.isin([*COMBINED, "constant"])].merge(correlation, on=keys, validate="one_to_one")
        assert len(both) == len(correlation)
        sign = both.predictor.map({name: kind.sign for name, kind in PREDICTORS.items()})
        np.testing.assert_array_equal(both.rho_x, sign * both.rho_y)
        np.testing.assert_array_equal(both.within_rho_x, sign * both.within_rho_y)
        np.testing.assert_allclose(both.low_x, np.where(sign > 0, both.low_y, -both.high_y), rtol=0, atol=1e-12)
        assert (both.networks_x == both.networks_y).all() and (both.points_x == both.points_y).all()

    def test_every_predictor_that_does_what_is_expected_is_positive(self):
        of = {name: lambda true, sign=kind.sign: 10 ** (sign * true) for name, kind in PREDICTORS.items()}
        made = tables(**of)
        made[2]["lifetime_censored"] = False
        made[2]["lifetime"] = 10 ** (made[2].extrapolation_score * 4 / 3)  # below 1000, so nothing is tied
        made[2]["memory_lifetime"] = made[2].lifetime
        table = compared(made, predicted(made, max_delay=1, longest_delay=10_000))
        known = table[(table.search_steps != 300) & table.rho.notna()]
        assert len(known) == 3 * len(TARGETS) * len(PREDICTORS)
        assert known.rho.to_numpy() == pytest.approx(np.ones(len(known)))
        others = known[known.predictor != "speed"]
        assert others.over_speed.to_numpy() == pytest.approx(0)
        assert others[["over_speed_low", "over_speed_high"]].isna().all(axis=None)  # not a sign of certainty
        assert others.within_over_speed.to_numpy() == pytest.approx(0)

    def test_differences_by_hand(self):
        """Of networks that are alike: rho of -0.2 and 0.4 differ by 0.6 in every resample, and have no interval."""
        slow, spectrum, score = tables(curricula=("vocu",), classes=4)
        score = score.assign(
            lifetime=100.0 + score.label, lifetime_censored=False, nominal_accuracy=[0.3, 0.1, 0.2, 0.4] * 3
        )
        slow = slow.assign(speed=np.tile([1.0, 4, 3, 2], 6))
        table = compared((slow, spectrum.assign(drift=[4.0, 3, 2, 1] * 3), score))
        # Speed rises as 1, 4, 3, 2: rho 0.2, against what is expected. Accuracy rises as 3, 1, 2, 4: rho 0.4.
        assert row(table, "speed", steps=STEPS).rho == pytest.approx(-0.2)
        found = row(table, "nominal_accuracy")
        assert [found.rho, found.over_speed] == pytest.approx([0.4, 0.6])
        assert np.isnan(found.over_speed_low) and np.isnan(found.within_over_speed_high)
        assert found[["over_nominal", "over_nominal_low", "gain", "within_over_nominal"]].isna().all()
        found = row(table, "drift")
        assert [found.rho, found.over_speed, found.over_nominal] == pytest.approx([1, 1.2, 0.6])
        assert [found.within_over_speed, found.within_over_nominal] == pytest.approx([1.2, 0.6])
        assert row(table, "speed", steps=STEPS)[["over_speed", "over_speed_high", "within_over_speed"]].isna().all()

    def test_errors_and_gains_are_paired_over_networks(self):
        made = tables()
        predictions = predicted(made)
        table = compared(made, predictions)
        errors = {}
        for model in ("time_constant", "nominal_accuracy", "time_constant + drift + diffusion"):
            rows = of_model(predictions, model)
            off = np.abs(np.log10(rows.predicted) - np.log10(rows.lifetime))
            errors[model] = off.groupby(rows.seed).mean().to_numpy()  # both networks of a seed have six classes
        found = row(table, "time_constant")
        for name, values in [
            ("error", errors["time_constant"]),
            ("gain", errors["nominal_accuracy"] - errors["time_constant"]),
        ]:
            interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
            expected = [values.mean(), max(interval.low, 0) if name == "error" else interval.low, interval.high]
            assert [found[name], found[f"{name}_low"], found[f"{name}_high"]] == pytest.approx(expected)
        assert np.isnan(found.noise_gain)
        found = row(table, "time_constant + drift + diffusion")
        expected = (errors["time_constant"] - errors["time_constant + drift + diffusion"]).mean()
        assert found.noise_gain == pytest.approx(expected)
        assert row(table, "nominal_accuracy").error == pytest.approx(errors["nominal_accuracy"].mean())
        assert np.isnan(row(table, "nominal_accuracy").gain)
        # Errors are in the lifetime alone.
        assert table.error[table.target == "extrapolation_score"].isna().all()
        assert set(table.predictor[table.rho.isna()]) == {*COMBINED, "constant"}

    def test_what_tells_the_lifetime_gains_and_noise_adds_what_it_tells(self):
        rng = np.random.default_rng(1)
        noise = rng.normal(0, 0.7, 36)
        made = tables(speed=lambda true: 10 ** (-true + noise), diffusion=lambda true: 10**noise)
        table = compared(made)
        # Speed and diffusion together tell it exactly.
        found = row(table, COMBINED[0])
        assert found.error < 0.01
        assert found.noise_gain_low > 0.1 and found.gain_low > 0.1
        assert row(table, "speed", steps=STEPS).error > 0.2
        made = tables(relaxation_speed=lambda true: 10**-true)
        found = row(compared(made), "relaxation_speed")
        assert (
            found.error < 0.01 and found.gain_low > 0.1 and found.over_nominal_low > 0.5 and found.over_speed_low > 0.2
        )

    def test_counts(self):
        made = tables(learned=lambda curriculum, seed: (curriculum, seed) != ("vocu", 1))
        table = compared(made)
        score = made[2][made[2].learned]
        for curriculum, networks, left_out in (("decu", 3, 0), ("vocu", 2, 1), ("all", 5, 1)):
            here = score if curriculum == "all" else score[score.curriculum == curriculum]
            rows = table[table.curriculum == curriculum]
            assert (rows.networks == networks).all() and (rows.left_out == left_out).all()
            assert (rows.points == 6 * networks).all() and (rows.censored == here.lifetime_censored.sum()).all()
            assert (
                rows.error.notna().sum() == len(MODELS) and (rows.within_networks[rows.rho.notna()] == networks).all()
            )

    def test_no_network_that_learned_has_no_estimates(self):
        table = compared(tables(learned=lambda *network: False))
        assert table[ESTIMATES].isna().all(axis=None)
        assert (table.resamples == 0).all() and table.left_out[table.curriculum == "all"].eq(6).all()

    def test_one_network_has_ranks_without_intervals_and_predicts_nothing(self):
        table = compared(tables(seeds=1, curricula=("vocu",)))
        bounds = [name for name in ESTIMATES if name.endswith(("_low", "_high")) or name in ("low", "high")]
        assert table[[*bounds, "error", "gain", "noise_gain"]].isna().all(axis=None)
        assert table.loc[table.predictor.isin(PREDICTORS), ["rho", "within_rho"]].notna().all(axis=None)
        assert (table.resamples == 0).all() and (table.left_out == 0).all()

    def test_equal_lifetimes_have_no_rho_but_are_predicted(self):
        slow, spectrum, score = tables()
        made = slow, spectrum, score.assign(lifetime=200.0, lifetime_censored=False)
        table = compared(made)
        rows = table[table.target == "lifetime"]
        assert rows[["rho", "low", "over_speed", "within_rho", "within_over_nominal"]].isna().all(axis=None)
        assert (rows.within_networks == 0).all()
        assert rows.error.to_numpy() == pytest.approx(0, abs=1e-6)

    def test_panels_do_not_depend_on_each_other(self):
        made = tables(cells=("gru", "lstm"))
        table = compared(made)
        alone = compared([frame[(frame.cell == "lstm") & (frame.curriculum == "decu")] for frame in made])
        rows = table[(table.cell == "lstm") & (table.curriculum == "decu")].reset_index(drop=True)
        pd.testing.assert_frame_equal(alone[alone.curriculum == "decu"].reset_index(drop=True), rows)

    def test_tables_survive_their_files(self, tmp_path):
        made = tables(learned=lambda curriculum, seed: curriculum == "vocu")
        predictions = predicted(made)
        for name, table in (("predictions", predictions), ("predictors", compared(made, predictions))):
            save_table(tmp_path / "table.csv", table, name)
            back = load_table(tmp_path / "table.csv", name)
            pd.testing.assert_frame_equal(back, table, rtol=1e-7, check_dtype=name == "predictions")


def test_script(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # the log of a script sets it
    made = tables()
    made[1]["relaxation_kept"] = made[1].relaxation_kept.round()  # a number of steps
    names = ("slow_points", "spectrum", "relaxed", "scores")
    paths = {name: str(tmp_path / f"{name}.csv") for name in (*names, "predictors", "predictions")}
    for name, table in zip(names, with_relaxed(made), strict=True):
        save_table(paths[name], filled(name, table), name)
    job = SimpleNamespace(
        input={name: paths[name] for name in names},
        output=Named(predictors=paths["predictors"], predictions=paths["predictions"]),
        params=Named(correlate=BOOTSTRAP | {"learned_level": 0.5}, search_steps=STEPS, delays=DELAYS),
        log=[str(tmp_path / "predictors.log")],
    )
    runpy.run_path(str(SCRIPT), init_globals={"snakemake": job})
    table = load_table(paths["predictors"], "predictors")
    pd.testing.assert_frame_equal(table, compared(made), rtol=1e-6, atol=1e-7, check_dtype=False)
    assert len(load_table(paths["predictions"], "predictions")) == 36 * 2 * len(MODELS)
    assert (
        "gru all, time_constant + drift + diffusion at 3000 search steps" in (tmp_path / "predictors.log").read_text()
    )
