"""Orthogonal Procrustes distance: how far two representations stay apart after the best rotation.

min over orthogonal Q of ‖X Q - Y‖_F, with the narrower side padded by zeros. Its square is
‖X‖² + ‖Y‖² - 2 ‖Xᵀ Y‖_*, the nuclear norm (sum of singular values) of a (d_x, d_y) matrix, so that
neither the padding nor Q is ever built. It is a metric on the shapes of point clouds (Williams et
al. 2021). (Schönemann 1966; Ding et al. 2021, who compare it with CKA and CCA.)

Accuracy. Data are float32 where there is much of them, which moves a distance by at most 1e-7; all
products are float64. 2 - 2‖XᵀY‖_* cancels when the sides are alike: rounding of 1e-15 in it is 3e-8
in its root and may turn it negative. Below ``CLOSE`` the distance is therefore taken from what is
left over, ‖X Q - Y‖ with the Q found: never negative, never NaN, and about 1e-8 for identical
sides. Nothing is clamped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backend.errors import InputError
from backend.measures.core.base import (
    FloatArray,
    Prepared,
    as_representation,
    constant_reason,
    duplicate_warning,
    prepare_all,
    same_samples,
    working_dtype,
)
from backend.measures.core.pairs import grid
from backend.measures.core.parallel import map_pieces
from backend.measures.core.result import NAN, MatrixResult, Result
from backend.remarks import NOTHING, Remark, Remarks, remark

ESTIMATOR = "sample"

CLOSE = 1e-6
"""Squared distance of unit-norm sides below which the remainder itself is measured."""


@dataclass(frozen=True, eq=False)
class Shape:
    """A layer up to rotation: ``data`` (n, min(n, d)) of unit norm with the layer's Gram matrix.

    ``square`` is the squared norm of ``data``, 1 up to its rounding; ``norm`` is the Frobenius norm
    before scaling, 0 for a layer of which nothing is left. ``copies`` is the remark on repeated
    rows, if there is one.
    """

    data: FloatArray
    square: float
    norm: float
    d: int
    copies: Remark | None


def procrustes(x: object, y: object, *, normalise: bool = True, centre: bool = True) -> Result:
    """Orthogonal Procrustes distance of ``x`` (n, d_x) and ``y`` (n, d_y), the same n samples.

    A distance: 0 for the same shape. Columns are centred and both sides brought to unit Frobenius
    norm: √(2 - 2‖XᵀY‖_* / (‖X‖‖Y‖)), range 0..√2. ``normalise=False`` keeps the sizes:
    √(‖X‖² + ‖Y‖² - 2‖XᵀY‖_*), 0..∞; with ``centre=False`` too it is the thesis variant.
    Invariant to a common permutation of the rows and orthogonal maps of either side; to shifts if
    ``centre``, to isotropic scale if ``normalise``.
    Cost: n·m² multiply-adds, m the larger of the min(n, d), plus the singular values of (m, m).
    The value for identical sides is rounding: about 1e-8 of their norm.
    NaN with a reason if a side is constant (zero, if not ``centre``) and ``normalise``; a warning
    when n <= d, where unrelated data look alike. There is no null. InputError for unusable arrays.
    """
    names = ("x", "y")
    a, b = shapes([x, y], names, centre=centre)
    value = distance(a, b, normalise=normalise)
    return Result(
        measure="procrustes",
        value=value,
        n=len(a.data),
        dims=(a.d, b.d),
        estimator=ESTIMATOR,
        params={"normalise": normalise, "centre": centre},
        warnings=_warnings((a, b)),
        reason=_reason(((a, "x"), (b, "y")), centre) if math.isnan(value) else NOTHING,
    )


def procrustes_matrix(
    layers: Sequence[object],
    others: Sequence[object] | None = None,
    *,
    normalise: bool = True,
    centre: bool = True,
    labels: Sequence[str] | None = None,
    other_labels: Sequence[str] | None = None,
) -> MatrixResult:
    """:func:`procrustes` of every layer with every other: ``layers`` L arrays (n, d_l) -> (L, L).

    With ``others`` (M arrays of the same n samples) the result is (L, M). Every layer is prepared
    once; pairs run in parallel, ½L² (or L·M) times the cost of one. A layer with itself is
    exactly 0. Memory: the layers again, centred. Names in messages are the labels or ``layers[3]``.
    """
    cells = grid(layers, others, labels, other_labels)
    sides = shapes([*layers, *(others or ())], cells.names, centre=centre)

    def compare(i: int, j: int) -> tuple[float, float]:
        value = distance(sides[i], sides[j], normalise=normalise)
        if i == j and not math.isnan(value):
            value = 0.0
        return value, value

    width = max(side.data.shape[1] for side in sides)
    n = len(sides[0].data)
    values = cells.fill(compare, len(cells.pairs) * (n + 4.0 * width) * width**2)
    names = cells.names
    return MatrixResult(
        measure="procrustes",
        values=values,
        rows=cells.rows,
        columns=cells.columns,
        n=n,
        estimator=ESTIMATOR,
        params={"normalise": normalise, "centre": centre},
        warnings=_warnings(sides),
        reasons=cells.reasons(
            values,
            lambda i, j: _reason(((sides[i], names[i]), (sides[j], names[j])), centre),
        ),
    )


def shapes(layers: Sequence[object], names: Sequence[str], *, centre: bool = True) -> list[Shape]:
    """Check all layers against each other and reduce each to its shape, in parallel."""
    if not layers:
        raise InputError("no layers were given", where="layers")
    arrays = [as_representation(x, name) for x, name in zip(layers, names, strict=True)]
    n = same_samples(arrays, names)
    width = max(min(array.shape) for array in arrays)
    dtype = working_dtype(0.5 * len(arrays) ** 2 * n * width**2)
    prepared = prepare_all(arrays, names, dtype, centre=centre)
    work = sum(2.0 * p.data.size * p.n for p in prepared if p.n < p.d)
    reduced = map_pieces(_reduced, prepared, work)
    return [
        Shape(data, _square(data), p.norm, p.d, duplicate_warning(p, name))
        for data, p, name in zip(reduced, prepared, names, strict=True)
    ]


def distance(a: Shape, b: Shape, *, normalise: bool) -> float:
    """The distance of two shapes; NaN if they are to be normalised and one has no size."""
    if a.norm == 0 or b.norm == 0:
        return NAN if normalise else max(a.norm, b.norm)
    apart = _unit_distance(a, b)
    if normalise:
        return apart
    # ‖X‖² + ‖Y‖² - 2‖X‖‖Y‖c, without its cancellation: apart² = 2 - 2c.
    return math.hypot(a.norm - b.norm, math.sqrt(a.norm) * math.sqrt(b.norm) * apart)


def _unit_distance(a: Shape, b: Shape) -> float:
    """√(‖X‖² + ‖Y‖² - 2‖XᵀY‖_*) of the unit-norm data."""
    narrow, wide = (a, b) if a.data.shape[1] <= b.data.shape[1] else (b, a)
    x, y = narrow.data.astype(np.float64), wide.data.astype(np.float64)
    product = x.T @ y
    squared = a.square + b.square - 2.0 * float(np.linalg.svd(product, compute_uv=False).sum())
    if squared > CLOSE:
        return math.sqrt(squared)
    left, _, right = np.linalg.svd(product, full_matrices=False)
    # From the narrower side to the wider one this map keeps all lengths, so ‖XQ - Y‖ is it all.
    return float(np.linalg.norm(x @ (left @ right) - y))


def _square(data: FloatArray) -> float:
    """Squared Frobenius norm, summed in float64."""
    return float(np.einsum("ij,ij->", data, data, dtype=np.float64))


def _reduced(prepared: Prepared) -> FloatArray:
    """The layer in at most n coordinates: for n < d the triangular factor of its transpose."""
    if prepared.d <= prepared.n:
        return prepared.data
    triangle = np.asarray(np.linalg.qr(prepared.data.T.astype(np.float64), mode="r"))
    reduced: FloatArray = triangle.T.astype(prepared.data.dtype)
    return reduced


def _reason(sides: Sequence[tuple[Shape, str]], centre: bool) -> Remarks:
    """Why a normalised distance is NaN."""
    return Remarks.of(
        constant_reason(name) if centre else remark("zero", name)
        for side, name in sides
        if side.norm == 0
    )


def _warnings(sides: Sequence[Shape]) -> Remarks:
    n, widest = len(sides[0].data), max(side.d for side in sides)
    rotatable = remark("rotatable", n=n, d=widest) if n <= widest else None
    return Remarks.of(rotatable, *(side.copies for side in sides))
