"""p-values: the exact skewness of the null, its tail, false positives, Holm."""

import itertools

import numpy as np
import pytest
from scipy.stats import binom, pearson3, skew

from backend.errors import InputError
from backend.measures import cka, cka_matrix, holm
from backend.measures.chance.pvalues import null_skewness, p_values, third_moment, trace_cubes
from backend.measures.chance.samples import sample_sums
from backend.measures.core.base import prepare


def skewness_of(layers, dtype=np.float64):
    prepared = [prepare(x, "x", dtype) for x in layers]
    return null_skewness(sample_sums(prepared, cubes=True), trace_cubes(prepared))


def all_matchings(arrays, layers):
    """Debiased CKA under every permutation of the rows, on explicit Grams."""
    u = [arrays.u_centred(arrays.centred(x) @ arrays.centred(x).T) for x in layers]
    a, b = (g / np.linalg.norm(g) for g in u)
    orders = itertools.permutations(range(len(a)))
    return np.array([(a * b[np.ix_(order, order)]).sum() for order in orders])


@pytest.mark.parametrize(
    ("n", "widths"), [(4, (2, 3)), (5, (3, 2)), (6, (1, 1)), (6, (2, 30)), (7, (3, 4))]
)
def test_skewness_is_that_of_all_matchings(arrays, n, widths):
    layers = arrays.related(n, widths, seed=n)
    layers[1] = np.exp(layers[1] / 2)
    assert skewness_of(layers)[0, 1] == pytest.approx(skew(all_matchings(arrays, layers)), rel=1e-9)


def test_third_moment_is_that_of_all_matchings_of_any_centred_matrices(arrays):
    rng = np.random.default_rng(0)
    raw = (m + m.T for m in rng.normal(size=(2, 6, 6)))
    a, b = (arrays.u_centred(m) for m in raw)
    values = [
        (a * b[np.ix_(order, order)]).sum() ** 3 for order in itertools.permutations(range(6))
    ]
    s = np.array([(m**3).sum() for m in (a, b)])
    t = np.array([np.trace(m @ m @ m) for m in (a, b)])
    assert third_moment(6, s, t)[0, 1] == pytest.approx(np.mean(values), rel=1e-10)


@pytest.mark.parametrize(("n", "d"), [(300, 20), (60, 400)])
def test_skewness_is_that_of_many_random_matchings(arrays, n, d):
    rng = np.random.default_rng(0)
    layers = [rng.normal(size=(n, d)) * np.r_[9, 9, np.ones(d - 2)] for _ in range(2)]
    u = [arrays.u_centred(arrays.centred(x) @ arrays.centred(x).T) for x in layers]
    orders = [rng.permutation(n) for _ in range(4000)]
    draws = [(u[0] * u[1][np.ix_(order, order)]).sum() for order in orders]
    exact = skewness_of(layers)[0, 1]
    assert exact > 0.6
    assert exact == pytest.approx(skew(draws), abs=0.2)
    assert skewness_of(layers, np.float32)[0, 1] == pytest.approx(exact, abs=1e-4)


def test_one_dominant_direction_has_the_skewness_of_a_chi_square():
    x, y = np.random.default_rng(0).normal(size=(2, 3000, 1))
    assert skewness_of([x, y])[0, 1] == pytest.approx(np.sqrt(8), rel=0.05)


def test_tail_is_that_of_pearson_iii():
    z = np.array([-3.0, -0.5, 0.0, 1.645, 4.0, 12.0])
    for gamma in (1e-5, 1e-3, 0.3, 1.9, -0.3, -1.9):
        expected = pearson3.sf(z, gamma)
        np.testing.assert_allclose(p_values(z, gamma), expected, rtol=1e-4, atol=1e-12)
    np.testing.assert_allclose(p_values(z, 0.99e-4), p_values(z, 1.01e-4), atol=1e-5)
    assert np.isnan(p_values([np.nan, 1.0], [0.1, np.nan])).all()


def test_p_value_is_near_the_share_of_all_matchings_that_reach_the_value(arrays):
    x, y = (a[:7] for a in arrays.related(7, (2, 2), seed=1))
    values = all_matchings(arrays, [x, y])
    for order in itertools.islice(itertools.permutations(range(7)), 0, 5040, 97):
        result = cka(x, y[list(order)], p_value=True)
        exact = (values >= float(result) - 1e-12).mean()
        assert result.p_value == pytest.approx(exact, abs=0.06)


