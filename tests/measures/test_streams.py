"""Which sites are compared, for any number of streams and any names."""

from __future__ import annotations

import numpy as np
import pytest

from backend.measures import CKAStream, drivers, suite
from backend.measures.streaming.stream_suite import stream_suite, streamed_pairs, streamed_refs
from backend.measures.suite.cross import cross_cka
from backend.measures.suite.layer_probes import matching, probe_rows
from backend.measures.suite.presets import Layers, mentioned, parts_of
from backend.measures.suite.suite import constant_layer_reason, end_pairs, in_order, pairs
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
    frame = suite(layers.arrays, "cls", modalities=layers.modalities)
    assert set(frame["stream_b"]) == {"text", ""}
    assert drivers(layers.arrays).empty


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
        if part.labelled or pooling not in part.poolings:
            continue
        rows, driving = part.compute(layers)
        places = set(rows[["stream_a", "layer_a", "site_a"]].itertuples(index=False, name=None))
        assert places <= declared, part.name
        if part.name == "dimension" and preset == "default":
            assert places == declared
        assert rows["reason"].ne("").equals(rows["value"].isna()), part.name
        if driving is not None:
            assert driving.empty == (not layers.crossing)


def test_a_warning_reaches_the_layers_that_it_names_and_no_others():
    layers = layers_of(TEXT, DECODER, n=40)
    copied = LayerRef("text_decoder", 1)
    layers.arrays[copied][:30] = layers.arrays[copied][0]
    part = next(part for part in parts_of("default") if part.name == "neighbours")
    rows, _ = part.compute(layers)
    blocks = rows[rows["site_a"].eq("block") & rows["site_b"].eq("block")]
    touched = (blocks["stream_a"].eq("text_decoder") & blocks["layer_a"].eq(1)) | (
        blocks["stream_b"].eq("text_decoder") & blocks["layer_b"].eq(1)
    )
    assert touched.sum() > 3
    assert blocks["warnings"].str.contains("layer 1 of text_decoder").equals(touched)
    assert not blocks["warnings"].str.contains(r"layer 1 of text\b").any()


def test_names_are_found_whole():
    names = ["layer 1 of text", "layer 1 of text_decoder", "layer 11 of text"]
    assert mentioned("of layer 1 of text_decoder are copies", names) == {names[1]}
    assert mentioned("layer 1 of text: 3 copies", names) == {names[0]}
    assert mentioned("layer 11 of text and layer 1 of text.", names) == {names[0], names[2]}
    assert mentioned("n = 6 samples", names) == set()
    assert mentioned("layer 1 of text_decoder", names[:1]) == set()


def test_streams_may_be_called_like_the_arguments_of_a_measure():
    layers = layers_of(StreamSpec.of("x", "text", 1, 4), StreamSpec.of("y", "vision", 1, 4), n=40)
    layers.arrays[LayerRef("x", 1)][:30] = 1.0
    part = next(part for part in parts_of("default") if part.name == "neighbours")
    said = set("; ".join(part.compute(layers)[0]["warnings"]).split("; "))
    assert any("layer 1 of x" in text for text in said)
    assert not any("layer 1 of layer" in text for text in said)


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
    assert constant_layer_reason(ref, "cls", modalities).endswith(said)
    for other, pooling in (
        (ref, "mean"),
        (LayerRef("stream", 1), "cls"),
        (LayerRef("stream", 0, "norm"), "cls"),
    ):
        assert constant_layer_reason(other, pooling, modalities).endswith(
            "every sample has the same vector"
        )


def test_drivers_name_the_sites_that_they_drive():
    layers = layers_of(VISION, TEXT)
    rows = drivers(layers.arrays, modalities=layers.modalities)
    places = set(rows[["layer_a", "site_a", "layer_b", "site_b"]].itertuples(index=False))
    blocks = {(i, "block", j, "block") for i in range(4) for j in range(3)}
    ends = {(3, "norm", 2, "norm"), (3, "projected", 2, "projected")}
    assert {tuple(place) for place in places} == blocks | ends


def test_retrieval_says_what_finds_what():
    part = next(part for part in parts_of("default") if part.name == "retrieval")
    rows, _ = part.compute(layers_of(VISION, TEXT, DECODER))
    shared = rows[rows["site_a"].eq("projected")]
    assert set(shared["estimator"]) == {"image_to_text", "text_to_image"}
    among = rows[rows["stream_a"].eq("text")]
    assert set(among["estimator"]) == {"text_to_text_decoder", "text_decoder_to_text"}
    towers = layers_of(VISION, StreamSpec.of("image", "vision", 1, 4))
    assert set(part.compute(towers)[0]["estimator"]) == {"vision_to_image", "image_to_vision"}


def test_probes_read_every_layer_and_the_shared_space():
    layers = layers_of(VISION, TEXT, n=40)
    task = TaskSpec("joy", "binary", ("no", "yes"))
    labelled = Layers(layers.arrays, "cls", layers.modalities, labels={task: np.arange(40) % 2})
    places = {
        (row["stream_a"], row["site_a"], row["stream_b"], row["site_b"])
        for row in probe_rows(labelled)
    }
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
    whole = suite(layers.arrays, pooling, modalities=layers.modalities)
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
