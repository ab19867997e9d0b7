"""The Gram matrices of some layers, whole, in part, or applied to vectors.

Those of linear layers are never held: what is asked for is made of the vectors. Those of another
kernel are there already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from backend.measures.core.base import Float64, FloatArray
from backend.measures.core.parallel import map_pieces

Pair = tuple[int, int]

_BLOCK_BYTES = 32 << 20


class Grams(Protocol):
    """The centred Grams W_i (n, n) of L layers."""

    def whole(self, layer: int) -> FloatArray:
        """W of one layer (n, n), to be changed by who asked for it."""
        ...

    def blocks(self, members: NDArray[np.intp]) -> Float64:
        """(L, g, m, m): of g groups of m samples each what a group has with itself."""
        ...

    def crossings(self, vectors: Float64, pairs: Sequence[Pair]) -> Float64:
        """W_i v_j + W_j v_i (n, P) of each pair, ``vectors`` (L, n)."""
        ...


@dataclass(frozen=True, eq=False)
class LinearGrams:
    """W = X Xᵀ of the centred ``data`` (L arrays (n, d))."""

    data: Sequence[FloatArray]

    def whole(self, layer: int) -> FloatArray:
        """½n²d multiply-adds."""
        x = self.data[layer]
        gram: FloatArray = x @ x.T
        return gram

    def blocks(self, members: NDArray[np.intp]) -> Float64:
        """g·m²·Σd multiply-adds."""
        rows = (x[members] for x in self.data)
        return np.stack([(x @ x.transpose(0, 2, 1)).astype(np.float64) for x in rows])

    def crossings(self, vectors: Float64, pairs: Sequence[Pair]) -> Float64:
        """As X_i (X_iᵀ v_j), 2nLΣd multiply-adds, some samples at a time."""
        data, (size, n) = self.data, vectors.shape
        narrow = vectors.astype(data[0].dtype)
        work = 2.0 * size * sum(x.size for x in data)
        projected = map_pieces(lambda x: narrow @ x, data, work)
        crossed = np.empty((n, len(pairs)))
        step = int(np.clip(_BLOCK_BYTES // (16 * (size**2 + len(pairs))), 1, 256))

        def take(start: int) -> None:
            at = slice(start, start + step)
            products = np.stack([x[at] @ p.T for x, p in zip(data, projected, strict=True)])
            crossed[at] = _both_ways(products.astype(np.float64), pairs)

        map_pieces(take, range(0, n, step), work)
        return crossed


@dataclass(frozen=True, eq=False)
class HeldGrams:
    """Explicit Grams with emptied diagonals (L, n, n), these kept (L, n)."""

    emptied: Float64
    diagonals: Float64

    def whole(self, layer: int) -> FloatArray:
        """A copy with its diagonal."""
        gram: FloatArray = self.emptied[layer] + np.diag(self.diagonals[layer])
        return gram

    def blocks(self, members: NDArray[np.intp]) -> Float64:
        """Looked up."""
        blocks = self.emptied[:, members[:, :, None], members[:, None, :]]
        here = np.arange(members.shape[1])
        blocks[:, :, here, here] = self.diagonals[:, members]
        return blocks

    def crossings(self, vectors: Float64, pairs: Sequence[Pair]) -> Float64:
        """L²n² multiply-adds."""
        products = np.stack(
            [
                gram @ vectors.T + (own * vectors).T
                for gram, own in zip(self.emptied, self.diagonals, strict=True)
            ]
        )
        return _both_ways(products, pairs)


def _both_ways(products: Float64, pairs: Sequence[Pair]) -> Float64:
    """(n, P) of the ``pairs`` from products[i, :, j] = W_i v_j."""
    left, right = np.array(pairs).T
    both: Float64 = products[left, :, right]
    both += products[right, :, left]
    return both.T
