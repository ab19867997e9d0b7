"""Mean and t interval over seeds."""

import math

import numpy as np
import pytest
from scipy.stats import t

from backend.errors import InputError
from backend.measures import MEASURES, Bounds, SeedMean, mean_over_seeds
from backend.measures.chance.seeds import t_interval, t_intervals

UNIT = Bounds(0.0, 1.0)
SOFT = Bounds(0.0, 1.0, soft=True)


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


def coverage(values, truth, bounds):
    n = np.full(len(values), float(values.shape[1]))
    low, high = t_intervals(values.mean(axis=1), values.std(axis=1, ddof=1), n, bounds=bounds)
    if not bounds.soft:
        assert bounds.low <= low.min() and high.max() <= bounds.high
    assert (low <= values.mean(axis=1)).all() and (values.mean(axis=1) <= high).all()
    return np.mean((low <= truth) & (truth <= high))


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize(("a", "b"), [(2, 2), (18, 2), (45, 5), (5, 1), (1, 3), (190, 10)])
@pytest.mark.parametrize("bounds", [UNIT, SOFT])
def test_intervals_of_bounded_values_keep_to_the_bounds_and_cover(seeds, a, b, bounds):
    values = np.random.default_rng(seeds).beta(a, b, size=(10_000, seeds))
    assert 0.93 <= coverage(values, a / (a + b), bounds) <= 0.963


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("truth", [0.0, 0.01, 0.05])
def test_values_below_a_soft_bound_are_covered_too(seeds, truth):
    values = np.random.default_rng(seeds).normal(truth, 0.02, size=(10_000, seeds))
    assert 0.92 <= coverage(values, truth, SOFT) <= 0.96


def test_interval_is_students_on_the_logit_scale_of_the_mean():
    mean, sd = 0.9, 0.06
    half = t.ppf(0.975, 2) * sd / math.sqrt(3) / (mean * (1 - mean))
    centre = math.log(mean / (1 - mean))
    ends = [1 / (1 + math.exp(-(centre + side * half))) for side in (-1, 1)]
    assert t_interval(mean, sd, 3, bounds=UNIT) == pytest.approx(ends, rel=1e-12)
    one_sided = t.ppf(0.975, 2) * sd / math.sqrt(3) / mean
    ends = [mean * math.exp(side * one_sided) for side in (-1, 1)]
    assert t_interval(mean, sd, 3, bounds=Bounds(low=0.0)) == pytest.approx(ends, rel=1e-12)
    mirrored = [1 - end for end in t_interval(1 - mean, sd, 3, bounds=Bounds(low=0.0))]
    assert t_interval(mean, sd, 3, bounds=Bounds(high=1.0)) == pytest.approx(mirrored[::-1])


def test_the_cells_that_left_the_range_stay_inside():
    # Student: -0.14 to 1.47, and 0.431 to 1.061.
    for mean, sd in ((0.665, 0.324), (0.746, 0.127)):
        low, high = t_interval(mean, sd, 3, bounds=MEASURES["cka"].bounds("debiased"))
        assert 0 < low < mean < high < 1


def test_a_soft_bound_gives_way_to_two_standard_deviations():
    low, high = t_interval(-0.01, 0.02, 3, bounds=SOFT)
    assert (low, high) == t_interval(-0.01, 0.02, 3, bounds=Bounds(-0.05, 1.0))
    assert t_interval(0.5, 0.02, 3, bounds=SOFT) == t_interval(0.5, 0.02, 3, bounds=UNIT)


def test_values_at_a_bound():
    assert mean_over_seeds([1.0] * 3, bounds=UNIT) == SeedMean(1.0, 0.0, 1.0, 1.0, 3)
    assert mean_over_seeds([0.25] * 3, bounds=UNIT) == SeedMean(0.25, 0.0, 0.25, 0.25, 3)
    one_off = mean_over_seeds([1.0, 1.0, 0.9], bounds=UNIT)
    assert 0.1 < one_off.low < 0.9 < one_off.mean < one_off.high < 1
    # Values that do not keep to a bound: it says nothing, the other still does.
    assert t_interval(1.2, 0.1, 3, bounds=Bounds(high=1.0)) == t_interval(1.2, 0.1, 3)
    low, high = t_interval(1.2, 0.7, 3, bounds=UNIT)
    assert 0 < low < 1.2 < high


def test_the_registry_knows_the_bounds():
    assert MEASURES["svcca"].bounds() == MEASURES["linear_probe"].bounds() == UNIT
    assert MEASURES["cka"].bounds("debiased") == MEASURES["cka_rbf"].bounds("debiased") == SOFT
    assert MEASURES["cka"].bounds("biased") == UNIT
    assert MEASURES["rsa"].bounds() == Bounds(-1.0, 1.0)
    assert MEASURES["effective_dimension"].bounds() == Bounds(low=1.0)
    assert MEASURES["linear_predictivity"].bounds() == Bounds(high=1.0)
