import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from backend.figures import placement_drawing, projection_map, score_strip, share_map
from backend.figures.marks import marked
from backend.figures.placement import describe
from backend.figures.projection import RASTER_ABOVE, WEBGL_ABOVE, projection_ranges, sample_mark
from backend.figures.theme import SERIES_COLOURS, STYLES, escape
from backend.types import StreamSpec
from tests.figures.frames import LATE, NONE, TEXT, VISION, joins, spans


def points(n=10, classes=("a", "b")):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "sample_id": [f"s{i}" for i in range(n)],
            "x": rng.normal(size=n).astype("float32"),
            "y": rng.normal(size=n).astype("float32"),
            "colour": [classes[i % len(classes)] for i in range(n)],
        }
    )


def boxes(figure, *, filled=None):
    """Middles of the drawn boxes, of the filled or the empty ones where asked."""
    shapes = [s for s in figure.layout.shapes if s.fillcolor]
    if filled is not None:
        shapes = [s for s in shapes if s.fillcolor.startswith("rgba") is not filled]
    return sorted((a + b) / 2 for a, b in spans(shapes))


def test_a_placement_has_a_box_for_every_layer_and_fills_those_that_fuse():
    figure = placement_drawing([TEXT, VISION])
    assert len(boxes(figure)) == 6 + 4
    assert boxes(figure, filled=True) == [2, 3, 4, 4]


def test_vision_stands_above_text_whatever_the_order_of_the_streams():
    for streams in ([TEXT, VISION], [VISION, TEXT]):
        axis = placement_drawing(streams).layout.yaxis
        heights = dict(zip(axis.ticktext, axis.tickvals, strict=True))
        assert heights["vision"] > heights["text"]


def test_paired_fusion_layers_are_joined_across_streams_of_different_depth():
    assert joins(placement_drawing([VISION, TEXT])) == [(3, 2), (4, 4)]
    hover = placement_drawing([VISION, TEXT]).data[0].hovertext
    assert hover[2] == "vision layer 3, fusion: co-attention with text<br>paired with text layer 2"
    assert hover[0] == "vision layer 1"


def test_one_stream_and_none_are_drawn_too():
    assert len(boxes(placement_drawing([VISION]))) == 6
    assert not boxes(placement_drawing([]))
    assert describe([NONE.streams[0]]) == "vision: 6 layers, no fusion"
    assert describe([TEXT]) == "text: 4 layers, fusion at 2, 4 (co-attention with vision)"


def test_a_projection_keeps_its_ranges_and_its_view_from_layer_to_layer():
    frame = points()
    ranges = projection_ranges(frame)
    small = frame.assign(x=frame["x"] * 0.1)
    first, second = (projection_map(f, ranges, classes=["a", "b"]) for f in (frame, small))
    assert first.layout.xaxis.range == second.layout.xaxis.range
    assert first.layout.uirevision == second.layout.uirevision
    assert frame["x"].between(*ranges[0]).all()


def test_a_point_carries_only_its_row_number():
    figure = projection_map(points(), projection_ranges(points()), classes=["a", "b"])
    rows = sorted(int(i) for t in figure.data if t.customdata is not None for i in t.customdata)
    assert rows == list(range(10))
    assert {t.customdata.dtype for t in figure.data if t.customdata is not None} == {
        np.dtype("int32")
    }


def test_samples_without_a_label_are_grey_and_say_so():
    frame = points()
    frame.loc[0, "colour"] = ""
    figure = projection_map(frame, projection_ranges(frame), classes=["a", "b"])
    assert [t.name for t in figure.data][:3] == ["a (4)", "b (5)", "no label (1)"]


def test_the_selected_sample_is_ringed():
    frame = points()
    figure = projection_map(frame, projection_ranges(frame), classes=["a", "b"])
    rings = marked(figure, sample_mark(frame, "s3")).layout.shapes
    places = {(ring.type, ring.xanchor, ring.yanchor) for ring in rings}
    assert places == {("circle", np.float32(frame["x"][3]), np.float32(frame["y"][3]))}
    assert sample_mark(frame, "nobody") == ()


