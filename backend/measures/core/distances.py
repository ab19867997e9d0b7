"""Distances between the samples of a layer, in blocks of rows, and who is nearest to whom.

All of it is float64, whatever the size: neighbours and ranks are discrete, and in float32 the
distances inside a tight cluster far from the mean are rounding. ‖a-b‖² = ‖a‖² + ‖b‖² - 2 a·b is
taken on centred data, so an offset common to all samples cannot cancel.

Distances that differ by no more than rounding are ties. Who of the tied at the k-th place is a
neighbour is drawn by hashing the layer's own values (:func:`tie_ids`): equal arrays get equal
neighbours, and layers that have nothing but ties in common get independent draws, so that ties
alone cannot make them agree, as an order that all layers share (the first in the data) would.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from backend.measures.core.base import (
    Float64,
    FloatArray,
    Prepared,
    constant_reason,
    prepare,
    stored_eps,
)
from backend.measures.core.groups import Groups
from backend.measures.core.parallel import worker_count
from backend.remarks import NOTHING, Remarks, remark

TIE = 256 * float(np.finfo(np.float64).eps)
"""Rounding of a squared distance, as a share of the squared norms it comes from."""

_BLOCK_BYTES = 64 << 20


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The k nearest samples of each of n: ``codes`` (n·k,) ascending, a·n + b for b near a, and
    the squared distances in the units of the prepared layer.
    """

    n: int
    k: int
    codes: NDArray[np.int64]
    squared: Float64


@dataclass(frozen=True, eq=False)
class Unit:
    """The rows of a representation at norm 1, float64 (n, d); None where ``reason`` says why."""

    rows: Float64 | None
    reason: Remarks = NOTHING


def nearest(
    x: Prepared, k: int, values: FloatArray | None = None, groups: Groups | None = None
) -> Neighbours:
    """The ``k`` samples nearest to each sample, itself and the others of its group excluded.

    There must be as many. Ties at the k-th place are drawn by the rows of ``values`` (n, d),
    default the prepared ones. The layer as it came is better: unlike its mean, it does not depend
    on the order of the rows.
    n²·d multiply-adds; memory: a few blocks of rows of the (n, n) distances.
    """
    n = x.n
    b = block_rows(n)
    codes, squared = [], []
    ids: NDArray[np.uint64] | None = None
    for start in range(0, n, b):
        block = squared_distances(x, start, min(start + b, n))
        here = np.arange(len(block))
        if groups is None:
            block[here, start + here] = np.inf
        else:
            block[groups[start : start + b, None] == groups] = np.inf
        kth = np.partition(block, k - 1, axis=1)[:, k - 1, None]
        slack = TIE * (x.row_norms[start : start + b, None] + kth)
        chosen = block <= kth + slack
        crowded = np.flatnonzero(chosen.sum(axis=1) > k)
        if crowded.size:
            ids = tie_ids(x.data if values is None else values) if ids is None else ids
            lots = _mixed(ids[start + crowded, None] + _mixed(ids))
            lots[~chosen[crowded]] = np.iinfo(np.uint64).max
            lots[block[crowded] < (kth - slack)[crowded]] = 0
            drawn = np.argpartition(lots, k - 1, axis=1)[:, :k]
            chosen[crowded] = False
            chosen[crowded[:, None], drawn] = True
        at = np.flatnonzero(chosen)
        codes.append(at + start * n)
        squared.append(block.ravel()[at])
    return Neighbours(n, k, np.concatenate(codes).astype(np.int64), np.concatenate(squared))


