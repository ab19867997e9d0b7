import numpy as np
import pandas as pd
import pytest

from backend.figures.looks import agreement_curve, meet_mark, meter_bars, word_bars, word_heat

METER = pd.DataFrame(
    [["text", "10.fusion", 0.5, 0.3, 0.2, 0.0], ["vision", "11.fusion", 0.9, 0.1, 0.0, 0.0]],
    columns=["stream", "label", "content", "summary", "special", "own"],
)


def test_words_by_meet_are_a_map_whose_cells_say_their_share():
    table = pd.DataFrame({"10": [0.25, 0.5], "11": [0.1, np.nan]}, index=["<b>", "a" * 40])
    (heat,) = word_heat(table, x_title="text layer").figure().data
    np.testing.assert_allclose(heat.z, [[25, 10], [50, np.nan]])
    assert (heat.zmin, heat.zmax) == (0, 50)
    assert heat.hovertext[0][1] == "<b>&lt;b&gt;</b>, layer 11: 10.0 %"
    axis = word_heat(table, x_title="text layer").figure().layout.yaxis
    assert axis.ticktext == ("&lt;b&gt;", "a" * 13 + "…") and axis.range == (1.5, -0.5)
    empty = word_heat(table * np.nan, x_title="text layer").figure()
    assert empty.data[0].zmax > 0


def test_the_meter_stacks_what_there_is_to_the_whole():
    bars = meter_bars(METER).figure().data
    assert [bar.name for bar in bars] == [
        "words or patches", "CLS", "BOS, separators, registers",
    ]  # fmt: skip
    assert np.sum([bar.y for bar in bars], axis=0) == pytest.approx([100, 100])
    assert len({bar.marker.pattern.shape for bar in bars}) == len(bars), "not by colour alone"
    assert meter_bars(METER).figure().layout.xaxis.ticktext == (
        "text<br>10<br>.fusion",
        "vision<br>11<br>.fusion",
    )


def test_agreement_is_written_at_every_meet_or_why_there_is_none():
    rows = METER[["stream", "label"]].assign(
        value=[0.421, np.nan], n=[49, 2], reason=["", "2 regions are too few"]
    )
    (curve,) = agreement_curve(rows).figure().data
    assert curve.text == ("0.42", "")
    assert "0.42 over 49" in curve.hovertext[0]
    assert "undefined: 2 regions are too few" in curve.hovertext[1]


def test_effects_of_words_are_bars_whose_colour_says_their_sign():
    (bars,) = word_bars(["<x>", "cat", "cat"], [0.2, -0.1, 0.3], title="loss").figure().data
    assert list(bars.y) == [0, 1, 2], "the same word twice is two bars"
    one, two, three = bars.marker.color
    assert one == three != two and bars.hovertext[0].startswith("<b>&lt;x&gt;</b>")


def test_the_meets_at_the_strip_are_outlined_over_the_whole_height():
    spans = {(mark["x0"], mark["x1"]) for mark in meet_mark([0, 3])}
    assert spans == {(-0.45, 0.45), (2.55, 3.45)}
    assert meet_mark([]) == ()
