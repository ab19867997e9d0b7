"""Effective dimension and participation ratio."""

import math

import numpy as np
import pytest
from sklearn.decomposition import PCA

from backend.errors import InputError
from backend.measures import (
    effective_dimension,
    effective_rank,
    participation_ratio,
    spectrum,
    stable_rank,
)
from backend.measures.families.dimension import at_matched_n, is_resolved, order_is_known


@pytest.mark.parametrize(("n", "d"), [(300, 20), (30, 80)])
def test_effective_dimension_is_what_pca_needs(n, d):
    x = np.random.default_rng(0).normal(size=(n, d)) * np.geomspace(1, 0.05, d)
    for threshold in (0.5, 0.9, 0.95, 0.99):
        expected = PCA(n_components=threshold, svd_solver="full").fit(x).n_components_
        assert float(effective_dimension(x, threshold)) == expected


def test_spectrum_is_pcas_explained_variance():
    x = np.random.default_rng(0).normal(size=(40, 9))
    np.testing.assert_allclose(spectrum(x), PCA().fit(x).explained_variance_ratio_, atol=1e-12)


def isotropic(d):
    """(2d, d) data whose covariance is exactly a multiple of the identity."""
    return np.vstack([np.eye(d), -np.eye(d)])


@pytest.mark.parametrize("d", [1, 2, 10, 20])
def test_isotropic_data_fill_all_dimensions(d):
    assert float(participation_ratio(isotropic(d))) == pytest.approx(d)
    assert float(effective_dimension(isotropic(d), 1.0)) == d


def test_a_share_that_reaches_the_threshold_exactly_counts():
    assert float(effective_dimension(isotropic(20), 0.95)) == 19


def test_rank_one_data_are_one_dimensional():
    x = np.outer(np.arange(9.0), np.ones(5)) + 1000
    assert float(effective_dimension(x)) == 1
    assert float(participation_ratio(x)) == pytest.approx(1)


def test_few_samples_are_warned_about():
    x = np.random.default_rng(0).normal(size=(10, 50))
    for result in (effective_dimension(x), participation_ratio(x)):
        unseen, low = map(str, result.warnings)
        assert unseen == "n = 10 samples <= d = 50: at most 9 dimensions can be seen"
        assert low.startswith("n = 10 samples in d = 50: at least this many dimensions")
        assert 1 <= float(result) <= 9
    assert not effective_dimension(x.T).warnings.has("unseen_dimensions")
    assert not effective_dimension(np.random.default_rng(0).normal(size=(200, 10))).warnings


def spread(n, variances, seed=0):
    return np.random.default_rng(seed).normal(size=(n, len(variances))) * np.sqrt(variances)


K = np.arange(1, 769)
SPECTRA = {"1/k": 1 / K, "1/k^1.5": K**-1.5, "exp(-k/150)": np.exp(-K / 150), "flat": 0 * K + 1.0}


def truth(variances):
    return int(np.argmax(np.cumsum(variances) >= (0.95 - 1e-10) * variances.sum())) + 1


@pytest.mark.parametrize("name", SPECTRA)
def test_a_value_below_the_true_one_says_at_least(name):
    true = truth(SPECTRA[name])
    for n in (64, 256):
        result = effective_dimension(spread(n, SPECTRA[name]))
        assert float(result) < 0.75 * true and result.warnings.has("at_least")
        assert not is_resolved(float(result), n)


@pytest.mark.parametrize("variances", [K**-2.0, np.exp(-K[:200] / 20), np.ones(40)])
def test_a_resolved_value_is_near_the_true_one(variances):
    result = effective_dimension(spread(1200, variances))
    assert is_resolved(float(result), 1200) and not result.warnings.has("at_least")
    assert 0.8 * truth(variances) <= float(result) <= truth(variances) + 1


