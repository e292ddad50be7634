"""Scores, rank correlations and the bootstrap over networks, against hand-computed cases."""

import numpy as np
import pandas as pd
import pytest
from conftest import relaxed_of, spectrum_of
from scipy import stats

from memrnn.analysis import correlate as stage
from memrnn.analysis import scores as scoring
from memrnn.analysis.correlate import PREDICTORS, TARGETS, absorbing
from memrnn.analysis.scores import POINT, lifetimes
from memrnn.core.files import load_table, save_table
from memrnn.core.stats import bootstrap, pooled_rho, rank_correlation
from memrnn.core.streams import stream
from memrnn.core.tables import TABLES, columns_of

SETTINGS = {"resamples": 200, "confidence": 0.95, "seed": 0}
ALARM = 0.125  # how often each class is answered where another was shown


def extrapolation(networks, delays=(5, 20, 50, 100)):
    """Table from {(cell, curriculum, phase, seed): {label: accuracies, one per delay}}."""
    rows = [
        ["digits", *network, label, delay, accuracy, 100, 0.0, ALARM, accuracy - ALARM]
        for network, classes in networks.items()
        for label, accuracies in classes.items()
        for delay, accuracy in zip(delays, accuracies, strict=True)
    ]
    names = ["dataset", "cell", "curriculum", "phase", "seed", "label", "delay", "accuracy", "trials", "false_response"]
    return pd.DataFrame(rows, columns=[*names, "false_alarm", "informedness"])


def scores(table, max_delay, learned_level=0.0):
    """Scores of networks that do the training task as well as they do at T_max, or at another delay where it is not."""
    known = max_delay if (table.delay == max_delay).any() else table.delay.min()
    return scoring.scores(table, table[table.delay == known], max_delay, learned_level)


def correlate(slow, spectrum, score, relaxed=None, **settings):
    relaxed = relaxed_of(score) if relaxed is None else relaxed
    return stage.correlate(slow, spectrum, relaxed, score, **settings)


def tables(networks, budgets=(300, 3000), learned=True):
    """Slow points, spectrum and scores from {(cell, curriculum, seed): (speeds, scores)}, one pair of values per class.

    At the second budget the order of the speeds is reversed by taking their reciprocal; so it is at the centroid. The
    spectrum and the lifetimes know nothing of the networks.
    """
    slow, score = [], []
    for (cell, curriculum, seed), (speeds, targets) in networks.items():
        for label, (speed, target) in enumerate(zip(speeds, targets, strict=True)):
            point = ["digits", cell, curriculum, "trained", seed, label]
            for order, steps in enumerate(budgets):
                slow.append([*point, steps, 1 / speed if order else speed, label, 1 / speed, 1.0])
            has = learned if isinstance(learned, bool) else (cell, curriculum, seed) in learned
            held = {"extrapolation_score": target, "memory_score": target, "lifetime": 100.0 + label}
            score.append(
                dict(zip(POINT, point, strict=True))
                | held
                | {"nominal_accuracy": 1.0 if has else 0.0, "memory_lifetime": 100.0 + label, "learned": has}
            )
    names = ["dataset", "cell", "curriculum", "phase", "seed", "label"]
    columns = [*names, "search_steps", "speed", "readout", "start_speed", "nearest_distance"]
    score = pd.DataFrame(score).assign(lifetime_censored=False)
    return pd.DataFrame(slow, columns=columns), spectrum_of(score), score


def random_networks(curricula, seeds, classes=10, slope=-0.5, cells=("gru",)):
    rng = np.random.default_rng(7)
    networks = {}
    for cell in cells:
        for curriculum in curricula:
            for seed in range(seeds):
                speed = rng.normal(size=classes) + 0.5 * rng.normal()
                target = slope * speed + rng.normal(size=classes)
                networks[cell, curriculum, seed] = (np.exp(speed), target)
    return networks


def row(table, curriculum, steps, cell="gru"):
    """Of the speed (0: the centroid's) and the extrapolation score."""
    table = table[table.predictor.isin(["speed", "centroid_speed"]) & (table.target == "extrapolation_score")]
    found = table[(table.cell == cell) & (table.curriculum == curriculum) & (table.search_steps == steps)]
    assert len(found) == 1
    return found.iloc[0]


