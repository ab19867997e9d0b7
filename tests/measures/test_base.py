"""What comes in: types, shapes, bad values; and how it is prepared."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from backend.errors import InputError
from backend.measures import cka, cka_matrix, effective_dimension
from backend.measures.base import prepare

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
