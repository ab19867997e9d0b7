"""Procrustes distance: closed forms, other libraries, small distances, undefined cases."""

import itertools
import math

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial
import torch

from backend.errors import InputError
from backend.measures import procrustes, procrustes_matrix

THESIS = {"normalise": False, "centre": False}


@pytest.fixture(params=["float64 while small", "float32 when large"])
def route(request, monkeypatch):
    if request.param == "float32 when large":
        monkeypatch.setattr("backend.measures.core.base.SMALL_WORK", 0)
    return request.param


def orthonormal(n, d, seed=0):
    """d orthonormal columns of mean 0."""
    noise = np.random.default_rng(seed).normal(size=(n, d))
    return np.linalg.qr(np.column_stack([np.ones(n), noise]))[0][:, 1:]


def unit(x):
    x = np.asarray(x, dtype=np.float64)
    x = x - x.mean(axis=0)
    return x / np.linalg.norm(x)


def rotated_apart(x, y):
    """‖X R - Y‖ with scipy's R, the narrower side padded by zeros."""
    width = max(x.shape[1], y.shape[1])
    x, y = (np.pad(a, ((0, 0), (0, width - a.shape[1]))) for a in (x, y))
    return np.linalg.norm(x @ scipy.linalg.orthogonal_procrustes(x, y)[0] - y)


@pytest.mark.parametrize(
    ("n", "widths"), [(60, (7, 7)), (60, (12, 5)), (15, (40, 30)), (9, (3, 50))]
)
def test_is_what_scipys_best_rotation_leaves(arrays, n, widths):
    x, y = arrays.related(n, widths)
    expected = rotated_apart(unit(x), unit(y))
    assert float(procrustes(x, y)) == pytest.approx(expected, abs=1e-12)
    assert float(procrustes(x, y, **THESIS)) == pytest.approx(rotated_apart(x, y), rel=1e-12)
    centred = [arrays.centred(a) for a in (x, y)]
    assert float(procrustes(x, y, normalise=False)) == pytest.approx(
        rotated_apart(*centred), rel=1e-12
    )
    scaled = [a / np.linalg.norm(a) for a in (x, y)]
    assert float(procrustes(x, y, centre=False)) == pytest.approx(rotated_apart(*scaled), abs=1e-12)


def test_agrees_with_scipys_disparity(arrays):
    x, y = arrays.related(50, (6, 6))
    alignment = 1 - float(procrustes(x, y)) ** 2 / 2
    assert 1 - alignment**2 == pytest.approx(scipy.spatial.procrustes(x, y)[2], abs=1e-12)


def test_nuclear_norm_is_the_bures_fidelity_of_the_grams(arrays):
    x, y = (unit(a) for a in arrays.related(30, (5, 8)))
    values, vectors = scipy.linalg.eigh(x @ x.T)
    root = vectors[:, -5:] * np.sqrt(values[-5:]) @ vectors[:, -5:].T
    fidelity = np.sqrt(scipy.linalg.eigvalsh(root @ (y @ y.T) @ root)[-5:]).sum()
    assert float(procrustes(x, y)) == pytest.approx(math.sqrt(2 - 2 * fidelity), abs=1e-12)


@pytest.mark.parametrize("k", [0, 1, 4, 9])
def test_k_of_d_shared_orthonormal_columns(k):
    basis = orthonormal(60, 18)
    x, y = basis[:, :9], basis[:, 9 - k : 18 - k]
    assert float(procrustes(x, y)) == pytest.approx(math.sqrt(2 - 2 * k / 9), abs=1e-7)


def test_one_dimension_is_a_function_of_the_correlation():
    x, y = np.random.default_rng(0).normal(size=(2, 50, 1))
    r = np.corrcoef(x[:, 0], y[:, 0])[0, 1]
    assert float(procrustes(x, y)) == pytest.approx(math.sqrt(2 - 2 * abs(r)), abs=1e-12)


