"""How likely is a debiased CKA this high by chance: the skewness of its null, p-values, Holm.

HSIC_1 is Σ_{a≠b} A[a,b] B[a,b] of U-centred Grams: symmetric, zero diagonal, zero row sums
(:mod:`.samples`). Under a random matching π of the rows its mean is 0 and its sd is known
(:mod:`.hsic`); but it is nearly a weighted sum of χ² variables, skewed when few directions carry
the variance: the normal tail at z = 1.645 is then passed too often.

Third moment. The cube of Γ = Σ A[a,b] B[π(a),π(b)] = 2 Σ_edges is a sum over ordered triples of
edges {a,b}. π carries a triple to every other one of the same shape with equal chance, so
E Γ³ = 8 Σ_shapes A_s B_s / N_s, where A_s is the sum over the triples of that shape of the product
of their three entries, and N_s is how many there are. With zero row sums every A_s is a combination
of S = Σ_{a,b} A³ and T = tr A³; n_k = n (n-1) ... (n-k+1):

    one edge three times     S/2     n_2/2      star of three          2 S          n_4
    twice, and a neighbour   -3 S    3 n_3      path of three          3 (S - T)    3 n_4
    twice, and one apart     3 S/2   3 n_4/4    path of two and one    3 T - 6 S    3 n_5/2
    triangle                 T       n_3        three apart            2 S - T      n_6/8

e.g. a path of two ab, ac leaves Σ_c A[a,c] = -A[a,b], so "twice, and a neighbour" is
3 Σ A[a,b]² (-A[a,b]). Checked against all permutations at n = 6 and 7.

A Pearson type III (shifted gamma) distribution with this mean, sd and skewness gives the tail, as
for the RV coefficient (Kazi-Aoual et al. 1995; Josse et al. 2008), which is exact for one dominant
direction in each side (a χ² of one degree) and normal for many.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from backend.measures.chance.samples import SampleSums, u_shift
from backend.measures.core.base import Float64, Prepared
from backend.measures.core.hsic import cross_product
from backend.measures.core.parallel import map_pieces

NORMAL_BELOW = 1e-4
"""|skewness| below which the tail is the normal one: they differ by less than 1e-5."""

COUNTED = 10
"""Draws at least as high as the value from which on p is counted, and below which it is fitted."""

TAIL = 100
"""Highest draws to which the tail is fitted."""


def null_skewness(sums: SampleSums, trace_cubes: ArrayLike) -> Float64:
    """Skewness (L, L) of debiased CKA under a random matching of the rows, exactly; n >= 4.

    ``sums`` must have ``cubes``; ``trace_cubes`` are tr W³ of the centred Grams (L,), as
    :func:`trace_cubes` or Σ λ³ of a spectrum gives them. NaN for constant layers and equidistant
    samples.
    """
    statistics = sums.statistics
    known = np.isfinite(np.diag(statistics.debiased()))
    norms = np.where(known, _squares(sums), np.nan) ** 1.5
    s = sums.cubes / norms
    t = _triangles(sums, np.asarray(trace_cubes, dtype=np.float64)) / norms
    sd = np.sqrt(2.0 / (statistics.n * (statistics.n - 3)))
    skewness: Float64 = third_moment(statistics.n, s, t) / sd**3
    return skewness


def third_moment(n: int, s: Float64, t: Float64) -> Float64:
    """E Γ³ (L, L) of the module's docstring, from each side's S and T (L,)."""
    falling = [1.0]
    for k in range(6):
        falling.append(falling[-1] * max(n - k, 0))
    shapes = (
        (s / 2, falling[2] / 2),
        (-3 * s, 3 * falling[3]),
        (1.5 * s, 0.75 * falling[4]),
        (t, falling[3]),
        (2 * s, falling[4]),
        (3 * (s - t), 3 * falling[4]),
        (3 * t - 6 * s, 1.5 * falling[5]),
        (2 * s - t, falling[6] / 8),
    )
    total = np.zeros((len(s), len(s)))
    for side, count in shapes:
        if count > 0:  # with 4 or 5 samples there are no three edges apart
            total += np.outer(side, side) / count
    return 8 * total


def trace_cubes(layers: Sequence[Prepared]) -> Float64:
    """tr W³ (L,) of the centred linear Grams W = X Xᵀ, through XᵀX or, where n < d, through W.

    ½ n d m + ½ m³ multiply-adds a layer, m = min(n, d), beside the ½n²d of its Gram: d/n of it, and
    the small m³, for n > d; at most twice it, at n = d.
    """

    def cubed(layer: Prepared) -> float:
        x = layer.data if layer.d <= layer.n else layer.data.T
        square = cross_product(x, x)
        return float((square.T @ square).ravel() @ square.ravel())

    work = sum(min(x.n, x.d) * (x.n * x.d + min(x.n, x.d) ** 2) / 2 for x in layers)
    return np.array(map_pieces(cubed, layers, work))


def p_values(z: ArrayLike, skewness: ArrayLike) -> Float64:
    """P(Z >= z) under the Pearson III distribution of mean 0, sd 1 and that skewness.

    One-sided: small means above chance. Of the shape of ``z``; NaN where either is NaN. With
    k = 4/γ² the distribution is that of ±(G - k)/√k, G gamma of shape k and the sign that of γ.
    """
    from scipy.special import gammainc, gammaincc, ndtr

    z, skewness = np.broadcast_arrays(
        np.asarray(z, dtype=np.float64), np.asarray(skewness, dtype=np.float64)
    )
    normal = np.abs(skewness) < NORMAL_BELOW
    k = 4.0 / np.where(normal, 1.0, skewness) ** 2
    up = gammaincc(k, np.maximum(k + z * np.sqrt(k), 0.0))
    down = gammainc(k, np.maximum(k - z * np.sqrt(k), 0.0))
    tail: Float64 = np.where(normal, ndtr(-z), np.where(skewness > 0, up, down))
    return np.where(np.isnan(z) | np.isnan(skewness), np.nan, tail)


def cka_p_values(sums: SampleSums, cubes_of_traces: ArrayLike) -> Float64:
    """One-sided p-values (L, L) of debiased CKA; 0 of a layer with itself says nothing."""
    statistics = sums.statistics
    _, sd = statistics.null("debiased")
    return p_values(statistics.debiased() / sd, null_skewness(sums, cubes_of_traces))


def p_of_shuffles(true: Float64, draws: Float64, tie: float, *, every: bool = False) -> Float64:
    """One-sided p-values (P,) of ``true`` values (P,) among ``draws`` (B, P) of random matchings.

    They are (1 + c) / (1 + B) with c draws at least as high; below ``COUNTED`` of them the tail is
    a generalised Pareto distribution fitted to the ``TAIL`` highest draws (Knijnenburg et al. 2009)
    by L-moments (Hosking & Wallis 1987), so that a correction for many cells has something below
    1 / (1 + B) to work with. Its shape is not taken below 0, an exponential tail: that of
    sums of χ² variables, and with the shorter ones that short draws suggest p would be too small.
    With ``every`` the draws are all matchings there are, and the share of them is p. Values within
    ``tie`` are equal.
    """
    count = len(draws)
    reached = (draws >= true - tie).sum(axis=0)
    if every:
        exact: Float64 = reached / count
        return exact
    counted: Float64 = (1 + reached) / (1 + count)
    if count <= 2 * TAIL:
        return counted
    ordered = np.sort(draws, axis=0)
    threshold = ordered[-TAIL - 1 : -TAIL + 1].mean(axis=0)
    beyond = ordered[-TAIL:] - threshold
    first = beyond.mean(axis=0)
    second = (2 * np.arange(TAIL)[:, None] / (TAIL - 1) * beyond).mean(axis=0) - first
    with np.errstate(divide="ignore", invalid="ignore"):
        shape = np.clip(2 - first / second, 0.0, 0.99)
        scaled = np.maximum(true - threshold, 0.0) / (first * (1 - shape))
        heavy = np.exp(-np.log1p(shape * scaled) / np.where(shape > 0, shape, 1.0))
        fitted = TAIL / count * np.where(shape > 1e-6, heavy, np.exp(-scaled))
    p: Float64 = np.where((reached < COUNTED) & (first > 0), fitted, counted)
    return p


def holm(p: ArrayLike) -> Float64:
    """Holm's (1979) correction over all finite p-values given, in their shape; NaN stays NaN.

    p_corrected < α for any of them happens with probability below α if none has an effect, whatever
    their dependence.
    """
    values = np.asarray(p, dtype=np.float64)
    corrected = np.full(values.shape, np.nan)
    finite = np.isfinite(values)
    tested = values[finite]
    order = np.argsort(tested, kind="stable")
    raised = np.maximum.accumulate(tested[order] * np.arange(len(tested), 0, -1))
    found = np.empty(len(tested))
    found[order] = np.minimum(raised, 1.0)
    corrected[finite] = found
    return corrected


def _squares(sums: SampleSums) -> Float64:
    """Σ A² (L,)."""
    squares: Float64 = sums.terms(slice(0, len(sums.diagonals))).sum(axis=0)
    return squares


def _triangles(sums: SampleSums, cubed: Float64) -> Float64:
    """tr A³ (L,). A = M - Λ with M = W + u 1ᵀ + 1 uᵀ and Λ = diag(δ), δ = D + 2u, so

    tr A³ = tr M³ - 3 Σ δ_a (M²)[a,a] + 3 Σ δ_a² M[a,a] - Σ δ³, and M[a,a] = δ_a. As W 1 = 0,
    tr M³ = tr W³ + 3 n uᵀWu + 2 s³ + 6 s n q with s = Σu, q = Σu².
    """
    n, d = sums.statistics.n, sums.diagonals
    u = u_shift(d)
    own = slice(0, len(d))
    w_u = (sums.crossed[:, own].T / 2 + d**2) / (n - 2)
    delta = d + 2 * u
    s, q = u.sum(axis=1), (u**2).sum(axis=1)
    whole = cubed + 3 * n * (u * w_u).sum(axis=1) + 2 * s**3 + 6 * s * n * q
    squared = sums.rows[:, own].T + d**2 + 2 * w_u + n * u**2 + 2 * u * s[:, None] + q[:, None]
    triangles: Float64 = whole - 3 * (delta * squared).sum(axis=1) + 2 * (delta**3).sum(axis=1)
    return triangles
