"""The path of a pair: stored pairs lie on their stored points, new ones among their neighbours."""

from pathlib import Path

import numpy as np
import pytest

from backend.inference.placing import COLUMNS, placed
from backend.inference.reference import Reference
from backend.store import Store
from backend.types import StreamSpec
from tests.inference.reference_pairs import (
    at,
    manifest_of,
    moved,
    ref,
    stored,
    trace_of,
    with_vectors,
    written,
)

DEMO = Path(__file__).resolve().parents[2] / "cache" / "demo"
SPECS = (StreamSpec.of("vision", "vision", 1, 6), StreamSpec.of("text", "text", 1, 6))


@pytest.fixture(scope="module")
def run(store_factory, tmp_path_factory):
    store = store_factory.make_store(
        tmp_path_factory.mktemp("placing"), ["late"], [0], dtype="float16"
    )
    return store.run("late-seed0")


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_stored_pairs_lie_on_their_stored_points(run, pooling):
    reference = Reference.of(run, pooling)
    stored_points = run.projections(pooling=pooling)
    for row in range(0, run.n, 6):
        path = placed(reference, trace_of(run, stored(run, row)))
        expected = stored_points[stored_points["sample_id"].eq(run.sample_ids()[row])]
        both = path.merge(expected, on=["key", "method", "stream", "layer", "site", "pooling"])
        assert len(both) == len(path) == len(expected)
        varying = both["how"].eq("stored")
        assert (varying | both["how"].eq("constant")).all()
        assert both.loc[varying, "x_x"].eq(both.loc[varying, "x_y"]).all()
        assert both.loc[varying, "y_x"].eq(both.loc[varying, "y_y"]).all()


def test_a_pair_of_the_demo_lies_on_its_stored_points_in_its_umap():
    run = Store(DEMO).run("macros-late-s0")
    reference = Reference.of(run, "cls")
    points = run.projections(pooling="cls")
    path = placed(reference, trace_of(run, stored(run, 100)))
    mine = points[points["sample_id"].eq(run.sample_ids()[100])]
    both = path.merge(mine, on=["key", "method", "stream", "layer", "site"])
    assert len(both) == len(path) == 33
    assert np.array_equal(both[["x_x", "y_x"]], both[["x_y", "y_y"]])
    assert path["how"].value_counts().to_dict() == {"stored": 31, "constant": 2}


def test_a_new_pair_lies_at_the_mean_of_its_neighbours_weighted_by_nearness(run):
    reference = Reference.of(run, "mean")
    trace = moved(run, 12, 0.3)
    path = placed(reference, trace, k=4)
    assert path.columns.tolist() == list(COLUMNS)
    assert path["how"].eq("weighted").all()
    points = run.projections(pooling="mean").set_index(["stream", "layer", "site", "sample_id"])
    for site in (ref("vision 0"), ref("text 4.fusion"), ref("text 4")):
        x = run.vectors(site.stream, site, "mean").astype(float)
        vector = trace.vectors[site, "mean"].astype(float)
        apart = sorted((sum((vector - row) ** 2) ** 0.5, i) for i, row in enumerate(x))[:4]
        total = sum(1 / d for d, _ in apart)
        for axis in ("x", "y"):
            expected = sum(
                points.loc[(site.stream, site.layer, site.site, f"macro-{i:05d}"), axis] / d / total
                for d, i in apart
            )
            assert at(path, site)[axis] == pytest.approx(expected, abs=1e-5)


def test_the_path_runs_into_the_stored_point(run):
    reference = Reference.of(run, "mean")
    site = ref("text 3")
    (points,) = (maps[site] for maps in reference.maps.values())
    gaps = []
    for size in (0.1, 0.03, 0.01):
        cell = at(placed(reference, moved(run, 12, size)), site)
        gaps.append(np.hypot(*(points[12] - [cell["x"], cell["y"]])))
    assert gaps[0] > gaps[1] > gaps[2]