@pytest.mark.parametrize("directions", [1, 2, 64])
@pytest.mark.parametrize("d", [64, 768])
@pytest.mark.parametrize("n", [64, 256])
def test_false_positives_at_five_percent_are_five_percent(n, d, directions):
    rng = np.random.default_rng(directions)
    scale = np.where(np.arange(d) < directions, 10.0, 1.0)
    above = np.triu_indices(30, 1)
    p, z = [], []
    for _ in range(3):  # 1305 pairs: two that share a layer are independent all the same
        result = cka_matrix([rng.normal(size=(n, d)) * scale for _ in range(30)], p_value=True)
        p.append(result.p_values[above])
        z.append(result.z[above])
    p, z = np.concatenate(p), np.concatenate(z)
    lowest, highest = binom.ppf([1e-4, 1 - 1e-4], len(p), 0.05)
    assert lowest <= (p < 0.05).sum() <= highest  # 38 to 96 of 1305
    assert 0.40 < (p < 0.5).mean() < 0.60
    if directions == 1:  # the normal tail is the wrong one here
        assert (z > 3).mean() > 0.008 > (p < 0.00135).mean()


def test_related_layers_are_far_above_chance(arrays):
    x, y = arrays.related(100, (10, 10))
    for kernel in ("linear", "rbf"):
        assert cka(x, y, kernel=kernel, p_value=True).p_value < 1e-6
        shuffled = np.random.default_rng(0).permutation(y)
        assert cka(x, shuffled, kernel=kernel, p_value=True).p_value > 0.01
    assert np.isnan(cka(x, y).p_value)


def test_rbf_skewness_is_that_of_all_matchings(arrays):
    x, y = arrays.related(6, (2, 3))
    result = cka(x, y, kernel="rbf", p_value=True)
    values = np.array(
        [float(cka(x, y[list(order)], kernel="rbf")) for order in itertools.permutations(range(6))]
    )
    expected = p_values(result.z, skew(values))
    assert result.p_value == pytest.approx(float(expected), rel=1e-8)


def test_matrix_has_the_p_values_of_the_pairs_and_none_on_the_diagonal(arrays):
    layers = arrays.related(40, (5, 8, 60), noise=4.0)
    matrix = cka_matrix(layers, p_value=True)
    for i, j in itertools.combinations(range(3), 2):
        single = cka(layers[i], layers[j], p_value=True).p_value
        assert matrix.p_values[i, j] == pytest.approx(single, rel=1e-8)
        assert matrix.p_values[j, i] == matrix.p_values[i, j]
    assert np.isnan(np.diag(matrix.p_values)).all() and np.isnan(np.diag(matrix.p_corrected)).all()
    above = np.triu_indices(3, 1)
    np.testing.assert_array_equal(matrix.p_corrected[above], holm(matrix.p_values[above]))
    np.testing.assert_array_equal(matrix.p_corrected, matrix.p_corrected.T)
    cross = cka_matrix(layers[:2], layers[2:], p_value=True)
    np.testing.assert_allclose(cross.p_values, matrix.p_values[:2, 2:], rtol=1e-8)
    np.testing.assert_array_equal(cross.p_corrected, holm(cross.p_values))
    assert cross.to_frame().p_corrected.tolist() == cross.p_corrected.ravel().tolist()


def test_undefined_cells_have_no_p_value(arrays):
    x = arrays.related(20, (4,))[0]
    for other in (np.ones((20, 3)), np.eye(20)):
        matrix = cka_matrix([x, x[::-1], other], p_value=True)
        assert np.isnan(matrix.p_values[2]).all() and np.isnan(matrix.p_corrected[2]).all()
        assert np.isfinite(matrix.p_values[0, 1])


def test_p_value_of_the_biased_estimator_is_refused(arrays):
    x, y = arrays.related(10, (2, 2))
    for call in (lambda: cka(x, y, estimator="biased", p_value=True),
                 lambda: cka_matrix([x, y], estimator="biased", p_value=True)):  # fmt: skip
        with pytest.raises(InputError, match="p_value: p-values are those of the debiased"):
            call()


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, np.nan]), [0.03, 0.06, 0.06, np.nan])
    np.testing.assert_allclose(holm([[0.6, 0.5]]), [[1.0, 1.0]])
    assert holm([]).shape == (0,)
