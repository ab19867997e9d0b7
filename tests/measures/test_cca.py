"""SVCCA, PWCCA, mean CCA: closed forms, textbook references, chance, too few samples."""

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.cross_decomposition import CCA
from sklearn.decomposition import PCA

from backend.errors import InputError
from backend.measures import (
    mean_cca,
    mean_cca_matrix,
    pwcca,
    pwcca_matrix,
    svcca,
    svcca_matrix,
)
from backend.measures.families.cca import chance_correlation

PAIRWISE = {"svcca": svcca, "mean_cca": mean_cca, "pwcca": pwcca}
MATRICES = {"svcca": svcca_matrix, "mean_cca": mean_cca_matrix, "pwcca": pwcca_matrix}


@pytest.fixture(params=["float64 while small", "float32 when large"])
def route(request, monkeypatch):
    if request.param == "float32 when large":
        monkeypatch.setattr("backend.measures.core.base.SMALL_WORK", 0)


def variates(x, y):
    """Björck & Golub: correlations and variates of x from QR bases, in float64."""
    x, y = (np.asarray(a, dtype=np.float64) for a in (x, y))
    qx, qy = (np.linalg.qr(a - a.mean(axis=0))[0] for a in (x, y))
    left, correlations, _ = np.linalg.svd(qx.T @ qy, full_matrices=False)
    return correlations, qx @ left


def textbook(x, y):
    return variates(x, y)[0].mean()


def textbook_svcca(x, y, kept=0.99):
    sides = [PCA(kept, svd_solver="full").fit_transform(np.asarray(a, np.float64)) for a in (x, y)]
    return textbook(*sides)


def textbook_pwcca(x, y):
    """Morcos et al. 2018, equation by equation."""
    correlations, h = variates(x, y)
    columns = np.asarray(x, dtype=np.float64) - np.mean(x, axis=0, dtype=np.float64)
    alpha = [sum(abs(h[:, i] @ column) for column in columns.T) for i in range(h.shape[1])]
    return np.average(correlations, weights=alpha)


REFERENCES = {"svcca": textbook_svcca, "mean_cca": textbook, "pwcca": textbook_pwcca}


def orthonormal(n, d, seed=0):
    """d orthonormal columns of mean 0."""
    noise = np.random.default_rng(seed).normal(size=(n, d))
    return np.linalg.qr(np.column_stack([np.ones(n), noise]))[0][:, 1:]


@pytest.mark.parametrize("name", PAIRWISE)
@pytest.mark.parametrize("widths", [(7, 7), (12, 5), (5, 12)])
def test_equals_the_textbook(arrays, name, widths):
    x, y = arrays.related(80, widths)
    x = x * np.geomspace(1, 0.01, widths[0])
    assert float(PAIRWISE[name](x, y)) == pytest.approx(REFERENCES[name](x, y), abs=1e-12)


