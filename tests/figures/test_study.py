"""The study's figures: every effect where it belongs, verdicts told twice, text never markup."""

import math

import pandas as pd
import pytest

from backend.figures import alignment_scatter, effect_forest

NAN = math.nan


def effects(*rows):
    columns = ["label", "value", "low", "high", "n", "unit", "verdict"]
    return pd.DataFrame(rows, columns=columns)


FOUR = effects(
    ("vision", -0.4, -0.5, -0.3, 3, "seeds", "supported"),
    ("vision: late", -0.45, -0.6, -0.3, 3, "runs", ""),
    ("text", 0.2, 0.1, 0.3, 3, "seeds", "contradicted"),
    ("query", NAN, NAN, NAN, 1, "seeds", "not enough runs"),
)


def traces(figure):
    return {trace.name: trace for trace in figure.data if trace.name}


def test_effects_stand_from_top_to_bottom_with_their_intervals():
    figure = effect_forest(FOUR, x_title="difference")
    assert list(figure.layout.yaxis.categoryarray) == ["query", "text", "vision: late", "vision"]
    found = traces(figure)["supported"]
    assert list(found.x) == [-0.4] and list(found.y) == ["vision"]
    assert list(found.error_x.array) == pytest.approx([0.1])
    assert list(found.error_x.arrayminus) == pytest.approx([0.1])
    low, high = figure.layout.xaxis.range
    assert low < -0.6 and high > 0.3


def test_a_verdict_is_told_by_marker_and_by_colour():
    found = traces(effect_forest(FOUR, x_title="difference"))
    looks = {name: (t.marker.symbol, t.marker.color) for name, t in found.items()}
    assert len({symbol for symbol, _ in looks.values()}) == len(looks) == 3
    assert len({colour for _, colour in looks.values()}) == 3


def test_what_has_no_interval_says_so_at_the_line_of_no_effect():
    figure = effect_forest(FOUR, x_title="difference", null=0.0)
    (words,) = [trace for trace in figure.data if trace.mode == "text"]
    assert list(words.y) == ["query"] and list(words.text) == ["not enough runs"]
    assert figure.layout.shapes[0].x0 == 0.0


def test_what_only_describes_is_drawn_without_an_interval():
    rows = effects(("one run", 0.7, NAN, NAN, 1, "runs", "described"))
    figure = effect_forest(rows, x_title="difference")
    assert list(traces(figure)["described"].x) == [0.7]
    assert not [trace for trace in figure.data if trace.mode == "text"]
    assert figure.layout.xaxis.range[1] > 0.7


def test_an_empty_forest_is_a_figure():
    assert effect_forest(FOUR.iloc[:0], x_title="difference").layout.xaxis.range == (-0.05, 0.05)


def test_a_point_a_placement_with_its_name_and_colour():
    points = pd.DataFrame(
        {
            "placement": ["<b>late</b>", "none"],
            "alignment": [0.6, 0.1],
            "score": [0.9, 0.5],
            "seeds": [2, 3],
        }
    )
    figure = alignment_scatter(points, x_title="CKA", y_title="AUROC", colours={"none": "#123456"})
    (trace,) = figure.data
    assert list(trace.x) == [0.1, 0.6] and list(trace.y) == [0.5, 0.9]
    assert list(trace.text) == ["none", "&lt;b&gt;late&lt;/b&gt;"]
    assert trace.marker.color[0] == "#123456"
    assert "0.600" in trace.hovertext[1] and "2 seed(s)" in trace.hovertext[1]
    assert "<b>late" not in trace.hovertext[1].removeprefix("<b>")
