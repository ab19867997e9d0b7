"""Linear and RBF CKA: published values, closed forms, nulls, matrices, undefined cases."""

import itertools
import math

import numpy as np
import pytest

from backend.errors import InputError
from backend.measures import cka, cka_matrix, cka_null, participation_ratio


@pytest.fixture(scope="module")
def kornblith():
    random = np.random.RandomState(1337)
    x = random.randn(100, 10)
    return x, random.randn(100, 10) + x


def test_values_of_kornblith_et_al(kornblith):
    x, y = kornblith
    assert float(cka(x, y, estimator="biased")) == pytest.approx(0.5576132566, abs=1e-10)
    assert float(cka(x, y)) == pytest.approx(0.5134564895, abs=1e-10)
    rbf = cka(x, y, kernel="rbf", bandwidth=0.5, estimator="biased")
    assert float(rbf) == pytest.approx(0.65483, abs=5e-6)


@pytest.mark.parametrize("estimator", ["biased", "debiased"])
@pytest.mark.parametrize(("n", "widths"), [(40, (7, 12)), (30, (100, 9)), (400, (3, 5))])
def test_equals_the_textbook_on_explicit_grams(arrays, estimator, n, widths):
    x, y = arrays.related(n, widths)
    expected = arrays.reference_cka(x, y, estimator)
    assert float(cka(x, y, estimator=estimator)) == pytest.approx(expected, abs=1e-12)


def test_one_dimensional_cka_is_the_squared_correlation():
    x, y = np.random.default_rng(0).normal(size=(2, 50, 1))
    r = np.corrcoef(x[:, 0], y[:, 0])[0, 1]
    assert float(cka(x, y, estimator="biased")) == pytest.approx(r**2, abs=1e-12)


@pytest.mark.parametrize("k", [0, 1, 4, 9])
def test_k_shared_columns_of_d_orthonormal_ones_give_sqrt_k_over_d(k):
    d = 9
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(60, 2 * d + 1)))[0]
    basis = np.linalg.qr(np.column_stack([np.ones(60), basis]))[0][:, 1:]
    x, whole = basis[:, :d], basis[:, :k]
    y = np.column_stack([whole, basis[:, d : 2 * d]])[:, : 2 * d]
    # y has k columns of x and d others: <.,.> = k, ‖.‖² = d and k + d.
    assert float(cka(x, y, estimator="biased")) == pytest.approx(
        k / math.sqrt(d * (k + d)), abs=1e-12
    )
    same_width = np.column_stack([whole, basis[:, d : 2 * d - k]])
    assert float(cka(x, same_width, estimator="biased")) == pytest.approx(k / d, abs=1e-12)
    if k:
        assert float(cka(x, whole, estimator="biased")) == pytest.approx(
            math.sqrt(k / d), abs=1e-12
        )


def test_independent_wide_data_is_high_when_biased_and_about_zero_when_debiased():
    x, y = np.random.default_rng(0).normal(size=(2, 64, 768))
    biased, debiased = cka(x, y, estimator="biased"), cka(x, y)
    assert float(biased) == pytest.approx(0.92, abs=0.01)
    assert abs(biased.z) < 4
    assert any(
        "n = 64 samples < d = 768" in w and "0.92 by chance" in w for w in map(str, biased.warnings)
    )
    assert abs(float(debiased)) < 0.1
    assert not debiased.warnings


def test_debiased_cka_is_not_clamped_at_zero():
    values = [
        float(cka(*np.random.default_rng(seed).normal(size=(2, 20, 5)))) for seed in range(20)
    ]
    assert min(values) < -0.01


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("estimator", ["biased", "debiased"])
def test_null_is_that_of_all_720_matchings(arrays, kernel, estimator):
    x, y = arrays.related(6, (2, 3))
    result = cka(x, y, kernel=kernel, estimator=estimator)
    values = [
        float(cka(x, y[list(order)], kernel=kernel, estimator=estimator))
        for order in itertools.permutations(range(6))
    ]
    assert result.null_mean == pytest.approx(np.mean(values), abs=1e-12)
    assert result.null_sd == pytest.approx(np.std(values), abs=1e-12)


