"""Canonical correlations: how well the best-matching directions of two representations agree.

With X = U_x S_x V_xᵀ the canonical correlations of the kept components are the singular values of
U_xᵀ U_y. Three summaries of them:

    svcca       the mean after keeping the components that hold 99 % of each side's variance
    mean_cca    the mean over all components
    pwcca       a mean weighted by how much of the first side each canonical variate accounts for

Too few samples. In the (n - 1)-dimensional space of centred samples, subspaces of k_x and k_y
dimensions meet in at least k_x + k_y - (n - 1) directions, whose correlation is 1 whatever the
data. With more components than that the answer is NaN with the reason.

Rounding. Every kept direction counts the same, however small, so those that the rounding of the
values alone could make must not count (:func:`backend.measures.core.factors.numerical_rank`). Where
some that would be kept are lost in it, as with float16 at an offset of 1000, a warning says how
many are left: the value is that of those.

Chance. Unrelated data do not score 0 but about √(k / n): ``null_mean`` of svcca and mean_cca is
the mean of the limiting distribution of canonical correlations (:func:`chance_correlation`), and
from ``INFLATED`` on a warning quotes it. Their sd under chance and the null of pwcca are not known
in closed form and left NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from backend.errors import InputError
from backend.measures.core.base import Float64, as_representation, constant_reason, working_dtype
from backend.measures.core.factors import Factors, factor_all
from backend.measures.core.hsic import cross_product
from backend.measures.core.pairs import Grid, grid
from backend.measures.core.result import NAN, MatrixResult, Result
from backend.measures.families.dimension import check_threshold
from backend.remarks import NOTHING, Remark, Remarks, remark

ESTIMATOR = "sample"

INFLATED = 0.3
"""Chance level from which a warning is attached."""

_TIE = 1e-10
_ANGLES = 512


@dataclass(frozen=True)
class _Method:
    """One of the three measures: which components it keeps and how it averages."""

    measure: Literal["svcca", "mean_cca", "pwcca"]
    variance: float | None = None
    rank: int | None = None

    @property
    def params(self) -> dict[str, object]:
        if self.rank is not None:
            return {"rank": self.rank}
        return {} if self.variance is None else {"variance": self.variance}

    def keep(self, s: Float64, rank: int) -> int:
        """How many of the singular values ``s`` are kept."""
        if self.rank is not None:
            return self.rank
        if self.variance is None:
            return rank
        shares = np.cumsum(s**2) / (s @ s)
        return int(np.argmax(shares >= self.variance - _TIE)) + 1

    def compare(self, x: Factors, y: Factors) -> tuple[float, float]:
        """The value of (x, y) and that of (y, x)."""
        inner = cross_product(x.u, y.u)
        if self.measure != "pwcca":
            value = float(np.linalg.svd(inner, compute_uv=False).mean())
            return value, value
        left, correlations, right = np.linalg.svd(inner, full_matrices=False)
        weights = (np.abs(a @ side.loadings).sum(axis=1) for a, side in ((left.T, x), (right, y)))
        there, back = (float(w @ correlations / w.sum()) for w in weights)
        return there, back

    def refusal(self, x: Factors, y: Factors, x_name: str, y_name: str) -> Remarks:
        """Why the value of (x, y) is NaN; empty if it is not."""
        sides = ((x, x_name), (y, y_name))
        constant = Remarks.of(constant_reason(name) for side, name in sides if side.constant)
        if constant:
            return constant
        if self.rank is not None:
            asked = self.rank
            short = Remarks.of(
                remark("rank_too_high", name, rank=side.rank, asked=asked)
                for side, name in sides
                if side.rank < asked
            )
            if short:
                return short
        if x.k + y.k > x.n - 1:
            code = "too_many_kept" if self.measure == "svcca" else "too_many_components"
            return Remarks.of(remark(code, n=x.n, k_x=x.k, k_y=y.k))
        return NOTHING

    def value(self, x: Factors, y: Factors) -> tuple[float, float]:
        """:meth:`compare`, or NaN where that is refused."""
        return (NAN, NAN) if self.refusal(x, y, "", "") else self.compare(x, y)

    def null_mean(self, chance: float) -> float:
        """The chance level of the plain means; not known for the weighted one."""
        return NAN if self.measure == "pwcca" else chance


def svcca(x: object, y: object, variance: float = 0.99, *, rank: int | None = None) -> Result:
    """Mean canonical correlation of the leading components of ``x`` (n, d_x) and ``y`` (n, d_y).

    Of each side the fewest principal components are kept that hold ``variance``, in (0, 1], of its
    variance (σ², not σ), or exactly ``rank`` of them when that is given. The mean is over the
    smaller number of components.
    Range: 0..1. Invariant to a common permutation of the rows, shifts, orthogonal maps and
    isotropic scaling of either side. Cost: n·d·min(n, d) a side, n·k_x·k_y for the pair.
    ``null_mean`` is the value for unrelated data, see :func:`chance_correlation`.
    NaN with a reason if a side is constant, has fewer than ``rank`` components, or
    k_x + k_y > n - 1. InputError for unusable arrays and parameters. (Raghu et al. 2017.)
    """
    return _pair(_svcca(variance, rank), x, y)


def mean_cca(x: object, y: object) -> Result:
    """Mean canonical correlation of ``x`` (n, d_x) and ``y`` (n, d_y) over all their components.

    Range: 0..1. Invariant to a common permutation of the rows, shifts and every invertible linear
    map of either side, which makes it blind to how much variance a direction holds.
    Needs n > d_x + d_y, or ranks that low: NaN with a reason otherwise, or if a side is constant.
    Directions that the rounding of the input can make do not count. Cost and null as for
    :func:`svcca`. (Hotelling 1936; Raghu et al. 2017.)
    """
    return _pair(_Method("mean_cca"), x, y)


def pwcca(x: object, y: object) -> Result:
    """Projection-weighted CCA of ``x`` (n, d_x) and ``y`` (n, d_y): asymmetric.

    The mean of the min(k_x, k_y) canonical correlations, weighted by the *first* argument:
    α_i = Σ_j |<h_i, x_j>| with h_i the canonical variate of x and x_j its columns, so directions
    that x hardly uses count little. ``pwcca(y, x)`` differs. (The authors' code takes the narrower
    side for x.)
    Range: 0..1. Invariant to a common permutation of the rows, to shifts and isotropic scale of
    either side and every invertible map of y; not to rotations of x, whose columns the weights
    sum over. Where correlations coincide the variates, and the weights, are one choice of many.
    Needs n > d_x + d_y as :func:`mean_cca` does, with the same failures and cost. No null.
    (Morcos et al. 2018.)
    """
    return _pair(_Method("pwcca"), x, y)


def svcca_matrix(
    layers: Sequence[object],
    others: Sequence[object] | None = None,
    variance: float = 0.99,
    *,
    rank: int | None = None,
    labels: Sequence[str] | None = None,
    other_labels: Sequence[str] | None = None,
) -> MatrixResult:
    """:func:`svcca` of every layer with every other: ``layers`` L arrays (n, d_l) -> (L, L).

    With ``others`` (M arrays of the same n samples) the result is (L, M). Every layer is factored
    once, layers and pairs run in parallel. Memory: the kept components, n·k numbers a layer.
    Undefined cells are NaN with a reason each; names in messages are labels or ``layers[3]``.
    """
    cells = grid(layers, others, labels, other_labels)
    return _matrix(_svcca(variance, rank), [*layers, *(others or ())], cells)


def mean_cca_matrix(
    layers: Sequence[object],
    others: Sequence[object] | None = None,
    *,
    labels: Sequence[str] | None = None,
    other_labels: Sequence[str] | None = None,
) -> MatrixResult:
    """:func:`mean_cca` of every layer with every other; shapes as for :func:`svcca_matrix`."""
    cells = grid(layers, others, labels, other_labels)
    return _matrix(_Method("mean_cca"), [*layers, *(others or ())], cells)


def pwcca_matrix(
    layers: Sequence[object],
    others: Sequence[object] | None = None,
    *,
    labels: Sequence[str] | None = None,
    other_labels: Sequence[str] | None = None,
) -> MatrixResult:
    """:func:`pwcca` of every row layer, which gives the weights, with every column layer.

    Not symmetric. Shapes as for :func:`svcca_matrix`; both directions share one decomposition.
    """
    cells = grid(layers, others, labels, other_labels)
    return _matrix(_Method("pwcca"), [*layers, *(others or ())], cells)


def chance_correlation(n: int, k_x: int, k_y: int) -> float:
    """Mean canonical correlation of unrelated subspaces of k_x and k_y dimensions, n samples.

    For one component on the smaller side it is exact for subspaces in random position: then ρ² has
    a beta distribution. Otherwise it is the mean of Wachter's (1980) limiting distribution of the
    correlations, whose mean of ρ² is max(k) / (n - 1), exact for every n even under a random
    matching of the samples. For small k it lies above simulations, by less than a third of a
    standard deviation (0.172 for 0.163 with n = 50 and two components a side, 0.191 for 0.190 with
    n = 200 and ten). NaN if k_x + k_y > n - 1 or one is 0.
    """
    p, q, size = min(k_x, k_y), max(k_x, k_y), n - 1
    if p < 1 or p + q > size:
        return NAN
    if p == 1:
        half, whole = q / 2, size / 2
        return math.exp(
            math.lgamma(half + 0.5)
            + math.lgamma(whole)
            - math.lgamma(half)
            - math.lgamma(whole + 0.5)
        )
    a, b = p / size, q / size
    edges = [(math.sqrt(a * (1 - b)) + sign * math.sqrt(b * (1 - a))) ** 2 for sign in (-1, 1)]
    middle, radius = sum(edges) / 2, (edges[1] - edges[0]) / 2
    # ρ² = middle + radius·cos θ: the density's square roots become sin² θ and the rule exact.
    theta = (np.arange(_ANGLES) + 0.5) * np.pi / _ANGLES
    squares = middle + radius * np.cos(theta)
    weights = (radius * np.sin(theta)) ** 2 / (2 * a * squares * (1 - squares))
    return float(np.mean(weights * np.sqrt(squares)))


def _svcca(variance: float, rank: int | None) -> _Method:
    if rank is None:
        check_threshold(variance, "variance")
    elif isinstance(rank, bool) or rank != int(rank) or rank < 1:
        raise InputError(f"must be a whole number of at least 1, got {rank}", where="rank")
    return _Method("svcca", None if rank is not None else variance, rank)


def _pair(method: _Method, x: object, y: object) -> Result:
    names = ("x", "y")
    a, b = _factors(method, [x, y], names)
    value, _ = method.value(a, b)
    reason = method.refusal(a, b, *names)
    chance = NAN if reason else chance_correlation(a.n, a.k, b.k)
    return Result(
        measure=method.measure,
        value=value,
        n=a.n,
        dims=(a.d, b.d),
        estimator=ESTIMATOR,
        params=method.params,
        null_mean=method.null_mean(chance),
        warnings=Remarks.of(_inflation(chance, a, b), a.remarks, b.remarks),
        reason=reason,
    )


def _matrix(method: _Method, layers: Sequence[object], cells: Grid) -> MatrixResult:
    names = cells.names
    sides = _factors(method, layers, names)
    n, widest = sides[0].n, max(side.k for side in sides)
    values = cells.fill(
        lambda i, j: method.value(sides[i], sides[j]),
        len(cells.pairs) * (n + 4.0 * widest) * widest**2,
    )

    def chance(i: int, j: int) -> tuple[float, float]:
        refused = method.refusal(sides[i], sides[j], "", "")
        level = NAN if refused else chance_correlation(n, sides[i].k, sides[j].k)
        return level, level

    chances = cells.fill(chance, 0)
    inflated = None
    if np.isfinite(chances).any():
        i, j = np.unravel_index(int(np.nanargmax(chances)), chances.shape)
        column = int(j) + (0 if cells.square else len(cells.rows))
        inflated = _inflation(float(chances[i, j]), sides[int(i)], sides[column])
    return MatrixResult(
        measure=method.measure,
        values=values,
        rows=cells.rows,
        columns=cells.columns,
        n=n,
        estimator=ESTIMATOR,
        params=method.params,
        null_means=None if method.measure == "pwcca" else chances,
        warnings=Remarks.of(inflated, *(side.remarks for side in sides)),
        reasons=cells.reasons(
            values, lambda i, j: method.refusal(sides[i], sides[j], names[i], names[j])
        ),
    )


def _factors(method: _Method, layers: Sequence[object], names: Sequence[str]) -> list[Factors]:
    shapes = [as_representation(x, name).shape for x, name in zip(layers, names, strict=True)]
    width = max((min(shape) for shape in shapes), default=0)
    samples = max((shape[0] for shape in shapes), default=0)
    dtype = working_dtype(0.5 * len(shapes) ** 2 * samples * width**2)
    return factor_all(layers, names, method.keep, dtype)


def _inflation(chance: float, x: Factors, y: Factors) -> Remark | None:
    if not chance >= INFLATED:
        return None
    return remark("cca_inflated", n=x.n, k_x=x.k, k_y=y.k, chance=round(chance, 3))
