"""Which sites are compared, for any number of streams and any names."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from backend.measures import CKAStream
from backend.measures.streaming.stream_suite import stream_suite, streamed_pairs, streamed_refs
from backend.measures.suite.compute import compute
from backend.measures.suite.cross import cross_cka
from backend.measures.suite.layer_probes import matching
from backend.measures.suite.layers import Layers, constant_layer_reason
from backend.measures.suite.linear_cka import cka_rows
from backend.measures.suite.pairs import end_pairs, in_order, pairs
from backend.measures.suite.parts import part_of, parts_of
from backend.measures.suite.rows import tidy_frame
from backend.remarks import Place, in_words, read_text
from backend.types import LayerRef, Meet, Site, StreamSpec, TaskSpec

N = 24


def tower(name: str, modality: str, depth: int, width: int, *ends: str) -> StreamSpec:
    sites = [Site(k, width) for k in range(depth + 1)]
    sites += [Site(depth, 6 if end == "projected" else width, end, True) for end in ends]
    return StreamSpec(name, modality, tuple(sites))


TEXT = tower("text", "text", 2, 5, "norm", "projected")
VISION = tower("vision", "vision", 3, 7, "norm", "projected")
DECODER = StreamSpec(
    "text_decoder",
    "text",
    (Site(0, 4), Site(1, 4), Site(2, 4, "cross"), Site(2, 8), Site(2, 8, "norm")),
    (Meet(2, "cross", "vision", "2.cross"),),
)
WITHOUT_SUMMARY = StreamSpec(
    "image", "vision", (Site(0, 5), Site(1, 9), Site(1, 6, "projected", True)), (), ("mean",)
)


def layers_of(*specs: StreamSpec, pooling: str = "cls", n: int = N) -> Layers:
    """Random but related vectors of every site that has the pooling."""
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(n, 3))
    arrays = {
        ref: latent @ rng.normal(size=(3, spec.width_of(ref)))
        + rng.normal(size=(n, spec.width_of(ref)))
        for spec in specs
        for ref in spec.refs
        if pooling in spec.poolings_of(ref)
    }
    return Layers(arrays, pooling, {spec.name: spec.modality for spec in specs})


def rows_of(name: str, layers: Layers, preset: str = "default"):
    return tidy_frame(compute(part_of(preset, name), layers).rows)


def named(layers: Layers) -> list[tuple[str, str]]:
    """The compared pairs of which a site is named."""
    refs = layers.refs
    return [
        (f"{refs[i].stream} {refs[i].label}", f"{refs[j].stream} {refs[j].label}")
        for i, j in pairs(refs, layers.modalities)
        if (refs[i].site, refs[j].site) != ("block", "block")
    ]


def test_named_sites_meet_their_neighbours_and_their_namesakes_at_the_ends():
    assert named(layers_of(VISION, TEXT)) == [
        ("text 2", "text 2.norm"),
        ("text 2.norm", "text 2.projected"),
        ("vision 3", "vision 3.norm"),
        ("vision 3.norm", "vision 3.projected"),
        ("vision 3.norm", "text 2.norm"),
        ("vision 3.projected", "text 2.projected"),
    ]


def test_named_sites_before_a_block_are_not_compared_across_streams():
    fused = [StreamSpec.of(name, name, 2, 4, (2,)) for name in ("vision", "text")]
    assert named(layers_of(*fused)) == [
        ("text 1", "text 2.fusion"),
        ("text 2.fusion", "text 2"),
        ("vision 1", "vision 2.fusion"),
        ("vision 2.fusion", "vision 2"),
    ]


def test_every_two_streams_are_compared_layer_by_layer():
    layers = layers_of(TEXT, DECODER, VISION)
    refs = layers.refs
    compared = {
        (refs[i].stream, refs[j].stream)
        for i, j in pairs(refs, layers.modalities)
        if refs[i].stream != refs[j].stream
    }
    assert compared == {
        ("vision", "text"),
        ("vision", "text_decoder"),
        ("text", "text_decoder"),
    }
    assert end_pairs(refs, layers.modalities) == [
        (LayerRef("vision", 3, "norm"), LayerRef("text", 2, "norm")),
        (LayerRef("vision", 3, "projected"), LayerRef("text", 2, "projected")),
        (LayerRef("vision", 3, "norm"), LayerRef("text_decoder", 2, "norm")),
        (LayerRef("text", 2, "norm"), LayerRef("text_decoder", 2, "norm")),
    ]


def test_a_stream_alone_is_compared_with_itself_only():
    layers = layers_of(TEXT)
    assert layers.crossing == [] and matching(layers) == [] and layers.at_ends == []
    table = cka_rows(layers)
    assert set(tidy_frame(table.rows)["stream_b"]) == {"text"} and table.drivers.empty


def test_a_named_site_has_no_neighbour_where_the_layers_beside_it_are_not_given():
    refs = [LayerRef("a", 0), LayerRef("a", 3, "fusion"), LayerRef("a", 5)]
    assert [(i, j) for i, j in pairs(refs, {}) if 1 in (i, j)] == []


def test_vision_is_first_and_the_others_as_declared():
    modalities = {"fused": "fused", "text": "text", "seen": "vision", "audio": "audio"}
    assert in_order(modalities, modalities) == ["seen", "fused", "text", "audio"]
    assert in_order(["b", "a", "b"], {}) == ["b", "a"]


def test_a_stream_that_lacks_a_pooling_has_no_rows_of_it():
    mean, cls = (layers_of(WITHOUT_SUMMARY, TEXT, pooling=pooling) for pooling in ("mean", "cls"))
    assert {ref.label for ref in mean.refs if ref.stream == "image"} == {"0", "1"}
    assert [ref.label for ref in cls.refs if ref.stream == "image"] == ["1.projected"]
    assert named(cls)[-1] == ("image 1.projected", "text 2.projected")
    assert cls.crossing == [(LayerRef("image", 1, "projected"), LayerRef("text", 2, "projected"))]


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("preset", ["default", "thesis"])
@pytest.mark.parametrize(
    "specs",
    [(TEXT,), (VISION, TEXT), (VISION, TEXT, DECODER, WITHOUT_SUMMARY), (WITHOUT_SUMMARY,)],
    ids=["one", "two", "four", "no summary"],
)
def test_every_part_of_a_preset_takes_any_streams(specs, preset, pooling):
    layers = layers_of(*specs, pooling=pooling)
    declared = {(ref.stream, ref.layer, ref.site) for ref in layers.refs}
    for part in parts_of(preset):
        if part.labelled or not part.measures_of(pooling):
            continue
        table = compute(part, layers)
        rows, driving = tidy_frame(table.rows), table.drivers
        places = set(rows[["stream_a", "layer_a", "site_a"]].itertuples(index=False, name=None))
        assert places <= declared, part.name
        if part.name == "dimension" and preset == "default":
            assert places == declared
        assert rows["reason"].ne("").equals(rows["value"].isna()), part.name
        if driving is not None:
            assert driving.empty == (not layers.crossing)


COPIED = [
    (LayerRef("text", 1), (TEXT, DECODER)),
    (LayerRef("text_decoder", 1), (TEXT, DECODER)),
    (LayerRef("text_decoder", 2, "norm"), (TEXT, DECODER, VISION)),
    (LayerRef("x", 1), (StreamSpec.of("x", "text", 11, 4), StreamSpec.of("y", "vision", 1, 4))),
    (LayerRef("x", 11), (StreamSpec.of("x", "text", 11, 4), StreamSpec.of("xy", "text", 1, 4))),
]


@pytest.mark.parametrize(
    ("copied", "specs"), COPIED, ids=[f"{r.stream} {r.label}" for r, _ in COPIED]
)
@pytest.mark.parametrize(
    "name", ["cka", "rbf", "shape", "neighbours", "rsa", "linear_predictivity"]
)
def test_a_warning_reaches_every_row_of_the_layer_it_is_about_and_no_other(name, copied, specs):
    layers = layers_of(*specs, n=40)
    layers.arrays[copied][:30] = layers.arrays[copied][0]
    rows = rows_of(name, layers)
    own = (copied.stream, copied.layer, copied.site)
    sides = [
        zip(*(rows[f"{w}_{s}"] for w in ("stream", "layer", "site")), strict=True) for s in "ab"
    ]
    touched = [own in (a, b) for a, b in zip(*sides, strict=True)]
    warned = [
        [r.layers for r in read_text(text) if r.code == "copies"] for text in rows["warnings"]
    ]
    assert sum(touched) > 2
    assert warned == [[(Place(copied.stream, copied.label),)] * at for at in touched]


def test_a_warning_of_one_layer_calls_it_by_name():
    layers = layers_of(TEXT, n=40)
    layers.arrays[LayerRef("text", 1)][:30] = 1.0
    rows = rows_of("dimension", layers)
    words = list(map(in_words, rows["warnings"][rows["layer_a"].eq(1)]))
    copies = "29 of 40 rows of layer 1 of text are copies of another row"
    assert {said[said.index(copies) :] for said in words} == {
        copies,
        f"{copies}: left out, 11 used",
    }


@pytest.mark.parametrize(
    ("modality", "said"),
    [
        ("vision", "the summary token does not depend on the image yet"),
        ("text", "the summary token does not depend on the text yet"),
        ("audio", "the summary token does not depend on the recording yet"),
        ("query", "the summary token does not depend on the input yet"),
    ],
)
def test_a_constant_summary_at_layer_0_is_explained_for_any_modality(modality, said):
    ref, modalities = LayerRef("stream", 0), {"stream": modality}
    assert str(constant_layer_reason(ref, "cls", modalities)).endswith(said)
    for other, pooling in (
        (ref, "mean"),
        (LayerRef("stream", 1), "cls"),
        (LayerRef("stream", 0, "norm"), "cls"),
    ):
        assert constant_layer_reason(other, pooling, modalities).code == "constant"


def test_drivers_name_the_sites_that_they_drive():
    layers = layers_of(VISION, TEXT)
    rows = cka_rows(layers).drivers
    places = set(rows[["layer_a", "site_a", "layer_b", "site_b"]].itertuples(index=False))
    blocks = {(i, "block", j, "block") for i in range(4) for j in range(3)}
    ends = {(3, "norm", 2, "norm"), (3, "projected", 2, "projected")}
    assert {tuple(place) for place in places} == blocks | ends


def test_retrieval_says_what_finds_what():
    rows = rows_of("retrieval", layers_of(VISION, TEXT, DECODER))
    shared = rows[rows["site_a"].eq("projected")]
    assert set(shared["estimator"]) == {"image_to_text", "text_to_image"}
    among = rows[rows["stream_a"].eq("text")]
    assert set(among["estimator"]) == {"text_to_text_decoder", "text_decoder_to_text"}
    towers = layers_of(VISION, StreamSpec.of("image", "vision", 1, 4))
    assert set(rows_of("retrieval", towers)["estimator"]) == {"vision_to_image", "image_to_vision"}


def test_probes_read_every_layer_and_the_shared_space():
    layers = layers_of(VISION, TEXT, n=40)
    task = TaskSpec("joy", "binary", ("no", "yes"))
    labelled = Layers(layers.arrays, "cls", layers.modalities, labels={task: np.arange(40) % 2})
    rows = rows_of("probes", labelled)
    places = set(
        rows[["stream_a", "site_a", "stream_b", "site_b"]].itertuples(index=False, name=None)
    )
    assert ("vision", "projected", "text", "projected") in places
    assert ("text", "projected", "", "") in places and ("vision", "norm", "", "") in places


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_streaming_capture_sums_the_sites_that_have_the_pooling(pooling):
    specs = [TEXT, DECODER, VISION, WITHOUT_SUMMARY]
    layers = layers_of(*specs, pooling=pooling)
    refs = streamed_refs(specs, pooling)
    assert list(refs) == layers.refs
    compared = streamed_pairs(specs, pooling)
    stream = CKAStream(pairs=compared)
    for start in range(0, N, 7):
        stream.update([layers.arrays[ref][start : start + 7] for ref in refs])
    rows = stream_suite(stream, refs, compared, pooling, modalities=layers.modalities)
    whole = pd.concat([rows_of("cka", layers), rows_of("dimension", layers)])
    keys = [
        "measure",
        *(f"{w}_{s}" for s in "ab" for w in ("stream", "layer", "site")),
        "estimator",
    ]
    both = rows.merge(whole, on=keys, suffixes=("", "_whole"))
    assert len(both) == len(rows) > 0
    np.testing.assert_allclose(both["value"], both["value_whole"], atol=1e-9)


def test_two_models_of_other_streams_are_compared_layer_by_layer():
    left, right = layers_of(VISION, TEXT), layers_of(TEXT, DECODER)
    rows = cross_cka(left, right, ("one", "two"))
    cells = set(zip(rows["stream_a"], rows["stream_b"], strict=True))
    assert cells == {(a, b) for a in ("vision", "text") for b in ("text", "text_decoder")}
    nothing = cross_cka(left, layers_of(WITHOUT_SUMMARY), ("one", "two"))
    assert nothing.empty and list(nothing.columns) == list(rows.columns)