def test_null_is_that_of_all_5040_matchings_of_seven(arrays):
    x, y = (arrays.centred(a) for a in arrays.related(7, (3, 4)))
    k, m = x @ x.T, y @ y.T
    scale = np.linalg.norm(k) * np.linalg.norm(m)
    orders = np.array(list(itertools.permutations(range(7))))
    values = np.array([(k * m[np.ix_(o, o)]).sum() for o in orders]) / scale
    mean, sd = cka_null(x, y)
    assert mean == pytest.approx(values.mean(), abs=1e-12)
    assert sd == pytest.approx(values.std(), abs=1e-12)


def test_mean_of_the_null_follows_from_participation_ratios(arrays):
    x, y = arrays.related(50, (8, 30))
    expected = math.sqrt(float(participation_ratio(x)) * float(participation_ratio(y))) / 49
    assert cka_null(x, y)[0] == pytest.approx(expected, rel=1e-10)


def test_z_of_related_data_is_large_and_of_shuffled_data_small(arrays):
    x, y = arrays.related(200, (20, 20))
    assert cka(x, y).z > 10
    assert abs(cka(x, np.random.default_rng(0).permutation(y)).z) < 4


def test_false_positives_at_five_percent_stay_near_five_percent():
    rng = np.random.default_rng(0)
    hits = [cka(*rng.normal(size=(2, 64, 40))).z > 1.645 for _ in range(400)]
    assert 0.02 < np.mean(hits) < 0.09


@pytest.mark.parametrize("estimator", ["biased", "debiased"])
@pytest.mark.parametrize("n", [50, 700])
def test_matrix_equals_the_pairs_one_by_one(arrays, estimator, n):
    layers = arrays.related(n, (6, 40, 11, 200))
    result = cka_matrix(layers, estimator=estimator)
    for i, j in itertools.product(range(4), repeat=2):
        single = cka(layers[i], layers[j], estimator=estimator)
        assert result.values[i, j] == pytest.approx(float(single), abs=1e-12)
        assert result.null_means[i, j] == pytest.approx(single.null_mean, abs=1e-12)
        assert result.null_sds[i, j] == pytest.approx(single.null_sd, abs=1e-12)
    assert (np.diag(result.values) == 1).all()
    assert np.array_equal(result.values, result.values.T)


def test_matrix_between_two_lists_has_its_labels_and_shape(arrays):
    a, b = arrays.related(30, (4, 5, 6)), arrays.related(30, (7, 8), seed=1)
    result = cka_matrix(a, b, labels=["v0", "v1", "v2"], other_labels=["t0", "t1"])
    assert np.asarray(result).shape == result.shape == (3, 2)
    assert result.values[2, 1] == pytest.approx(float(cka(a[2], b[1])), abs=1e-12)
    frame = result.to_frame()
    assert frame.loc[5, ["row", "column"]].tolist() == ["v2", "t1"]
    assert frame.loc[5, "z"] == pytest.approx(result.z[2, 1])


def test_blocks_of_rows_do_not_change_the_value(arrays, monkeypatch):
    layers = arrays.related(150, (30, 200))
    whole = cka_matrix(layers).values
    monkeypatch.setattr("backend.measures.core.hsic._BLOCK_BYTES", 1)
    monkeypatch.setattr("backend.measures.core.hsic._ACCUMULATE", 100)
    np.testing.assert_allclose(cka_matrix(layers).values, whole, atol=1e-13)


