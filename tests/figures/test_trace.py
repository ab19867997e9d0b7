import numpy as np
import pandas as pd
import pytest

from backend.figures.trace import MOST_REFERENCES, layer_mark, path_map, standing_curve
from tests.figures.frames import VISION

LABELS = ["0", "1", "2"]


def maps(n=5, seed=0):
    return np.random.default_rng(seed).normal(size=(3, n, 2)).astype(np.float32)


def test_a_path_has_a_frame_a_site_with_the_trail_up_to_there():
    path = np.array([[0, 0], [1, 2], [3, 4]], dtype=np.float32)
    reference = maps()
    figure = path_map(LABELS, reference, list("abcde"), {"this pair": path}, title="UMAP").figure()
    assert [frame.name for frame in figure.frames] == LABELS
    points, trail, head = figure.frames[1].data
    assert np.allclose(points.x, reference[1, :, 0])
    assert list(trail.x) == [0, 1] and list(trail.y) == [0, 2]
    assert (head.x[0], head.y[0]) == (1, 2)
    assert list(figure.data[1].x) == [0, 1, 3] and figure.data[2].y[0] == 4, "the last one"
    for axis, column in ((figure.layout.xaxis, 0), (figure.layout.yaxis, 1)):
        low, high = axis.range
        values = np.concatenate([reference[..., column].ravel(), path[:, column]])
        assert low < values.min() and high > values.max(), "one range holds every frame"


def test_two_paths_differ_in_colour_marker_and_dash_and_names_are_text():
    paths = {"<b>this</b>": maps(1)[:, 0], "other": maps(1, 1)[:, 0]}
    figure = path_map(LABELS, maps(), list("abcde"), paths, title="PCA").figure()
    first, second = figure.data[1], figure.data[3]
    assert first.line.color != second.line.color and first.line.dash != second.line.dash
    assert first.marker.symbol != second.marker.symbol
    assert figure.data[2].name == "&lt;b&gt;this&lt;/b&gt;"


def test_many_reference_pairs_are_thinned_and_the_legend_says_so():
    n = 2 * MOST_REFERENCES + 1
    figure = path_map(LABELS, maps(n), [str(i) for i in range(n)], {}, title="UMAP").figure()
    assert len(figure.data[0].x) == len(figure.data[0].hovertext) <= MOST_REFERENCES
    assert figure.data[0].name == "4,001 reference pairs (one in 3)"
    assert figure.data[0].hovertext[1] == "3"


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="2 sites, 5 ids"):
        path_map(LABELS[:2], maps(), list("abcde"), {}, title="UMAP").figure()


def curve(chance=np.nan, within=(0.0, 6.0)):
    points = pd.DataFrame(
        {
            "name": ["pair", "pair", "other", "other"],
            "layer": [0, 1, 0, 1],
            "site": "block",
            "position": [0.0, 1.0, 0.0, 1.0],
            "value": [0.1, np.nan, 0.3, 0.4],
            "percentile": [12.0, np.nan, 50.0, 99.0],
            "reason": ["", "a constant layer", "", ""],
        }
    )
    for at, q in enumerate(("05", "25", "50", "75", "95")):
        points[f"p{q}"] = [at / 10, (at + 1) / 10, 9, 9]
        points[f"chance_p{q}"] = chance
    return standing_curve(points, VISION, y_title="norm", colour="#2F7FC1", within=within).figure()


def test_a_curve_stands_on_its_band_and_says_percentile_or_reason():
    figure = curve()
    wide, narrow, median, pair, other = figure.data
    assert list(wide.x) == [0, 1, 1, 0] and list(wide.y) == [0.4, 0.5, 0.1, 0]
    assert list(narrow.y) == [0.3, 0.4, 0.2, 0.1] and list(median.y) == [0.2, 0.3]
    assert pair.hovertext[0].endswith("0.100, above 12 % of reference pairs")
    assert pair.hovertext[1].endswith("undefined: a constant layer")
    assert pair.line.dash != other.line.dash
    assert pair.meta == {"x": ["0", "1"]}, "a table of it names its rows"
    assert len(figure.layout.shapes) == 1, "the fusion layers are shaded"
    assert figure.layout.xaxis.range == (-0.5, 6.5)
    assert curve(within=(2.0, 3.5)).layout.xaxis.range == (1.5, 4.0)


def test_a_value_without_reference_pairs_has_no_percentile():
    points = {"name": "pair", "layer": 1, "site": "block", "position": 1.0, "value": 0.25}
    bands = {
        f"{start}{q}": np.nan for start in ("p", "chance_p") for q in ("05", "25", "50", "75", "95")
    }
    rows = pd.DataFrame([points | bands | {"percentile": np.nan, "reason": ""}])
    figure = standing_curve(
        rows, VISION, y_title="norm", colour="#2F7FC1", within=(0.0, 6.0)
    ).figure()
    assert [trace.name for trace in figure.data] == ["pair"]
    assert figure.data[0].hovertext[0].endswith("0.250")


def test_a_quantity_with_a_chance_has_its_band_too():
    names = [trace.name for trace in curve(chance=0.0).data if trace.showlegend is not False]
    assert names[0].startswith("mismatched pairs") and names[1].startswith("reference pairs")


def test_the_layer_is_marked_by_a_line_over_the_whole_height():
    (line,) = layer_mark(2.5)
    assert (line["x0"], line["x1"], line["y0"], line["y1"]) == (2.5, 2.5, 0, 1)
