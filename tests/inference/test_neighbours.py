"""Neighbours by layer against loops, and the turn against the turns of the reference pairs."""

import itertools

import numpy as np
import pytest

from backend.errors import InputError
from backend.inference.neighbours import LISTED, neighbours
from backend.inference.reference import Reference
from backend.types import StreamSpec
from tests.inference.reference_pairs import (
    at,
    manifest_of,
    moved,
    ref,
    share_below,
    stored,
    trace_of,
    with_vectors,
    written,
)

K = 5
SPECS = (StreamSpec.of("vision", "vision", 4, 6),)


@pytest.fixture(scope="module")
def run(store_factory, tmp_path_factory):
    store = store_factory.make_store(tmp_path_factory.mktemp("neighbours"), ["late"], [0])
    return store.run("late-seed0")


@pytest.fixture(scope="module")
def reference(run):
    return Reference.of(run, "cls")


def nearest(x, vector, without=None):
    """(id, distance) of the nearest rows of x."""
    apart = np.linalg.norm(x.astype(float) - vector, axis=1)
    order = sorted((distance, i) for i, distance in enumerate(apart) if i != without)
    return [(f"macro-{i:05d}", distance) for distance, i in order[:K]]


def changes(run, stream, pooling, row, vectors=None):
    """The share of new neighbours from site to site of the sites that have any, by sets."""
    sets = {}
    for site in run.layers(stream, pooling):
        x = run.vectors(stream, site, pooling)
        vector = x[row] if vectors is None else vectors[site, pooling]
        sets[site] = {i for i, _ in nearest(x, vector.astype(float), row)}
    return {b: len(sets[b] - sets[a]) / K for a, b in itertools.pairwise(sets)}


@pytest.mark.parametrize("row", [None, 30])
def test_neighbours_are_the_nearest_without_the_pair_itself(run, reference, row):
    trace = moved(run, 30, 0.4) if row is None else trace_of(run, stored(run, row))
    table = neighbours(reference, trace, K).lists
    assert table.columns.tolist() == list(LISTED)
    for site in (ref("vision 1"), ref("vision 4.fusion"), ref("text 0"), ref("text 4")):
        rows = table[
            table["stream"].eq(site.stream)
            & table["layer"].eq(site.layer)
            & table["site"].eq(site.site)
        ]
        x = run.vectors(site.stream, site, "cls")
        expected = nearest(x, trace.vectors[site, "cls"].astype(float), row)
        assert rows["rank"].tolist() == [1, 2, 3, 4, 5]
        assert rows["sample_id"].tolist() == [name for name, _ in expected]
        assert rows["distance"].tolist() == pytest.approx([d for _, d in expected], rel=1e-5)


@pytest.mark.parametrize("row", [None, 30])
def test_changes_stand_among_those_of_the_reference_pairs(run, reference, row):
    trace = moved(run, 30, 0.4) if row is None else trace_of(run, stored(run, row))
    table = neighbours(reference, trace, K).changes
    usual = [changes(run, "text", "cls", i) for i in range(run.n)]
    own = changes(run, "text", "cls", row, trace.vectors)
    for site, change in own.items():
        cell = at(table, site)
        there = [u[site] for u in usual]
        assert cell["change"] == pytest.approx(change)
        assert cell["p50"] == pytest.approx(np.median(there))
        assert cell["p95"] == pytest.approx(np.percentile(there, 95))
        others = [v for i, v in enumerate(there) if i != row]
        assert cell["percentile"] == pytest.approx(share_below(others, change))
        assert cell["n"] == run.n


def test_the_largest_change_stands_among_the_largest_of_the_reference_pairs(run, reference):
    trace = moved(run, 30, 0.4)
    turn = next(t for t in neighbours(reference, trace, K).turns if t.stream == "text")
    usual = [max(changes(run, "text", "cls", i).values()) for i in range(run.n)]
    own = changes(run, "text", "cls", None, trace.vectors)
    assert turn.change == pytest.approx(max(own.values()))
    assert own[turn.ref] == pytest.approx(turn.change)
    assert turn.percentile == pytest.approx(share_below(usual, turn.change))
    assert turn.usual["p50"] == pytest.approx(np.median(usual))
    assert turn.usual["p50"] > at(neighbours(reference, trace, K).changes, turn.ref)["p05"]


def clustered(store_factory, path):
    """40 pairs in two groups that stay as they are from layer to layer."""
    rng = np.random.default_rng(0)
    x = np.repeat([[-9.0], [9.0]], 20, axis=0) * np.eye(6)[0] + rng.normal(size=(40, 6))
    still = {(site, "mean"): x + 0.01 * rng.normal(size=x.shape) for site in SPECS[0].refs}
    return written(store_factory, path, manifest_of(store_factory, SPECS), still)


def test_a_pair_that_goes_over_to_another_group_turns_where_it_goes(store_factory, tmp_path):
    run = clustered(store_factory, tmp_path)
    x = {k: run.vectors("vision", k, "mean") for k in range(5)}
    path = {(ref(f"vision {k}"), "mean"): x[k][3 if k < 3 else 33] + 0.2 for k in range(5)}
    (turn,) = neighbours(Reference.of(run, "mean"), trace_of(run, path), K).turns
    assert (turn.before, turn.ref, turn.change) == (ref("vision 2"), ref("vision 3"), 1.0)
    assert turn.percentile == 100
    assert turn.usual["p95"] < 0.7
    assert all(int(name[-2:]) < 20 for name in turn.before_ids)
    assert all(int(name[-2:]) >= 20 for name in turn.ids)
    assert turn.before_ids[0] == "macro-00003" and turn.ids[0] == "macro-00033"


def test_no_change_goes_to_or_from_a_constant_layer(run, reference):
    result = neighbours(reference, moved(run, 3, 0.2), K)
    first, second = (at(result.changes, ref(f"vision {k}")) for k in (0, 1))
    assert first["reason"] == "layer 0 of vision is the first site"
    assert second["reason"].startswith("layer 0 of vision is constant")
    assert np.isnan(second["change"]) and np.isnan(second["p50"]) and second["n"] == 0
    assert at(result.changes, ref("text 1"))["reason"] == ""
    assert not (result.lists["stream"].eq("vision") & result.lists["layer"].eq(0)).any()


def test_a_vector_that_is_not_finite_has_no_neighbours(run, reference):
    broken = with_vectors(moved(run, 3, 0.2), {(ref("text 2"), "cls"): np.full(12, np.nan)})
    result = neighbours(reference, broken, K)
    for site in ("text 2", "text 3"):
        cell = at(result.changes, ref(site))
        assert cell["reason"] == "layer 2 of text of the pair is not finite"
        assert np.isnan(cell["change"]) and np.isfinite(cell["p50"])
    assert np.isfinite(at(result.changes, ref("text 4"))["change"])
    turn = next(t for t in result.turns if t.stream == "text")
    assert turn.ref.layer not in (2, 3) and np.isfinite(turn.percentile)


def test_so_many_neighbours_are_not_known(run, reference):
    with pytest.raises(InputError, match=r"must lie in 1\.\.47, got 48"):
        neighbours(reference, moved(run, 3, 0.2), 48)
