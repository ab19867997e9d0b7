"""Mutual kNN, Jaccard and CKNNA: slow references, exact nulls, ties, undefined cases."""

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from backend.errors import InputError
from backend.measures import (
    cka,
    cknna,
    cknna_matrix,
    jaccard_knn,
    jaccard_knn_matrix,
    mutual_knn,
    mutual_knn_matrix,
)
from backend.measures.core.base import prepare
from backend.measures.core.distances import nearest

EVERY = [mutual_knn, jaccard_knn, cknna]
MATRICES = [mutual_knn_matrix, jaccard_knn_matrix, cknna_matrix]


def neighbours(x, k, metric="euclidean"):
    """Sets of the k nearest by scikit-learn, the sample itself left out."""
    found = NearestNeighbors(n_neighbors=k, metric=metric, algorithm="brute").fit(x)
    return [set(row) for row in found.kneighbors(return_distance=False)]


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("k", [1, 4, 20, 59])
def test_equal_scikit_learns_neighbours(arrays, metric, k):
    x, y = (a + 0.5 for a in arrays.related(60, (7, 30)))
    pairs = list(zip(neighbours(x, k, metric), neighbours(y, k, metric), strict=True))
    shared = [len(a & b) / k for a, b in pairs]
    over_union = [len(a & b) / len(a | b) for a, b in pairs]
    assert float(mutual_knn(x, y, k, metric=metric)) == pytest.approx(np.mean(shared), abs=1e-12)
    assert float(jaccard_knn(x, y, k, metric=metric)) == pytest.approx(
        np.mean(over_union), abs=1e-12
    )


@pytest.mark.parametrize("k", [2, 10, 39])
def test_cknna_is_its_definition_on_explicit_grams(arrays, k):
    x, y = (a + 3 for a in arrays.related(40, (6, 9)))
    kernel, other = (arrays.centred(a) @ arrays.centred(a).T for a in (x, y))
    masks = []
    for a in (x, y):
        mask = np.zeros((40, 40))
        for row, near in enumerate(neighbours(a, k)):
            mask[row, list(near)] = 1
        masks.append(mask)
    top = (masks[0] * masks[1] * kernel * other).sum()
    below = math.sqrt((masks[0] * kernel**2).sum() * (masks[1] * other**2).sum())
    assert float(cknna(x, y, k)) == pytest.approx(top / below, abs=1e-12)


def test_cknna_of_all_neighbours_is_cka_without_the_diagonals(arrays):
    x, y = arrays.related(30, (4, 5))
    grams = [arrays.centred(a) @ arrays.centred(a).T for a in (x, y)]
    for gram in grams:
        np.fill_diagonal(gram, 0)
    expected = (grams[0] * grams[1]).sum() / np.linalg.norm(grams[0]) / np.linalg.norm(grams[1])
    assert float(cknna(x, y, 29)) == pytest.approx(expected, abs=1e-12)
    assert float(cknna(x, y, 29)) != pytest.approx(float(cka(x, y)), abs=1e-5)


@pytest.mark.parametrize("measure", EVERY)
@pytest.mark.parametrize("k", [1, 2, 5])
def test_null_is_that_of_all_720_matchings(arrays, measure, k):
    x, y = arrays.related(6, (2, 3))
    result = measure(x, y, k)
    values = [float(measure(x, y[list(o)], k)) for o in itertools.permutations(range(6))]
    assert result.null_mean == pytest.approx(np.mean(values), abs=1e-12)
    if measure is jaccard_knn:
        assert math.isnan(result.null_sd)
    else:
        assert result.null_sd == pytest.approx(np.std(values), abs=1e-9)


def test_chance_is_k_of_n_minus_one_and_shuffled_data_have_small_z(arrays):
    x, y = arrays.related(200, (10, 20))
    result = mutual_knn(x, y)
    assert result.null_mean == pytest.approx(10 / 199, abs=1e-12)
    rng = np.random.default_rng(0)
    shuffled = [float(mutual_knn(x, rng.permutation(y))) for _ in range(60)]
    assert np.mean(shuffled) == pytest.approx(
        result.null_mean, abs=4 * result.null_sd / math.sqrt(60)
    )
    assert 0.7 < np.std(shuffled) / result.null_sd < 1.4
    assert result.z > 10


def test_a_rotated_copy_shares_all_neighbours_and_half_a_ring_known_ones(arrays):
    x = arrays.related(80, (6,))[0]
    assert float(mutual_knn(x, 3 * x @ arrays.orthogonal(6) + 9)) == 1
    # On a line the neighbours are next door; with every other step widened, one side changes.
    line = np.arange(8.0)[:, None]
    pairs = np.array([0, 1, 10, 11, 20, 21, 30, 31.0])[:, None]
    assert float(mutual_knn(line, pairs, 1)) == pytest.approx(5 / 8)


