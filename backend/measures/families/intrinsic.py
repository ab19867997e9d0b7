"""The dimension of the surface that samples lie on, however it is bent: TwoNN."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from backend.errors import InputError
from backend.measures.core.base import (
    COPY_GAP,
    Float64,
    Prepared,
    as_representation,
    constant_reason,
    copied_rows,
    prepare,
)
from backend.measures.core.distances import nearest
from backend.measures.core.parallel import map_pieces
from backend.measures.core.result import NAN, Result
from backend.remarks import NOTHING, Remarks, remark

ESTIMATOR = "sample"

_CANDIDATES = 8
_CHUNK_BYTES = 16 << 20


def two_nn(x: object, *, discard: float = 0.1) -> Result:
    """TwoNN intrinsic dimension of ``x`` (n, d), from the two nearest neighbours of each sample.

    With μ the ratio of a sample's second to first neighbour distance and F(μ) its share of smaller
    ratios, -log(1 - F) = dimension · log μ where the density is even at that scale: a line through
    the origin is fitted to all but the ``discard`` largest ratios (in [0, 1); 0 leaves out only the
    largest, whose 1 - F is 0). Range: above 0, not bounded by d; its sd is about dimension / √n and
    it falls short when n is small for the dimension (10 dimensions want thousands of samples).
    Invariant to a permutation of the rows, shifts, orthogonal maps and isotropic scale.
    Copies of a row have no ratio, or that of the float noise between them: of rows nearer than 4e-6
    of the typical row's distance from the mean one is used, the others are counted in a warning,
    and the result's ``n`` is the number of rows used.
    Cost: n²·d multiply-adds in float64, in blocks of rows. NaN with a reason if ``x`` is constant,
    if fewer than 4 distinct samples are left or if all ratios are 1. (Facco et al. 2017.)
    """
    if not 0 <= discard < 1:
        raise InputError(f"must lie in [0, 1), got {discard}", where="discard")
    array = as_representation(x, "x", min_samples=4)
    n, d = array.shape
    prepared = prepare(array, "x")
    value, reason, warnings = NAN, NOTHING, NOTHING
    if prepared.constant:
        reason = Remarks.of(constant_reason("x"))
    else:
        fit, prepared = map_pieces(
            lambda p: _fit_distinct(p, discard), [prepared], float(n) * n * (d + 10)
        )[0]
        value, reason = fit
        if prepared.n < n:
            left_out = n - prepared.n
            warnings = Remarks.of(
                remark("copies_left_out", "x", rows=left_out, n=n, used=prepared.n)
            )
    return Result(
        measure="two_nn",
        value=value,
        n=prepared.n,
        dims=(d,),
        estimator=ESTIMATOR,
        params={"discard": discard},
        warnings=warnings,
        reason=reason,
    )


def _fit_distinct(x: Prepared, discard: float) -> tuple[tuple[float, Remarks], Prepared]:
    """The slope, or why there is none, and the rows it was fitted to: ``x`` without copies."""
    copies = copied_rows(x.data, x.row_norms)
    closest = COPY_GAP**2 * float(x.row_norms.mean())
    while True:
        if len(copies):
            x = prepare(np.delete(x.data, copies, axis=0), "x")
        if x.n < 4:
            return (NAN, Remarks.of(remark("few_distinct", n=x.n))), x
        closest /= x.norm**2 if len(copies) else 1.0  # in the units of the rows that are left
        near, squared = _candidates(x)
        # Copies that the projection missed, measured as copied_rows measured them.
        row, at = np.nonzero(squared <= closest)
        copies = np.unique(np.maximum(row, near[row, at]))
        if not len(copies):
            return _fit(squared, discard), x


def _fit(squared: Float64, discard: float) -> tuple[float, Remarks]:
    """The slope, or why there is none, from squared distances to the candidates (n, 2 or more)."""
    n = len(squared)
    one, two = np.partition(squared, 1, axis=1)[:, :2].T
    logs = np.sort(np.log(two) - np.log(one)) / 2
    used = min(max(2, math.floor(n * (1 - discard))), n - 1)
    logs = logs[:used]
    heights = -np.log1p(-np.arange(1, used + 1) / n)
    squares = float(logs @ logs)
    if squares <= n * float(np.finfo(np.float64).eps):
        return NAN, Remarks.of(remark("equal_ratios"))
    return float(logs @ heights) / squares, NOTHING


def _candidates(x: Prepared) -> tuple[NDArray[np.int64], Float64]:
    """A few nearest neighbours of each sample (n, k >= 2) in no order, and their squared distances
    from differences of the rows themselves.

    ‖a‖² + ‖b‖² - 2 a·b only finds them: among close pairs it is mostly rounding. They are found
    down to distances of about 1e-6 of those from the mean.
    """
    n, d = x.n, x.d
    k = min(_CANDIDATES, n - 1)
    near = (nearest(x, k).codes % n).reshape(n, k)
    step = max(1, _CHUNK_BYTES // (8 * d * k))
    squared = np.empty((n, k))
    for start in range(0, n, step):
        gap = x.data[start : start + step, None, :] - x.data[near[start : start + step]]
        squared[start : start + step] = np.einsum("ijk,ijk->ij", gap, gap)
    return near, squared