def tie_ids(values: FloatArray) -> NDArray[np.uint64]:
    """A number for each row (n,) from which its ties are drawn; it depends on all of ``values``.

    Where all rows differ, a row keeps its number when the rows are permuted. Copies can only be
    told apart by their place: then the numbers depend on the order of the rows. The numbers are
    those of the values, whatever the precision that holds them.
    """
    digests = [
        # 0.0 makes -0.0 and 0.0 one number.
        blake2b(np.add(row, 0.0, dtype=np.float64).tobytes(), digest_size=8).digest()
        for row in values
    ]
    if len(set(digests)) < len(digests):
        seed = blake2b(b"".join(digests), digest_size=16).digest()
        draw = np.random.default_rng(int.from_bytes(seed, "little"))
        return draw.integers(2**64, size=len(digests), dtype=np.uint64)
    whole = blake2b(b"".join(sorted(digests)), digest_size=8).digest()
    return _mixed(np.frombuffer(b"".join(digests), "<u8") ^ np.frombuffer(whole, "<u8"))


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64: a scrambled number for each number (wrapping uint64)."""
    z = numbers + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return mixed


def condensed(x: Prepared) -> Float64:
    """Squared distances of the pairs a < b, row by row: (n(n-1)/2,). ½n²·d multiply-adds."""
    n = x.n
    b = block_rows(n)
    parts = []
    for start in range(0, n, b):
        block = squared_distances(x, start, min(start + b, n), start)
        parts.append(block[np.triu(np.ones(block.shape, dtype=bool), k=1)])
    # Rounding leaves copies of a row at about ±1e-17.
    return np.maximum(np.concatenate(parts), 0.0)


def squared_distances(x: Prepared, start: int, stop: int, first: int = 0) -> Float64:
    """‖a-b‖² of samples start..stop to samples first..n; float64 (stop - start, n - first)."""
    block: Float64 = x.data[start:stop] @ x.data[first:].T
    block *= -2
    block += x.row_norms[start:stop, None]
    block += x.row_norms[first:]
    return block


def block_rows(n: int) -> int:
    """Rows of an (n, n) float64 matrix that are held at once, so that all cores fit 64 MB."""
    return min(n, int(np.clip(_BLOCK_BYTES // (8 * n * worker_count()), 16, 512)))


def unit_rows(array: FloatArray, name: str, *, code: str = "zero_rows") -> Unit:
    """Each row divided by its norm; undefined if a row is zero (``code`` says what that means)."""
    prepare(array, name)  # refuses what is not finite
    largest = np.abs(array).max(axis=1, keepdims=True).astype(np.float64)
    zero = np.flatnonzero(largest[:, 0] == 0)
    if zero.size:
        return Unit(
            None,
            Remarks.of(remark(code, name, rows=zero.size, n=len(array), first=int(zero[0]))),
        )
    scaled = array / largest
    unit: Float64 = scaled / np.sqrt(np.einsum("ij,ij->i", scaled, scaled))[:, None]
    return Unit(unit)


def prepared_for(array: FloatArray, name: str, metric: str) -> tuple[Prepared | None, Remarks]:
    """The array whose Euclidean distances order samples as ``metric`` does, or why there is none.

    ``"euclidean"`` is the array itself; ``"cosine"`` its rows at unit norm (‖u-v‖² = 2 - 2 cos),
    taken before anything is centred; ``"correlation"`` the same of rows that are centred each over
    its own coordinates.
    """
    if metric == "euclidean":
        prepared = prepare(array, name)
        constant = Remarks.of(constant_reason(name)) if prepared.constant else NOTHING
        return (None if constant else prepared), constant
    eps = stored_eps(array)
    code = "zero_rows"
    if metric == "correlation":
        prepare(array, name)
        wide = array.astype(np.float64)
        array = wide - wide.mean(axis=1, keepdims=True)
        rounding = eps * np.abs(wide).max(axis=1, keepdims=True)
        array[(np.abs(array) <= rounding).all(axis=1)] = 0.0
        code = "unvarying_rows"
    unit = unit_rows(array, name, code=code)
    if unit.rows is None:
        return None, unit.reason
    if np.abs(unit.rows - unit.rows[0]).max() <= 4 * eps:
        return None, Remarks.of(remark("constant_direction", name))
    return prepare(unit.rows, name), NOTHING