def tied_layer(kind, n, seed):
    """A layer of n samples in which nearly every sample has ties at its k-th place."""
    rng = np.random.default_rng(seed)
    if kind == "binary":
        return rng.integers(0, 2, (n, 1)).astype(float)
    if kind == "twelve vectors":
        return rng.normal(size=(12, 5))[rng.integers(0, 12, n)]
    if kind == "grid":  # no copies, ties between different rows
        return np.stack(np.divmod(rng.permutation(n), 16), axis=1).astype(float)
    return np.eye(n)[rng.permutation(n)]  # all equally far apart


TIED = ["binary", "twelve vectors", "grid", "equidistant"]


@pytest.mark.parametrize("kind", TIED)
def test_independent_layers_do_not_agree_because_both_have_ties(kind):
    for measure in EVERY:
        values, z = [], []
        for seed in range(8):
            x, y = tied_layer(kind, 256, 2 * seed), tied_layer(kind, 256, 2 * seed + 1)
            result = measure(x, y)
            values.append(float(result) - result.null_mean)
            z.append(result.z)
        if measure is jaccard_knn:  # it has no sd
            assert abs(np.mean(values)) < 0.01
        else:
            assert np.abs(z).max() < 4
            assert abs(np.mean(z)) < 1.5


@pytest.mark.parametrize("kind", TIED)
def test_equal_layers_have_equal_neighbours_whatever_the_ties(kind):
    x = tied_layer(kind, 64, 0)
    for twin in (x, x.copy(), np.asfortranarray(x), np.where(x == 0, -0.0, x)):
        assert float(mutual_knn(x, twin)) == 1
        assert float(jaccard_knn(x, twin)) == 1
        assert float(cknna(x, twin)) == pytest.approx(1, abs=1e-12)
    assert float(mutual_knn(x.astype(np.float32), x.astype(np.float32).astype(float))) == 1
    assert mutual_knn_matrix([x, x[::-1].copy(), x]).values[0, 2] == 1


@pytest.mark.parametrize("kind", ["grid", "equidistant"])
def test_ties_between_different_rows_are_drawn_alike_in_any_order_of_the_rows(kind):
    x, y = tied_layer(kind, 144, 0), tied_layer(kind, 144, 1)
    order = np.random.default_rng(0).permutation(144)
    for measure in EVERY:
        before = float(measure(x, y))
        assert float(measure(x[order], y[order])) == pytest.approx(before, abs=1e-12)


def test_ties_at_the_last_place_are_drawn_evenly_and_nearer_ones_are_always_taken():
    x = np.r_[0.0, 1.0, np.full(8, 3.0)][:, None] * [1.0, 2.0]
    seconds = np.zeros(10)
    for shift in range(400):
        found = (nearest(prepare(x, "x"), 2, x + shift).codes % 10).reshape(10, 2)
        assert found[0, 0] == 1 and found[1, 0] == 0
        seconds[found[0, 1]] += 1
    assert seconds[:2].sum() == 0 and seconds[2:].min() > 25 and seconds[2:].max() < 80


def test_copies_of_rows_are_ties_and_are_warned_about(arrays):
    x, y = arrays.related(50, (6, 8))
    x[20:30] = x[3]
    found = (nearest(prepare(x, "x"), 4).codes % 50).reshape(50, 4)
    copies = {3, *range(20, 30)}
    for row in copies:
        assert set(found[row]) < copies - {row}
    assert len({tuple(found[row]) for row in copies}) > 5
    assert str(mutual_knn(x, y).warnings) == "10 of 50 rows of x are copies of another row"
    assert float(mutual_knn(x, x)) == 1
    assert float(cknna(x, x)) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("matrix", MATRICES)
def test_matrix_equals_the_pairs_one_by_one(arrays, matrix):
    single = EVERY[MATRICES.index(matrix)]
    layers = arrays.related(60, (6, 40, 11, 3))
    result = matrix(layers, k=7, labels=list("abcd"))
    for i, j in itertools.product(range(4), repeat=2):
        one = single(layers[i], layers[j], 7)
        assert result.values[i, j] == pytest.approx(float(one), abs=1e-12)
        assert result.null_means[i, j] == pytest.approx(one.null_mean, abs=1e-12)
        assert result.null_sds[i, j] == pytest.approx(one.null_sd, abs=1e-12, nan_ok=True)
    across = matrix(layers[:3], layers[2:], k=7, other_labels=["t0", "t1"])
    np.testing.assert_allclose(across.values, result.values[:3, 2:], atol=1e-12)
    assert (across.columns, across.params["k"]) == (("t0", "t1"), 7)


