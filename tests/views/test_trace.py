from dataclasses import replace

import numpy as np
import pytest

from backend.inference.reference import Reference
from backend.inference.values import Trace
from backend.store import Store
from backend.types import LayerRef, StreamSpec
from backend.views import trace as views
from tests.pages.harness import ROOT


@pytest.fixture(scope="module")
def run():
    return Store(str(ROOT / "cache" / "demo")).run("macros-late-s0")


@pytest.fixture(scope="module")
def reference(run):
    return Reference.of(run, "cls")


def traced(run, reference, row):
    """The trace of a stored pair, as its vectors are stored."""
    vectors = {(ref, "cls"): run.vectors(ref.stream, ref, "cls")[row] for ref in reference.sites}
    return Trace("late", "ours", reference.digest, reference.streams, vectors, {})


def test_the_path_of_a_stored_pair_lies_on_its_stored_points(run, reference):
    spec = reference.stream("vision")
    traces = {"pair": traced(run, reference, 7)}
    path = views.paths(reference, traces, str(reference.ids[7]))["vision"]
    assert path.method == "umap" and path.refs == spec.refs
    assert np.array_equal(path.paths["pair"], path.reference[:, 7])
    assert path.reference.shape == (len(spec.refs), reference.n, 2)


def test_curves_hold_every_trace_by_name_and_the_pair_is_left_out_of_its_percentile(run, reference):
    traces = {"pair": traced(run, reference, 3), "other": traced(run, reference, 4)}
    rows = views.among(reference, traces, ("vision", "text"), None).curves
    assert set(rows["name"]) == {"pair", "other"} and set(rows["curve"]) == set(views.WORDS)
    norms = np.linalg.norm(run.vectors("vision", 12, "cls").astype(np.float64), axis=1)
    (row,) = rows[
        rows["name"].eq("pair") & rows["curve"].eq("norm") & rows["stream"].eq("vision")
        & rows["layer"].eq(12) & rows["site"].eq("block")
    ].to_dict("records")  # fmt: skip
    others = np.delete(norms, 3)
    assert row["value"] == pytest.approx(norms[3], rel=1e-6)
    below = (others < norms[3]).sum() + (others == norms[3]).sum() / 2
    assert row["percentile"] == pytest.approx(100 * below / len(others))


def test_traces_part_where_they_first_differ(run, reference):
    pair = traced(run, reference, 0)
    changed = {
        key: vector + (1.0 if key[0].stream == "text" and key[0].layer >= 11 else 0.0)
        for key, vector in pair.vectors.items()
    }
    parts = views.partings({"pair": pair, "what if": replace(pair, vectors=changed)})
    assert parts == {"what if": {"vision": None, "text": LayerRef("text", 11, "fusion")}}


def test_another_stream_stands_at_the_same_relative_depth():
    deep, flat = StreamSpec.of("vision", "vision", 12, 4), StreamSpec.of("text", "text", 6, 4)
    assert views.beside(deep, LayerRef("vision", 8), flat.refs, flat).label == "4"
    assert views.beside(deep, LayerRef("vision", 12), flat.refs, flat).label == "6"
    assert views.beside(flat, LayerRef("text", 0), deep.refs, deep).label == "0"
    fused = StreamSpec.of("vision", "vision", 12, 4, [3])
    assert views.beside(fused, LayerRef("vision", 3), fused.refs, fused).label == "3"


def test_a_turn_is_told_against_what_reference_pairs_do(run, reference):
    pair = {"pair": traced(run, reference, 5)}
    near = views.among(reference, pair, None, str(reference.ids[5])).near
    assert {turn.stream for turn in near.turns} == {"vision", "text"}
    (turn,) = (one for one in near.turns if one.stream == "vision")
    words = views.turn_in_words(turn)
    assert f"from layer {turn.before.label} to {turn.ref.label}" in words
    gone = set(turn.before_ids) - set(turn.ids)
    assert f": {len(gone)} of {len(turn.ids)} are others than before" in words
    assert f"more than {turn.percentile:.0f} %" in words


def test_the_strip_starts_where_the_address_says_else_at_the_end():
    spec = StreamSpec.of("vision", "vision", 4, 8, [3])
    assert views.start_of(spec.refs, "3.fusion").label == "3.fusion"
    assert views.start_of(spec.refs, None).label == "4"


def test_a_range_holds_the_sites_between_its_ends_whichever_comes_first():
    spec = StreamSpec.of("vision", "vision", 4, 8, [3])
    labels = lambda span: [ref.label for ref in views.within(spec.refs, span)]  # noqa: E731
    assert labels(("1", "3.fusion")) == labels(("3.fusion", "1")) == ["1", "2", "3.fusion"]
    assert labels(None) == labels(("1", "9")) == ["0", "1", "2", "3.fusion", "3", "4"]


def test_neighbours_are_compared_at_the_ends_of_a_range_else_where_most_change(run, reference):
    near = views.among(reference, {"pair": traced(run, reference, 5)}, None, None).near
    spec = reference.stream("vision")
    turns = tuple((turn.before, turn.ref) for turn in near.turns)
    assert views.changes(near.turns, spec, spec.refs) == turns and len(turns) == 2
    part = spec.refs[2:6]
    assert views.changes(near.turns, spec, part) == ((part[0], part[-1]),)


def test_without_reference_pairs_a_pair_has_the_same_curves_and_no_percentiles(run, reference):
    pair = {"pair": traced(run, reference, 2)}
    rows = views.curves_alone(pair, "cls")
    among = views.among(reference, pair, ("vision", "text"), None).curves
    among = among[among["curve"].isin(["norm", "step", "angle"])].reset_index(drop=True)
    assert list(rows.columns) == list(among.columns)
    place = ["name", "curve", "stream", "layer", "site", "position", "pooling", "reason"]
    assert rows[place].equals(among[place])
    np.testing.assert_allclose(rows["value"], among["value"], rtol=1e-9)
    assert rows["percentile"].isna().all() and rows["p50"].isna().all() and rows["n"].eq(0).all()


def test_a_part_of_a_path_is_that_at_its_sites(run, reference):
    whole = views.paths(reference, {"pair": traced(run, reference, 7)}, None)["vision"]
    part = whole.of(whole.refs[3:5])
    assert part.refs == whole.refs[3:5]
    assert np.array_equal(part.reference, whole.reference[3:5])
    assert np.array_equal(part.paths["pair"], whole.paths["pair"][3:5])
