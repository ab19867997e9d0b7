"""What comes in: types, shapes, bad values; and how it is prepared."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from backend.errors import InputError
from backend.measures import CKAStream, cka, cka_matrix, effective_dimension
from backend.measures.core.base import prepare, rounding_noise, stored_eps

GOOD = np.random.default_rng(0).normal(size=(12, 3))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (GOOD.astype(int), "y: expected floating-point values, got int64"),
        (GOOD[:, 0], r"y: expected an array of shape \(samples, dimensions\), got shape \(12,\)"),
        (GOOD[:, :0], "y: the array is empty"),
        (GOOD[:0], "y: the array is empty"),
        (GOOD[:11], "y: 11 samples, but x has 12"),
        (GOOD.tolist(), "y: expected a numpy array or a torch tensor, got list"),
        (np.where(GOOD > 1.2, np.nan, GOOD), "y: NaN in .* of 12 rows"),
        (np.where(np.arange(36).reshape(12, 3) == 7, np.inf, GOOD), r"in 1 of 12 rows .*row 2"),
        (torch.zeros(12, 3, dtype=torch.int32), "y: expected floating-point values, got int32"),
    ],
)
def test_unusable_input_is_refused_and_named(bad, message):
    with pytest.raises(InputError, match=message):
        cka(GOOD, bad)


def test_bad_layer_of_a_matrix_is_named_by_its_label():
    bad = GOOD.copy()
    bad[3, 1] = np.nan
    with pytest.raises(InputError, match="layer 3 of text: NaN in 1 of 12 rows"):
        cka_matrix([GOOD, bad], labels=["layer 2 of text", "layer 3 of text"])
    with pytest.raises(InputError, match=r"layers\[1\]: NaN"):
        cka_matrix([GOOD, bad])
    with pytest.raises(InputError, match="no layers"):
        cka_matrix([])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_numpy_and_torch_of_any_float_give_the_same(dtype):
    x, y = GOOD.astype(dtype), (GOOD**2).astype(dtype)
    tensors = torch.from_numpy(x), torch.from_numpy(y).requires_grad_()
    assert float(cka(x, y)) == float(cka(*tensors))
    exact = float(cka(x.astype("float64"), y.astype("float64")))
    assert float(cka(x, y)) == pytest.approx(exact, abs=1e-12)


def test_bfloat16_tensors_are_accepted():
    x = torch.from_numpy(GOOD).bfloat16()
    assert float(cka(x, x.float())) == pytest.approx(1, abs=1e-12)


def test_importing_and_using_the_measures_does_not_import_torch_or_pandas():
    code = (
        "import sys, numpy as np; from backend.measures import cka, effective_dimension; "
        "x = np.random.rand(9, 3); cka(x, x); effective_dimension(x); "
        "print(sorted({'torch', 'pandas', 'sklearn', 'umap', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("scale", [1e-160, 1e-30, 1.0, 1e30, 1e150])
def test_extreme_scales_neither_vanish_nor_overflow(scale):
    prepared = prepare(GOOD * scale, "x")
    reference = prepare(GOOD, "x")
    np.testing.assert_allclose(prepared.data, reference.data, atol=1e-12)
    assert np.square(prepared.data).sum() == pytest.approx(1)
    assert prepared.norm == pytest.approx(reference.norm * scale)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_equal_rows_are_constant_whatever_their_values(dtype):
    rows = np.repeat(np.random.default_rng(0).normal(50, 20, size=(1, 30)), 101, 0).astype(dtype)
    assert prepare(rows, "x").constant
    rows[5, 7] += 1
    assert not prepare(rows, "x").constant


def test_input_is_not_modified():
    x = GOOD.copy()
    effective_dimension(x)
    cka(x, x)
    assert np.array_equal(x, GOOD)


def test_the_stored_precision_of_widened_values_is_the_narrow_one():
    x = np.random.default_rng(0).normal(size=(3000, 200)).astype(np.float32)
    half, brain = x.astype(np.float16), torch.from_numpy(x).bfloat16().float().numpy()
    eps = {t: float(np.finfo(t).eps) for t in (np.float16, np.float32, np.float64)}
    assert stored_eps(x) == eps[np.float32]
    assert stored_eps(half) == stored_eps(half.astype(np.float32)) == eps[np.float16]
    assert stored_eps(half.astype(np.float32)[:, ::3]) == eps[np.float16]
    assert stored_eps(brain) == 2.0**-7
    assert stored_eps(half.astype(np.float64)) == eps[np.float64]
    late = half.astype(np.float32)
    late[-1, -1] = 0.1
    assert stored_eps(late) == eps[np.float32]
    # Counts are exact in every precision and large values are no float16 numbers.
    assert stored_eps(np.arange(60.0, dtype=np.float32).reshape(20, 3)) == eps[np.float32]
    assert stored_eps(np.float32([[1000.0], [1000.5]])) == eps[np.float32]
    assert stored_eps(np.float32([[1e6, 0.1], [70000.5, 1]])) == eps[np.float32]


@pytest.mark.parametrize("low", [2.0, 100.0, 1000.0])
def test_the_smallest_step_of_a_narrow_type_is_no_rounding_between_plain_numbers(low):
    up = float(np.nextafter(np.float16(low), np.float16(np.inf)))
    x = np.random.default_rng(0).choice([low, up], size=(50, 3)).astype(np.float32)
    wide = low > 10  # 2 and 2.00195 may well be the rounding of one number
    assert prepare(x, "x").constant is not wide
    assert prepare(x.astype(np.float64), "x").constant is False


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("offset", [0, 30, 1000])
@pytest.mark.parametrize(("n", "d"), [(300, 40), (60, 200)])
def test_rounding_noise_is_that_of_the_rounded_values(kind, offset, n, d):
    exact = np.random.default_rng(n).normal(size=(n, d)) * np.geomspace(5, 50, d) + offset
    rounded = (
        torch.from_numpy(exact).bfloat16().float().numpy()
        if kind == "bfloat16"
        else exact.astype(kind)
    )
    errors = rounded.astype(np.float64) - exact
    sd, edge = rounding_noise(rounded)
    assert np.sqrt((errors**2).mean(axis=0)).sum() == pytest.approx(sd.sum(), rel=0.05)
    largest = np.linalg.svd(errors / sd, compute_uv=False)[0]
    assert 0.6 * edge < largest < edge


def test_a_float16_layer_that_only_rounding_moves_is_constant_also_when_widened():
    rng = np.random.default_rng(0)
    narrow = np.full((60, 4), 0.1, dtype=np.float16)
    narrow[::7] = np.nextafter(narrow[0, 0], np.float16(1))
    x = rng.normal(size=(60, 4)).astype(np.float32)
    for y in (narrow, narrow.astype(np.float32)):
        assert str(cka(x, y).reason).startswith("y is constant")
        stream = CKAStream()
        for start in (0, 20, 40):
            stream.update([x[start : start + 20], y[start : start + 20]])
        assert str(stream.matrix().reasons[0, 1]).startswith("layers[1] is constant")
