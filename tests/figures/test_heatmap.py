import numpy as np
import pytest

from backend.figures import axis_refs, layer_heatmap
from backend.figures.heatmap import cell_mark, pair_in_words
from backend.figures.marks import marked
from backend.types import LayerRef
from tests.figures.frames import LATE, TEXT, VISION, cka_frame


def cells(figure):
    return next(t for t in figure.data if t.name == "cells")


def test_rows_and_columns_are_the_streams_that_were_asked_for():
    figure = layer_heatmap(cka_frame(), [VISION], [TEXT])
    z = np.array(figure.data[0].z, dtype=float)
    assert z.shape == (7, 5)
    assert z[3, 2] == pytest.approx(0.5 - 0.05 + 0.01)
    transposed = np.array(layer_heatmap(cka_frame(), [TEXT], [VISION]).data[0].z, dtype=float)
    np.testing.assert_allclose(transposed, z.T)


def test_a_stream_with_itself_is_symmetric_though_each_pair_is_stored_once():
    z = np.array(layer_heatmap(cka_frame(), [TEXT], [TEXT]).data[0].z, dtype=float)
    np.testing.assert_allclose(z, z.T)
    np.testing.assert_allclose(np.diag(z), 1.0)
    assert z[0, 3] == pytest.approx(0.71)


def test_all_streams_make_one_block_matrix():
    figure = layer_heatmap(cka_frame(), LATE.streams, LATE.streams)
    z = np.array(figure.data[0].z, dtype=float)
    assert z.shape == (12, 12)
    np.testing.assert_allclose(z, z.T)
    assert np.isnan(z[0]).all() and not np.isnan(z[1, 1:]).any()


def test_the_colour_scale_is_0_to_1_and_a_negative_value_is_shown_as_it_is():
    frame = cka_frame()
    here = frame["stream_a"].eq("vision") & frame["stream_b"].eq("text")
    frame.loc[here & frame["layer_a"].eq(1) & frame["layer_b"].eq(4), "value"] = -0.03
    figure = layer_heatmap(frame, [VISION], [TEXT])
    assert (figure.data[0].zmin, figure.data[0].zmax) == (0, 1)
    hover = cells(figure).hovertext[1][4]
    assert "CKA -0.030" in hover and "below 0" in hover


def test_every_cell_can_be_clicked_and_its_place_leads_back_to_its_layers():
    figure = layer_heatmap(cka_frame(), LATE.streams, LATE.streams)
    refs = axis_refs(LATE.streams)
    assert refs[7] == LayerRef("text", 0)
    words = cells(figure).hovertext
    assert (len(words), len(words[0])) == (12, 12) and cells(figure).hoverinfo == "text"
    for y, x in ((1, 8), (9, 2)):
        assert pair_in_words(refs[y], refs[x]) in words[y][x]


def test_every_row_and_column_has_a_name_also_without_a_tick():
    meta = layer_heatmap(cka_frame(), LATE.streams, [TEXT]).data[0].meta
    assert meta["x"] == [f"text {k}" for k in range(5)]
    assert meta["y"] == [f"vision {k}" for k in range(7)] + meta["x"]


def test_the_hover_has_value_seeds_null_z_and_n_or_the_reason():
    figure = layer_heatmap(cka_frame(), [VISION], [TEXT])
    words = cells(figure).hovertext
    hover = words[2][2]
    for part in (
        "vision layer 2 and text layer 2",
        "CKA 0.510",
        "3 seeds",
        "0.500 to 0.520",
        "null mean",
        "0.050",
        "z = 46.0",
        "n = 64",
    ):
        assert part in hover
    assert "undefined: layer 0 of vision is constant" in words[0][0]


def test_fusion_layers_are_ticked_on_both_axes():
    figure = layer_heatmap(cka_frame(), [VISION], [TEXT])
    assert [t for t in figure.layout.yaxis.ticktext if "◆" in t] == ["3 ◆", "4 ◆"]
    assert [t for t in figure.layout.xaxis.ticktext if "◆" in t] == ["2<br>◆", "4<br>◆"]
    assert "vision layer" in figure.layout.yaxis.title.text
    assert "text layer" in figure.layout.xaxis.title.text


def test_the_selected_cell_is_outlined_and_only_where_it_is_in_the_matrix():
    cell = (LayerRef("vision", 3), LayerRef("text", 1))
    figure = layer_heatmap(cka_frame(), [VISION], [TEXT])
    shapes = marked(figure, cell_mark([VISION], [TEXT], cell)).layout.shapes
    assert {((s.x0 + s.x1) / 2, (s.y0 + s.y1) / 2) for s in shapes} == {(1, 3)}
    assert not cell_mark([TEXT], [TEXT], cell) and not cell_mark([VISION], [TEXT], None)


def test_numbers_stand_in_the_cells_when_asked_for():
    assert layer_heatmap(cka_frame(), [VISION], [TEXT]).data[0].text is None
    text = layer_heatmap(cka_frame(), [VISION], [TEXT], show_text=True).data[0].text
    assert text[2][2] == "0.51" and text[0][0] == ""