def test_mean_cca_equals_scikit_learns_correlations(arrays):
    x, y = arrays.related(200, (4, 3))
    a, b = CCA(n_components=3, max_iter=5000, tol=1e-12).fit(x, y).transform(x, y)
    expected = np.mean([np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(3)])
    assert float(mean_cca(x, y)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("variance", [0.5, 0.9, 0.99, 1.0])
def test_svcca_keeps_what_pca_needs_for_the_variance(arrays, variance):
    x, y = (a * np.geomspace(1, 0.02, 15) for a in arrays.related(100, (15, 15)))
    kept = variance if variance < 1 else None
    expected = textbook_svcca(x, y, kept)
    assert float(svcca(x, y, variance)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n", [100, 30])
def test_svcca_of_the_thesis_keeps_ten_components(arrays, n):
    x, y = arrays.related(n, (20, 40))
    result = svcca(x, y, rank=10)
    assert float(result) == pytest.approx(textbook_svcca(x, y, 10), abs=1e-12)
    assert result.params == {"rank": 10}
    assert svcca(x, y, 0.5).params == {"variance": 0.5}


@pytest.mark.parametrize("condition", [1, 1e3, 1e6, 1e10])
def test_every_invertible_map_is_seen_through_by_cca(arrays, condition):
    d = 12
    x = np.random.default_rng(0).normal(size=(60, d))
    w = arrays.orthogonal(d) @ np.diag(np.geomspace(1, 1 / condition, d)) @ arrays.orthogonal(d, 1)
    for measure in (mean_cca, pwcca):
        assert float(measure(x, x @ w + 3)) == pytest.approx(1, abs=1e-9)
    if condition > 1:
        assert float(svcca(x, x @ w, 0.5)) < 0.99


@pytest.mark.parametrize("name", PAIRWISE)
@pytest.mark.parametrize("k", [0, 1, 4, 9])
def test_k_of_d_shared_orthonormal_columns_score_k_over_d(name, k):
    basis = orthonormal(60, 18)
    x, y = basis[:, :9], basis[:, 9 - k : 18 - k]
    options = {"variance": 1.0} if name == "svcca" else {}
    value = float(PAIRWISE[name](x, y, **options))
    if name == "pwcca":  # each shared column has one weight, whatever the choice of variates
        assert value == pytest.approx(k / 9, abs=0.1)
        assert k not in (0, 9) or value == pytest.approx(k / 9, abs=1e-12)
    else:
        assert value == pytest.approx(k / 9, abs=1e-12)


@pytest.mark.parametrize("name", PAIRWISE)
def test_one_dimension_is_the_absolute_correlation(name):
    x, y = np.random.default_rng(0).normal(size=(2, 50, 1))
    r = np.corrcoef(x[:, 0], y[:, 0])[0, 1]
    for side in (y, -y):
        assert float(PAIRWISE[name](x, side)) == pytest.approx(abs(r), abs=1e-12)


def test_pwcca_weighs_by_its_first_argument():
    basis = orthonormal(60, 3)
    x = basis[:, :2] * [10, 1]  # mostly the first direction
    y = basis[:, [0, 2]] * [1, 10]  # which y has too, but hardly uses
    assert float(pwcca(x, y)) == pytest.approx(10 / 11, abs=1e-12)
    assert float(pwcca(y, x)) == pytest.approx(1 / 11, abs=1e-12)
    values = pwcca_matrix([x, y]).values
    np.testing.assert_allclose(values, [[1, 10 / 11], [1 / 11, 1]], atol=1e-12)


def test_svcca_cuts_on_variance_not_on_singular_values():
    basis = orthonormal(60, 3)
    x, y = basis[:, :2] * [1, 0.3], basis[:, [0, 2]] * [1, 0.3]
    # The first direction, which they share, holds 0.917 of σ² but 0.77 of σ.
    assert float(svcca(x, y, 0.9)) == pytest.approx(1, abs=1e-12)
    assert float(svcca(x, y, 0.92)) == pytest.approx(0.5, abs=1e-12)


@pytest.mark.parametrize("name", PAIRWISE)
@pytest.mark.parametrize("offset", [0, 50, 1000])
@pytest.mark.parametrize("scale", [1, 1e-5])
def test_offsets_and_scales(arrays, route, name, offset, scale):
    x, y = ((a + offset) * scale for a in arrays.related(600, (24, 30)))
    x, y = x.astype(np.float32), y.astype(np.float32)
    assert float(PAIRWISE[name](x, y)) == pytest.approx(REFERENCES[name](x, y), abs=1e-6)


@pytest.mark.parametrize("name", PAIRWISE)
@pytest.mark.parametrize("kind", ["float16", "float32"])
def test_one_massive_coordinate(arrays, route, name, kind):
    x, y = arrays.related(200, (24, 20))
    x[:, 3] += 200
    y[:, 5] = 3000 + 30 * y[:, 5]
    x, y = x.astype(kind), y.astype(kind)
    assert float(PAIRWISE[name](x, y)) == pytest.approx(REFERENCES[name](x, y), abs=1e-6)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
@pytest.mark.parametrize("offset", [0, 30])
def test_directions_made_by_rounding_do_not_count(arrays, kind, offset):
    rng = np.random.default_rng(0)
    latent = [rng.normal(size=(150, 5)) for _ in range(2)]
    latent[1] += latent[0]
    x, y = ((z @ rng.normal(size=(5, 20)) + offset).astype(kind) for z in latent)
    tolerance = {"float16": 0.02, "float32": 1e-5, "float64": 1e-10}[kind]
    assert float(mean_cca(x, y)) == pytest.approx(textbook(*latent), abs=tolerance)
    assert mean_cca(x, y).null_mean == chance_correlation(150, 5, 5)


@pytest.mark.parametrize("name", PAIRWISE)
def test_widening_a_narrow_layer_does_not_make_its_rounding_a_signal(name):
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(150, 5))
    x, y = ((latent @ rng.normal(size=(5, 40))).astype(np.float16) for _ in range(2))
    wide = [a.astype(np.float32) for a in (x, y)]
    narrow = PAIRWISE[name](x, y)
    assert float(narrow) == pytest.approx(1, abs=1e-3)
    assert float(PAIRWISE[name](*wide)) == pytest.approx(float(narrow), abs=1e-12)
    brain = [torch.from_numpy(latent @ rng.normal(size=(5, 40))).bfloat16() for _ in range(2)]
    for sides in (brain, [b.float().numpy() for b in brain]):
        assert float(PAIRWISE[name](*sides)) == pytest.approx(1, abs=1e-2)


def correlated(n, d, seed=0):
    """Two full-rank layers of small and large directions, and their exact SVCCA."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    y = 0.45 * x @ np.linalg.qr(rng.normal(size=(d, d)))[0] + 0.9 * rng.normal(size=(n, d))
    x, y = (a * np.geomspace(1, 0.3, d) for a in (x, y))
    return x, y, textbook_svcca(x, y)


@pytest.mark.parametrize(
    ("offset", "convert"),
    [
        (1000, lambda a: a.astype(np.float16)),
        (50, lambda a: torch.from_numpy(a).bfloat16()),
        (100, lambda a: torch.from_numpy(a).bfloat16().float().numpy()),
    ],
)
def test_a_coarse_grid_at_an_offset_loses_no_direction_that_stands_above_it(offset, convert):
    x, y, truth = correlated(600, 24)
    result = svcca(*(convert(a + offset) for a in (x, y)))
    assert float(result) == pytest.approx(truth, abs=0.05)  # the rounding itself dilutes it
    assert not result.warnings
    assert result.null_mean == pytest.approx(chance_correlation(600, 24, 24), abs=0.005)


@pytest.mark.parametrize("name", ["svcca", "mean_cca"])
@pytest.mark.parametrize("offset", [0, 10, 200])
def test_rounding_on_a_widened_bfloat16_grid_is_no_signal_even_in_whole_numbers(name, offset):
    rng = np.random.default_rng(0)
    latent = 4 * rng.normal(size=(400, 5))
    layers = [
        torch.from_numpy(latent @ rng.normal(size=(5, 20)) + offset).bfloat16().float().numpy()
        for _ in range(2)
    ]
    result = PAIRWISE[name](*layers)
    assert float(result) == pytest.approx(1, abs=0.01)
    assert result.null_mean == chance_correlation(400, 5, 5)


def test_components_that_are_lost_in_rounding_are_counted():
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(400, 5))
    x, y = (latent @ rng.normal(size=(5, 20)) + 1000 for _ in range(2))
    result = mean_cca(x.astype(np.float16), y)
    assert tuple(map(str, result.warnings)) == (
        "5 of 20 components of x are kept: the others cannot be told from the rounding of its "
        "values",
    )
    matrix = mean_cca_matrix([x.astype(np.float16), y], labels="ab")
    assert matrix.warnings.has("lost_in_rounding")
    # A layer of truly low rank has lost nothing.
    assert not mean_cca((x - 1000).astype(np.float32), y).warnings


@pytest.mark.parametrize("scale", [1e-160, 1e-30, 1e30, 1e150])
@pytest.mark.parametrize("name", PAIRWISE)
def test_extreme_scales(arrays, name, scale):
    x, y = arrays.related(30, (4, 5))
    measure = PAIRWISE[name]
    assert float(measure(x * scale, y)) == pytest.approx(float(measure(x, y)), abs=1e-10)


@pytest.mark.parametrize("name", PAIRWISE)
def test_matrix_equals_the_pairs_one_by_one(arrays, name):
    layers = [a * np.geomspace(1, 0.05, a.shape[1]) for a in arrays.related(90, (6, 40, 11, 30))]
    result = MATRICES[name](layers)
    for i, j in itertools.product(range(4), repeat=2):
        single = PAIRWISE[name](layers[i], layers[j])
        np.testing.assert_allclose(result.values[i, j], float(single), atol=1e-12)
        assert str(single.reason) == "" or (i, j) in result.reasons
        if result.null_means is not None:
            np.testing.assert_allclose(result.null_means[i, j], single.null_mean)
        assert single.params == result.params and single.measure == result.measure == name
    between = MATRICES[name](layers[:3], layers[2:], labels="abc", other_labels="cd")
    assert (between.rows, between.columns) == (("a", "b", "c"), ("c", "d"))
    np.testing.assert_allclose(between.values, result.values[:3, 2:], atol=1e-12)
    assert len(between.to_frame()) == 6


@pytest.mark.parametrize(("n", "p", "q"), [(30, 1, 6), (50, 5, 20), (80, 30, 49), (200, 10, 10)])
def test_chance_level_is_that_of_random_subspaces(n, p, q):
    rng = np.random.default_rng(0)
    bases = [np.linalg.qr(rng.normal(size=(n - 1, p)))[0] for _ in range(400)]
    values = [np.linalg.svd(basis[:q], compute_uv=False).mean() for basis in bases]
    error = np.std(values) / math.sqrt(len(values))
    bias = 0 if p == 1 else np.std(values) / 4  # of the limit, for small numbers of components
    assert abs(chance_correlation(n, p, q) - np.mean(values)) < 4 * error + bias


def test_chance_level_holds_for_matchings_of_real_rows(arrays):
    rng = np.random.default_rng(0)
    x, y = arrays.related(100, (30, 20))
    result = mean_cca(x, y)
    values = [float(mean_cca(x, rng.permutation(y))) for _ in range(60)]
    assert result.null_mean == pytest.approx(np.mean(values), abs=0.005)
    assert float(result) > max(values)
    assert math.isnan(result.null_sd) and math.isnan(result.z)
    assert result.null_mean == chance_correlation(100, 20, 30)


def test_inflation_by_chance_is_warned_about(arrays):
    x, y = np.random.default_rng(0).normal(size=(2, 100, 40))
    text = "n = 100 samples for 40 + {} components: unrelated data would have a mean correlation"
    both, worst = (text.format(k) + f" of {chance_correlation(100, 40, k):.2f}" for k in (40, 2))
    for name in PAIRWISE:
        options = {"variance": 1.0} if name == "svcca" else {}
        assert tuple(map(str, PAIRWISE[name](x, y, **options).warnings)) == (both,)
        matrix = MATRICES[name]([x, y[:, :3]], [y, y[:, :2]], **options)
        assert tuple(map(str, matrix.warnings)) == (worst,)
    assert not svcca(x, y, rank=2).warnings


def test_too_few_samples_are_refused_with_the_numbers(arrays):
    x, y = arrays.related(20, (9, 10))
    assert math.isfinite(float(mean_cca(x, y)))
    result = mean_cca(x[:19], y[:19])
    assert math.isnan(float(result)) and math.isnan(result.null_mean)
    assert str(result.reason) == (
        "n = 19 samples are too few for 9 + 10 components: some correlations are 1 whatever "
        "the data"
    )
    wide = arrays.related(20, (50, 60))
    for name, kept in (("mean_cca", "19 + 19"), ("pwcca", "19 + 19"), ("svcca", "15 + 16")):
        result = PAIRWISE[name](*wide)
        assert math.isnan(float(result)) and f"too few for {kept}" in str(result.reason)
    assert str(svcca(*wide).reason).endswith("data; keep fewer with variance or rank")
    assert math.isfinite(float(svcca(*wide, rank=9)))
    matrix = mean_cca_matrix([x[:15], wide[0][:15], x[:15, :2]], labels="abc")
    assert sorted(matrix.reasons) == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 1)]
    assert "too few for 14 + 2 components" in str(matrix.reasons[1, 2])


def test_fewer_components_than_rank_is_nan_not_a_smaller_rank(arrays):
    x, y = arrays.related(60, (4, 30))
    result = svcca(x, y, rank=10)
    assert math.isnan(float(result))
    assert str(result.reason) == "x has 4 components, fewer than rank = 10"


@pytest.mark.parametrize("name", PAIRWISE)
def test_constant_layer_is_nan_with_its_name_in_the_reason(arrays, name):
    x = arrays.related(20, (4,))[0].astype(np.float32)
    constant = np.full((20, 3), 0.1, dtype=np.float32)
    result = PAIRWISE[name](x, constant)
    assert math.isnan(float(result)) and math.isnan(result.null_mean) and not result.warnings
    assert str(result.reason) == "y is constant: every sample has the same vector"
    matrix = MATRICES[name]([x, constant], labels=["a", "b"])
    assert np.isnan(matrix.values).tolist() == [[False, True], [True, True]]
    assert str(matrix.reasons[0, 1]) == "b is constant: every sample has the same vector"
    assert str(matrix.reasons[1, 1]) == "b is constant: every sample has the same vector"


@pytest.mark.parametrize("name", PAIRWISE)
def test_unusable_input_is_refused_and_named(arrays, name):
    x, y = arrays.related(12, (4, 3))
    with pytest.raises(InputError, match="y: 11 samples, but x has 12"):
        PAIRWISE[name](x, y[:11])
    y[3, 1] = np.nan
    with pytest.raises(InputError, match="y: NaN in 1 of 12 rows"):
        PAIRWISE[name](x, y)
    with pytest.raises(InputError, match="b: NaN in 1 of 12 rows"):
        MATRICES[name]([x, y], labels="ab")
    with pytest.raises(InputError, match="no layers"):
        MATRICES[name]([])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variance": 0}, r"variance: must lie in \(0, 1\], got 0"),
        ({"variance": 99}, r"variance: must lie in \(0, 1\], got 99"),
        ({"rank": 0}, "rank: must be a whole number of at least 1, got 0"),
        ({"rank": 2.5}, "rank: must be a whole number"),
        ({"rank": True}, "rank: must be a whole number"),
    ],
)
def test_impossible_parameters_are_named(arrays, options, message):
    x, y = arrays.related(30, (4, 5))
    with pytest.raises(InputError, match=message):
        svcca(x, y, **options)
    with pytest.raises(InputError, match=message):
        svcca_matrix([x, y], **options)


@pytest.mark.parametrize("name", PAIRWISE)
def test_torch_tensors_give_the_same_and_copies_are_warned_about(arrays, name):
    x, y = (a.astype(np.float32) for a in arrays.related(60, (4, 6)))
    x[10:20] = x[0]
    result = PAIRWISE[name](torch.from_numpy(x), torch.from_numpy(y))
    assert float(result) == float(PAIRWISE[name](x, y))
    assert str(result.warnings) == "10 of 60 rows of x are copies of another row"