def test_both_routes_give_the_same(arrays, monkeypatch):
    layers = arrays.related(150, (30, 20))
    values = []
    for gram in (True, False):
        monkeypatch.setattr("backend.measures.core.hsic.gram_is_cheaper", lambda n, w, g=gram: g)
        values.append(cka_matrix(layers).values)
    np.testing.assert_allclose(*values, atol=1e-13)


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_constant_layer_is_nan_with_its_name_in_the_reason(arrays, kernel):
    x = arrays.related(20, (4,))[0].astype(np.float32)
    constant = np.full((20, 3), 0.1, dtype=np.float32)
    result = cka(x, constant, kernel=kernel)
    assert math.isnan(float(result)) and math.isnan(result.null_sd) and math.isnan(result.z)
    assert str(result.reason) == "y is constant: every sample has the same vector"
    matrix = cka_matrix([x, constant], labels=["a", "b"])
    assert np.isnan(matrix.values).tolist() == [[False, True], [True, True]]
    assert str(matrix.reasons[0, 1]) == "b is constant: every sample has the same vector"


@pytest.mark.parametrize("noise", [0, 1e-16, 1e-12, 1e-9, 1e-7])
@pytest.mark.parametrize("estimator", ["biased", "debiased"])
def test_rbf_of_mostly_copies_has_no_bandwidth_and_says_of_which_layer(arrays, noise, estimator):
    x, y = arrays.related(40, (4, 6))
    y[:32] = y[0]
    y += noise * np.random.default_rng(0).normal(size=y.shape)
    for values in (y, y + 100):
        result = cka(x, values, kernel="rbf", estimator=estimator)
        assert math.isnan(float(result)) and math.isnan(result.null_sd)
        assert str(result.reason).startswith("the median distance of y is 0")
    matrix = cka_matrix([x, y, x[::-1]], kernel="rbf", estimator=estimator, labels=list("abc"))
    assert np.isnan(matrix.values).tolist() == [
        [False, True, False],
        [True] * 3,
        [False, True, False],
    ]
    assert set(matrix.reasons) == {(0, 1), (1, 0), (1, 1), (1, 2), (2, 1)}
    assert all(reason.has("no_bandwidth") for reason in matrix.reasons.values())
    both = cka(np.full((40, 2), 0.1), y, kernel="rbf", estimator=estimator).reason
    assert str(both).startswith(
        "x is constant: every sample has the same vector; the median distance of y"
    )
    with_interval = cka(x, y, kernel="rbf", interval=True, p_value=estimator == "debiased")
    assert math.isnan(with_interval.ci_low) and math.isnan(with_interval.p_value)
    assert str(with_interval.reason).startswith("the median distance of y is 0")
    assert math.isfinite(float(cka(x, y, estimator=estimator)))


def test_rbf_of_many_but_less_than_half_identical_pairs_is_defined(arrays):
    x, y = arrays.related(40, (4, 6))
    y[:24] = y[0]
    assert math.isfinite(float(cka(x, y, kernel="rbf")))


def test_equidistant_samples_are_nan_when_debiased_with_the_reason(arrays):
    result = cka(np.eye(12), arrays.related(12, (4,))[0])
    assert math.isnan(float(result))
    assert "equally far apart" in str(result.reason)
    assert math.isfinite(float(cka(np.eye(12), np.eye(12), estimator="biased")))


def test_copied_rows_are_warned_about(arrays):
    x, y = arrays.related(40, (4, 4))
    x[10:20] = x[0]
    assert "10 of 40 rows of x are copies of another row" in str(cka(x, y).warnings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"estimator": "unbiased"}, "estimator: unknown estimator 'unbiased'"),
        ({"kernel": "poly"}, "kernel: unknown kernel 'poly'"),
        ({"kernel": "rbf", "bandwidth": 0.0}, "bandwidth: must be a positive number"),
    ],
)
def test_unknown_choices_are_named(arrays, arguments, message):
    with pytest.raises(InputError, match=message):
        cka(*arrays.related(10, (2, 2)), **arguments)


def test_three_samples_suffice_biased_but_not_debiased(arrays):
    x, y = arrays.related(3, (2, 2))
    assert math.isnan(cka(x, y, estimator="biased").null_sd)
    for call in (cka, cka_null):
        with pytest.raises(InputError, match="x: needs at least 4 samples, got 3"):
            call(x, y)
