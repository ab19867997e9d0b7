"""The dimension of the surface that samples lie on, however it is bent: TwoNN."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from backend.errors import InputError
from backend.measures.base import Float64, Prepared, as_representation, constant_reason, prepare
from backend.measures.distances import nearest
from backend.measures.parallel import map_pieces
from backend.measures.result import NAN, Result

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
    Copies of a row have no ratio: one of each is used, and the others are counted in a warning.
    Cost: n²·d multiply-adds in float64, in blocks of rows. NaN with a reason if ``x`` is constant,
    if fewer than 4 distinct samples are left or if all ratios are 1. (Facco et al. 2017.)
    """
    if not 0 <= discard < 1:
        raise InputError(f"must lie in [0, 1), got {discard}", where="discard")
    array = as_representation(x, "x", min_samples=4)
    n, d = array.shape
    prepared = prepare(array, "x")
    value, reason = NAN, ""
    warnings: tuple[str, ...] = ()
    if prepared.constant:
        reason = constant_reason("x")
    else:
        kept = distinct_rows(prepared.data)
        if len(kept) < n:
            warnings = (f"{n - len(kept)} of {n} rows of x are copies of another row: left out",)
            prepared = prepare(prepared.data[kept], "x")
        work = float(n) * n * (d + 10)
        value, reason = map_pieces(lambda p: _fit(p, discard), [prepared], work)[0]
    return Result(
        measure="two_nn",
        value=value,
        n=n,
        dims=(d,),
        estimator=ESTIMATOR,
        params={"discard": discard},
        warnings=warnings,
        reason=reason,
    )


def distinct_rows(array: NDArray[np.floating]) -> NDArray[np.intp]:
    """Ascending indices of the first of each set of equal rows."""
    plain = np.ascontiguousarray(array + 0.0)  # -0.0 and 0.0 are one number with two patterns
    patterns = plain.view(np.dtype((np.void, plain.dtype.itemsize * plain.shape[1])))
    _, first = np.unique(patterns.ravel(), return_index=True)
    return np.sort(first)


def _fit(x: Prepared, discard: float) -> tuple[float, str]:
    """The slope, or why there is none."""
    n = x.n
    if n < 4:
        return NAN, f"only {n} distinct samples: a ratio of neighbour distances needs more"
    one, two = _two_nearest(x)
    logs = np.sort(np.log(two) - np.log(one))
    used = min(max(2, math.floor(n * (1 - discard))), n - 1)
    logs = logs[:used]
    heights = -np.log1p(-np.arange(1, used + 1) / n)
    squares = float(logs @ logs)
    if squares <= n * float(np.finfo(np.float64).eps):
        return NAN, "the two nearest neighbours of each sample are equally far"
    return float(logs @ heights) / squares, ""


def _two_nearest(x: Prepared) -> tuple[Float64, Float64]:
    """Distances to the first and second neighbour (n,), from differences of the rows themselves.

    ‖a‖² + ‖b‖² - 2 a·b only finds the candidates: among close pairs it is mostly rounding. They are
    found down to distances of about 1e-6 of those from the mean.
    """
    n, d = x.n, x.d
    k = min(_CANDIDATES, n - 1)
    near = (nearest(x, k).codes % n).reshape(n, k)
    step = max(1, _CHUNK_BYTES // (8 * d * k))
    squared = np.empty((n, k))
    for start in range(0, n, step):
        gap = x.data[start : start + step, None, :] - x.data[near[start : start + step]]
        squared[start : start + step] = np.einsum("ijk,ijk->ij", gap, gap)
    first_two = np.sqrt(np.partition(squared, 1, axis=1)[:, :2])
    return first_two[:, 0], first_two[:, 1]