class TestScores:
    def test_by_hand(self):
        table = scores(
            extrapolation(
                {
                    ("gru", "vocu", "trained", 0): {0: [1.0, 0.9, 0.6, 0.2], 1: [1.0, 0.3, 0.1, 0.0]},
                    ("gru", "vocu", "control", 0): {0: [0.1, 0.1, 0.1, 0.1], 1: [0.0, 0.0, 0.2, 0.0]},
                    ("gru", "vocu", "trained", 1): {0: [1.0, 0.5, 1.0, 1.0], 1: [1.0, 0.49, 1.0, 1.0]},
                }
            ),
            max_delay=20,
        )
        assert list(table.columns) == columns_of("scores")
        table = table.set_index(["phase", "seed", "label"])
        assert table.nominal_accuracy.to_dict() == {
            ("control", 0, 0): 0.1,
            ("control", 0, 1): 0.0,
            ("trained", 0, 0): 0.9,
            ("trained", 0, 1): 0.3,
            ("trained", 1, 0): 0.5,
            ("trained", 1, 1): 0.49,
        }
        assert table.extrapolation_score.loc["trained", 0, 0] == pytest.approx(0.4)  # (0.6 + 0.2) / 2
        assert table.extrapolation_score.loc["control", 0, 1] == pytest.approx(0.1)
        assert table.memory_score.to_dict() == pytest.approx((table.extrapolation_score - ALARM).to_dict())
        assert table.accuracy_at_t_max.to_dict() == table.nominal_accuracy.to_dict()
        # Informedness falls from 0.775 to 0.475 and 0.075; half of 0.775 is passed on the way from 50 to 100.
        assert table.memory_lifetime.loc["trained", 0, 0] == pytest.approx(50 * 2 ** ((0.475 - 0.3875) / 0.4), abs=1e-6)
        # Seed 0 has learned (mean of 0.9 and 0.3), and stays so when training on has ruined it; seed 1 has 0.495.
        assert table.learned.groupby(["phase", "seed"]).first().to_dict() == {
            ("control", 0): True,
            ("trained", 0): True,
            ("trained", 1): False,
        }

    def test_order_of_rows_does_not_matter_and_csv_keeps_learned(self, tmp_path):
        table = extrapolation(
            {
                ("gru", "vocu", "trained", 0): {0: [1.0, 0.9, 0.6, 0.2], 1: [1.0, 0.8, 0.1, 0.0]},
                ("lstm", "nacu", "trained", 0): {0: [0.0, 0.0, 0.0, 0.0], 1: [0.0, 0.0, 0.0, 0.0]},
            }
        )
        first = scores(table, 20)
        pd.testing.assert_frame_equal(first, scores(table.sample(frac=1, random_state=1), 20))
        save_table(tmp_path / "scores.csv", first, "scores")
        back = load_table(tmp_path / "scores.csv", "scores")
        pd.testing.assert_frame_equal(first, back)
        assert back.learned.tolist() == [True, True, False, False]

    def test_equal_shares_of_right_answers_are_equal_numbers(self):
        # (0.1 + 0.2 + 0.3) / 3 and (0.3 + 0.2 + 0.1) / 3 differ in floating point; so do these means and 0.7.
        orders = {
            label: [0.7, *order] for label, order in enumerate([(0.1, 0.2, 0.3), (0.3, 0.2, 0.1), (0.2, 0.2, 0.2)])
        }
        table = scores(extrapolation({("gru", "vocu", "trained", 0): orders}, (20, 30, 50, 100)), 20, 0.55)
        assert table.extrapolation_score.nunique() == 1
        assert table.learned.all()

    def test_learning_is_measured_from_chance(self):
        """Half-way from chance to 1 is 0.75 of two classes and 0.625 of four."""
        for classes, enough in ((2, 0.75), (4, 0.625)):
            for accuracy in (enough, enough - 0.01):
                table = extrapolation({("gru", "vocu", "trained", 0): dict.fromkeys(range(classes), [accuracy] * 4)})
                assert scores(table, 20, 0.5).learned.all() == (accuracy == enough)

    def test_nominal_accuracy_is_that_of_the_training_task(self):
        table = extrapolation({("gru", "vocu", "trained", 0): {0: [1.0, 0.9, 0.6, 0.2], 1: [1.0, 0.3, 0.1, 0.0]}})
        nominal = table[table.delay == 5].assign(accuracy=[0.8, 0.7])
        found = scoring.scores(table, nominal, 20, 0.5)
        assert found.nominal_accuracy.tolist() == [0.8, 0.7]
        assert found.accuracy_at_t_max.tolist() == [0.9, 0.3]
        assert found.learned.all()
        with pytest.raises(ValueError, match=r"tables nominal and extrapolation disagree about .*label=1: only one"):
            scoring.scores(table, nominal[:1], 20, 0.5)

    def test_refuses_tables_that_cannot_be_scored(self):
        good = extrapolation({("gru", "vocu", "trained", 0): {0: [1, 1, 1, 1], 1: [1, 1, 1, 1]}})
        with pytest.raises(ValueError, match=r"has the delays \[5, 20, 50, 100\]; expected 30"):
            scores(good, 30)
        with pytest.raises(ValueError, match="at least one above it"):
            scores(good, 100)
        with pytest.raises(ValueError, match=r"lacks delay \[50\] for .*label=1"):
            scores(good.drop(index=6), 20)
        with pytest.raises(ValueError, match=r"no rows of phase trained for .*phase=control, seed=0"):
            scores(good.assign(phase="control"), 20)

    def test_refuses_a_network_without_a_class(self):
        uneven = extrapolation(
            {
                ("gru", "vocu", "trained", 0): {0: [1, 1, 1, 1], 1: [1, 1, 1, 1]},
                ("gru", "vocu", "trained", 1): {0: [1, 1, 1, 1]},
            }
        )
        with pytest.raises(ValueError, match=r"lacks label \[1\] for .*seed=1"):
            scores(uneven, 20)


