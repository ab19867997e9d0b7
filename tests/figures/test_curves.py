import math

import pytest

from backend.figures import Series, dimension_curves, transition_curves
from backend.figures.curves import runs_of
from backend.figures.dimensionality import shared_span
from backend.figures.transitions import fusion_points, transition_points
from backend.types import StreamSpec
from tests.figures.frames import LATE, NONE, cka_frame, dimension_frame, spans


def lines(figure):
    return [t for t in figure.data if t.mode == "lines+markers"]


def bands(figure):
    return [t for t in figure.data if t.fill == "toself"]


def test_transition_k_is_the_cka_of_layers_k_minus_1_and_k_averaged_over_seeds():
    points = transition_points(cka_frame(), "text")
    assert list(points["x"]) == [1, 2, 3, 4]
    assert points["mean"].tolist() == pytest.approx([0.91] * 4)
    assert points["low"].tolist() == pytest.approx([0.90] * 4)
    assert points["high"].tolist() == pytest.approx([0.92] * 4)
    assert set(points["seeds"]) == {3}


def test_an_undefined_layer_leaves_a_gap_whose_hover_gives_the_reason():
    figure = transition_curves(cka_frame(), [LATE], "vision")
    assert math.isnan(lines(figure)[0].y[0])
    gaps = next(t for t in figure.data if t.name == "undefined")
    assert list(gaps.x) == [1]
    assert "layer 0 of vision is constant" in gaps.hovertext[0]
    assert all(min(band.x) >= 2 for band in bands(figure))


def test_each_stream_is_shaded_at_its_own_fusion_layers():
    frame = cka_frame()
    vision = transition_curves(frame, [LATE], "vision").layout.shapes
    text = transition_curves(frame, [LATE], "text").layout.shapes
    assert spans(vision) == [(2.5, 4.5)]
    assert spans(text) == [(1.5, 2.5), (3.5, 4.5)]


def test_modalities_differ_in_colour_marker_and_dash():
    frame = cka_frame()
    a, b = (lines(transition_curves(frame, [LATE], s))[0] for s in ("vision", "text"))
    assert a.line.color != b.line.color
    assert a.marker.symbol != b.marker.symbol
    assert a.line.dash != b.line.dash


def test_several_placements_get_a_line_each_and_a_strip_that_shows_where_they_fuse():
    figure = transition_curves(cka_frame(LATE, NONE), [LATE, NONE], "vision")
    assert [t.name for t in lines(figure)] == ["late", "none"]
    assert len({t.line.color for t in lines(figure)}) == 2
    assert [(a + b) / 2 for a, b in spans(figure.layout.shapes)] == [3, 4]
    strip = [t for t in figure.data if t.yaxis == "y2"]
    assert len(strip) == 2


def test_the_legend_says_what_line_and_band_are_and_one_seed_has_no_band():
    several = transition_curves(cka_frame(), [LATE], "text")
    assert any(t.name == "mean of 3 seeds, band min to max" for t in several.data)
    alone = transition_curves(cka_frame(seeds=(0,)), [LATE], "text")
    assert not any("band" in (t.name or "") for t in alone.data)
    assert not bands(alone)


def test_a_similarity_axis_runs_from_0_to_1_and_reaches_below_0_where_a_value_does():
    frame = cka_frame()
    low, high = transition_curves(frame, [LATE], "text").layout.yaxis.range
    assert -0.05 < low <= 0 and 1 <= high < 1.1
    frame.loc[frame["layer_a"].eq(2) & frame["layer_b"].eq(1), "value"] = -0.2
    frame.loc[frame["layer_a"].eq(1) & frame["layer_b"].eq(2), "value"] = -0.2
    assert transition_curves(frame, [LATE], "text").layout.yaxis.range[0] < -0.2


def test_a_split_fusion_shows_what_co_attention_and_the_rest_of_the_block_did():
    halves = fusion_points(cka_frame(), [LATE], "text")
    assert halves[halves["half"].eq("fusion")]["mean"].tolist() == pytest.approx([0.6, 0.6])
    assert halves[halves["half"].eq("block")]["mean"].tolist() == pytest.approx([0.7, 0.7])
    plain = transition_curves(cka_frame(), [LATE], "text")
    split = transition_curves(cka_frame(), [LATE], "text", split_fusion=True)
    assert len(split.data) == len(plain.data) + 2


def test_names_from_data_cannot_bring_markup_into_hovers_legends_or_titles():
    stream = StreamSpec.of("a<b>", "vision", 2, 4)
    frame = cka_frame(Series("x", "<img src=x>", (stream, StreamSpec.of("t", "text", 2, 4))))
    series = Series("x", "<img src=x>", (stream,))
    figure = transition_curves(frame, [series], "a<b>")
    spec = figure.to_json()
    assert "<img" not in spec and "a<b>" not in spec


def test_axes_name_the_stream_and_what_x_counts():
    figure = transition_curves(cka_frame(), [LATE], "text", estimator="debiased")
    assert figure.layout.xaxis.title.text == "text transition k (layer k-1 to layer k)"
    assert "debiased" in figure.layout.yaxis.title.text
    assert figure.layout.title.text is None


def test_a_dimension_curve_starts_at_the_embeddings_and_can_share_its_scale():
    frame = dimension_frame()
    figure = dimension_curves(
        frame, [LATE], "text", span=shared_span(frame, ["vision", "text"], "effective_dimension")
    )
    line = lines(figure)[0]
    assert list(line.x) == [0, 1, 2, 3, 4]
    assert list(line.y) == [1, 3, 5, 7, 9]
    assert figure.layout.yaxis.range[1] == pytest.approx(14 * 1.06)


def test_nothing_stored_gives_an_empty_figure_and_no_error():
    frame = cka_frame()
    assert not lines(transition_curves(frame, [LATE], "no such stream"))
    assert len(transition_curves(frame.iloc[:0], [LATE], "text").data) >= 1


def test_consecutive_layers_are_joined_into_one_band():
    assert runs_of((9, 4, 5, 6)) == [(4, 6), (9, 9)]
    assert runs_of(()) == []
