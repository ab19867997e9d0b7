"""Factor once: one thin singular value decomposition a layer, from which all pairs are compared.

X = U S Vᵀ of the centred layer of unit norm. Canonical correlations of two layers are the singular
values of U_iᵀ U_j, so that after n·d·min(n, d) work a layer a pair costs one product and the
singular values of a small matrix.

Accuracy. The decomposition is that of X itself in float64, not of its covariance: squaring loses
every direction below 1e-8 of the first one, and CCA weighs small directions like large ones.
Directions that rounding alone can make are not part of a layer's rank (:func:`numerical_rank`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backend.errors import InputError
from backend.measures.core.base import (
    Float64,
    FloatArray,
    as_representation,
    duplicate_warning,
    prepare,
    same_samples,
    stored_eps,
)
from backend.measures.core.parallel import map_pieces
from backend.remarks import Remark

Keep = Callable[[Float64, int], int]
"""How many components to keep, from all singular values (descending) and the numerical rank."""


@dataclass(frozen=True, eq=False)
class Factors:
    """The first k components of a layer: ``u`` (n, k) orthonormal, ``s`` (k,) descending float64.

    ``loadings`` (k, d) is S Vᵀ. The squares of all singular values sum to 1; ``rank`` counts those
    above rounding (k <= rank). ``copies`` is the remark on repeated rows, if there is one.
    A constant layer has ``rank`` 0 and no components.
    """

    u: FloatArray
    s: Float64
    loadings: FloatArray
    rank: int
    copies: Remark | None

    @property
    def n(self) -> int:
        """Samples."""
        return int(self.u.shape[0])

    @property
    def d(self) -> int:
        """Coordinates."""
        return int(self.loadings.shape[1])

    @property
    def k(self) -> int:
        """Components kept."""
        return int(self.u.shape[1])

    @property
    def constant(self) -> bool:
        """Whether every sample has the same vector."""
        return self.rank == 0


def factor(array: FloatArray, name: str, keep: Keep, dtype: type[Any] = np.float64) -> Factors:
    """Centre, scale and decompose ``array`` (n, d) in float64; the kept part is of ``dtype``.

    Cost: n·d·min(n, d) multiply-adds, about six times; memory two float64 copies.
    """
    prepared = prepare(array, name)
    n, d = array.shape
    if prepared.constant:
        return Factors(np.zeros((n, 0), dtype), np.zeros(0), np.zeros((0, d), dtype), 0, None)
    u, s, vt = np.linalg.svd(prepared.data, full_matrices=False)
    rank = numerical_rank(s, array, prepared.norm)
    k = min(keep(s, rank), rank)
    return Factors(
        u=u[:, :k].astype(dtype),
        s=s[:k].copy(),
        loadings=(s[:k, None] * vt[:k]).astype(dtype),
        rank=rank,
        copies=duplicate_warning(prepared, name),
    )


def factor_all(
    layers: Sequence[object], names: Sequence[str], keep: Keep, dtype: type[Any]
) -> list[Factors]:
    """Check all layers against each other, then :func:`factor` each, layers in parallel."""
    if not layers:
        raise InputError("no layers were given", where="layers")
    arrays = [as_representation(x, name) for x, name in zip(layers, names, strict=True)]
    same_samples(arrays, names)
    work = sum(6.0 * a.size * min(a.shape) for a in arrays)
    pieces = list(zip(arrays, names, strict=True))
    return map_pieces(lambda piece: factor(*piece, keep, dtype), pieces, work)


def numerical_rank(s: Float64, array: FloatArray, norm: float) -> int:
    """How many singular values ``s`` of the unit-norm layer stand above rounding (at least 1).

    Two kinds of rounding: that of the decomposition, eps·max(n, d)·s_1 with float64's eps; and that
    of the precision in which ``array`` was stored (:func:`.base.stored_eps`, which also knows
    widened float16), which spreads eps times the typical magnitude (offset included) over all
    entries: a norm of about eps·magnitude·√max(n, d). ``norm`` is the Frobenius norm before
    scaling. The median over the columns is the typical magnitude, so that one massive coordinate
    does not hide the others.
    """
    longest = max(array.shape)
    magnitude = float(np.median(np.abs(array).mean(axis=0, dtype=np.float64)))
    stored = stored_eps(array) * magnitude * np.sqrt(longest) / norm
    computed = float(np.finfo(np.float64).eps) * longest * float(s[0])
    return max(1, int((s > max(stored, computed)).sum()))
