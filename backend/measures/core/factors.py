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
    Prepared,
    as_representation,
    duplicate_warning,
    prepare,
    rounding_noise,
    same_samples,
)
from backend.measures.core.parallel import map_pieces
from backend.remarks import NOTHING, Remark, Remarks, remark

Keep = Callable[[Float64, int], int]
"""How many components to keep, from all singular values (descending) and the numerical rank."""


LOST_SHARE = 1e-12
"""Share of the variance from which components that are left out as rounding are reported: what
float32 leaves of a layer of truly low rank is less."""


@dataclass(frozen=True, eq=False)
class Factors:
    """The first k components of a layer: ``u`` (n, k) orthonormal, ``s`` (k,) descending float64.

    ``loadings`` (k, d) is S Vᵀ. The squares of all singular values sum to 1; ``rank`` counts those
    above rounding (k <= rank). ``remarks`` are those on repeated rows and on components that were
    lost in rounding. A constant layer has ``rank`` 0 and no components.
    """

    u: FloatArray
    s: Float64
    loadings: FloatArray
    rank: int
    remarks: Remarks

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
        return Factors(np.zeros((n, 0), dtype), np.zeros(0), np.zeros((0, d), dtype), 0, NOTHING)
    u, s, vt = np.linalg.svd(prepared.data, full_matrices=False)
    rank = numerical_rank(s, array, prepared)
    k = min(keep(s, rank), rank)
    lost = _lost(s, keep(s, min(n - 1, d)), rank, name)
    return Factors(
        u=u[:, :k].astype(dtype),
        s=s[:k].copy(),
        loadings=(s[:k, None] * vt[:k]).astype(dtype),
        rank=rank,
        remarks=Remarks.of(lost, duplicate_warning(prepared, name)),
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


def numerical_rank(s: Float64, array: FloatArray, prepared: Prepared) -> int:
    """How many singular values ``s`` of the unit-norm layer stand above rounding (at least 1).

    Two kinds of rounding. That of the decomposition: eps·max(n, d)·s_1 with float64's eps. And that
    of the values themselves, which lie on a grid (:func:`.base.rounding_noise`): the rank is how
    many singular values of the layer, with every column divided by the sd of its errors, lie above
    the largest of those errors, so that one massive coordinate, whose grid is coarse, hides no
    other column. Cost: a second decomposition, where rounding could matter at all.
    """
    eps = float(np.finfo(np.float64).eps)
    computed = int((s > eps * max(array.shape) * float(s[0])).sum())
    sd, edge = rounding_noise(array)
    noise = sd / prepared.norm
    # Divided by the largest sd alone, no singular value would be larger.
    if float(s[-1]) > edge * float(noise.max()):
        return computed
    scaled = prepared.data / np.where(noise > 0, noise, 1.0)
    stored = int((np.linalg.svd(scaled, compute_uv=False) > edge).sum())
    return max(1, min(computed, stored))


def _lost(s: Float64, wanted: int, rank: int, name: str) -> Remark | None:
    """What to say where components of some variance are not told from rounding."""
    if wanted <= rank or float(s[rank:wanted] @ s[rank:wanted]) <= LOST_SHARE:
        return None
    return remark("lost_in_rounding", name, kept=rank, wanted=wanted)
