"""RSA: scipy's RDMs and correlations, CKA as an oracle, exact nulls, ties, undefined cases."""

import itertools
import math
from importlib import import_module

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.stats import pearsonr, rankdata, spearmanr

from backend.errors import InputError
from backend.measures import cka, rsa, rsa_matrix
from backend.measures.families.rsa import ranks

COMPARISONS = ["spearman", "pearson", "cosine", "cosine_cov"]


def reference(x, y, comparison, distance):
    metric = {"euclidean": "sqeuclidean", "correlation": "correlation"}[distance]
    a, b = pdist(x, metric), pdist(y, metric)
    return {
        "spearman": lambda: spearmanr(a, b).statistic,
        "pearson": lambda: pearsonr(a, b).statistic,
        "cosine": lambda: a @ b / np.sqrt((a @ a) * (b @ b)),
    }[comparison]()


@pytest.mark.parametrize("comparison", COMPARISONS[:3])
@pytest.mark.parametrize("distance", ["euclidean", "correlation"])
@pytest.mark.parametrize(("n", "widths"), [(40, (7, 12)), (25, (100, 9))])
def test_equals_scipy(arrays, comparison, distance, n, widths):
    x, y = (a + 5 for a in arrays.related(n, widths))
    expected = reference(x, y, comparison, distance)
    value = float(rsa(x, y, comparison=comparison, distance=distance))
    assert value == pytest.approx(expected, abs=1e-11)


def test_tied_distances_share_their_rank_although_they_differ_by_rounding():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 2, (50, 6)).astype(float), rng.integers(0, 3, (50, 5)).astype(float)
    assert len(np.unique(pdist(x, "sqeuclidean"))) <= 7
    expected = reference(x, y, "spearman", "euclidean")
    for factor, offset in [(1, 0), (1 / 3, 0.1), (1e-4, 1 / 7)]:
        assert float(rsa(factor * x + offset, y)) == pytest.approx(expected, abs=1e-12)


def test_ranks_are_scipys():
    values = np.random.default_rng(0).integers(0, 30, 200).astype(float)
    np.testing.assert_array_equal(ranks(values), rankdata(values) - 1)
    np.testing.assert_array_equal(ranks(np.array([2.0, 1.0, 2.001]), 0.01), [1.5, 0, 1.5])


@pytest.mark.parametrize(("n", "widths"), [(40, (7, 12)), (30, (100, 9)), (4, (3, 2))])
def test_whitened_cosine_is_biased_linear_cka_with_its_null(arrays, n, widths):
    x, y = arrays.related(n, widths)
    result, expected = rsa(x, y, comparison="cosine_cov"), cka(x, y, estimator="biased")
    assert float(result) == pytest.approx(float(expected), abs=1e-12)
    assert result.null_mean == pytest.approx(expected.null_mean, abs=1e-12)
    assert result.null_sd == pytest.approx(expected.null_sd, abs=1e-9)


def test_whitened_cosine_is_whitened_by_the_covariance_of_the_distances(arrays):
    n = 7
    x, y = arrays.related(n, (3, 4))
    pairs = list(itertools.combinations(range(n), 2))
    contrasts = np.zeros((len(pairs), n))
    for row, (a, b) in enumerate(pairs):
        contrasts[row, [a, b]] = 1, -1
    inverse = np.linalg.inv((contrasts @ contrasts.T) ** 2)
    a, b = (pdist(z, "sqeuclidean") for z in (x, y))
    expected = a @ inverse @ b / math.sqrt((a @ inverse @ a) * (b @ inverse @ b))
    assert float(rsa(x, y, comparison="cosine_cov")) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_null_is_that_of_all_720_matchings(arrays, comparison):
    x, y = arrays.related(6, (2, 3))
    x[4] = x[1]
    result = rsa(x, y, comparison=comparison)
    values = [
        float(rsa(x, y[list(o)], comparison=comparison)) for o in itertools.permutations(range(6))
    ]
    assert result.null_mean == pytest.approx(np.mean(values), abs=1e-12)
    assert result.null_sd == pytest.approx(np.std(values), abs=1e-10)


@pytest.mark.parametrize("comparison", COMPARISONS)
@pytest.mark.parametrize("distance", ["euclidean", "correlation"])
def test_matrix_equals_the_pairs_one_by_one(arrays, comparison, distance):
    layers = arrays.related(50, (6, 40, 11))
    choice = {"comparison": comparison, "distance": distance}
    result = rsa_matrix(layers, labels=list("abc"), **choice)
    for i, j in itertools.product(range(3), repeat=2):
        one = rsa(layers[i], layers[j], **choice)
        assert result.values[i, j] == pytest.approx(float(one), abs=1e-12)
        assert result.null_means[i, j] == pytest.approx(one.null_mean, abs=1e-12)
        assert result.null_sds[i, j] == pytest.approx(one.null_sd, abs=1e-12)
    assert np.diag(result.values) == pytest.approx(1, abs=1e-12)
    across = rsa_matrix(layers[:2], layers[1:], **choice)
    np.testing.assert_allclose(across.values, result.values[:2, 1:], atol=1e-12)
    np.testing.assert_allclose(across.null_sds, result.null_sds[:2, 1:], atol=1e-12)
    assert (across.measure, dict(across.params)) == ("rsa", choice)


