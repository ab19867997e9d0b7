"""Streams of any modality: their styles, the pair that is compared, meets in words, named sites."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from backend.figures import (
    Series,
    alignment_curves,
    dimension_curves,
    layer_heatmap,
    placement_drawing,
    probe_curves,
    transition_curves,
)
from backend.figures.meets import fusion_at, fusion_of, losses_of
from backend.figures.placement import describe
from backend.figures.sites import fusion_sites, named_sites, norm_in_words
from backend.figures.theme import STYLES, styles_of
from backend.figures.transitions import fusion_points, partners, transition_points
from backend.pairing import default_pair, paired, stream_pairs
from backend.types import Meet, Site, StreamSpec, matched_layers
from tests.figures.frames import LATE, cka_frame, dimension_frame, joins, row

VISION = StreamSpec.of("vision", "vision", 2, 4)
TEXT = StreamSpec.of("text", "text", 2, 4)
DECODER = StreamSpec(
    "text_decoder",
    "text",
    (Site(0, 4), Site(1, 4), Site(2, 4, "cross"), Site(2, 4)),
    (Meet(2, "cross", "vision", "2.cross"),),
    note="Its last layer is read by nothing.",
)
THREE = Series("three", "three", (VISION, TEXT, DECODER))


def clip(depth=2, other=2):
    def tower(name, reads, depth):
        sites = [Site(k, 4) for k in range(depth + 1)]
        sites += [Site(depth, 4, "norm"), Site(depth, 3, "projected", pooled=True)]
        return StreamSpec(
            name, name, tuple(sites), (Meet(depth, "loss", reads, f"{depth}.projected"),)
        )

    return Series("clip", "clip", (tower("vision", "text", depth), tower("text", "vision", other)))


def frame_of(*rows):
    import pandas as pd

    return pd.DataFrame(
        [row(series.key, 0, a, b, value, **more) for series, a, b, value, more in rows]
    )


def lines(figure):
    return [t for t in figure.data if t.mode == "lines+markers"]


def test_the_usual_modalities_keep_their_looks():
    styles = styles_of((VISION, TEXT, StreamSpec.of("fused", "fused", 2, 4)))
    assert styles == {name: STYLES[name] for name in ("vision", "text", "fused")}


@pytest.mark.parametrize("count", [2, 5, 12])
def test_streams_that_share_a_modality_never_look_the_same(count):
    for modality in ("vision", "text", "sonar"):
        streams = [StreamSpec.of(f"s{k}", modality, 2, 4) for k in range(count)]
        styles = list(styles_of(streams).values())
        assert len(set(styles)) == count
        for a, b in combinations(styles[:6], 2):
            assert a.colour != b.colour and a.marker != b.marker


def test_a_stream_is_known_by_its_whole_name_and_not_by_a_part_of_it():
    styles = styles_of((TEXT, DECODER, StreamSpec.of("text_text", "text", 2, 4)))
    assert styles["text"] == STYLES["text"] and styles["text_decoder"] == STYLES["text_decoder"]
    assert styles["text_text"] not in STYLES.values()


def test_an_unheard_of_modality_has_one_look_in_every_model():
    radar = StreamSpec.of("radar", "radar", 2, 4)
    assert styles_of((VISION, radar))["radar"] == styles_of((radar, TEXT))["radar"]


def test_a_stream_of_a_modality_takes_its_style_only_where_no_stream_of_that_name_does():
    frames = StreamSpec.of("frames", "vision", 2, 4)
    assert styles_of((frames, TEXT))["frames"] == STYLES["vision"]
    assert styles_of((frames, VISION))["vision"] == STYLES["vision"]
    assert styles_of((frames, VISION))["frames"] != STYLES["vision"]


# Machado et al. 2009, severity 1.
DICHROMATS = {
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
}


@pytest.mark.parametrize("vision", DICHROMATS)
@pytest.mark.parametrize(
    "names",
    [
        ("vision", "text", "image"),
        ("vision", "text", "query"),
        ("vision", "text", "text_decoder"),
        ("audio", "text"),
    ],
)
def test_streams_that_stand_together_differ_in_colour_for_colour_blind_readers(vision, names):
    def lab(colour):
        parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        seen = np.clip(np.array(DICHROMATS[vision]) @ linear, 0, 1)
        to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
        x, y, z = np.cbrt(np.array(to_xyz) @ seen / [0.9505, 1, 1.089])
        return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])

    for a, b in combinations(names, 2):
        apart = np.linalg.norm(lab(STYLES[a].colour) - lab(STYLES[b].colour))
        assert apart > 12, (a, b, apart)


def test_the_default_pair_is_vision_and_text_wherever_they_stand():
    image = StreamSpec.of("image", "image", 2, 4)
    assert default_pair((TEXT, image, VISION)) == ("vision", "text")
    assert default_pair((DECODER, image)) == ("image", "text_decoder")
    assert default_pair((StreamSpec.of("audio", "audio", 2, 4), TEXT)) == ("audio", "text")
    assert default_pair((TEXT,)) is None and default_pair(()) is None


def test_a_pair_is_found_by_whole_names_and_in_its_own_order():
    assert paired(THREE.streams, ("text_decoder", "text")) == (DECODER, TEXT)
    assert paired(THREE.streams, ("vision", "query")) is None
    assert paired(THREE.streams, None) == (VISION, TEXT)
    assert len(stream_pairs(THREE.streams)) == 3


def test_the_pair_decides_whose_layers_are_matched():
    frame = frame_of(
        *((THREE, ("vision", k, "block"), ("text", k, "block"), 0.1, {}) for k in range(3)),
        *((THREE, ("text", k, "block"), ("text_decoder", k, "block"), 0.7, {}) for k in range(3)),
    )
    assert list(lines(alignment_curves(frame, [THREE]))[0].y) == [0.1] * 3
    figure = alignment_curves(frame, [THREE], pair=("text", "text_decoder"))
    assert list(lines(figure)[0].y) == [0.7] * 3
    assert "text layer, with its matching text_decoder layer" in figure.layout.xaxis.title.text
    assert not alignment_curves(frame, [THREE], pair=("text", "query")).data


def test_models_whose_other_stream_is_the_deeper_one_share_the_axis_of_the_first():
    turned = Series(
        "turned",
        "turned",
        (StreamSpec.of("vision", "vision", 4, 8), StreamSpec.of("text", "text", 6, 8)),
    )
    figure = alignment_curves(cka_frame(LATE, turned), [LATE, turned])
    late, other = lines(figure)
    assert list(late.x) == list(range(7)) and list(other.x) == list(range(5))
    assert other.y[4] == pytest.approx(0.5 - 0.05 * 2 + 0.01)
    deep, shallow = LATE.streams
    assert partners(deep, shallow) == {a.layer: b.layer for a, b in matched_layers(deep, shallow)}


def test_meets_are_told_by_how_they_read_and_the_loss_is_no_fusion():
    assert fusion_at(DECODER, 2) == "fusion: cross-attention to vision"
    assert fusion_at(DECODER, 1) == ""
    gated = replace(DECODER, meets=(Meet(2, "gated", "", "2.cross"),))
    assert fusion_of(gated) == "fusion: gated cross-attention"
    vision, _ = clip().streams
    assert fusion_of(vision) == "" and vision.fusion_layers == ()
    assert losses_of(vision) == "compared with text in the training loss"
    assert describe([vision]) == "vision: 2 layers, no fusion, " + losses_of(vision)


def test_a_drawing_joins_only_streams_that_read_each_other_and_says_the_rest_in_hovers():
    both_ways = [
        replace(VISION, meets=(Meet(2, "cross", "text", "2"),)),
        replace(TEXT, meets=(Meet(1, "cross", "vision", "1"),)),
    ]
    assert joins(placement_drawing(both_ways)) == [(2, 1)]
    figure = placement_drawing(THREE.streams)
    assert not joins(figure)
    hovers = {trace.name: trace.hovertext for trace in figure.data}
    assert hovers["text_decoder"][1] == (
        "text_decoder layer 2, fusion: cross-attention to vision<br>"
        "Its last layer is read by nothing."
    )
    order = dict(zip(figure.layout.yaxis.ticktext, figure.layout.yaxis.tickvals, strict=True))
    assert order["vision"] > order["text"] > order["text_decoder"]


def test_a_note_and_a_loss_stand_in_the_hover_of_the_last_layer():
    frame = dimension_frame(THREE, seeds=(0,))
    hovers = lines(dimension_curves(frame, [THREE], "text_decoder"))[0].hovertext
    assert hovers[2].endswith("Its last layer is read by nothing.")
    assert "nothing" not in hovers[1]
    hovers = lines(dimension_curves(dimension_frame(clip(), seeds=(0,)), [clip()], "text"))[0]
    assert hovers.hovertext[2].endswith("compared with vision in the training loss")


def test_where_another_stream_comes_in_is_no_named_site_whatever_it_is_called():
    assert [ref.label for ref in fusion_sites(DECODER)] == ["2.cross"]
    assert not named_sites(DECODER)
    vision, _ = clip().streams
    assert [ref.label for ref in named_sites(vision)] == ["2.norm", "2.projected"]
    assert not fusion_sites(vision)


def test_a_transition_is_split_where_the_stream_says_that_another_comes_in():
    frame = frame_of(
        (THREE, ("text_decoder", 1, "block"), ("text_decoder", 2, "cross"), 0.3, {}),
        (THREE, ("text_decoder", 2, "block"), ("text_decoder", 2, "cross"), 0.8, {}),
        (THREE, ("text_decoder", 1, "block"), ("text_decoder", 2, "block"), 0.2, {}),
    )
    halves = fusion_points(frame, [THREE], "text_decoder").set_index("half")["mean"]
    assert halves.to_dict() == {"fusion": 0.3, "block": 0.8}
    assert transition_points(frame, "text_decoder")["mean"].tolist() == [0.2]


def test_a_named_site_stands_at_its_place_on_the_curve_of_a_dimension():
    one = clip()
    alone = {"measure": "effective_dimension"}
    frame = frame_of(
        *((one, ("vision", k, "block"), ("", -1, ""), 5.0, alone) for k in range(3)),
        (one, ("vision", 2, "norm"), ("", -1, ""), 4.0, alone),
        (one, ("vision", 2, "projected"), ("", -1, ""), 2.0, alone),
    )
    figure = dimension_curves(frame, [one], "vision")
    named = next(t for t in figure.data if t.name == "clip, named sites")
    assert list(named.x) == pytest.approx([2 + 1 / 3, 2 + 2 / 3])
    assert list(named.y) == [4.0, 2.0]
    assert "vision 2.projected" in named.hovertext[1]
    assert list(lines(figure)[0].y) == [5.0] * 3
    assert figure.layout.xaxis.range[1] > named.x[1]


@pytest.mark.parametrize("drawn", ["dimension", "transitions", "matching", "probe", "several"])
def test_the_axis_says_below_its_numbers_what_a_named_site_is(drawn):
    one = clip(3)
    other = replace(one, key="b", label="b")
    frame = frame_of(
        *(
            (who, ("vision", 3, site), (stream, layer, site if stream else ""), 0.5, {"measure": m})
            for who in (one, other)
            for m, stream, layer in (
                ("effective_dimension", "", -1),
                ("linear_probe", "", -1),
                ("cka", "text", 2),
            )
            for site in ("norm", "projected")
        ),
        (one, ("vision", 3, "block"), ("vision", 3, "norm"), 0.5, {}),
        (one, ("vision", 3, "projected"), ("vision", 3, "norm"), 0.5, {}),
    )
    figure = {
        "dimension": lambda: dimension_curves(frame, [one], "vision"),
        "transitions": lambda: transition_curves(frame, [one], "vision"),
        "matching": lambda: alignment_curves(frame, [one]),
        "probe": lambda: probe_curves(frame, [one], "vision", metric="accuracy"),
        "several": lambda: dimension_curves(frame, [one, other], "vision"),
    }[drawn]()
    norm, projected = figure.layout.annotations
    assert (norm.text, projected.text) == ("after<br>final norm", "projected")
    assert (norm.x, projected.x) == pytest.approx((3 + 1 / 3, 3 + 2 / 3))
    # each below the numbers and below the other, above the axis' title
    assert 0 > norm.yshift > projected.yshift + 2 * 12
    assert figure.layout.xaxis.title.standoff > -projected.yshift
    assert figure.layout.margin.b > -projected.yshift + 30


def test_named_sites_of_transitions_and_of_matching_layers_stand_beside_the_layers():
    one = clip(depth=3)
    frame = frame_of(
        (one, ("vision", 3, "block"), ("vision", 3, "norm"), 0.9, {}),
        (one, ("vision", 3, "projected"), ("vision", 3, "norm"), 0.4, {}),
        (one, ("text", 2, "projected"), ("vision", 3, "projected"), 0.6, {}),
        (one, ("vision", 3, "block"), ("text", 2, "block"), 0.1, {}),
    )
    within = transition_curves(frame, [one], "vision")
    named = next(t for t in within.data if t.name == "clip, named sites")
    assert list(named.y) == [0.9, 0.4]
    assert "vision 3.norm to 3.projected" in named.hovertext[1]
    across = alignment_curves(frame, [one])
    named = next(t for t in across.data if t.name == "clip, named sites")
    assert list(named.y) == [0.6]
    assert "vision 3.projected and text 2.projected" in named.hovertext[0]
    assert list(lines(across)[0].y) == [0.1]


def test_the_last_layer_says_that_a_final_norm_follows_and_no_other_layer_does():
    one = clip()
    words = "before the final norm (2.norm is after it)"
    assert norm_in_words(one.stream("vision")) == words
    assert norm_in_words(VISION) == ""
    frame = frame_of(
        *((one, ("vision", a, "block"), ("vision", a + 1, "block"), 0.5, {}) for a in range(2)),
        (one, ("vision", 2, "block"), ("vision", 2, "norm"), 0.7, {}),
    )
    figure = transition_curves(frame, [one], "vision")
    (line,) = lines(figure)
    assert [words in text for text in line.hovertext] == [False, True]
    hovers = [text for trace in figure.data for text in trace.hovertext or ()]
    assert any("vision 2 to 2.norm (after the final norm)" in text for text in hovers)
    drawn = placement_drawing(one.streams)
    assert any(words in text for trace in drawn.data for text in trace.hovertext)


def test_a_heatmap_says_so_at_the_cells_of_the_last_layer():
    one = clip()
    vision, text = one.streams
    frame = frame_of(
        *(
            (one, ("vision", a, "block"), ("text", b, "block"), 0.5, {})
            for a in range(3)
            for b in range(3)
        )
    )
    hover = layer_heatmap(frame, [vision], [text]).data[0].hovertext
    last = "vision before the final norm (2.norm is after it)"
    assert [last in row[0] for row in hover] == [False, False, True]
    assert ["text before the final norm" in cell for cell in hover[0]] == [False, False, True]