@pytest.mark.parametrize("matrix", MATRICES)
def test_constant_layer_is_nan_with_its_name_in_the_reason(arrays, matrix):
    x = arrays.related(20, (4,))[0].astype(np.float32)
    constant = np.full((20, 3), 0.1, dtype=np.float32)
    result = matrix([constant, x], k=3, labels=["a", "b"])
    assert np.isnan(result.values).tolist() == [[True, True], [True, False]]
    assert np.isnan(result.null_means).tolist() == [[True, True], [True, False]]
    assert set(result.reasons) == {(0, 0), (0, 1), (1, 0)}
    assert str(result.reasons[1, 0]) == "a is constant: every sample has the same vector"
    single = EVERY[MATRICES.index(matrix)](x, constant, 3)
    assert math.isnan(float(single)) and str(single.reason).startswith("y is constant")


def test_cosine_needs_directions(arrays):
    x = arrays.related(20, (4,))[0]
    ray = np.outer(np.arange(1.0, 21), [1.0, 2, 3, 4])
    assert "same direction" in str(mutual_knn(x, ray, metric="cosine").reason)
    assert math.isfinite(float(mutual_knn(x, ray)))
    zero = x.copy()
    zero[4] = 0
    result = mutual_knn(zero, x, metric="cosine")
    assert str(result.reason) == "1 of 20 rows of x is zero (first: row 4)"


@pytest.mark.parametrize("measure", EVERY)
@pytest.mark.parametrize(
    ("k", "message"),
    [
        (12, "k: 12 neighbours of 12 samples.*\n?.*below 12"),
        (0, "k: must be at least 1, got 0"),
        (2.5, "k: must be a whole number, got 2.5"),
    ],
)
def test_impossible_k_is_refused(arrays, measure, k, message):
    x, y = arrays.related(12, (3, 4))
    with pytest.raises(InputError, match=message):
        measure(x, y, k)
    assert math.isfinite(float(measure(x, y, 11)))


def test_unusable_arrays_are_refused_and_named(arrays):
    x, y = arrays.related(20, (3, 4))
    bad = y.copy()
    bad[7, 1] = np.nan
    for arguments, message in [
        ((x, bad), "y: NaN in 1 of 20 rows"),
        ((x, y[:19]), "y: 19 samples, but x has 20"),
        ((x.astype(int), y), "x: expected floating-point values"),
    ]:
        with pytest.raises(InputError, match=message):
            mutual_knn(*arguments)
    with pytest.raises(InputError, match="layer 3: NaN"):
        mutual_knn_matrix([x, bad], labels=["layer 2", "layer 3"])
    with pytest.raises(InputError, match="no layers"):
        mutual_knn_matrix([])
    with pytest.raises(InputError, match="metric: unknown metric 'manhattan'"):
        mutual_knn(x, y, metric="manhattan")


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_tensors_and_short_floats_give_what_their_values_give(arrays, dtype):
    x, y = (a.astype(dtype) for a in arrays.related(60, (5, 9)))
    for measure in EVERY:
        exact = float(measure(x.astype("float64"), y.astype("float64")))
        assert float(measure(x, y)) == pytest.approx(exact, abs=1e-12)
        assert float(measure(torch.from_numpy(x), torch.from_numpy(y))) == float(measure(x, y))


@pytest.mark.parametrize("offset", [0, 200, 1000])
def test_offsets_do_not_disturb_the_neighbours_of_tight_clusters(arrays, offset):
    rng = np.random.default_rng(0)
    centres = np.repeat(rng.normal(size=(6, 8)), 20, 0) * 30
    x = (centres + 0.05 * rng.normal(size=(120, 8)) + offset).astype(np.float32)
    y = (centres + 0.05 * rng.normal(size=(120, 8))).astype(np.float32)
    expected = [
        len(a & b) / 5
        for a, b in zip(
            neighbours(x.astype(float) - offset, 5), neighbours(y.astype(float), 5), strict=True
        )
    ]
    assert float(mutual_knn(x, y, 5)) == pytest.approx(np.mean(expected), abs=1e-12)


def test_blocks_of_rows_do_not_change_the_neighbours(arrays, monkeypatch):
    x, y = arrays.related(150, (6, 20))
    x[100:104] = x[90]
    whole = cknna(x, y)
    monkeypatch.setattr("backend.measures.core.distances._BLOCK_BYTES", 1)
    assert float(cknna(x, y)) == pytest.approx(float(whole), abs=1e-12)
    assert cknna(x, y).null_sd == pytest.approx(whole.null_sd, abs=1e-12)