class TestLifetime:
    DELAYS = np.array([20, 40, 80, 160])

    def one(self, *accuracy, chance=0.1):
        (found,), (censored,) = lifetimes(np.array([accuracy]), self.DELAYS, chance)
        return found, censored

    def test_by_hand(self):
        # Half-way from 0.9 to 0.1 is 0.5. On the way from 0.7 at 40 to 0.3 at 80 it is passed in the middle of the
        # logarithms.
        assert self.one(0.9, 0.7, 0.3, 0.1) == (pytest.approx(np.sqrt(40 * 80), abs=1e-7), False)
        # Between the first two delays: half-way from 0.9 at 20 to 0.1 at 40.
        assert self.one(0.9, 0.1, 0.1, 0.1) == (pytest.approx(20 * 2**0.5, abs=1e-7), False)
        # From 0.6 at 80 to 0.2 at 160, a quarter of the way.
        assert self.one(0.9, 0.8, 0.6, 0.2) == (pytest.approx(80 * 2**0.25, abs=1e-7), False)

    def test_reaching_the_level_is_falling_to_it(self):
        assert self.one(0.9, 0.9, 0.5, 0.5) == (80, False)
        assert self.one(0.9, 0.9, 0.9, 0.5) == (160, False)
        # (0.7 + 0.1) / 2 is 0.39999999999999997 in floating point.
        assert self.one(0.7, 0.7, 0.4, 0.4) == (80, False)

    def test_first_crossing_counts_whatever_comes_after(self):
        assert self.one(0.9, 0.5, 0.9, 0.9) == (40, False)

    def test_censored_where_it_does_not_fall(self):
        assert self.one(0.9, 0.9, 0.9, 0.9) == (160, True)
        assert self.one(0.9, 0.8, 0.7, 0.51) == (160, True)
        assert self.one(0.9, 1.0, 1.0, 1.0) == (160, True)

    def test_no_better_than_chance_has_no_memory(self):
        assert self.one(0.1, 0.1, 0.1, 0.1) == (20, False)
        assert self.one(0.0, 0.9, 0.9, 0.9) == (20, False)
        # Barely better: half-way to chance is passed at once, though later than at 20.
        found, censored = self.one(0.12, 0.1, 0.1, 0.1)
        assert 20 < found < 40 and not censored

    def test_the_level_depends_on_chance(self):
        assert self.one(0.9, 0.7, 0.5, 0.1, chance=0.5)[0] == 40
        assert self.one(0.9, 0.7, 0.5, 0.1, chance=0.1)[0] == 80

    def test_many_points_at_once(self):
        rng = np.random.default_rng(0)
        accuracy = rng.random((200, 4))
        found, censored = lifetimes(accuracy, self.DELAYS, 0.1)
        assert list(zip(found, censored, strict=True)) == [self.one(*row) for row in accuracy]
        assert 0 < censored.sum() < 200

    def test_scores_measure_it_from_the_nominal_delay_with_chance_of_the_classes(self):
        # Two classes: chance is 0.5. The low accuracy at delay 5 is none of its business.
        table = scores(
            extrapolation(
                {
                    ("gru", "vocu", "trained", 0): {0: [0.0, 0.9, 0.7, 0.5], 1: [1.0, 0.5, 0.9, 0.9]},
                    ("gru", "vocu", "control", 0): {0: [0.0, 0.9, 0.8, 0.6], 1: [1.0, 1.0, 0.9, 0.76]},
                }
            ),
            max_delay=20,
        ).set_index(["phase", "label"])
        assert table.lifetime.to_dict() == {
            ("trained", 0): 50,  # the level is 0.7
            ("trained", 1): 20,  # no better than chance
            ("control", 0): pytest.approx(50 * 2**0.5, abs=1e-7),  # from 0.8 at 50 to 0.6 at 100
            ("control", 1): 100,
        }
        assert table.index[table.lifetime_censored].tolist() == [("control", 1)]


