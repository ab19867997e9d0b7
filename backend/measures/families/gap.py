"""Where two modalities lie in one shared space: modality gap, alignment, uniformity.

All of them look at directions: each row is divided by its norm first, and nothing is centred, since
the distance between the two clouds is what is measured.
"""

from __future__ import annotations

import numpy as np

from backend.measures.core.base import Float64, FloatArray, as_representation, same_samples
from backend.measures.core.distances import block_rows, unit_rows
from backend.measures.core.parallel import map_pieces
from backend.measures.core.result import NAN, Result
from backend.remarks import NOTHING, Remarks, remark

ESTIMATOR = "sample"


def modality_gap(x: object, y: object) -> Result:
    """Distance between the centroids of the L2-normalised rows of ``x`` and ``y``, both (n, d).

    Range 0..2. Invariant to permutations of the rows of either side, to scaling, even of single
    rows, and to one orthogonal map common to both. It does not depend on which row is paired with
    which, so there is no null. Cost: n·d. NaN with a reason for unequal widths or a zero row.
    (Liang et al. 2022.)
    """
    arrays, units, reason = _sides(x, y)
    value = NAN
    if not reason:
        value = float(np.linalg.norm(units[0].mean(axis=0) - units[1].mean(axis=0)))
    return _result("modality_gap", value, arrays, reason)


def alignment(x: object, y: object) -> Result:
    """Mean squared distance of the pairs of L2-normalised rows of ``x`` and ``y``, both (n, d).

    Range 0 (the same directions) .. 4 (opposite ones): low is aligned. Only for true pairs, row a
    of ``x`` with row a of ``y``; the null under a random matching of the rows is exact, so a
    negative z says how much closer the true pairs are. Invariant to a common permutation of the
    rows, to scaling, even of single rows, and to one orthogonal map common to both. Cost: n·d, and
    n·d² for the null. NaN with a reason for unequal widths or a zero row.
    (Wang & Isola 2020, with their exponent 2.)
    """
    arrays, units, reason = _sides(x, y)
    if reason:
        return _result("alignment", NAN, arrays, reason)
    u, v = units
    gap = u - v
    centre_u, centre_v = u.mean(axis=0), v.mean(axis=0)
    u, v = u - centre_u, v - centre_v
    n = len(u)
    # Σ_ab (u_a·v_b)² by whichever Grams are smaller.
    spread = (u.T @ u) * (v.T @ v) if u.shape[1] <= n else (u @ v.T) ** 2
    return _result(
        "alignment",
        float(np.einsum("ij,ij->", gap, gap)) / n,
        arrays,
        null_mean=2 - 2 * float(centre_u @ centre_v),
        null_sd=2 / n * float(np.sqrt(max(spread.sum(), 0.0) / (n - 1))),
    )


def uniformity(x: object) -> Result:
    """log of the mean over pairs of exp(-2 ‖u-v‖²), u, v the L2-normalised rows of ``x`` (n, d).

    Range -8..0: 0 where all directions are the same, low where they are spread
    over the sphere (about -4 for many dimensions). Invariant to a permutation of the rows, to
    scaling, even of single rows, and to orthogonal maps. Cost: n²·d multiply-adds in blocks of
    rows. NaN with a reason for a zero row. (Wang & Isola 2020, with their t = 2.)
    """
    array = as_representation(x, "x")
    unit = unit_rows(array, "x")
    if unit.rows is None:
        return _result("uniformity", NAN, [array], unit.reason)
    rows, n = unit.rows, len(array)
    b = block_rows(n)

    def block(start: int) -> float:
        # exp(-2 ‖u-v‖²) = exp(4 (u·v - 1)); the pairs that follow within and after the block.
        pairs = np.exp(4 * (rows[start : start + b] @ rows[start:].T - 1))
        return float(np.triu(pairs, k=1).sum())

    total = sum(map_pieces(block, range(0, n, b), 0.5 * n * n * (rows.shape[1] + 20)))
    return _result("uniformity", float(np.log(total / (n * (n - 1) / 2))), [array])


def _sides(x: object, y: object) -> tuple[list[FloatArray], list[Float64], Remarks]:
    """The arrays, their unit rows, and why a measure of both is undefined."""
    names = ("x", "y")
    arrays = [as_representation(a, name) for a, name in zip((x, y), names, strict=True)]
    same_samples(arrays, names)
    units = [unit_rows(array, name) for array, name in zip(arrays, names, strict=True)]
    d_x, d_y = (int(array.shape[1]) for array in arrays)
    unequal = remark("unequal_widths", d_x=d_x, d_y=d_y) if d_x != d_y else None
    reason = Remarks.of(unequal, *(unit.reason for unit in units))
    return arrays, [unit.rows for unit in units if unit.rows is not None], reason


def _result(
    measure: str,
    value: float,
    arrays: list[FloatArray],
    reason: Remarks = NOTHING,
    null_mean: float = NAN,
    null_sd: float = NAN,
) -> Result:
    return Result(
        measure=measure,
        value=value,
        n=len(arrays[0]),
        dims=tuple(int(array.shape[1]) for array in arrays),
        estimator=ESTIMATOR,
        null_mean=null_mean,
        null_sd=null_sd,
        reason=reason,
    )
