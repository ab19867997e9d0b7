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
        assert str(result.warnings) == "n = 10 samples <= d = 50: at most 9 dimensions can be seen"
        assert 1 <= float(result) <= 9
    assert not effective_dimension(x.T).warnings


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