class TestRankCorrelation:
    def test_equals_scipy_with_and_without_ties(self):
        rng = np.random.default_rng(0)
        x = rng.integers(0, 6, (5, 30)).astype(float)
        y = rng.normal(size=(5, 30))
        expected = [stats.spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)]
        np.testing.assert_allclose(rank_correlation(x, y), expected, rtol=0, atol=1e-14)

    def test_by_hand(self):
        # Ranks of (1, 1, 2) are 1.5, 1.5, 3: covariance 1.5, variances 1.5 and 2, so rho = 1.5 / sqrt(3).
        assert rank_correlation(np.array([1.0, 1, 2]), np.array([1.0, 2, 3])) == pytest.approx(1.5 / np.sqrt(3))
        # Without ties: 1 - 6 sum d^2 / (n (n^2 - 1)) = 1 - 6 * 6 / 60.
        assert rank_correlation(np.array([1.0, 2, 3, 4]), np.array([3.0, 1, 2, 4])) == pytest.approx(0.4)
        assert rank_correlation(np.array([0.0, 1, 2]), np.array([9.0, 1, 0])) == -1
        # A speed of zero has a rank although it has no logarithm.
        assert rank_correlation(np.array([0.0, 1, 2]), np.array([0.0, 1, 2])) == 1

    def test_constant_values_have_none(self):
        assert np.isnan(rank_correlation(np.full(10, 0.1), np.arange(10)))
        assert np.isnan(rank_correlation(np.arange(10), np.zeros(10)))


def times(drawn, networks):
    """How often each network was drawn, (resamples, networks), from which were."""
    return np.stack([(drawn == network).sum(axis=1) for network in range(networks)], axis=1)


class TestPooledRho:
    def test_is_the_rank_correlation_of_the_resampled_points(self):
        rng = np.random.default_rng(2)
        x = rng.integers(0, 7, (5, 4)).astype(float)  # ties within and between networks
        y = rng.normal(size=(5, 4))
        drawn = rng.integers(0, 5, (300, 5))
        expected = rank_correlation(x[drawn].reshape(300, -1), y[drawn].reshape(300, -1))
        np.testing.assert_array_equal(pooled_rho(x, y)(times(drawn, 5)), expected)
        np.testing.assert_array_equal(pooled_rho(y, x)(times(drawn, 5)), expected)

    def test_resamples_may_differ_in_size(self):
        rng = np.random.default_rng(3)
        x, y = rng.normal(size=(2, 3, 4))
        found = pooled_rho(x, y)(np.array([[1, 0, 1], [2, 1, 1]]))
        for at, drawn in enumerate(([0, 2], [0, 0, 1, 2])):
            assert found[at] == rank_correlation(x[drawn].ravel(), y[drawn].ravel())

    def test_undefined_where_a_resample_is_constant(self):
        x = np.array([[1.0, 1.0], [2.0, 2.0]])
        y = np.array([[1.0, 2.0], [3.0, 4.0]])
        found = pooled_rho(x, y)(np.array([[2, 0], [0, 2], [1, 1]]))
        assert np.isnan(found[:2]).all()
        assert found[2] == pytest.approx(stats.spearmanr([1, 1, 2, 2], [1, 2, 3, 4]).statistic)