def test_an_order_that_few_samples_turn_round_is_not_known():
    wide, narrow = SPECTRA["1/k"], SPECTRA["exp(-k/150)"]
    assert (truth(wide), truth(narrow)) == (536, 434)
    a, b = (float(effective_dimension(spread(128, v))) for v in (wide, narrow))
    assert a < b and not order_is_known(a, b, 128, 128)
    small = float(effective_dimension(spread(128, K**-2.0)))
    assert small == pytest.approx(truth(K**-2.0), abs=3)
    assert order_is_known(a, small, 128, 128) and order_is_known(small, a, 128, 128)
    assert not order_is_known(12.0, 12.9, 128, 128)
    assert order_is_known(12.0, 12.9, 129, 129)
    assert not order_is_known(math.nan, 3.0, 128, 128)
    assert not order_is_known(3.0, math.nan, 128, 128)


def test_at_matched_n_the_same_layer_has_the_same_dimension():
    x = spread(1024, SPECTRA["1/k"])
    few = x[:128]
    assert float(effective_dimension(x)) > 3 * float(effective_dimension(few))
    a, b = at_matched_n([x, few])
    assert b == float(effective_dimension(few)) and a == pytest.approx(b, rel=0.05)
    assert at_matched_n([x, few]) == [a, b] != at_matched_n([x, few], seed=1)
    with pytest.raises(InputError, match="draws: needs at least 1"):
        at_matched_n([x], draws=0)
    with pytest.raises(InputError, match="layers: no layers"):
        at_matched_n([])


def test_constant_data_are_nan_with_the_reason():
    for measure in (effective_dimension, participation_ratio):
        result = measure(np.full((7, 3), 0.3))
        assert math.isnan(float(result))
        assert str(result.reason) == "x is constant: every sample has the same vector"


@pytest.mark.parametrize("threshold", [0, -1, 1.01, math.nan])
def test_impossible_threshold_is_refused(threshold):
    with pytest.raises(InputError, match=r"threshold: must lie in \(0, 1\]"):
        effective_dimension(isotropic(3), threshold)


def test_large_float32_data_agree_with_float64(monkeypatch):
    x = (np.random.default_rng(0).normal(size=(200, 60)) * np.geomspace(1, 0.01, 60) + 200).astype(
        np.float32
    )
    exact = float(participation_ratio(x)), float(effective_dimension(x))
    monkeypatch.setattr("backend.measures.core.base.SMALL_WORK", 0)
    assert float(participation_ratio(x)) == pytest.approx(exact[0], rel=1e-6)
    assert float(effective_dimension(x)) == exact[1]


@pytest.mark.parametrize(("n", "d"), [(300, 20), (30, 80)])
def test_effective_and_stable_rank_are_those_of_the_singular_values(n, d):
    x = np.random.default_rng(0).normal(size=(n, d)) * np.geomspace(1, 1e-3, d) + 50
    singular = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)[: min(n - 1, d)]
    p = singular / singular.sum()
    assert float(effective_rank(x)) == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-6)
    assert float(stable_rank(x)) == pytest.approx((p**2).sum() / p[0] ** 2, rel=1e-10)


@pytest.mark.parametrize("d", [1, 2, 20])
def test_ranks_of_isotropic_data_are_d_and_of_a_line_1(d):
    for measure in (effective_rank, stable_rank):
        assert float(measure(isotropic(d))) == pytest.approx(d)
        line = np.outer(np.arange(9.0), np.ones(500)) + 1000
        assert float(measure(line.astype(np.float32))) == pytest.approx(1, abs=1e-9)


def test_rounding_of_null_directions_adds_no_effective_rank(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3)) @ rng.normal(size=(3, 300))
    monkeypatch.setattr("backend.measures.core.base.SMALL_WORK", 0)
    assert float(effective_rank(x)) <= 3


def test_ranks_of_constant_data_are_nan_with_the_reason():
    for measure in (effective_rank, stable_rank):
        result = measure(np.full((7, 3), 0.3))
        assert math.isnan(float(result))
        assert str(result.reason) == "x is constant: every sample has the same vector"
