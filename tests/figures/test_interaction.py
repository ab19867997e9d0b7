import numpy as np
import pandas as pd
import pytest

from backend.figures.interaction import MOST_IN_CELL, Cell, effect_curves, path_grid
from backend.figures.trace import path_map, path_style
from tests.figures.frames import VISION, spans

LABELS = ["0", "1", "2"]
CELLS = [
    Cell("pair", ("this caption", "this image"), ("irony: <b>yes</b> 97 %",)),
    Cell("c", ("this caption", "another image"), ("irony: no 75 %",)),
    Cell("b", ("another caption", "this image")),
    Cell("d", ("another caption", "another image")),
]


def points(n, seed):
    return np.random.default_rng(seed).normal(size=(3, n, 2)).astype(np.float32)


def grid(n=5, cells=CELLS):
    paths = {name: points(1, at)[:, 0] for at, name in enumerate(["pair", "b", "cut", "c", "d"])}
    reference, samples = points(n, 9), [f"s{at}" for at in range(n)]
    return path_grid(LABELS, reference, samples, paths, cells).figure(), reference, paths


def test_each_cell_shows_its_own_path_in_the_style_of_the_other_panels():
    figure, reference, paths = grid()
    assert len(figure.data) == 12
    for at, cell in enumerate(CELLS):
        among, trail, head = figure.data[3 * at : 3 * at + 3]
        axes = ("x", "y") if at == 0 else (f"x{at + 1}", f"y{at + 1}")
        assert {(trace.xaxis, trace.yaxis) for trace in (among, trail, head)} == {axes}
        assert np.allclose(among.x, reference[-1, :, 0])
        assert np.allclose(trail.y, paths[cell.path][:, 1]) and head.x[0] == trail.x[-1]
        style = path_style(list(paths).index(cell.path))
        assert (trail.line.color, trail.line.dash) == (style.colour, style.dash)


def test_frames_move_every_cell_and_all_four_have_the_same_axes():
    figure, reference, paths = grid()
    whole = path_map(LABELS, reference, list("abcde"), paths, title="").figure()
    assert [frame.name for frame in figure.frames] == LABELS
    middle = figure.frames[1]
    assert list(middle.traces) == list(range(12))
    for at, cell in enumerate(CELLS):
        assert np.allclose(middle.data[3 * at].x, reference[1, :, 0])
        assert list(middle.data[3 * at + 1].x) == list(paths[cell.path][:2, 0])
        assert middle.data[3 * at + 2].y[0] == paths[cell.path][1, 1]
    layout = figure.layout
    for way in "xy":
        ranges = {layout[f"{way}axis{suffix}"].range for suffix in ("", "2", "3", "4")}
        assert ranges == {whole.layout[f"{way}axis"].range}


def test_captions_are_rows_images_are_columns_and_words_are_text():
    layout = grid()[0].layout
    first, right, below = layout.xaxis, layout.xaxis2, layout.yaxis3
    assert first.domain[1] < right.domain[0] and layout.xaxis3.domain == first.domain
    assert below.domain[1] < layout.yaxis.domain[0] and layout.yaxis2.domain == layout.yaxis.domain
    title, words = layout.annotations[:2]
    assert title.text == "<b>this caption</b><br><b>this image</b>"
    assert title.y == layout.yaxis.domain[1] and words.y == layout.yaxis.domain[0]
    assert words.text == "irony: &lt;b&gt;yes&lt;/b&gt; 97 %"


def test_many_reference_pairs_are_thinned():
    n = 3 * MOST_IN_CELL
    figure, reference, _ = grid(n)
    assert np.allclose(figure.data[0].x, reference[-1, ::3, 0])
    assert figure.data[0].hovertext[1] == "s3"


def test_a_cell_of_a_path_that_is_not_there_is_refused():
    with pytest.raises(KeyError):
        grid(cells=[*CELLS[:3], Cell("nobody", ("", ""))])


PARTS = {"caption": "caption <alone>", "image": "image alone", "interaction": "the pair"}


def curves():
    table = pd.DataFrame(
        {
            "layer": [1, 0, 3],
            "site": ["block", "block", "fusion"],
            "position": [1.0, 0.0, 2.5],
            "caption_part": [1.0, np.nan, 0.6],
            "image_part": [0.0, np.nan, 0.0],
            "interaction_part": [0.0, np.nan, 0.8],
            "caption_effect": [2.0, 0.0, 3.0],
            "image_effect": [0.0, 0.0, 0.0],
            "interaction_effect": [0.0, 0.0, 4.0],
            "reason": ["", "the same for <all>", ""],
        }
    )
    return effect_curves(table, VISION, PARTS, colour="#2F7FC1", within=(0.0, 2.5)).figure()


def test_three_curves_are_told_apart_by_colour_marker_and_dash():
    *lines, _ = curves().data
    assert [line.name for line in lines] == ["caption &lt;alone&gt;", "image alone", "the pair"]
    assert list(lines[2].x) == [0, 1, 2.5] and list(lines[2].y[1:]) == [0, 0.8]
    for look in ("line.color", "line.dash", "marker.symbol"):
        assert len({line[look] for line in lines}) == 3
    assert lines[2].hovertext[2] == (
        "<b>the pair</b>, vision layer 3.fusion<br>0.800 of the length of all that changes<br>"
        "moves the vector by 4"
    )


def test_what_is_undefined_says_why_and_fusion_layers_are_shaded():
    figure = curves()
    crosses = figure.data[-1]
    assert list(crosses.x) == [0]
    assert crosses.hovertext[0] == "vision layer 0<br>undefined: the same for &lt;all&gt;"
    assert spans(figure.layout.shapes) == [(2.5, 4.5)]
    assert figure.layout.xaxis.range == (-0.5, 3.0)
