"""Mean and t interval over seeds."""

import math

import numpy as np
import pytest
from scipy.stats import t

from backend.errors import InputError
from backend.measures import SeedMean, mean_over_seeds


def test_interval_is_students():
    values = [0.4, 0.5, 0.45]
    found = mean_over_seeds(values, 0.9)
    low, high = t.interval(0.9, 2, np.mean(values), np.std(values, ddof=1) / math.sqrt(3))
    assert (found.mean, found.sd) == pytest.approx((0.45, 0.05))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.seeds == 3


def test_interval_covers_the_mean_of_five_normal_seeds_in_95_percent():
    draws = np.random.default_rng(0).normal(size=(2000, 5))
    found = [mean_over_seeds(values) for values in draws]
    assert 0.935 < np.mean([one.low <= 0 <= one.high for one in found]) < 0.965


def test_one_seed_has_a_mean_and_no_interval_and_none_has_neither():
    one = mean_over_seeds([0.3])
    assert (one.mean, one.seeds) == (0.3, 1)
    assert all(math.isnan(v) for v in (one.sd, one.low, one.high))
    assert math.isnan(mean_over_seeds([]).mean)


def test_undefined_runs_are_left_out_and_not_counted():
    assert mean_over_seeds([0.2, float("nan"), 0.4]) == mean_over_seeds([0.2, 0.4])
    assert mean_over_seeds([0.5, 0.5]) == SeedMean(0.5, 0.0, 0.5, 0.5, 2)


def test_unusable_arguments_are_named():
    with pytest.raises(InputError, match=r"level: must lie in \(0, 1\), got 95"):
        mean_over_seeds([1.0, 2.0], 95)
    with pytest.raises(InputError, match=r"values: expected one value a seed, got shape \(2, 1\)"):
        mean_over_seeds([[1.0], [2.0]])
