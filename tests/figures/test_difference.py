"""One placement minus another: values, pairing of seeds, intervals, scales centred on 0."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from backend.figures import (
    Series,
    alignment_differences,
    difference_heatmap,
    differences,
    dimension_differences,
    transition_differences,
)
from backend.figures.difference import paired_seeds, span_of
from backend.types import StreamSpec
from tests.figures.frames import LATE, NONE, TEXT, VISION, cka_frame, dimension_frame, row, spans

KEY = ["stream_a", "layer_a", "stream_b", "layer_b"]


def shifted(by, *, seeds=(0, 1, 2)):
    """The same values in both, but those of LATE's different layers higher by ``by[seed]``."""
    frame = cka_frame(LATE, NONE, seeds=seeds)
    late = frame["series"].eq("late") & frame["value"].ne(1.0)
    frame.loc[late, "value"] += frame.loc[late, "seed"].map(by)
    return frame


def line(figure, name):
    return next(t for t in figure.data if t.mode == "lines+markers" and t.name.startswith(name))


def test_the_difference_is_taken_seed_by_seed():
    frame = shifted({0: 0.01, 1: 0.02, 2: 0.06})
    found = differences(frame, "none")
    assert set(found["series"]) == {"late"}
    rows = found[found["stream_a"].eq("text") & found["layer_a"].eq(1) & found["layer_b"].eq(2)]
    assert dict(zip(rows["seed"], rows["value"], strict=True)) == pytest.approx(
        {0: 0.01, 1: 0.02, 2: 0.06}
    )
    assert set(rows["n"]) == {64} and rows["null_mean"].isna().all()


def test_the_mean_has_the_t_interval_of_the_paired_differences():
    by = {0: 0.01, 1: 0.02, 2: 0.06}
    figure = transition_differences(differences(shifted(by), "none"), [LATE, NONE], NONE, "text")
    values = np.array(list(by.values()))
    half = student.ppf(0.975, 2) * values.std(ddof=1) / np.sqrt(3)
    late = line(figure, "late")
    assert list(late.y) == pytest.approx([values.mean()] * 4)
    (band,) = [t for t in figure.data if t.fill == "toself"]
    assert min(band.y) == pytest.approx(values.mean() - half, abs=1e-5)
    assert max(band.y) == pytest.approx(values.mean() + half, abs=1e-5)
    assert any(t.name == "mean of 3 seeds, band 95 % interval" for t in figure.data)
    assert f"{values.mean() - half:.3f} to {values.mean() + half:.3f}" in late.hovertext[0]


def test_seeds_that_only_one_has_do_not_count_and_without_a_common_one_means_are_subtracted():
    frame = shifted({0: 0.5, 1: 0.02, 2: 0.06})
    some = frame[~(frame["series"].eq("none") & frame["seed"].eq(0))]
    assert paired_seeds(some, "late", "none") == (1, 2)
    assert set(differences(some, "none")["seed"]) == {1, 2}
    apart = frame.assign(seed=frame["seed"] + 10 * frame["series"].eq("none"))
    assert paired_seeds(apart, "late", "none") == ()
    figure = transition_differences(differences(apart, "none"), [LATE, NONE], NONE, "text")
    assert list(line(figure, "late").y) == pytest.approx([(0.5 + 0.02 + 0.06) / 3] * 4)
    assert not [t for t in figure.data if t.fill == "toself"]


def test_one_series_may_share_seeds_with_the_reference_and_another_not():
    other = Series("other", "other", LATE.streams, "#C9619B")
    frame = cka_frame(LATE, NONE, other)
    frame["seed"] += 10 * frame["series"].eq("other")
    found = differences(frame, "none")
    assert set(found[found["series"].eq("late")]["seed"]) == {0, 1, 2}
    assert set(found[found["series"].eq("other")]["seed"]) == {-1}


def test_one_pair_of_runs_has_no_interval():
    found = differences(shifted({0: 0.1}, seeds=(0,)), "none")
    figure = transition_differences(found, [LATE, NONE], NONE, "text")
    assert not [t for t in figure.data if t.fill == "toself"]
    assert "interval" not in line(figure, "late").hovertext[0]


def test_the_reference_is_the_line_at_0_with_its_own_fusion_strip():
    found = differences(shifted({0: 0.1, 1: 0.1, 2: 0.1}), "none")
    figure = transition_differences(found, [LATE, NONE], NONE, "vision")
    reference = line(figure, "none (reference)")
    assert list(reference.x) == [1, 2, 3, 4, 5, 6] and set(reference.y) == {0}
    assert "the reference, 0" in reference.hovertext[0]
    assert [(a + b) / 2 for a, b in spans(figure.layout.shapes)] == [3, 4]
    low, high = figure.layout.yaxis.range
    assert low == -high
    assert figure.layout.yaxis.title.text == "CKA: minus none"


