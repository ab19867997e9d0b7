"""p-values: the exact skewness of the null, its tail, false positives, Holm."""

import itertools

import numpy as np
import pytest
from scipy.stats import binom, pearson3, skew

from backend.errors import InputError
from backend.measures import cka, cka_matrix, holm, permutation_test
from backend.measures.chance.inference import heavy_tailed
from backend.measures.chance.pvalues import (
    null_skewness,
    p_of_shuffles,
    p_values,
    third_moment,
    trace_cubes,
)
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


def test_p_of_shuffles_is_counted_where_ten_reach_and_fitted_beyond():
    draws = np.random.default_rng(0).exponential(size=(999, 3))
    ordered = np.sort(draws, axis=0)
    # 0.5 lies among the draws: a plain count. Beyond them the tail is exp(-t).
    p = p_of_shuffles(np.array([0.5, ordered[-30, 1], 12.0]), draws, 0.0)
    assert p[0] == (1 + (draws[:, 0] >= 0.5).sum()) / 1000
    assert p[1] == 31 / 1000
    assert np.exp(-12) / 8 < p[2] < np.exp(-12) * 100
    far = p_of_shuffles(np.full(3, 40.0), draws, 0.0)
    assert (far > 0).all() and (far < 1e-6).all()
    # Ties count, a few draws are only counted, and all draws there are give an exact share.
    assert p_of_shuffles(np.array([1.0]), np.array([[1.0 - 1e-9], [0.0], [2.0]]), 1e-6) == 0.75
    exact = p_of_shuffles(np.array([1.0]), np.array([[1.0], [0.0], [2.0]]), 0.0, every=True)
    assert exact == pytest.approx(2 / 3)
    assert p_of_shuffles(np.array([1.0]), np.zeros((999, 1)), 0.0) == 0.001


def test_fitted_tail_is_right_at_one_in_a_thousand():
    rng = np.random.default_rng(1)
    for draw in (lambda size: rng.chisquare(1, size=size), lambda size: rng.pareto(4, size=size)):
        p = p_of_shuffles(draw(4000), draw((499, 4000)), 0.0)
        assert 0.0002 <= (p <= 0.001).mean() <= 0.0035
        assert 0.04 < (p <= 0.05).mean() < 0.06


def test_heavy_tailed_rows_are_told_from_others():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(5, 200, 20))
    lengths = np.stack(
        [np.ones(200), np.ones(200), np.exp(rng.normal(size=200)), rng.chisquare(2, 200) ** -0.5,
         np.r_[30.0, np.ones(199)]]
    )  # fmt: skip
    z[1] *= np.r_[5.0, 5.0, np.ones(18)]
    norms = [
        prepare(x * length[:, None], "x").row_norms for x, length in zip(z, lengths, strict=True)
    ]
    heavy = heavy_tailed(np.stack(norms))
    assert np.diag(heavy).tolist() == [False, False, True, True, True]
    assert not heavy[:2, :2].any() and heavy[2:, 1:].sum() == 3 + 9
    assert not heavy_tailed(np.zeros((1, 9))).any()


def test_p_values_of_heavy_tailed_rows_are_counted_and_said_to_be():
    rng = np.random.default_rng(2)
    length = np.exp(rng.normal(size=(2, 60, 1)))
    x, y = rng.normal(size=(2, 60, 8)) * length
    plain = rng.normal(size=(60, 5))
    layers = [x, y, plain, rng.normal(size=(60, 4))]
    matrix = cka_matrix(layers, p_value=True)
    counted = permutation_test([x], [y, plain], permutations=999).p_values
    np.testing.assert_allclose(matrix.p_values[0, 1:3], counted[0], atol=0.05)
    np.testing.assert_array_equal(matrix.p_values, matrix.p_values.T)
    other = cka_matrix([plain, layers[3]], p_value=True).p_values[0, 1]
    assert matrix.p_values[2, 3] == pytest.approx(other, rel=1e-8)
    assert "over 999 random matchings" in str(cka(x, y, p_value=True).warnings)
    assert not cka(plain, plain[::-1], p_value=True).warnings
    related = cka(x, x + 0.1 * rng.normal(size=x.shape), p_value=True)
    assert 0 < related.p_value < 1e-3


def test_where_counting_takes_too_long_heavy_tails_are_said(monkeypatch):
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(2, 60, 8)) * np.exp(rng.normal(size=(2, 60, 1)))
    counted = cka(x, y, p_value=True)
    monkeypatch.setattr("backend.measures.chance.inference.SHUFFLE_WORK", 1e5)
    told = cka(x, y, p_value=True)
    assert counted.warnings.has("shuffled") and not counted.warnings.has("heavy_tails")
    assert told.warnings.has("heavy_tails") and not told.warnings.has("shuffled")
    assert np.isfinite(told.p_value) and told.p_value != counted.p_value


def test_false_positives_of_heavy_tailed_rows_at_one_in_a_thousand():
    rng = np.random.default_rng(0)
    p = []
    for _ in range(6):
        layers = [
            rng.normal(size=(48, 12)) / np.sqrt(rng.chisquare(2, size=(48, 1))) for _ in range(24)
        ]
        p.append(cka_matrix(layers, p_value=True).p_values[np.triu_indices(24, 1)])
    p = np.concatenate(p)  # 1656 pairs; from three moments .007 of them are below .001
    assert (p < 0.001).mean() <= 0.004
    assert 0.03 < (p < 0.05).mean() < 0.07


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, np.nan]), [0.03, 0.06, 0.06, np.nan])
    np.testing.assert_allclose(holm([[0.6, 0.5]]), [[1.0, 1.0]])
    assert holm([]).shape == (0,)
