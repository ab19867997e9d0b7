"""What each sample adds to a pair: both routes, blocks, any centred kernel, chosen pairs."""

import itertools
import tracemalloc

import numpy as np
import pytest

from backend.errors import InputError
from backend.measures import cka, cka_contributions, pair_contributions
from backend.measures.chance.samples import _rounds, sample_sums, sample_sums_of_grams
from backend.measures.core.base import prepare
from backend.measures.core.hsic import all_pairs
from backend.measures.families.contributions import extremes


def prepared(layers):
    return [prepare(x, "x") for x in layers]


def grams(arrays, layers):
    whole = [arrays.centred(x) @ arrays.centred(x).T for x in layers]
    return [g / np.trace(g) for g in whole]


@pytest.mark.parametrize("gram", [True, False])
@pytest.mark.parametrize(("n", "widths"), [(40, (7, 12, 3)), (20, (60, 9, 30))])
def test_rows_are_those_of_the_explicit_grams(arrays, monkeypatch, gram, n, widths):
    monkeypatch.setattr("backend.measures.chance.samples.gram_is_cheaper", lambda n, w: gram)
    layers = arrays.related(n, widths)
    sums = sample_sums(prepared(layers))
    w = grams(arrays, layers)
    u = [arrays.u_centred(g) for g in w]
    diagonals = [np.diag(g) for g in w]
    emptied = [g - np.diag(d) for g, d in zip(w, diagonals, strict=True)]
    assert sums.pairs == ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
    for column, (i, j) in enumerate(sums.pairs):
        rows = (emptied[i] * emptied[j]).sum(axis=1)
        crossed = emptied[i] @ diagonals[j] + emptied[j] @ diagonals[i]
        np.testing.assert_allclose(sums.rows[:, column], rows, atol=1e-15)
        np.testing.assert_allclose(sums.crossed[:, column], crossed, atol=1e-15)
        np.testing.assert_allclose(sums.terms()[:, column], (u[i] * u[j]).sum(axis=1), atol=1e-15)
    np.testing.assert_allclose(
        sums.statistics.debiased(), all_pairs(prepared(layers)).debiased(), atol=1e-13
    )
    assert np.isnan(sums.cubes).all()


def test_cubes_are_those_of_the_u_centred_grams(arrays):
    layers = arrays.related(40, (7, 60))
    sums = sample_sums(prepared(layers), cubes=True)
    expected = [(arrays.u_centred(g) ** 3).sum() for g in grams(arrays, layers)]
    np.testing.assert_allclose(sums.cubes, expected, rtol=1e-10)


def test_blocks_of_rows_do_not_change_the_sums(arrays, monkeypatch):
    layers = prepared(arrays.related(150, (30, 200)))
    whole = sample_sums(layers, cubes=True)
    monkeypatch.setattr("backend.measures.chance.samples._BLOCK_BYTES", 1)
    parts = sample_sums(layers, cubes=True)
    np.testing.assert_allclose(parts.rows, whole.rows, atol=1e-14)
    np.testing.assert_allclose(parts.cubes, whole.cubes, rtol=1e-10)
    np.testing.assert_allclose(parts.statistics.off, whole.statistics.off, rtol=1e-12)


def test_explicit_grams_give_the_same_sums(arrays):
    layers = arrays.related(30, (4, 50))
    w = np.stack(grams(arrays, layers))
    diagonals = np.stack([np.diag(g) for g in w])
    emptied = w - np.stack([np.diag(d) for d in diagonals])
    found, expected = (
        sample_sums_of_grams(emptied, diagonals),
        sample_sums(prepared(layers), cubes=True),
    )
    np.testing.assert_allclose(found.rows, expected.rows, atol=1e-15)
    np.testing.assert_allclose(found.crossed, expected.crossed, atol=1e-15)
    np.testing.assert_allclose(found.cubes, expected.cubes, rtol=1e-9)
    np.testing.assert_allclose(found.statistics.off, expected.statistics.off, rtol=1e-12)


def test_float32_rows_are_close_to_the_float64_ones(arrays):
    layers = arrays.related(600, (100, 40))
    exact = sample_sums(prepared(layers), cubes=True)
    single = sample_sums([prepare(x, "x", np.float32) for x in layers], cubes=True)
    np.testing.assert_allclose(single.rows, exact.rows, atol=1e-6 * exact.rows.max())
    np.testing.assert_allclose(single.cubes, exact.cubes, rtol=1e-4)


