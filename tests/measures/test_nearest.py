"""The nearest rows are those of a slow and obvious search."""

import numpy as np
import pytest

from backend.measures.core import nearest
from backend.measures.core.nearest import nearest_rows


def by_hand(rows, queries, k, own):
    """Indices and distances, in float64."""
    rows, queries = rows.astype(np.float64), queries.astype(np.float64)
    out = []
    for query, left_out in zip(queries, own, strict=True):
        apart = np.sqrt(((rows - query) ** 2).sum(axis=1))
        apart[left_out if left_out >= 0 else []] = np.inf
        order = np.argsort(apart, kind="stable")[:k]
        out.append((order, apart[order]))
    return np.array([o for o, _ in out]), np.array([a for _, a in out])


def drawn(n, d, offset=0.0, seed=0):
    return (np.random.default_rng(seed).normal(size=(n, d)) + offset).astype(np.float32)


CASES = {
    "each of its own": (60, 5, 0.0, 4, np.arange(60)),
    "nobody left out": (60, 5, 0.0, 4, np.full(60, -1)),
    "some left out, the first too": (60, 5, 0.0, 4, np.r_[0, np.full(58, -1), 59]),
    "far from the origin": (80, 6, 40.0, 3, np.arange(80)),
    "one neighbour": (40, 3, 0.0, 1, np.arange(40)),
    "fewer rows than candidates": (12, 3, 0.0, 8, np.arange(12)),
    "all the others": (10, 3, 0.0, 9, np.arange(10)),
}


@pytest.mark.parametrize("block", [64 * 2**20, 1, 20_000], ids=["one block", "each", "some"])
@pytest.mark.parametrize(("n", "d", "offset", "k", "own"), CASES.values(), ids=CASES)
def test_nearest_rows_are_those_of_all_distances(n, d, offset, k, own, block, monkeypatch):
    monkeypatch.setattr(nearest, "_BLOCK_BYTES", block)
    rows = drawn(n, d, offset)
    squares = (rows**2).sum(axis=1)
    indices, distances = nearest_rows(rows, squares, rows, k, own)
    expected = by_hand(rows, rows, k, own)
    np.testing.assert_array_equal(indices, expected[0])
    np.testing.assert_allclose(distances, expected[1], rtol=1e-6)


def test_queries_may_be_other_rows_and_copies_come_in_their_order():
    rows = drawn(50, 4)
    rows[[7, 31]] = rows[3]
    queries = np.concatenate([rows[3:4], drawn(5, 4, seed=1)])
    own = np.full(6, -1)
    indices, distances = nearest_rows(rows, (rows**2).sum(axis=1), queries, 4, own)
    expected = by_hand(rows, queries, 4, own)
    np.testing.assert_array_equal(indices, expected[0])
    assert list(indices[0, :3]) == [3, 7, 31] and (distances[0, :3] == 0).all()


def test_what_float32_products_cannot_tell_apart_is_measured_again():
    rows = np.full((30, 3), 3000.0, dtype=np.float32)
    rows[:, 0] += np.arange(30) / 64  # squares of 2.7e7, which float32 knows to 2
    indices, distances = nearest_rows(rows, (rows**2).sum(axis=1), rows[15:16], 3, np.array([15]))
    assert distances[0, 0] <= distances[0, 1] <= distances[0, 2]
    true = np.abs(rows[indices[0], 0].astype(float) - float(rows[15, 0]))
    np.testing.assert_allclose(distances[0], true)


def test_of_more_equal_rows_than_are_measured_again_the_first_count():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 6)).astype(np.float32)
    copies = rng.permutation(400)[:80]
    rows[copies] = rows[copies[0]]
    own = np.arange(400)
    found, apart = nearest_rows(rows, np.square(rows).sum(axis=1), rows, 10, own)
    for row in copies.tolist():
        others = np.sort(copies[copies != row])
        assert found[row].tolist() == others[:10].tolist()
        assert not apart[row].any()