class TestBootstrap:
    values = np.array([0.1, 0.2, 0.4, 0.5])

    def mean(self, counts):
        return counts @ self.values[: counts.shape[1]] / counts.sum(axis=1)

    def test_of_a_mean_is_the_t_interval(self):
        found = bootstrap(self.mean, np.arange(4), stream(0, "test"), 20_000, 0.9)
        expected = stats.ttest_1samp(self.values, 0).confidence_interval(0.9)
        assert found.value == pytest.approx(0.3)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.005)
        assert found.resamples == 20_000

    def test_networks_of_one_seed_are_drawn_together(self):
        """Twice the networks with the same values, of the same seeds, are no more evidence."""
        self.values = np.array([0.1, 0.2, 0.4, 0.5, 0.1, 0.2, 0.4, 0.5])
        found = bootstrap(self.mean, np.tile(np.arange(4), 2), stream(0, "test"), 20_000, 0.9)
        expected = stats.ttest_1samp(self.values[:4], 0).confidence_interval(0.9)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.005)
        as_networks = bootstrap(self.mean, np.arange(8), stream(0, "test"), 20_000, 0.9)
        assert as_networks.high - as_networks.low < 0.7 * (found.high - found.low)

    def test_seeds_may_have_different_numbers_of_networks(self):
        self.values = np.array([0.1, 0.3, 0.5])
        found = bootstrap(self.mean, np.array([7, 7, 2]), stream(0, "test"), 20_000, 0.5)
        assert found.value == pytest.approx(0.3)
        # Drawn are twice the first seed (0.2), twice the second (0.5), or, half of the times, both: t = 1, N / df = 2.
        error = np.sqrt(2 * np.var([0.2, 0.5, 0.3, 0.3]))
        assert (found.low, found.high) == pytest.approx((0.3 - error, 0.3 + error), abs=0.005)

    def test_values_that_are_equal_are_no_certainty(self):
        self.values = np.full(4, 0.1 + 0.2)
        found = bootstrap(self.mean, np.arange(4), stream(0, "test"), 100, 0.95)
        assert found.value == pytest.approx(0.3) and found.resamples == 100
        assert np.isnan([found.low, found.high]).all()

    def test_same_stream_same_numbers(self):
        seeds = np.arange(4)
        first = bootstrap(self.mean, seeds, stream(0, "a"), 100, 0.95)
        assert first == bootstrap(self.mean, seeds, stream(0, "a"), 100, 0.95)
        assert first.low != bootstrap(self.mean, seeds, stream(0, "b"), 100, 0.95).low
        assert first.low != bootstrap(self.mean, seeds, stream(1, "a"), 100, 0.95).low

    def test_undefined_resamples_are_left_out_and_counted(self):
        def first_or_nothing(counts):  # undefined where the second network was not drawn
            return np.where(counts[:, 1] == 0, np.nan, 0.25 * counts[:, 0])

        found = bootstrap(first_or_nothing, np.arange(2), stream(0, "test"), 1000, 0.95)
        assert found.value == 0.25 and found.low < 0.25 < found.high
        assert 695 < found.resamples < 805  # three quarters of them, +- 4 standard deviations

    @pytest.mark.parametrize("seeds", [[], [3], [3, 3]])
    def test_too_few_seeds(self, seeds):
        found = bootstrap(self.mean, np.array(seeds), stream(0, "test"), 100, 0.95)
        assert np.isnan(found.value) if not seeds else found.value == pytest.approx(self.values[: len(seeds)].mean())
        assert np.isnan(found[1:3]).all()
        assert found.resamples == 0

    def test_cut_to_what_a_correlation_can_be(self):
        self.values = np.array([-1.0, 1.0, -1.0, 1.0])
        found = bootstrap(self.mean, np.arange(4), stream(0, "test"), 100, 0.95)
        assert (found.low, found.high) == (-1, 1)
        found = bootstrap(self.mean, np.arange(4), stream(0, "test"), 100, 0.95, bounds=(-2, 2))
        assert (found.low, found.high) == pytest.approx((-found.high, found.high))
        assert 1 < found.high <= 2

    def test_covers_better_than_percentiles_for_three_networks(self):
        rng = np.random.default_rng(3)
        seeds, ours, percentiles, experiments = np.arange(3), 0, 0, 200
        for experiment in range(experiments):
            # Score and speed of a class share a network's shift, so that the classes are not independent.
            x = rng.normal(size=(3, 10))
            y = -x + rng.normal(size=(3, 10)) + rng.normal(size=(3, 1))
            drawn = []

            def rho(counts, x=x, y=y, drawn=drawn):
                index = np.array([np.repeat(np.arange(3), row) for row in counts])
                drawn.append(rank_correlation(x[index].reshape(len(index), -1), y[index].reshape(len(index), -1)))
                return drawn[-1]

            found = bootstrap(rho, seeds, stream(experiment, "coverage"), 200, 0.95)
            low, high = np.quantile(drawn[-1], [0.025, 0.975])
            # Pearson's r is -1 / sqrt(3); Spearman's of a bivariate normal is 6 / pi asin(r / 2).
            true = 6 / np.pi * np.arcsin(-1 / np.sqrt(3) / 2)
            ours += found.low <= true <= found.high
            percentiles += low <= true <= high
        assert ours / experiments > 0.9
        assert percentiles / experiments < 0.87


