"""Estimates against values worked out by hand, and against scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from backend.study.statistics import (
    equivalence_p,
    leave_one_out,
    mean_estimate,
    pearson,
    spearman,
    welch_estimate,
)


def test_a_mean_has_students_interval_and_test():
    # mean 2, sd 1, n 3: half = 4.302653 / sqrt(3); t = 2 / (1 / sqrt(3)) = 3.4641, df 2.
    found = mean_estimate([1.0, 2.0, 3.0])
    assert (found.value, found.n) == (2.0, 3)
    assert found.high == pytest.approx(2 + 4.30265273 / math.sqrt(3))
    assert found.low == pytest.approx(2 - 4.30265273 / math.sqrt(3))
    assert found.p == pytest.approx(0.07417990)
    assert (found.se, found.freedom) == (pytest.approx(1 / math.sqrt(3)), 2)


def test_one_value_has_no_interval_and_equal_values_have_no_p():
    one = mean_estimate([0.5])
    assert one.value == 0.5 and math.isnan(one.low) and math.isnan(one.p)
    same = mean_estimate([0.1, 0.1, 0.1])
    assert (same.low, same.high) == pytest.approx((0.1, 0.1)) and math.isnan(same.p)


def test_welch_agrees_with_scipy():
    found = welch_estimate(0.764, 0.004, 3, 0.750, 0.009, 3)
    oracle = stats.ttest_ind_from_stats(0.764, 0.004, 3, 0.750, 0.009, 3, equal_var=False)
    assert found.value == pytest.approx(0.014)
    assert found.p == pytest.approx(oracle.pvalue)
    se = math.sqrt((0.004**2 + 0.009**2) / 3)
    df = se**4 / ((0.004**2 / 3) ** 2 / 2 + (0.009**2 / 3) ** 2 / 2)
    assert found.low == pytest.approx(0.014 - stats.t.ppf(0.975, df) * se)
    assert math.isnan(welch_estimate(1, 0.1, 1, 0, 0.1, 3).low)


def test_correlations_agree_with_scipy_and_have_fishers_interval():
    rng = np.random.default_rng(0)
    x = rng.standard_normal(8)
    y = x + rng.standard_normal(8)
    found, oracle = pearson(x, y), stats.pearsonr(x, y)
    interval = oracle.confidence_interval()
    assert found.value == pytest.approx(oracle.statistic)
    assert found.p == pytest.approx(oracle.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    tied = np.round(y)
    assert spearman(x, tied).value == pytest.approx(stats.spearmanr(x, tied).statistic)
    ranked = spearman(x, y)
    half = 1.959964 * math.sqrt((1 + ranked.value**2 / 2) / 5)
    assert ranked.high == pytest.approx(math.tanh(math.atanh(ranked.value) + half), abs=1e-6)


def test_a_correlation_of_constants_or_of_three_points_is_not_claimed():
    assert math.isnan(pearson([1, 1, 1, 1, 1], [1, 2, 3, 4, 5]).value)
    three = pearson([1, 2, 3], [1, 2, 2.5])
    assert three.value > 0.9 and math.isnan(three.low) and math.isnan(three.p)
    equal_ranks = spearman([1, 2, 3, 4, 5], [1, 8, 9, 10, 99])
    assert equal_ranks.value == 1 and math.isnan(equal_ranks.low)
    assert equal_ranks.p == pytest.approx(2 / 120)


def test_leaving_one_out_finds_the_point_that_carries_a_correlation():
    found = leave_one_out([0.0, 1.0, 1.1, 1.2, 1.3], [0.0, 1.3, 1.2, 1.1, 1.0])
    assert found[0][0] == 0 and found[0][1] == pytest.approx(-1)


def test_equivalence_is_two_one_sided_tests_that_agree_with_the_interval():
    values = [0.02, -0.01, 0.03, 0.01]
    found = mean_estimate(values)
    above = stats.ttest_1samp(values, -0.1, alternative="greater").pvalue
    below = stats.ttest_1samp(values, 0.1, alternative="less").pvalue
    assert equivalence_p(found, -0.1, 0.1) == pytest.approx(2 * max(above, below))
    # Exactly where an end of the 95 % interval is the margin, p is 0.05; inside and outside.
    assert equivalence_p(found, -1.0, found.high) == pytest.approx(0.05)
    assert equivalence_p(found, found.low, 1.0) == pytest.approx(0.05)
    assert equivalence_p(found, -1.0, found.low) == pytest.approx(0.05)
    assert equivalence_p(found, found.high, 1.0) == pytest.approx(0.05)
    assert math.isnan(equivalence_p(mean_estimate([0.1, 0.1]), -1, 1))
