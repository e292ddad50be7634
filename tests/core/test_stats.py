"""Intervals of means and of standard deviations, by hand."""

import numpy as np
import pytest
from scipy import stats

from memrnn.core.stats import mean_interval, spread_interval


def test_mean():
    values = [0.1, 0.4, 0.5, 0.8]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert mean_interval(values, 0.9) == pytest.approx((0.45, expected.low, expected.high))
    # By hand: 0, 2 has mean 1 and standard error 1; the quantile of t with one degree of freedom is tan(0.45 pi).
    assert mean_interval([0, 2], 0.9) == pytest.approx((1, 1 - np.tan(0.45 * np.pi), 1 + np.tan(0.45 * np.pi)))


def test_mean_stays_within_bounds():
    assert mean_interval([0.9, 1.0, 0.1], 0.95, (0.0, 1.0)) == pytest.approx((2 / 3, 0, 1))


def test_one_value_is_its_mean_and_has_no_spread():
    assert mean_interval([0.5], 0.95)[0] == 0.5
    assert np.isnan(spread_interval([0.5], 0.95)[0])


def test_spread():
    # Two degrees of freedom: the chi-squared distribution is exponential with mean 2.
    spread, low, high = spread_interval([1, 2, 3], 0.9)
    assert spread == 1
    assert (low, high) == pytest.approx((np.sqrt(2 / (-2 * np.log(0.05))), np.sqrt(2 / (-2 * np.log(0.95)))))


@pytest.mark.parametrize("interval", [mean_interval, spread_interval])
def test_few_or_equal_values(interval):
    assert np.isnan(interval([], 0.95)).all()
    assert np.isnan(interval([0.5], 0.95)[1:]).all()
    value, low, high = interval([0.1 + 0.2, 0.3, 0.3], 0.95)  # equal but for rounding: no sign of certainty
    assert value == pytest.approx(0.3 if interval is mean_interval else 0) and np.isnan(low) and np.isnan(high)


def test_equal_shares_are_known_to_a_step():
    # As if one of four had been a step off: 0.9, 1, 1, 1 has the standard error 0.025.
    half = stats.ttest_1samp([0.9, 1, 1, 1], 0).confidence_interval(0.95)
    half = (half.high - half.low) / 2
    assert mean_interval([1, 1, 1, 1], 0.95, (0, 1), step=0.1) == pytest.approx((1, 1 - half, 1))
    assert mean_interval([0.9, 1, 1, 1], 0.95, step=0.1) == pytest.approx(mean_interval([0.9, 1, 1, 1], 0.95))