class TestCorrelate:
    def test_by_hand(self):
        slow, spectrum, score = tables(
            {
                ("gru", "vocu", 0): ([1, 2, 3], [0.9, 0.5, 0.1]),  # rho -1
                ("gru", "vocu", 1): ([1, 2, 3], [0.9, 0.1, 0.5]),  # rho -0.5
            }
        )
        table = correlate(slow, spectrum, score, **SETTINGS)
        assert list(table.columns) == columns_of("correlation")
        budgets = {n: (3000,) for n, kind in PREDICTORS.items() if kind.table == "spectrum"}
        budgets |= {"speed": (300, 3000), "relaxed_speed": (0, 40)}
        assert [*table[list(TABLES["correlation"].key)[2:]].itertuples(index=False, name=None)] == [
            (curriculum, predictor, steps, target)
            for curriculum in ("vocu", "all")
            for target in TARGETS
            for predictor, kind in PREDICTORS.items()
            for steps in (budgets[predictor] if kind.at_budget else (0,))
        ]
        found = row(table, "vocu", 300)
        assert found.rho == pytest.approx(stats.spearmanr([1, 2, 3] * 2, [0.9, 0.5, 0.1, 0.9, 0.1, 0.5]).statistic)
        assert found.within_rho == pytest.approx(-0.75)
        assert (found.networks, found.points, found.left_out, found.within_networks) == (2, 6, 0, 2)
        assert found.low <= found.rho <= found.high
        # The centroid's speed is in the opposite order.
        assert row(table, "vocu", 0).rho == pytest.approx(-found.rho)
        # One protocol: pooling changes nothing but the stream.
        assert row(table, "all", 300).rho == found.rho

    def test_between_networks_one_point_counts_a_network(self):
        """Means of log speed and of the score over classes, whose ranks within a network say something else."""
        networks = {("gru", "vocu", seed): ([10**seed, 10 ** (4 - seed / 2)], [0.1, 0.2 * seed]) for seed in range(4)}
        found = row(correlate(*tables(networks), **SETTINGS), "vocu", 300)
        assert found.network_rho == 1  # means of log10: (seed + 4 - seed / 2) / 2
        assert found.rho < 1 and np.isnan(found.network_low)
        networks["gru", "vocu", 4] = ([1e9, 1e9], [0.0, 0.0])
        found = row(correlate(*tables(networks), **SETTINGS), "vocu", 300)
        assert found.network_rho == pytest.approx(stats.spearmanr([1, 2, 3, 4, 5], [2, 3, 4, 5, 1]).statistic)
        assert found.network_low < found.network_rho < found.network_high

    def test_identical_networks_have_a_value_and_no_interval(self):
        speeds = [1, 2, 3, 4]
        slow, spectrum, score = tables({("gru", "vocu", seed): (speeds, [0.8, 0.6, 0.4, 0.2]) for seed in range(3)})
        found = row(correlate(slow, spectrum, score, **SETTINGS), "vocu", 300)
        assert found.rho == -1 and found[["low", "high", "within_low", "within_high"]].isna().all()
        slow, spectrum, score = tables({("gru", "vocu", seed): (speeds, [0.8, 0.2, 0.4, 0.6]) for seed in range(3)})
        table = correlate(slow, spectrum, score, **SETTINGS)
        found = row(table, "vocu", 300)
        assert (found.rho, found.within_rho) == pytest.approx((-0.2, -0.2))
        assert found[["low", "high", "within_low", "within_high"]].isna().all()
        assert row(table, "vocu", 3000).rho == pytest.approx(0.2)

    def test_a_zero_speed_is_the_slowest(self):
        slow, spectrum, score = tables({("gru", "vocu", seed): ([1, 2, 3], [0.9, 0.5, 0.1]) for seed in (0, 1)})
        slow.loc[(slow.search_steps == 300) & (slow.label == 0), "speed"] = 0.0
        assert row(correlate(slow, spectrum, score, **SETTINGS), "vocu", 300).rho == pytest.approx(-1)

    def test_values_below_the_floor_are_tied(self):
        networks = {("gru", "vocu", seed): ([1e-9, 1e-12, 1], [0.9, 0.5, 0.1]) for seed in (0, 1)}
        slow, spectrum, score = tables(networks)
        spectrum["relaxation_kept"] = [0, 1, 7] * 2
        table = correlate(slow, spectrum, score, **SETTINGS)
        tied = stats.spearmanr([1, 1, 2], [0.9, 0.5, 0.1]).statistic
        assert row(table, "vocu", 300).rho == pytest.approx(tied)
        kept = table[(table.predictor == "relaxation_kept") & (table.curriculum == "vocu")]
        assert kept.rho[kept.target == "extrapolation_score"].item() == pytest.approx(tied)

    def test_networks_of_one_seed_are_no_independent_evidence(self):
        """Protocols that repeat each other's networks leave the interval as it is with one."""
        networks = random_networks(["vocu"], 4)
        both = networks | {("gru", "decu", seed): values for (*_, seed), values in networks.items()}
        alone, pooled = (
            row(correlate(*tables(made), **SETTINGS | {"resamples": 5000}), "all", 300) for made in (networks, both)
        )
        assert (pooled.networks, alone.networks) == (8, 4)
        assert (pooled.low, pooled.high) == pytest.approx((alone.low, alone.high), abs=0.03)

    def test_networks_that_have_not_learned_are_left_out_and_counted(self):
        networks = random_networks(["vocu"], 3) | {
            ("gru", "nacu", seed): (np.ones(10), np.zeros(10)) for seed in (0, 1)
        }
        networks |= {("gru", "vocu", 3): (np.arange(1, 11), np.arange(10))}
        slow, spectrum, score = tables(networks, learned=[("gru", "vocu", seed) for seed in range(3)])
        table = correlate(slow, spectrum, score, **SETTINGS)
        alone = correlate(*tables(random_networks(["vocu"], 3)), **SETTINGS)
        assert row(table, "vocu", 300).left_out == 1
        assert row(table, "vocu", 300).drop("left_out").equals(row(alone, "vocu", 300).drop("left_out"))
        pooled, none = row(table, "all", 300), row(table, "nacu", 300)
        assert (pooled.networks, pooled.points, pooled.left_out) == (3, 30, 3)
        assert pooled.rho == row(table, "vocu", 300).rho
        assert (none.networks, none.points, none.left_out, none.within_networks, none.resamples) == (0, 0, 2, 0, 0)
        assert none[["rho", "low", "high", "within_rho", "within_low", "within_high"]].isna().all()

    def test_single_network_has_no_interval(self):
        slow, spectrum, score = tables({("gru", "vocu", 0): ([1, 2, 3], [0.9, 0.5, 0.1])})
        found = row(correlate(slow, spectrum, score, **SETTINGS), "vocu", 300)
        assert (found.networks, found.points) == (1, 3)
        assert found.rho == found.within_rho == -1
        assert found[["low", "high", "within_low", "within_high"]].isna().all()

    def test_constant_scores_have_no_rho(self):
        slow, spectrum, score = tables({("gru", "vocu", seed): ([1, 2, 3], [0.5, 0.5, 0.5]) for seed in range(3)})
        found = row(correlate(slow, spectrum, score, **SETTINGS), "vocu", 300)
        assert found[["rho", "low", "high", "within_rho", "within_low", "within_high"]].isna().all()
        assert (found.networks, found.within_networks, found.resamples) == (3, 0, 0)

    def test_a_network_of_ties_leaves_the_mean_within_networks(self):
        slow, spectrum, score = tables(
            {
                ("gru", "vocu", 0): ([1, 2, 3], [0.9, 0.5, 0.1]),
                ("gru", "vocu", 1): ([1, 2, 3], [0.9, 0.5, 0.1]),
                ("gru", "vocu", 2): ([1, 2, 3], [0.0, 0.0, 0.0]),
            }
        )
        found = row(correlate(slow, spectrum, score, **SETTINGS), "vocu", 300)
        assert found.within_rho == -1 and np.isnan(found.within_low)
        assert (found.networks, found.within_networks) == (3, 2)
        # A resample of three times the third network has no rho: one in 27.
        assert 180 <= found.resamples < 200

    def test_panels_do_not_depend_on_each_other_or_on_the_order_of_rows(self):
        networks = random_networks(["vocu", "decu"], 3, cells=("gru", "lstm"))
        made = tables(networks)
        table = correlate(*made, **SETTINGS)
        mixed = correlate(*(frame.sample(frac=1, random_state=at) for at, frame in enumerate(made)), **SETTINGS)
        pd.testing.assert_frame_equal(table, mixed)
        of_lstm = {key: value for key, value in networks.items() if key[0] == "lstm"}
        alone = correlate(*tables(of_lstm, budgets=(300,)), **SETTINGS)
        rows = table[(table.cell == "lstm") & ~((table.predictor == "speed") & (table.search_steps == 3000))]
        pd.testing.assert_frame_equal(rows.reset_index(drop=True), alone)

    def test_more_confidence_is_wider(self):
        made = tables(random_networks(["vocu", "decu"], 3))
        wide = row(correlate(*made, **SETTINGS), "all", 300)
        narrow = row(correlate(*made, **SETTINGS | {"confidence": 0.5}), "all", 300)
        assert wide.low < narrow.low < narrow.rho < narrow.high < wide.high

    def test_what_the_spectrum_could_not_tell_of_every_point_has_no_rho(self):
        slow, spectrum, score = tables(random_networks(["decu", "vocu"], 3))
        table = correlate(slow, spectrum, score, **SETTINGS)
        holed = spectrum.assign(drift=spectrum.drift.mask((spectrum.curriculum == "vocu") & (spectrum.label == 2)))
        found = correlate(slow, holed, score, **SETTINGS)
        lost = (table.predictor == "drift") & table.curriculum.isin(["vocu", "all"])
        assert found.loc[lost, ["rho", "low", "high", "within_rho", "within_low", "within_high"]].isna().all(axis=None)
        assert (found.loc[lost, "within_networks"] == 0).all()
        assert found.loc[lost, "networks"].tolist() == table.loc[lost, "networks"].tolist()
        pd.testing.assert_frame_equal(found[~lost], table[~lost])
        # Of networks that have not learned, nobody asks.
        made = tables(random_networks(["decu", "vocu"], 3), learned=[("gru", "decu", seed) for seed in range(3)])
        found = correlate(slow, holed, made[2], **SETTINGS)
        assert found.rho[(found.predictor == "drift") & (found.curriculum == "all")].notna().all()

    def test_only_trained_networks_enter(self):
        slow, spectrum, score = tables(random_networks(["vocu"], 3))
        table = correlate(slow, spectrum, score, **SETTINGS)
        others = (frame.assign(phase="control") for frame in (slow.assign(speed=1.0), score))
        more_slow, more_score = (pd.concat(pair) for pair in zip((slow, score), others, strict=True))
        pd.testing.assert_frame_equal(table, correlate(more_slow, spectrum, more_score, **SETTINGS))

    def test_every_predictor_takes_its_own_column(self):
        """Each predictor in turn determines the lifetime, in the direction expected of it; no other one does."""
        rng = np.random.default_rng(5)
        networks = {("gru", "vocu", seed): (np.ones(6), np.ones(6)) for seed in range(3)}
        slow, spectrum, score = tables(networks, budgets=(3000,))
        score["lifetime"] = 100 * np.exp(rng.normal(size=18))
        scores_of = {
            "slow_points": slow.assign(speed=rng.random(18), start_speed=rng.random(18)),
            "spectrum": spectrum.assign(
                **{kind.column: 1 + rng.random(18) for kind in PREDICTORS.values() if kind.table == "spectrum"}
            ),
            "relaxed": relaxed_of(score, (40,), 1 + rng.random(18)),
            "scores": score.assign(nominal_accuracy=rng.random(18)),
        }
        point = ["seed", "label"]
        for name, kind in PREDICTORS.items():
            frames = dict(scores_of)
            known = frames[kind.table][point].merge(score[[*point, "lifetime"]], on=point).lifetime
            frames[kind.table] = frames[kind.table].assign(**{kind.column: known.to_numpy() ** kind.sign})
            table = stage.correlate(*frames.values(), **SETTINGS)
            here = table[(table.curriculum == "vocu") & (table.target == "lifetime")].set_index("predictor").rho
            assert here[name] * kind.sign == pytest.approx(1)
            assert here.drop(name).abs().max() < 0.9

    def test_a_class_that_most_others_end_in_is_absorbing(self):
        index = pd.MultiIndex.from_product(
            [["digits"], ["gru"], ["vocu"], ["trained"], [0, 1, 2], range(4)], names=POINT
        )
        # Of the other three, 2 end in class 1; 1 and null; all in class 3, which itself is lost.
        found = absorbing(pd.Series([1, 0, 1, 3, 1, 1, -1, -1, 3, 3, 3, 0], index))
        assert found.to_numpy().nonzero()[0].tolist() == [1, 11]
        assert found.index.equals(index)

    def test_refuses_tables_that_do_not_belong_together(self):
        slow, spectrum, score = tables(random_networks(["vocu"], 2))
        with pytest.raises(ValueError, match="has the phases control; expected trained among them"):
            correlate(slow.assign(phase="control"), spectrum, score, **SETTINGS)
        with pytest.raises(ValueError, match=r"lacks search_steps \[300\] for .*seed=0, label=2"):
            correlate(slow.drop(index=4), spectrum, score, **SETTINGS)
        for frames in ((slow, spectrum, score[score.seed == 0]), (slow[slow.seed == 0], spectrum, score)):
            with pytest.raises(ValueError, match=r"slow_points and scores disagree about .*seed=1, label=0: only one"):
                correlate(*frames, **SETTINGS)
        with pytest.raises(ValueError, match=r"spectrum and scores disagree about .*seed=1, label=3: only one"):
            correlate(slow, spectrum[(spectrum.seed == 0) | (spectrum.label < 3)], score, **SETTINGS)
        with pytest.raises(ValueError, match=r"spectrum has the search budgets \[300, 3000\]; expected one"):
            correlate(slow, pd.concat([spectrum, spectrum.assign(search_steps=300)]), score, **SETTINGS)
        without = (frame[(frame.seed == 0) | (frame.label < 9)] for frame in (slow, spectrum, score))
        with pytest.raises(ValueError, match=r"lacks label \[9\] for .*seed=1"):
            correlate(*without, **SETTINGS)

    def test_table_survives_its_file(self, tmp_path):
        made = tables(random_networks(["vocu", "nacu"], 2), learned=[("gru", "vocu", 0), ("gru", "vocu", 1)])
        table = correlate(*made, **SETTINGS)
        save_table(tmp_path / "correlation.csv", table, "correlation")
        pd.testing.assert_frame_equal(load_table(tmp_path / "correlation.csv", "correlation"), table, rtol=1e-8)
