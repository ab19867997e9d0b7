"""What could have been seen: against noncentral distributions of scipy and against simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from backend.study.power import detectable_correlation, detectable_margin, detectable_mean


@pytest.mark.parametrize(
    ("n", "tests", "sds"), [(3, 1, 3.2640), (3, 9, 9.8234), (5, 9, 3.0697), (10, 9, 1.4606)]
)
def test_a_mean_is_found_in_four_of_five_studies(n, tests, sds):
    level = 0.05 / tests
    found = detectable_mean(1 / math.sqrt(n), n - 1, level)
    assert found == pytest.approx(sds, abs=1e-3)
    reach = stats.t.ppf(1 - level / 2, n - 1)
    assert stats.nct.sf(reach, n - 1, found * math.sqrt(n)) == pytest.approx(0.8, abs=1e-5)


def test_what_is_clear_with_3_seeds_and_9_tests_starts_at_7_7_sd_and_is_found_from_9_8_on():
    assert stats.t.ppf(1 - 0.05 / 18, 2) / math.sqrt(3) == pytest.approx(7.71, abs=0.01)


def test_a_margin_is_shown_in_four_of_five_studies_without_an_effect():
    margin = detectable_margin(1 / math.sqrt(3), 2, 0.05)
    x = np.random.default_rng(0).standard_normal((100_000, 3))
    half = stats.t.ppf(0.975, 2) * x.std(axis=1, ddof=1) / math.sqrt(3)
    assert (np.abs(x.mean(axis=1)) + half < margin).mean() == pytest.approx(0.8, abs=0.005)


@pytest.mark.parametrize(("n", "level"), [(4, 0.05), (5, 0.05 / 12), (8, 0.05)])
def test_a_correlation_is_found_in_four_of_five_studies(n, level):
    r = detectable_correlation(n, level)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50_000, n))
    y = r * x + math.sqrt(1 - r**2) * rng.standard_normal((50_000, n))
    p = stats.pearsonr(x, y, axis=1).pvalue
    assert (p < level).mean() == pytest.approx(0.8, abs=0.006)
