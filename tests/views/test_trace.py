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
    path = views.path(reference, traces, spec, str(reference.ids[7]))
    assert path.method == "umap" and path.refs == spec.refs
    assert np.array_equal(path.paths["pair"], path.reference[:, 7])
    assert path.reference.shape == (len(spec.refs), reference.n, 2)


def test_curves_hold_every_trace_by_name_and_the_pair_is_left_out_of_its_percentile(run, reference):
    traces = {"pair": traced(run, reference, 3), "other": traced(run, reference, 4)}
    rows = views.curves(reference, traces, ("vision", "text"), None)
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
    assert views.beside(deep, LayerRef("vision", 8), flat.refs, flat) == "4"
    assert views.beside(deep, LayerRef("vision", 12), flat.refs, flat) == "6"
    assert views.beside(flat, LayerRef("text", 0), deep.refs, deep) == "0"


def test_a_turn_is_told_against_what_reference_pairs_do(run, reference):
    near = views.near(reference, traced(run, reference, 5), str(reference.ids[5]))
    assert {turn.stream for turn in near.turns} == {"vision", "text"}
    (turn,) = (one for one in near.turns if one.stream == "vision")
    words = views.turn_in_words(turn)
    assert f"from layer {turn.before.label} to {turn.ref.label}" in words
    assert f"above {turn.percentile:.0f} %" in words


def test_the_strip_starts_where_the_address_says_else_at_the_end():
    spec = StreamSpec.of("vision", "vision", 4, 8, [3])
    assert views.start_of(spec.refs, "3.fusion").label == "3.fusion"
    assert views.start_of(spec.refs, None).label == "4"
