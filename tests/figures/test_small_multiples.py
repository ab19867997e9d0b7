"""Figures side by side: one y axis, each its own layer axis and fusion; and one run by another."""

import numpy as np
import pytest

from backend.figures import (
    Series,
    alignment_panels,
    cross_heatmap,
    dimension_panels,
    transition_panels,
)
from backend.types import StreamSpec
from tests.figures.frames import LATE, NONE, TEXT, VISION, cka_frame, dimension_frame

SHORT = Series("short", "short", (StreamSpec.of("vision", "vision", 3, 32, (1,)),), "#C9619B")


def panels(figure):
    """{run: its axis} of a figure of panels."""
    named = (figure.layout[name] for name in figure.layout if name.startswith("xaxis"))
    axes = sorted(named, key=lambda axis: axis.domain[0])
    return {axis.title.text.partition(":")[0]: axis for axis in axes if axis.title.text}


def lines(figure):
    """{name of the line: the line}."""
    return {trace.name: trace for trace in figure.data if trace.mode == "lines+markers"}


def test_every_run_has_a_panel_named_on_its_axis_and_all_share_the_y_axis():
    frame = cka_frame(LATE, NONE)
    frame.loc[frame["series"].eq("none") & frame["layer_a"].ne(frame["layer_b"]), "value"] = -0.3
    figure = transition_panels(frame, [LATE, NONE], "text", estimator="debiased")
    assert list(panels(figure)) == ["late", "none"]
    assert figure.layout.xaxis.title.text == "late: text transition k"
    assert figure.layout.yaxis.title.text == "CKA, debiased"
    assert {trace.yaxis for trace in figure.data} == {"y"} and figure.layout.yaxis.range[0] < -0.3
    assert figure.layout.xaxis.domain[1] < figure.layout.xaxis2.domain[0]
    assert not figure.layout.showlegend
    assert list(lines(figure)["late"].y) == pytest.approx([0.91] * 4)
    assert (lines(figure)["late"].xaxis, lines(figure)["none"].xaxis) == ("x", "x2")


def test_only_its_own_fusion_is_shaded_and_a_shallower_run_keeps_its_own_axis():
    figure = transition_panels(cka_frame(LATE, NONE), [NONE, LATE, SHORT], "vision")
    by_axis = {shape.xref: shape.path for shape in figure.layout.shapes}
    assert set(by_axis) == {"x2", "x3"} and by_axis["x2"].startswith("M2.5,0H4.5")
    assert list(panels(figure)["late"].range) == [0.5, 6.5]
    assert list(panels(figure)["short"].range) == [0.5, 3.5]


def test_every_second_layer_is_ticked():
    deep = Series("late", "late", (StreamSpec.of("vision", "vision", 12, 32),), "#0F9D76")
    figure = transition_panels(cka_frame(), [deep], "vision")
    assert list(panels(figure)["late"].tickvals) == [2, 4, 6, 8, 10, 12]


def test_a_run_without_the_stream_or_with_one_stream_has_no_panel():
    frame = cka_frame(LATE)
    assert list(panels(transition_panels(frame, [LATE, SHORT], "text"))) == ["late"]
    assert list(panels(alignment_panels(frame, [LATE, SHORT]))) == ["late"]
    assert not alignment_panels(frame, [SHORT]).data


def test_alignment_names_both_layers_in_the_hover_of_every_run():
    swapped = Series(
        "none", "none",
        (StreamSpec.of("vision", "vision", 3, 32), StreamSpec.of("text", "text", 6, 16)),
        "#858585",
    )  # fmt: skip
    drawn = lines(alignment_panels(cka_frame(LATE, swapped), [LATE, swapped]))
    assert "vision layer 3 and text layer 2" in drawn["late"].hovertext[3]
    assert "text layer 4 and vision layer 2" in drawn["none"].hovertext[4]


def test_dimensions_share_the_given_span():
    frame = dimension_frame(LATE, NONE)
    figure = dimension_panels(frame, [LATE, NONE], "text", span=(0.0, 14.0))
    assert tuple(figure.layout.yaxis.range) == (0, 14)


def test_names_cannot_bring_markup_into_the_figures():
    bad = Series("late", "<img src=x>", LATE.streams, "#C9619B")
    frame = cka_frame(bad)
    for figure in [
        transition_panels(frame, [bad], "text"),
        cross_heatmap(cross_frame(), bad, NONE, [VISION], [TEXT]),
    ]:
        assert "<img" not in figure.to_json()


def cross_frame():
    """Rows between layers of LATE and of NONE: 0.1 * layer_a + 0.01 * layer_b, streams as named."""
    one = cka_frame(seeds=(0,)).iloc[:1]
    return one.iloc[[0] * 12 * 12].assign(
        **dict(
            zip(
                ("stream_a", "layer_a", "stream_b", "layer_b"),
                zip(
                    *[
                        (a.name, i, b.name, j)
                        for a in LATE.streams
                        for i in range(a.depth + 1)
                        for b in NONE.streams
                        for j in range(b.depth + 1)
                    ],
                    strict=True,
                ),
                strict=True,
            )
        ),
        site_a="block",
        site_b="block",
        reason="",
        value=lambda f: [
            0.1 * i + 0.01 * j + 0.2 * (a == "text")
            for a, i, j in zip(f["stream_a"], f["layer_a"], f["layer_b"], strict=True)
        ],
    )


def test_rows_are_layers_of_one_run_and_columns_of_the_other():
    frame = cross_frame()
    z = np.array(cross_heatmap(frame, LATE, NONE, [VISION], [VISION]).data[0].z, dtype=float)
    assert z.shape == (7, 7)
    assert z[2, 5] == pytest.approx(0.25) and z[5, 2] == pytest.approx(0.52), "not mirrored"
    z = np.array(cross_heatmap(frame, LATE, NONE, [TEXT], [VISION]).data[0].z, dtype=float)
    assert z.shape == (5, 7) and z[3, 1] == pytest.approx(0.51)


def test_the_axes_and_hovers_name_run_and_layer():
    figure = cross_heatmap(cross_frame(), LATE, NONE, LATE.streams, NONE.streams)
    assert figure.layout.yaxis.title.text.startswith("late vision layer, then late text layer")
    assert figure.layout.xaxis.title.text.startswith("none vision layer")
    cells = next(t for t in figure.data if t.name == "cells")
    assert "late vision layer 3 and none text layer 1" in cells.hovertext[3][8]
