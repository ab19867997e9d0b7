"""Error of the float32 route against an all-float64 computation of the same array: <= 1e-6."""

import numpy as np
import pytest

from backend.measures import cka, cka_matrix

TOLERANCE = 1e-6


@pytest.fixture(params=["float64 while small", "float32 when large"])
def route(request, monkeypatch):
    if request.param == "float32 when large":
        monkeypatch.setattr("backend.measures.core.base.SMALL_WORK", 0)


def check(arrays, x, y):
    for estimator in ("biased", "debiased"):
        expected = arrays.reference_cka(x, y, estimator)
        assert float(cka(x, y, estimator=estimator)) == pytest.approx(expected, abs=TOLERANCE)
        matrix = cka_matrix([x, y, x], estimator=estimator).values
        assert matrix[0, 1] == pytest.approx(expected, abs=TOLERANCE)
        assert matrix[0, 2] == pytest.approx(1, abs=TOLERANCE)


@pytest.mark.parametrize(("n", "d"), [(60, 256), (600, 24)])
@pytest.mark.parametrize("offset", [0, 50, 200, 1000])
@pytest.mark.parametrize("scale", [1, 1e-3, 1e-5])
def test_offsets_and_scales(arrays, route, n, d, offset, scale):
    x, y = ((a * scale + offset * scale).astype(np.float32) for a in arrays.related(n, (d, d)))
    check(arrays, x, y)


@pytest.mark.parametrize("offset", [50, 200, 1000])
def test_offset_far_above_the_scale(arrays, route, offset):
    x, y = ((a * 1e-2 + offset).astype(np.float32) for a in arrays.related(200, (64, 64)))
    check(arrays, x, y)


@pytest.mark.parametrize(("n", "d"), [(60, 256), (600, 24)])
def test_one_massive_coordinate(arrays, route, n, d):
    x, y = arrays.related(n, (d, d))
    x[:, 3] += 200
    y[:, 5] = 3000 + 30 * y[:, 5]
    check(arrays, x.astype(np.float32), y.astype(np.float32))


def test_float16_layer_with_a_massive_constant_coordinate_is_not_constant(arrays, route):
    x, y = (0.05 * a for a in arrays.related(100, (64, 64)))
    x[:, 3] = 200
    check(arrays, x.astype(np.float16), y.astype(np.float16))