def tiny(store_factory, path, copies=(), constant=False):
    """30 pairs with scattered points; ``copies`` of row 0 in text, vision 0 constant if asked."""
    rng = np.random.default_rng(1)
    vectors = {(site, "mean"): rng.normal(size=(30, 6)) for spec in SPECS for site in spec.refs}
    maps = {key: rng.normal(size=(30, 2)) for key in vectors}
    for site in SPECS[1].refs:
        vectors[site, "mean"][list(copies)] = vectors[site, "mean"][0]
    if constant:
        vectors[ref("vision 0"), "mean"][:] = vectors[ref("vision 0"), "mean"][0]
        maps[ref("vision 0"), "mean"][:] = [4.0, -2.0]
    run = written(store_factory, path, manifest_of(store_factory, SPECS), vectors, maps)
    return run, {key: points.astype(np.float32) for key, points in maps.items()}


def test_a_stored_pair_lies_on_its_own_point_where_others_have_the_same_vector(
    store_factory, tmp_path
):
    run, maps = tiny(store_factory, tmp_path, copies=(7, 20))
    reference = Reference.of(run, "mean")
    site = ref("text 1")
    for row in (0, 7, 20):
        cell = at(placed(reference, trace_of(run, stored(run, row))), site)
        assert [cell["x"], cell["y"]] == maps[site, "mean"][row].tolist()


def test_a_new_image_under_a_stored_caption_lies_between_the_pairs_of_that_caption(
    store_factory, tmp_path
):
    run, maps = tiny(store_factory, tmp_path, copies=(7, 20))
    reference = Reference.of(run, "mean")
    site = ref("text 1")
    trace = with_vectors(
        moved(run, 3, 0.5), {(site, "mean"): stored(run, 7)[site, "mean"] for site in SPECS[1].refs}
    )
    cell = at(placed(reference, trace), site)
    expected = maps[site, "mean"][[0, 7, 20]].astype(float).mean(axis=0)
    assert cell["how"] == "stored"
    assert [cell["x"], cell["y"]] == pytest.approx(expected.tolist())
    named = at(placed(reference, trace, sample_id="macro-00007"), site)
    assert [named["x"], named["y"]] == maps[site, "mean"][7].tolist()


def test_a_named_pair_draws_only_the_vectors_that_are_its_own(store_factory, tmp_path):
    run, maps = tiny(store_factory, tmp_path)
    reference = Reference.of(run, "mean")
    swapped = trace_of(
        run, {key: stored(run, 5 if key[0].stream == "vision" else 9)[key] for key in maps}
    )
    path = placed(reference, swapped, sample_id="macro-00005")
    for site, row in ((ref("vision 1"), 5), (ref("text 1"), 9)):
        cell = at(path, site)
        assert [cell["x"], cell["y"]] == maps[site, "mean"][row].tolist()


def test_at_a_constant_layer_the_pair_lies_where_all_lie(store_factory, tmp_path):
    run, _ = tiny(store_factory, tmp_path, constant=True)
    cell = at(placed(Reference.of(run, "mean"), moved(run, 3, 0.5)), ref("vision 0"))
    assert (cell["x"], cell["y"], cell["how"]) == (4.0, -2.0, "constant")


def test_a_vector_that_is_not_finite_has_no_point_and_a_reason(run):
    broken = with_vectors(moved(run, 3, 0.2), {(ref("text 2"), "mean"): np.full(12, np.inf)})
    path = placed(Reference.of(run, "mean"), broken)
    cell = at(path, ref("text 2"))
    assert np.isnan(cell["x"]) and np.isnan(cell["y"])
    assert cell["reason"] == "layer 2 of text of the pair is not finite"
    assert path["reason"].ne("").sum() == 1


def test_a_run_without_maps_has_no_path(store_factory, tmp_path):
    run = store_factory.make_store(tmp_path, ["late"], [0], projections=False).run("late-seed0")
    path = placed(Reference.of(run, "cls"), moved(run, 3, 0.2))
    assert len(path) == 0
    assert path.columns.tolist() == list(COLUMNS)
