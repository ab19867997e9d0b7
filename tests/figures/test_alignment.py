"""Matching layers of two streams as curves, other measures than CKA, and cells above chance."""

import numpy as np
import pytest

from backend.figures import alignment_curves, layer_heatmap, transition_curves
from backend.figures.scales import SCALES, scale_for, scale_of
from backend.figures.transitions import alignment_points, matched_streams
from backend.types import StreamSpec
from tests.figures.frames import LATE, NONE, TEXT, VISION, cka_frame


def line(figure, name="late"):
    return next(t for t in figure.data if t.name == name and t.mode == "lines+markers")


def test_each_layer_of_the_deeper_stream_is_matched_with_its_relative_depth():
    assert matched_streams(LATE) == (VISION, TEXT)
    points = alignment_points(cka_frame(), VISION, TEXT)
    partner = [0, 1, 1, 2, 3, 3, 4]
    expected = [np.nan, *(0.5 - 0.05 * abs(k - partner[k]) + 0.01 for k in range(1, 7))]
    np.testing.assert_allclose(points.sort_values("x")["mean"], expected)


def test_the_hover_names_both_layers_and_the_axis_is_the_deeper_streams():
    figure = alignment_curves(cka_frame(LATE, NONE), [LATE, NONE], estimator="debiased")
    assert "vision layer, with its matching text layer" in figure.layout.xaxis.title.text
    assert figure.layout.yaxis.title.text == "CKA, debiased"
    assert "vision layer 6 and text layer 4" in line(figure).hovertext[6]
    assert {t.name for t in figure.data} >= {"late", "none"}


def test_models_of_different_depth_do_not_get_each_others_partner_in_the_hover():
    from dataclasses import replace

    alike = replace(NONE, streams=(NONE.streams[0], StreamSpec.of("text", "text", 6, 16)))
    figure = alignment_curves(cka_frame(LATE, alike), [LATE, alike])
    hovers = line(figure).hovertext
    assert "vision layer 3 and text its matching layer" in hovers[3]
    assert "vision layer 1 and text layer 1" in hovers[1]


def test_a_model_of_one_stream_draws_nothing():
    from dataclasses import replace

    alone = replace(LATE, streams=LATE.streams[:1])
    assert alignment_curves(cka_frame(), [alone]).data == ()


def test_a_distance_has_its_own_fixed_range_and_the_opposite_colours():
    frame = cka_frame().assign(measure="procrustes")
    scale = SCALES["procrustes"]
    heat = layer_heatmap(frame, [VISION], [TEXT], scale=scale).data[0]
    assert (heat.zmin, heat.zmax) == (0, pytest.approx(2**0.5))
    similar = layer_heatmap(cka_frame(), [VISION], [TEXT]).data[0]
    assert heat.colorscale[0][1] == similar.colorscale[-1][1]
    curve = transition_curves(frame, [LATE], "text", scale=scale)
    assert curve.layout.yaxis.title.text == "Procrustes distance"
    assert curve.layout.yaxis.range[1] > 2**0.5
    assert line(curve).y[0] == pytest.approx(0.91)


def test_the_distance_without_normalisation_has_a_range_of_its_own():
    scale = scale_for("procrustes", '{"normalise": false, "centre": false}', 800)
    assert scale.high == pytest.approx(40) and "40.0" in scale.meaning
    assert scale_for("procrustes", '{"normalise": true}', 800) is SCALES["procrustes"]
    assert scale_for("cka", "", 800) is SCALES["cka"]


def test_a_measure_that_is_not_known_is_drawn_under_its_own_name():
    assert scale_of("my_measure").label == "my measure"


def test_cells_that_are_not_above_chance_in_every_run_lose_their_colour_but_not_their_hover():
    frame = cka_frame()
    here = frame["stream_a"].eq("vision") & frame["layer_a"].eq(2) & frame["stream_b"].eq("text")
    once = here & frame["layer_b"].eq(1) & frame["seed"].eq(1)
    frame.loc[here & frame["layer_b"].eq(3), "p_corrected"] = 0.2
    frame.loc[once, "p_corrected"] = 0.051
    plain = np.array(layer_heatmap(frame, [VISION], [TEXT]).data[0].z, dtype=float)
    figure = layer_heatmap(frame, [VISION], [TEXT], above_chance=True)
    z = np.array(figure.data[0].z, dtype=float)
    gone = {(int(i), int(j)) for i, j in np.argwhere(np.isnan(z) & ~np.isnan(plain))}
    weak = {(2, 3), (2, 1)}
    assert weak <= gone
    assert all(plain[cell] <= 0.31 for cell in gone - weak)
    cells = next(t for t in figure.data if t.name == "cells")
    assert "above chance in 2 of 3 runs" in cells.hovertext[2][1]
    assert "above chance in 0 of 3 runs" in cells.hovertext[2][3]
    dots = next(t for t in figure.data if t.name == "not above chance")
    assert weak <= set(zip(dots.y, dots.x, strict=True))


def test_the_interval_is_the_runs_own_or_that_of_the_mean_over_seeds():
    frame = cka_frame(seeds=(0,)).assign(ci_low=0.4, ci_high=0.6)
    cells = next(t for t in layer_heatmap(frame, [VISION], [TEXT]).data if t.name == "cells")
    assert "95 % interval (over samples) 0.400 to 0.600" in cells.hovertext[2][2]
    cells = next(t for t in layer_heatmap(cka_frame(), [VISION], [TEXT]).data if t.name == "cells")
    # sd of 0, 0.01, 0.02 is 0.01: 4.3027 * 0.01 / sqrt(3) = 0.0248
    assert "95 % interval (mean over seeds) 0.485 to 0.535" in cells.hovertext[2][2]