@pytest.mark.parametrize("angle", [1e-9, 1e-7, 1e-5, 9e-4, 1.1e-3, 3e-3, 0.1, 1.5])
def test_small_distances_do_not_cancel(route, angle):
    basis = orthonormal(80, 20)
    x = basis[:, :10]
    y = math.cos(angle) * x + math.sin(angle) * basis[:, 10:]
    expected = 2 * math.sin(angle / 2)
    tolerance = 1e-11 if route == "float64 while small" else 1e-7
    assert float(procrustes(x, y)) == pytest.approx(expected, abs=tolerance)
    sized = procrustes(3 * x, 3 * y, normalise=False)
    assert float(sized) == pytest.approx(3 * math.sqrt(10) * expected, abs=10 * tolerance)


@pytest.mark.parametrize(("n", "d"), [(200, 30), (40, 90), (40, 40)])
@pytest.mark.parametrize("decay", [1.0, 1e-4, 1e-12])
@pytest.mark.parametrize("options", [{}, THESIS])
def test_the_same_shape_is_at_zero_and_never_nan(arrays, route, n, d, decay, options):
    x = np.random.default_rng(0).normal(size=(n, d)) * np.geomspace(1, decay, d)
    size = np.linalg.norm(x) if options else 1
    for y in (x, x @ arrays.orthogonal(d), np.column_stack([np.zeros((n, 3)), x])):
        assert 0 <= float(procrustes(x, y, **options)) < 2e-7 * size


def test_rotation_shift_and_scale_are_what_the_options_say(arrays):
    x, y = arrays.related(40, (6, 6))
    before = float(procrustes(x, y))
    assert float(procrustes(7 * x + 5, y)) == pytest.approx(before, abs=1e-12)
    assert float(procrustes(x + 5, y, centre=False)) != pytest.approx(before, abs=0.01)
    unscaled = float(procrustes(x, y, normalise=False))
    assert float(procrustes(x + 5, y, normalise=False)) == pytest.approx(unscaled, rel=1e-12)
    assert float(procrustes(2 * x, 2 * y, normalise=False)) == pytest.approx(2 * unscaled)


def test_is_a_metric(arrays):
    values = procrustes_matrix(arrays.related(40, (6, 9, 3, 60, 8))).values
    for i, j, k in itertools.product(range(5), repeat=3):
        assert values[i, k] <= values[i, j] + values[j, k] + 1e-12