def test_row_by_row_scaling_and_shifts_do_not_matter_to_correlation_distance(arrays):
    x, y = arrays.related(30, (6, 9))
    rng = np.random.default_rng(0)
    moved = x * rng.uniform(0.1, 10, (30, 1)) + rng.normal(size=(30, 1))
    before = float(rsa(x, y, distance="correlation"))
    assert float(rsa(moved, y, distance="correlation")) == pytest.approx(before, abs=1e-9)
    assert abs(float(rsa(moved, y)) - float(rsa(x, y))) > 0.01


@pytest.mark.parametrize("offset", [0, 200, 1000])
def test_float32_storage_and_offsets_cost_little(arrays, monkeypatch, offset):
    x, y = ((a + offset).astype(np.float32) for a in arrays.related(150, (64, 30)))
    for comparison in COMPARISONS[:3]:
        expected = reference(x.astype(float), y.astype(float), comparison, "euclidean")
        module = import_module(
            "backend.measures.families.rsa"
        )  # the package's name is the function
        monkeypatch.setattr(module, "FLOAT64_PAIRS", 0)
        monkeypatch.setattr("backend.measures.core.distances._BLOCK_BYTES", 1)
        monkeypatch.setattr(module, "_ACCUMULATE", 1000)
        assert float(rsa(x, y, comparison=comparison)) == pytest.approx(expected, abs=1e-7)


def test_constant_and_equidistant_layers_are_nan_with_the_reason(arrays):
    x = arrays.related(12, (4,))[0]
    constant = np.full((12, 3), 0.1)
    for comparison in COMPARISONS:
        result = rsa(x, constant, comparison=comparison)
        assert math.isnan(float(result)) and math.isnan(result.null_sd)
        assert str(result.reason) == "y is constant: every sample has the same vector"
    for comparison in ("spearman", "pearson"):
        result = rsa(np.eye(12) / 3, x, comparison=comparison)
        assert math.isnan(float(result))
        assert str(result.reason) == "all samples of x are equally far apart"
    assert math.isfinite(float(rsa(np.eye(12), x, comparison="cosine")))
    matrix = rsa_matrix([x, constant], labels=["a", "b"])
    assert np.isnan(matrix.values).tolist() == [[False, True], [True, True]]
    assert str(matrix.reasons[0, 1]).startswith("b is constant")


def test_rows_that_do_not_vary_have_no_correlation_distance(arrays):
    x, y = arrays.related(12, (4, 5))
    x[3] = 1 / 3
    result = rsa(x, y, distance="correlation")
    assert str(result.reason) == (
        "1 of 12 rows of x does not vary over the coordinates (first: row 3)"
    )
    assert math.isfinite(float(rsa(x, y)))


def test_unusable_input_is_refused_and_named(arrays):
    x, y = arrays.related(12, (4, 5))
    for arguments, options, message in [
        ((x, y[:9]), {}, "y: 9 samples, but x has 12"),
        ((x[:2], y[:2]), {}, "x: needs at least 3 samples, got 2"),
        ((x, np.full_like(y, np.nan)), {}, "y: NaN in 12 of 12 rows"),
        ((x, np.full_like(y, np.inf)), {"distance": "correlation"}, "y: infinite values"),
        ((x.astype(int), y), {}, "x: expected floating-point"),
        ((x, y), {"comparison": "kendall"}, "comparison: unknown comparison 'kendall'"),
        ((x, y), {"distance": "cityblock"}, "distance: unknown distance 'cityblock'"),
    ]:
        with pytest.raises(InputError, match=message):
            rsa(*arguments, **options)
    assert math.isnan(rsa(x[:3], y[:3]).null_sd) and math.isfinite(float(rsa(x[:3], y[:3])))


def test_tensors_and_float16_give_what_their_values_give(arrays):
    x, y = (a.astype(np.float16) for a in arrays.related(40, (5, 9)))
    exact = float(rsa(x.astype(float), y.astype(float)))
    assert float(rsa(torch.from_numpy(x), torch.from_numpy(y))) == pytest.approx(exact, abs=1e-12)


def test_copied_rows_are_warned_about(arrays):
    x, y = arrays.related(40, (4, 4))
    x[10:20] = x[0]
    assert str(rsa(x, y).warnings) == "10 of 40 rows of x are copies of another row"
