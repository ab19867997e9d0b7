import base64

import numpy as np
import pytest

from backend.figures.picture import (
    Patches,
    effect_marks,
    headline,
    heat_marks,
    patch_mark,
    picture_figure,
)

BOXES = np.array([[0, 0, 10, 20], [10, 0, 20, 20], [0, 20, 10, 40]], dtype=np.float32)


def shades(marks):
    """{path: (colour, opacity)}"""
    out = {}
    for mark in marks:
        colour, _, alpha = mark["fillcolor"].rstrip(")").rpartition(",")
        out[mark["path"]] = colour, pytest.approx(float(alpha))
    return out


def test_the_picture_lies_upright_on_axes_in_its_own_pixels():
    figure = picture_figure(
        b"webp", (200, 100), Patches([], np.zeros((0, 4), np.float32), [])
    ).figure()
    (image,) = figure.layout.images
    assert base64.b64decode(image.source.partition(",")[2]) == b"webp"
    assert (image.sizex, image.sizey) == (200, 100)
    assert figure.layout.xaxis.range == (0, 200) and figure.layout.yaxis.range == (100, 0)


def test_a_click_finds_the_token_at_the_centre_of_its_patch_and_far_away_nothing():
    figure = picture_figure(
        b"", (40, 380), Patches([7, 5, 6], BOXES, ["one", "<b>two</b>", "three"]), height=404
    ).figure()
    (points,) = figure.data
    assert list(zip(points.x, points.y, points.customdata, strict=True)) == [
        (5, 10, 7), (15, 10, 5), (5, 30, 6),
    ]  # fmt: skip
    assert points.hovertext[1] == "&lt;b&gt;two&lt;/b&gt;"
    # one pixel of the picture is one on the screen, half a diagonal of 10 x 20 is 11.2
    assert figure.layout.hoverdistance == 12


def test_a_patch_is_the_redder_the_larger_its_share_and_those_alike_are_one_shape():
    marks = shades(heat_marks(BOXES, np.array([0.1, 0.4, 0.1], np.float32)))
    weak, strong = "M0,0H10V20H0Z M0,20H10V40H0Z", "M10,0H20V20H10Z"
    assert {path: alpha for path, (_, alpha) in marks.items()} == {weak: 0.1875, strong: 0.75}
    assert heat_marks(BOXES, np.zeros(3)) == () == heat_marks(BOXES, np.full(3, np.nan))
    assert heat_marks(BOXES[:0], np.zeros(0)) == ()


def test_effects_of_either_sign_share_one_scale_and_differ_in_colour():
    marks = shades(effect_marks(BOXES, np.array([0.2, -0.4, np.nan], np.float32)))
    (less, weak), (more, strong) = marks["M0,0H10V20H0Z"], marks["M10,0H20V20H10Z"]
    assert less != more and (weak, strong) == (0.375, 0.75) and len(marks) == 2
    marks = shades(effect_marks(BOXES, np.array([0.4, -0.2, 0.0], np.float32)))
    assert marks["M0,0H10V20H0Z"] == (less, 0.75) and marks["M10,0H20V20H10Z"] == (more, 0.375)


def test_a_chosen_patch_is_outlined_and_a_line_of_text_is_escaped():
    mark = patch_mark(BOXES[1])[-1]
    assert (mark["x0"], mark["x1"], mark["y0"], mark["y1"]) == (10, 20, 0, 20)
    (line,) = headline("<i>x</i>")
    assert line["label"]["text"] == "&lt;i&gt;x&lt;/i&gt;"
