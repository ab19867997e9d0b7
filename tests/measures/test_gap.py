"""Modality gap, alignment, uniformity: closed forms, slow references, undefined cases."""

import itertools
import math

import numpy as np
import pytest
import torch

from backend.errors import InputError
from backend.measures import alignment, modality_gap, uniformity


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_equal_their_definitions(arrays):
    x, y = (a + 1 for a in arrays.related(30, (6, 6)))
    u, v = unit(x), unit(y)
    gap = np.linalg.norm(u.mean(axis=0) - v.mean(axis=0))
    assert float(modality_gap(x, y)) == pytest.approx(gap, abs=1e-12)
    assert float(alignment(x, y)) == pytest.approx(
        np.mean([np.sum((a - b) ** 2) for a, b in zip(u, v, strict=True)]), abs=1e-12
    )
    pairs = [math.exp(-2 * np.sum((a - b) ** 2)) for a, b in itertools.combinations(u, 2)]
    assert float(uniformity(x)) == pytest.approx(math.log(np.mean(pairs)), abs=1e-12)


def test_closed_forms():
    right, up = np.tile([2.0, 0], (5, 1)), np.tile([0, 3.0], (5, 1))
    assert float(modality_gap(right, up)) == pytest.approx(math.sqrt(2))
    assert float(modality_gap(right, -7 * right)) == pytest.approx(2)
    assert float(alignment(right, -right)) == pytest.approx(4)
    assert float(alignment(right, up)) == pytest.approx(2)
    assert float(alignment(right, 9 * right)) == pytest.approx(0, abs=1e-15)
    assert float(uniformity(right)) == pytest.approx(0, abs=1e-15)
    assert float(uniformity(np.array([[1.0, 0], [-3, 0]]))) == pytest.approx(-8)
    # Orthogonal directions are √2 apart: exp(-4) for every pair.
    assert float(uniformity(5 * np.eye(9))) == pytest.approx(-4)


@pytest.mark.parametrize(("n", "d"), [(6, 3), (6, 20)])
def test_null_of_alignment_is_that_of_all_720_matchings(arrays, n, d):
    x, y = arrays.related(n, (d, d))
    result = alignment(x, y)
    values = [float(alignment(x, y[list(o)])) for o in itertools.permutations(range(n))]
    assert result.null_mean == pytest.approx(np.mean(values), abs=1e-12)
    assert result.null_sd == pytest.approx(np.std(values), abs=1e-12)
    assert math.isnan(modality_gap(x, y).null_mean)


def test_rows_may_be_scaled_one_by_one_but_not_shifted(arrays):
    x, y = arrays.related(30, (6, 6))
    scales = np.random.default_rng(0).uniform(1e-3, 1e3, (30, 1))
    q = arrays.orthogonal(6)
    for measure in (modality_gap, alignment):
        before = float(measure(x, y))
        assert float(measure(scales * x @ q, y @ q)) == pytest.approx(before, abs=1e-12)
        assert abs(float(measure(x + 2, y)) - before) > 0.01
        assert abs(float(measure(x @ q, y)) - before) > 0.01
    assert float(uniformity(scales * x)) == pytest.approx(float(uniformity(x)), abs=1e-12)
    assert abs(float(uniformity(x + 2)) - float(uniformity(x))) > 0.01


def test_unequal_widths_are_nan_with_the_reason(arrays):
    x, y = arrays.related(30, (6, 7))
    for measure in (modality_gap, alignment):
        result = measure(x, y)
        assert math.isnan(float(result)) and math.isnan(result.null_mean)
        assert str(result.reason).startswith("needs equal widths, got 6 and 7")
        assert result.dims == (6, 7)


def test_zero_rows_have_no_direction(arrays):
    x, y = arrays.related(30, (6, 6))
    y[[4, 9]] = 0
    for measure in (modality_gap, alignment):
        result = measure(x, y)
        assert math.isnan(float(result))
        assert str(result.reason) == "2 of 30 rows of y is zero (first: row 4)"
    assert str(uniformity(y).reason) == "2 of 30 rows of x is zero (first: row 4)"


def test_blocks_of_rows_do_not_change_uniformity(arrays, monkeypatch):
    x = arrays.related(100, (6,))[0]
    whole = float(uniformity(x))
    monkeypatch.setattr("backend.measures.core.distances._BLOCK_BYTES", 1)
    assert float(uniformity(x)) == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize("scale", [1e-150, 1e-5, 1e150])
def test_scale_neither_vanishes_nor_overflows(arrays, scale):
    x, y = arrays.related(30, (6, 6))
    assert float(alignment(scale * x, y)) == pytest.approx(float(alignment(x, y)), abs=1e-12)


def test_unusable_arrays_are_refused_and_tensors_accepted(arrays):
    x, y = (a.astype(np.float16) for a in arrays.related(30, (6, 6)))
    exact = float(alignment(x.astype(float), y.astype(float)))
    assert float(alignment(torch.from_numpy(x), torch.from_numpy(y))) == pytest.approx(exact)
    bad = y.copy()
    bad[3] = np.inf
    for measure in (modality_gap, alignment):
        for other, message in [
            (bad, "y: infinite values in 1 of 30 rows"),
            (y[:20], "y: 20 samples, but x has 30"),
            (y.astype(int), "y: expected floating-point"),
        ]:
            with pytest.raises(InputError, match=message):
                measure(x, other)
    with pytest.raises(InputError, match="x: infinite values"):
        uniformity(bad)