@pytest.mark.parametrize(("n", "kind"), [(100, "scatter"), (WEBGL_ABOVE + 1, "scattergl")])
def test_many_points_are_drawn_with_webgl(n, kind):
    figure = projection_map(points(n), projection_ranges(points(n)), classes=["a", "b"])
    assert {t.type for t in figure.data} == {kind}


def test_very_many_points_become_a_raster_that_leads_to_the_nearest_sample():
    frame = points(RASTER_ABOVE + 500)
    figure = projection_map(frame, projection_ranges(frame), classes=["a", "b"])
    assert figure.data[0].type == "heatmap"
    bins = figure.data[1]
    assert len(bins.x) < 6_000 and (np.asarray(bins.customdata) >= 0).all()
    row = frame.iloc[int(bins.customdata[5])]
    step = np.diff(projection_ranges(frame)[0])[0] / 72
    assert abs(row["x"] - bins.x[5]) <= step
    assert len(figure.to_json()) < 600_000


def share_figure(frame, shares):
    frame = frame.assign(share=shares)
    titles = {"title": "neighbours changed", "x_title": "x", "y_title": "y"}
    return share_map(frame, projection_ranges(frame), **titles)


def test_a_share_is_a_colour_on_a_scale_that_is_the_same_in_every_layer():
    figure = share_figure(points(), [np.nan, 0.2, *[0.5] * 8])
    grey, rest = figure.data
    assert grey.customdata.tolist() == [0] and "no value" in grey.hovertemplate
    assert rest.customdata.tolist() == list(range(1, 10))
    np.testing.assert_allclose(rest.marker.color, [0.2, *[0.5] * 8])
    assert (rest.marker.cmin, rest.marker.cmax) == (0, 1)
    assert "%{marker.color:.0%} neighbours changed" in rest.hovertemplate


def test_a_raster_of_shares_shows_their_mean():
    n = RASTER_ABOVE + 500
    shares = np.where(np.arange(n) % 2, 0.25, 0.75)
    frame = points(n).assign(x=np.arange(n) // 2 % 7, y=0.0)
    heat, bins = share_figure(frame, shares).data
    np.testing.assert_allclose(heat.z[np.isfinite(heat.z)], 0.5, atol=1e-3)
    assert (heat.zmin, heat.zmax) == (0, 1)
    assert len(bins.x) == 7 and all("50% neighbours changed" in text for text in bins.hovertext)
    assert np.isnan(share_figure(frame, np.full(n, np.nan)).data[0].z).all()


def test_a_score_strip_has_a_dot_a_seed_and_the_mean():
    scores = pd.DataFrame(
        {
            "series": ["late", "late", "none"],
            "seed": [0, 1, 0],
            "task": "irony",
            "metric": "auroc",
            "value": [0.9, 0.8, 0.5],
        }
    )
    figure = score_strip(scores, [NONE, LATE], task="irony", metric="auroc")
    assert [len(t.x) for t in figure.data] == [1, 1, 2, 1]
    assert figure.data[3].x[0] == pytest.approx(0.85)
    assert "sd of 2 seeds" in figure.data[3].hovertext[0]
    assert "one run" in figure.data[1].hovertext[0]


def _contrast(colour, background):
    def luminance(code):
        parts = [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    a, b = sorted((luminance(colour), luminance(background)), reverse=True)
    return (a + 0.05) / (b + 0.05)


def test_every_curve_colour_is_readable_on_the_light_and_on_the_dark_page():
    for colour in (*SERIES_COLOURS, *(style.colour for style in STYLES.values())):
        for background in ("#FFFFFF", "#11161C"):
            assert _contrast(colour, background) >= 3, (colour, background)


def test_text_is_escaped():
    assert escape("<b>&") == "&lt;b&gt;&amp;"


def test_an_unequal_fusion_list_does_not_break_the_drawing():
    figure = placement_drawing(
        [StreamSpec.of("v", "vision", 3, 4, (1, 2)), StreamSpec.of("t", "text", 3, 4, (1,))]
    )
    assert len(joins(figure)) == 1


def test_figures_import_neither_torch_nor_streamlit():
    code = (
        "import sys, backend.figures; "
        "print([m for m in ('torch', 'streamlit', 'umap', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