def test_undefined_on_either_side_is_undefined_with_the_reason():
    found = differences(cka_frame(LATE, NONE), "none")
    dead = found[found["stream_a"].eq("text") & found["layer_b"].eq(0)]
    assert dead[dead["stream_b"].eq("vision")]["value"].isna().all()
    figure = transition_differences(found, [LATE, NONE], NONE, "vision")
    gaps = next(t for t in figure.data if t.name == "undefined")
    assert "layer 0 of vision is constant" in gaps.hovertext[0]


def test_a_pair_that_is_stored_the_other_way_round_is_the_same_pair():
    frame = shifted({0: 0.1, 1: 0.1, 2: 0.1})
    turned = frame.copy()
    late = frame["series"].eq("late")
    for name in ("stream", "layer", "site"):
        turned.loc[late, f"{name}_a"] = frame.loc[late, f"{name}_b"]
        turned.loc[late, f"{name}_b"] = frame.loc[late, f"{name}_a"]
    a, b = (differences(f, "none").sort_values([*KEY, "seed", "site_a"]) for f in (frame, turned))
    np.testing.assert_allclose(a["value"], b["value"])


def test_matching_layers_and_dimensions_are_subtracted_too():
    found = differences(shifted({0: 0.1, 1: 0.1, 2: 0.1}), "none")
    figure = alignment_differences(found, [LATE, NONE], NONE)
    assert list(line(figure, "late").y)[1:] == pytest.approx([0.1] * 6)
    assert "vision layer 3 and text layer 2" in line(figure, "late").hovertext[3]
    frame = dimension_frame(LATE, NONE)
    frame.loc[frame["series"].eq("late"), "value"] += 3
    figure = dimension_differences(differences(frame, "none"), [LATE, NONE], NONE, "text")
    assert list(line(figure, "late").y) == pytest.approx([3] * 5)


def test_a_stream_of_another_depth_is_not_subtracted():
    short = Series("short", "short", (StreamSpec.of("vision", "vision", 4, 32), TEXT), "#C9619B")
    found = differences(cka_frame(short, NONE), "none")
    assert not transition_differences(found, [short, NONE], NONE, "vision").data
    assert line(transition_differences(found, [short, NONE], NONE, "text"), "short")
    assert not alignment_differences(found, [short, NONE], NONE).data


def test_the_matrix_is_white_at_0_and_as_far_up_as_down():
    found = differences(shifted({0: 0.01, 1: 0.02, 2: 0.06}), "none")
    figure = difference_heatmap(found, LATE, NONE, [VISION], [TEXT])
    heat = figure.data[0]
    assert (heat.zmin, heat.zmid, heat.zmax) in [(-0.05, None, 0.05), (-0.05, 0, 0.05)]
    z = np.array(heat.z, dtype=float)
    np.testing.assert_allclose(z[1:], 0.03)
    middle = heat.colorscale[len(heat.colorscale) // 2]
    assert middle[0] == 0.5 and middle[1] == "rgb(247,247,247)"
    assert list(heat.colorbar.tickvals) == [-0.05, -0.025, 0, 0.025, 0.05]
    assert "late − none: vision layer" in figure.layout.yaxis.title.text
    hover = next(t for t in figure.data if t.name == "cells").hovertext
    assert any(
        "CKA difference 0.030 (mean)" in text and "95 % interval" in text
        for row in hover
        for text in row
    )


def test_fusion_in_either_run_is_ticked_in_the_matrix():
    early = Series("none", "none", (VISION, StreamSpec.of("text", "text", 4, 16, (1,))), "#858585")
    found = differences(cka_frame(LATE, early), "none")
    figure = difference_heatmap(found, LATE, early, [VISION], [TEXT])
    assert [t for t in figure.layout.xaxis.ticktext if "◆" in t] == ["1<br>◆", "2<br>◆", "4<br>◆"]


@pytest.mark.parametrize(
    ("largest", "span"), [(0.03, 0.05), (0.2, 0.2), (-0.3, 0.5), (7, 10), (0, 0.1), (np.nan, 0.1)]
)
def test_the_span_of_a_scale_is_a_round_number(largest, span):
    assert span_of(pd.Series([0.0, largest])) == pytest.approx(span)


def test_nothing_in_common_is_no_difference():
    frame = cka_frame(LATE)
    found = differences(frame, "none")
    assert found.empty
    assert not transition_differences(found, [LATE, NONE], NONE, "text").data


def test_of_a_measure_with_two_directions_each_is_subtracted_from_its_own():
    ends = ("text", 3, "block"), ("vision", 5, "block")
    stored = {("late", 0): 0.9, ("late", 1): 0.2, ("none", 0): 0.4, ("none", 1): 0.1}
    frame = pd.DataFrame(
        [
            row(series, 0, *(ends if not way else ends[::-1]), value, measure="linear_predictivity")
            for (series, way), value in stored.items()
        ]
    )
    found = differences(frame, "none").set_index("stream_a")["value"]
    assert found.to_dict() == pytest.approx({"text": 0.5, "vision": 0.1})
