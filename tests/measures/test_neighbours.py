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
from backend.measures.base import prepare
from backend.measures.distances import nearest

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


def test_tied_neighbours_go_to_the_first_sample():
    x = np.eye(5)
    first_two = [[1, 2], [0, 2], [0, 1], [0, 1], [0, 1]]
    for array in (x, 1e-3 * x, x + 7, x[:, ::-1] @ np.diag([-1.0, 1, 1, -1, 1])):
        found = nearest(prepare(array, "x"), 2)
        assert (found.codes % 5).reshape(5, 2).tolist() == first_two


def test_copies_of_rows_are_ties_and_are_warned_about(arrays):
    x, y = arrays.related(50, (6, 8))
    x[20:30] = x[3]
    found = (nearest(prepare(x, "x"), 4).codes % 50).reshape(50, 4)
    assert found[3].tolist() == [20, 21, 22, 23]
    assert found[25].tolist() == [3, 20, 21, 22]
    assert mutual_knn(x, y).warnings == ("10 of 50 rows of x are copies of another row",)
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
    assert result.reasons[1, 0] == "a is constant: every sample has the same vector"
    single = EVERY[MATRICES.index(matrix)](x, constant, 3)
    assert math.isnan(float(single)) and single.reason.startswith("y is constant")


def test_cosine_needs_directions(arrays):
    x = arrays.related(20, (4,))[0]
    ray = np.outer(np.arange(1.0, 21), [1.0, 2, 3, 4])
    assert "same direction" in mutual_knn(x, ray, metric="cosine").reason
    assert math.isfinite(float(mutual_knn(x, ray)))
    zero = x.copy()
    zero[4] = 0
    result = mutual_knn(zero, x, metric="cosine")
    assert result.reason == "1 of 20 rows of x is zero (first: row 4)"


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
    monkeypatch.setattr("backend.measures.distances._BLOCK_BYTES", 1)
    assert float(cknna(x, y)) == pytest.approx(float(whole), abs=1e-12)
    assert cknna(x, y).null_sd == pytest.approx(whole.null_sd, abs=1e-12)
