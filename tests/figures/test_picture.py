import base64

import pytest

from backend.figures.picture import footprint_marks, picture_figure


def test_the_picture_lies_upright_on_axes_in_its_own_pixels():
    figure = picture_figure(b"webp", (200, 100))
    (image,) = figure.layout.images
    assert base64.b64decode(image.source.partition(",")[2]) == b"webp"
    assert (image.sizex, image.sizey) == (200, 100)
    assert figure.layout.xaxis.range == (0, 200) and figure.layout.yaxis.range == (100, 0)


def test_a_footprint_is_the_redder_the_larger_its_share():
    weak, strong = footprint_marks([(0, 0, 10, 10), (10, 0, 20, 10)], [0.1, 0.4])
    assert (strong["x0"], strong["y0"], strong["x1"], strong["y1"]) == (10, 0, 20, 10)
    alphas = [float(mark["fillcolor"].rstrip(")").rpartition(",")[2]) for mark in (weak, strong)]
    assert alphas == pytest.approx([0.1875, 0.75])
    assert footprint_marks([(0, 0, 1, 1)], [0.0]) == () and footprint_marks([], []) == ()