@pytest.mark.parametrize(("n", "d"), [(60, 256), (600, 24)])
@pytest.mark.parametrize("offset", [0, 50, 1000])
@pytest.mark.parametrize("scale", [1, 1e-5])
def test_offsets_and_scales(arrays, route, n, d, offset, scale):
    x, y = arrays.related(n, (d, d))
    for near in (y, x + 0.01 * y):
        a, b = ((s * scale + offset * scale).astype(np.float32) for s in (x, near))
        expected = rotated_apart(unit(a), unit(b))
        assert float(procrustes(a, b)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", ["float16", "float32"])
def test_one_massive_coordinate(arrays, route, kind):
    x, y = arrays.related(200, (64, 48))
    x[:, 3] += 200
    y[:, 5] = 3000 + 30 * y[:, 5]
    a, b = x.astype(kind), y.astype(kind)
    assert float(procrustes(a, b)) == pytest.approx(rotated_apart(unit(a), unit(b)), abs=1e-6)
    thesis = rotated_apart(a.astype(np.float64), b.astype(np.float64))
    assert float(procrustes(a, b, **THESIS)) == pytest.approx(thesis, rel=1e-6)


@pytest.mark.parametrize("scale", [1e-160, 1e-30, 1e30, 1e150])
def test_extreme_scales(arrays, scale):
    x, y = arrays.related(30, (4, 5))
    assert float(procrustes(x * scale, y)) == pytest.approx(float(procrustes(x, y)), abs=1e-12)
    both = procrustes(x * scale, y * scale, normalise=False)
    assert float(both) == pytest.approx(scale * float(procrustes(x, y, normalise=False)))


@pytest.mark.parametrize("options", [{}, {"centre": False}, THESIS])
@pytest.mark.parametrize("n", [50, 20])
def test_matrix_equals_the_pairs_one_by_one(arrays, n, options):
    layers = arrays.related(n, (6, 40, 11, 30))
    result = procrustes_matrix(layers, **options)
    for i, j in itertools.combinations(range(4), 2):
        single = procrustes(layers[i], layers[j], **options)
        assert result.values[i, j] == pytest.approx(float(single), rel=1e-12)
        assert single.params == result.params
    assert (np.diag(result.values) == 0).all()
    assert np.array_equal(result.values, result.values.T)
    between = procrustes_matrix(layers[:3], layers[2:], labels="abc", other_labels="cd", **options)
    assert (between.rows, between.columns) == (("a", "b", "c"), ("c", "d"))
    np.testing.assert_allclose(between.values, result.values[:3, 2:], atol=1e-6)
    assert between.null_means is None and np.isnan(between.z).all()


def test_constant_layer_is_nan_with_its_name_unless_size_alone_decides(arrays):
    x = arrays.related(20, (4,))[0].astype(np.float32)
    constant = np.full((20, 3), 0.1, dtype=np.float32)
    result = procrustes(x, constant)
    assert math.isnan(float(result))
    assert str(result.reason) == "y is constant: every sample has the same vector"
    size = np.linalg.norm(arrays.centred(x))
    assert float(procrustes(x, constant, normalise=False)) == pytest.approx(size, rel=1e-6)
    assert float(procrustes(constant, constant, normalise=False)) == 0
    assert math.isfinite(float(procrustes(x, constant, centre=False)))
    zero = procrustes(np.zeros((20, 3)), x, centre=False)
    assert math.isnan(float(zero)) and str(zero.reason) == "x is zero everywhere"
    matrix = procrustes_matrix([x, constant], labels=["a", "b"])
    assert np.isnan(matrix.values).tolist() == [[False, True], [True, True]]
    assert str(matrix.reasons[1, 1]) == "b is constant: every sample has the same vector"
    between = procrustes_matrix([x], [x, constant], other_labels=["a", "b"])
    assert list(between.reasons) == [(0, 1)] and str(between.reasons[0, 1]).startswith(
        "b is constant"
    )


def test_few_samples_and_copies_are_warned_about(arrays):
    x, y = np.random.default_rng(0).normal(size=(2, 64, 768))
    result = procrustes(x, y)
    assert float(result) < 0.5
    assert (
        str(result.warnings) == "n = 64 samples <= d = 768: unrelated data can be rotated together"
    )
    x, y = arrays.related(40, (4, 4))
    assert not procrustes(x, y).warnings
    x[10:20] = x[0]
    assert tuple(map(str, procrustes_matrix([x, y], labels="ab").warnings)) == (
        "10 of 40 rows of a are copies of another row",
    )


def test_unusable_input_is_refused_and_named(arrays):
    x, y = arrays.related(12, (4, 3))
    with pytest.raises(InputError, match="y: 11 samples, but x has 12"):
        procrustes(x, y[:11])
    y[3, 1] = np.nan
    with pytest.raises(InputError, match="y: NaN in 1 of 12 rows"):
        procrustes(x, y, **THESIS)
    with pytest.raises(InputError, match="b: NaN in 1 of 12 rows"):
        procrustes_matrix([x, y], labels="ab")
    with pytest.raises(InputError, match="no layers"):
        procrustes_matrix([])
    with pytest.raises(InputError, match="other_labels: 1 labels for 2 layers"):
        procrustes_matrix([x], [x, x], other_labels=["a"])


def test_torch_tensors_give_the_same(arrays):
    x, y = (a.astype(np.float16) for a in arrays.related(30, (4, 6)))
    tensors = torch.from_numpy(x), torch.from_numpy(y)
    exact = float(procrustes(x.astype(np.float64), y.astype(np.float64)))
    assert float(procrustes(*tensors)) == float(procrustes(x, y)) == pytest.approx(exact, abs=1e-12)
