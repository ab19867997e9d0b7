"""What every measure does first: check the arrays, centre them exactly, bring them to unit norm.

A representation is an (n, d) array: n samples in rows, d coordinates. Accepted are numpy arrays
and torch tensors (any device) of float16, bfloat16 (torch), float32 or float64. torch itself is
never imported here: a tensor can only come from a program that has imported it already.

Accuracy. Column means, squared norms and all sums over samples are float64. Matrix products are
float64 while the whole computation is small (``SMALL_WORK`` multiply-adds) and float32 above that,
on centred data of unit norm. Un-centred float32 Gram matrices cancel: one coordinate with a
constant +200 makes them report 1.000 where the truth is 0.949. With the preparation below the error
of CKA against an all-float64 computation of the same array stays below 1e-6 for offsets up to 1000,
scales down to 1e-5 and one massive coordinate; tests/measures/test_accuracy.py holds it to that.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from backend.errors import InputError
from backend.measures.core.parallel import map_pieces
from backend.remarks import Remark, remark

FloatArray = NDArray[np.floating[Any]]
Float64 = NDArray[np.float64]

SMALL_WORK = 4_000_000_000
"""Multiply-adds up to which everything is float64 (about a fifth of a second on two cores)."""

DUPLICATES_WORTH_SAYING = 0.01
"""Share of rows that are copies of another row above which a warning is attached."""

COPY_GAP = 4e-6
"""Rows nearer to each other than this share of the typical row's norm (of the centred layer) are
copies: float noise of 1e-6 on the values of both is still below it."""

BFLOAT16_EPS = 2.0**-7

_CHUNK_BYTES = 1 << 20
_SLACK = 1.1  # of the largest singular value of rounding errors above its bound for large matrices


@dataclass(frozen=True, eq=False)
class Prepared:
    """A representation with its column means removed and its Frobenius norm brought to 1.

    ``data`` (n, d) is float32 or float64; ``row_norms`` (n,) are the squared row norms of the
    scaled data in float64 (they sum to 1); ``norm`` is the Frobenius norm before scaling.
    A constant representation has ``constant=True`` and all zeros.
    """

    data: FloatArray
    row_norms: Float64
    norm: float
    constant: bool
    duplicates: int

    @property
    def n(self) -> int:
        """Samples."""
        return int(self.data.shape[0])

    @property
    def d(self) -> int:
        """Coordinates."""
        return int(self.data.shape[1])


class LayerFacts(Protocol):
    """What results say of a layer besides its values; a :class:`Prepared` layer knows it."""

    @property
    def n(self) -> int:
        """Samples."""
        ...

    @property
    def d(self) -> int:
        """Coordinates."""
        ...

    @property
    def constant(self) -> bool:
        """Whether every sample has the same vector."""
        ...

    @property
    def duplicates(self) -> int:
        """Rows that are copies of an earlier row; 0 where they were not counted."""
        ...


def as_representation(x: object, name: str = "x", *, min_samples: int = 2) -> FloatArray:
    """``x`` as an (n, d) floating numpy array, without copying where that is possible.

    Raises InputError naming the argument for anything that is not a floating 2-D array with at
    least ``min_samples`` rows and one column. Finiteness is checked by :func:`prepare`.
    """
    array = _to_numpy(x, name)
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(
            f"expected floating-point values, got {array.dtype}",
            where=name,
            hint="Convert it, e.g. with .astype('float32').",
        )
    if array.ndim != 2:
        raise InputError(
            f"expected an array of shape (samples, dimensions), got shape {array.shape}",
            where=name,
            hint="A single feature is an (n, 1) array." if array.ndim == 1 else None,
        )
    if array.size == 0:
        raise InputError(f"the array is empty (shape {array.shape})", where=name)
    if array.shape[0] < min_samples:
        raise InputError(
            f"needs at least {min_samples} samples, got {array.shape[0]}",
            where=name,
        )
    return array


def same_samples(arrays: Sequence[FloatArray], names: Sequence[str]) -> int:
    """The common number of rows; InputError naming the first array that differs."""
    n = int(arrays[0].shape[0])
    for array, name in zip(arrays[1:], names[1:], strict=True):
        if array.shape[0] != n:
            raise InputError(
                f"{array.shape[0]} samples, but {names[0]} has {n}",
                where=name,
                hint="Rows must be the same samples in the same order.",
            )
    return n


def working_dtype(multiply_adds: float) -> type[np.float32] | type[np.float64]:
    """float64 while the work is small, float32 above (see the module's note on accuracy)."""
    return np.float64 if multiply_adds <= SMALL_WORK else np.float32


def prepare(
    array: FloatArray, name: str, dtype: type[Any] = np.float64, *, centre: bool = True
) -> Prepared:
    """Centre in float64, scale to unit Frobenius norm, round to ``dtype``.

    With ``centre=False`` the columns keep their means, and only zeros are constant.

    Raises InputError naming the argument and the number of rows if values are NaN or infinite.
    """
    n, d = array.shape
    step = max(1, _CHUNK_BYTES // (8 * d))
    mean = column_mean(array)
    if not np.isfinite(mean).all():
        refuse_non_finite(array, name)
        raise InputError("values are too large to be averaged in float64", where=name)
    if not centre:
        mean = np.zeros(d)
    data: FloatArray = np.empty((n, d), dtype=dtype)
    row_norms = np.empty(n)
    column_squares = np.zeros(d)
    # Deviations are brought near 1 by a power of two before anything is squared: exact, and the
    # squares of very small or large values neither vanish nor overflow.
    largest = 0.0
    for start in range(0, n, step):
        deviation = np.subtract(array[start : start + step], mean, dtype=np.float64)
        largest = max(largest, float(np.abs(deviation).max()))
    factor = math.ldexp(1.0, -math.frexp(largest)[1])
    for start in range(0, n, step):
        block = np.subtract(array[start : start + step], mean, dtype=np.float64) * factor
        row_norms[start : start + step] = np.einsum("ij,ij->i", block, block)
        column_squares += np.einsum("ij,ij->j", block, block)
        data[start : start + step] = block
    total = float(row_norms.sum())
    spread = np.sqrt(column_squares / n) / factor
    if is_constant(spread, mean, stored_eps(array)):
        return Prepared(np.zeros_like(data), np.zeros(n), 0.0, True, n - 1)
    duplicates = count_duplicates(data, row_norms)
    data *= np.asarray(1.0 / np.sqrt(total), dtype=dtype)
    return Prepared(data, row_norms / total, float(np.sqrt(total)) / factor, False, duplicates)


def stored_eps(array: FloatArray) -> float:
    """The rounding unit (eps) of the precision in which the values of ``array`` were rounded.

    Vectors are often captured in float16 or bfloat16 and widened to float32 before they are
    measured; their noise stays that of the narrow type (:func:`narrowest_eps`). But numbers that
    people or counts make lie on the narrow grids as well: an array of nothing but whole 64ths
    (1000 and 1000.5, say) counts as the type it has.
    """
    eps = float(np.finfo(array.dtype).eps)
    narrow = narrowest_eps(array)
    return eps if narrow == eps or _all_coarse(array) else narrow


def narrowest_eps(array: FloatArray) -> float:
    """eps of the narrowest type that holds every value of ``array``: bfloat16, float16, its own.

    Only float32 is looked into; bfloat16 numbers of ordinary size are float16 numbers too, and the
    coarser grid is the true one. The check stops at the first block of rows that decides.
    """
    eps = float(np.finfo(array.dtype).eps)
    if array.dtype != np.float32:
        return eps
    half = brain = True
    for block in _blocks(array):
        if half:
            with np.errstate(over="ignore"):
                half = bool((block.astype(np.float16) == block).all())
        brain = brain and not (np.ascontiguousarray(block).view(np.uint32) & 0xFFFF).any()
        if not (half or brain):
            return eps
    return BFLOAT16_EPS if brain else float(np.finfo(np.float16).eps)


def rounding_noise(array: FloatArray) -> tuple[Float64, float]:
    """sd (d,) of the rounding errors of each column, and how large they are together.

    Rounding to a grid of step q errs by q/√12 (Bennett 1948), and q = eps·2^⌊log2|v|⌋ at a value v,
    with the eps of :func:`narrowest_eps`; 0 for a column of zeros. The second number bounds the
    largest singular value of the (n, d) errors with every column divided by its sd: that of
    independent errors is about their largest column norm, √n, plus their largest row norm (√n + √d
    for equal steps: Geman 1980; Bandeira & van Handel 2016), and ``_SLACK`` more.
    """
    eps = narrowest_eps(array)
    squares = np.zeros(array.shape[1])
    for block in _blocks(array):
        squares += _step_squares(block, eps).sum(axis=0)
    variance = squares / (12 * len(array))
    weights = np.divide(1.0, 12 * variance, out=np.zeros_like(variance), where=variance > 0)
    widest = max(float((_step_squares(block, eps) @ weights).max()) for block in _blocks(array))
    return np.sqrt(variance), _SLACK * (math.sqrt(len(array)) + math.sqrt(widest))


def _step_squares(block: FloatArray, eps: float) -> Float64:
    mantissa, exponent = np.frexp(np.asarray(block, dtype=np.float64))
    step = np.where(mantissa == 0, 0.0, np.ldexp(eps, exponent - 1))
    squares: Float64 = step * step
    return squares


def _all_coarse(array: FloatArray) -> bool:
    """Whether every value is a whole number of 64ths."""
    return all(bool((block * 64 == np.rint(block * 64)).all()) for block in _blocks(array))


def _blocks(array: FloatArray) -> Iterator[FloatArray]:
    n, d = array.shape
    step = max(1, _CHUNK_BYTES // (8 * d))
    return (array[start : start + step] for start in range(0, n, step))


def prepare_all(
    layers: Sequence[object],
    names: Sequence[str],
    dtype: type[Any],
    *,
    min_samples: int = 2,
    centre: bool = True,
) -> list[Prepared]:
    """Check all arrays against each other, then :func:`prepare` each."""
    if not layers:
        raise InputError("no layers were given", where="layers")
    arrays = [
        as_representation(x, name, min_samples=min_samples)
        for x, name in zip(layers, names, strict=True)
    ]
    same_samples(arrays, names)
    pairs = list(zip(arrays, names, strict=True))
    work = 30.0 * sum(array.size for array in arrays)  # memory-bound: each value costs as much
    return map_pieces(lambda pair: prepare(*pair, dtype, centre=centre), pairs, work)


def column_mean(array: FloatArray) -> Float64:
    """Column means, summed in float64 about the first row, so that equal rows have exactly it."""
    n, d = array.shape
    step = max(1, _CHUNK_BYTES // (8 * d))
    total = np.zeros(d)
    for start in range(0, n, step):
        block = array[start : start + step]
        total += np.subtract(block, array[0], dtype=np.float64).sum(axis=0)
    mean: Float64 = array[0].astype(np.float64) + total / n
    return mean


def is_constant(spread: Float64, mean: Float64, eps: float) -> bool:
    """Whether no column varies by more than rounding.

    ``spread`` and ``mean`` are the columns' standard deviations and means, ``eps`` the rounding
    unit of the precision the data came in (:func:`stored_eps`): half of it, relative to the mean,
    is what rounding alone produces.
    """
    return bool((spread <= 0.5 * eps * np.abs(mean)).all())


def count_duplicates(data: FloatArray, row_norms: Float64) -> int:
    """How many rows are copies of another one, exactly or up to ``COPY_GAP``; one row of each set
    is not counted. The cost is that of :func:`copied_rows`.
    """
    return len(copied_rows(data, row_norms))


def copied_rows(data: FloatArray, row_norms: Float64) -> NDArray[np.intp]:
    """Ascending indices of the rows that are copies, exactly or up to ``COPY_GAP``, of an earlier
    row; of a chain of rows, each a copy of the next, the first is kept.

    Rows are ordered by their projection on one fixed direction and only neighbours in that order
    are compared, so the cost is one matrix-vector product and a sort. A rare inexact copy escapes
    when the projection of an unrelated row falls between.
    """
    n, d = data.shape
    direction = np.random.default_rng(0).standard_normal((d,)).astype(data.dtype)
    order = np.argsort(data @ direction, kind="stable")
    typical = float(row_norms.mean())
    step = max(1, _CHUNK_BYTES // (8 * d))
    copy = np.zeros(n, dtype=bool)  # of the row before it in the order
    for start in range(0, n - 1, step):
        stop = min(start + step, n - 1)
        gap = data[order[start + 1 : stop + 1]] - data[order[start:stop]]
        copy[start + 1 : stop + 1] = np.einsum("ij,ij->i", gap, gap) <= COPY_GAP**2 * typical
    starts = np.flatnonzero(~copy)
    first = np.repeat(np.minimum.reduceat(order, starts), np.diff(np.append(starts, n)))
    return np.sort(order[order != first])


def duplicate_warning(prepared: LayerFacts, name: str) -> Remark | None:
    """A remark when more than 1 % of the rows are copies of another row."""
    if prepared.constant or prepared.duplicates <= DUPLICATES_WORTH_SAYING * prepared.n:
        return None
    return remark("copies", name, rows=prepared.duplicates, n=prepared.n)


def constant_reason(name: str) -> Remark:
    """Why a measure of a constant representation is undefined."""
    return remark("constant", name)


def _to_numpy(x: object, name: str) -> NDArray[Any]:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        tensor = x.detach().cpu()
        if tensor.dtype == torch.bfloat16:
            tensor = tensor.float()
        array: NDArray[Any] = tensor.numpy()
        return array
    if isinstance(x, np.ndarray):
        return x
    raise InputError(
        f"expected a numpy array or a torch tensor, got {type(x).__name__}",
        where=name,
    )


def refuse_non_finite(array: FloatArray, name: str) -> None:
    """InputError saying how many rows hold NaN or infinite values; silent if none does."""
    rows: NDArray[np.bool_] = np.asarray((~np.isfinite(array)).any(axis=1))
    if rows.any():
        kind = "NaN" if np.isnan(array).any() else "infinite values"
        raise InputError(
            f"{kind} in {int(rows.sum())} of {len(rows)} rows (first: row {int(rows.argmax())})",
            where=name,
        )