def test_chosen_pairs_come_in_their_order_and_an_unknown_one_is_refused(arrays):
    layers = arrays.related(25, (4, 5, 6))
    found = pair_contributions(layers, [(2, 0), (1, 1)])
    np.testing.assert_allclose(found[:, 0], cka_contributions(layers[2], layers[0]), atol=1e-13)
    np.testing.assert_allclose(found[:, 1], cka_contributions(layers[1], layers[1]), atol=1e-13)
    with pytest.raises(InputError, match=r"pair \(0, 3\) lies outside 0..2"):
        pair_contributions(layers, [(0, 3)])
    with pytest.raises(InputError, match="a: needs at least 4 samples, got 3"):
        pair_contributions([x[:3] for x in layers], [(0, 1)], labels=["a", "b", "c"])


def test_contributions_sum_to_one_and_to_minus_one_where_cka_is_negative(arrays):
    x, y = arrays.related(40, (6, 8))
    assert cka_contributions(x, y).sum() == pytest.approx(1, abs=1e-12)
    rng = np.random.default_rng(0)
    draws = (rng.normal(size=(2, 20, 5)) for _ in itertools.count())
    x, y = next(pair for pair in draws if float(cka(*pair)) < 0)
    assert cka_contributions(x, y).sum() == pytest.approx(-1, abs=1e-12)


def test_two_planted_twins_drive_the_cell():
    x, y = np.random.default_rng(0).normal(size=(2, 60, 10))
    twins = [17, 30]
    x[twins] += 10
    y[twins] += 10
    share = cka_contributions(x, y)
    assert {sample for _, sample in extremes(share, 5)[:2]} == set(twins)
    assert share[twins].sum() > 0.5
    # Without them nothing is left.
    rest = np.delete(np.arange(60), twins)
    assert float(cka(x, y)) > 0.5 > 0.1 > float(cka(x[rest], y[rest]))


def test_contributions_of_a_constant_layer_are_nan(arrays):
    x = arrays.related(20, (4,))[0]
    found = cka_contributions(x, np.ones((20, 3)))
    assert np.isnan(found).all()
    assert extremes(found, 5) == []


def test_extremes_are_ranked_from_the_most_extreme_and_do_not_overlap():
    share = np.array([0.1, 0.5, -0.2, 0.3, 0.3])
    assert extremes(share, 2) == [(1, 1), (2, 3), (-1, 2), (-2, 0)]
    assert extremes(share[:3], 5) == [(1, 1), (-1, 2)]


@pytest.mark.parametrize("count", [1, 2, 3, 8, 9])
def test_every_two_groups_meet_once_and_none_twice_in_a_round(count):
    rounds = list(_rounds(count))
    for blocks in rounds[1:]:
        groups = [group for block in blocks for group in block]
        assert len(groups) == len(set(groups))
    met = sorted(block for blocks in rounds for block in blocks)
    assert met == [(i, j) for i in range(count) for j in range(i, count)]


def test_workers_do_not_change_a_bit_of_the_sums(arrays, monkeypatch):
    layers = [prepare(x, "x", np.float32) for x in arrays.related(700, (40, 30, 20))]
    found = []
    for workers in (1, 5):
        monkeypatch.setattr("backend.measures.core.parallel.worker_count", lambda w=workers: w)
        monkeypatch.setattr("backend.measures.core.parallel.WORTH_THREADS", 0)
        found.append(sample_sums(layers, cubes=True))
    one, many = found
    for name in ("rows", "crossed", "cubes"):
        np.testing.assert_array_equal(getattr(one, name), getattr(many, name))
    np.testing.assert_array_equal(one.statistics.off, many.statistics.off)


def test_memory_is_the_result_and_a_few_blocks(arrays, monkeypatch):
    monkeypatch.setattr("backend.measures.core.parallel.worker_count", lambda: 1)
    layers = [prepare(x, "x", np.float32) for x in arrays.related(1500, (3,) * 40)]
    pairs = [(0, 1), (2, 3)]
    tracemalloc.start()
    sample_sums(layers, pairs, cubes=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Half of what the (L, L) products of all samples would take.
    assert peak < 8 * 1500 * 40**2 / 2
