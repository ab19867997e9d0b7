"""How many dimensions a representation uses, from the eigenvalues of its covariance.

All measures are read off one spectrum: the eigenvalues of the smaller of the (d, d) covariance
and the (n, n) Gram. With n samples at most n - 1 of them differ from 0, so for n < d the numbers
are bounded by the sample, and low.

Values are too low until n is many times the
value, whatever d is, and so unequally that an order can turn round (of 768 dimensions with λ ~ 1/k
536 hold 95 % of the variance, and n = 256 samples show 169; with λ ~ exp(-k/150) 434, and 185).
Extrapolation in 1/n from halves and quarters of the samples was tried on eight known spectra: with
n below twice the value it is wrong by factors of up to 6, so there is none here. Instead a value
with fewer than ``PER_DIMENSION`` samples a dimension is "at least" that (:func:`is_resolved`), and
:func:`order_is_known` says which orders can be trusted all the same
(``benchmarks/dimension.py``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from backend.errors import InputError
from backend.measures.core.base import (
    Float64,
    LayerFacts,
    Prepared,
    as_representation,
    constant_reason,
    duplicate_warning,
    prepare,
    working_dtype,
)
from backend.measures.core.hsic import cross_product
from backend.measures.core.parallel import map_pieces
from backend.measures.core.result import NAN, Result
from backend.remarks import Remarks, remark

ESTIMATOR = "sample"

PER_DIMENSION = 10
"""Samples a dimension from which a value is no longer a mere lower bound. From there on the values
of the known spectra of the benchmark are 0.8 to 1 times the true ones."""

APART = 1.25
"""How many times a resolved value an unresolved one must be for their order to be known."""

_TIE = 1e-10


def effective_dimension(x: object, threshold: float = 0.95) -> Result:
    """Number of principal components that hold ``threshold`` of the variance of ``x`` (n, d).

    ``threshold`` is in (0, 1]. Range: 1..min(n - 1, d), whole numbers. A share within 1e-10 of the
    threshold has reached it, so ``threshold=1`` is the rank. Invariant to row permutation, shifts,
    orthogonal maps and isotropic scale. Cost: n·d·min(n, d) plus an eigen-decomposition of size
    min(n, d). NaN with a reason if ``x`` is constant; a warning when n <= d, and where the value is
    only a lower bound (:func:`is_resolved`). (Jolliffe 2002, §6.1.)
    """
    check_threshold(threshold)
    prepared = _prepared(x)
    return effective_dimension_of(prepared, _spectrum(prepared), "x", threshold)


def participation_ratio(x: object) -> Result:
    """(Σλ)² / Σλ² over the covariance eigenvalues λ of ``x`` (n, d): 1..min(n - 1, d).

    d for isotropic data, 1 for data on a line. Invariances, cost and failure cases as for
    :func:`effective_dimension`. (Gao et al. 2017.) It also sets the chance level of biased CKA:
    √(PR_x PR_y) / (n - 1).
    """
    prepared = _prepared(x)
    return participation_ratio_of(prepared, _spectrum(prepared), "x")


def effective_rank(x: object) -> Result:
    """Entropy effective rank of ``x`` (n, d): exp(-Σ p log p), p the singular values' shares.

    The singular values are those of the centred ``x`` (not squared, as in the paper), so small
    directions count more than in the participation ratio. Range 1..min(n - 1, d). Always float64:
    a square root would turn float32 rounding of the null directions into mass. Invariances, cost
    and failures as for :func:`effective_dimension`. (Roy & Vetterli 2007.)
    """
    prepared = prepare(as_representation(x, "x"), "x")
    return effective_rank_of(prepared, _spectrum(prepared), "x")


def stable_rank(x: object) -> Result:
    """‖X‖_F² / ‖X‖_2² of the centred ``x`` (n, d): the total variance over the largest.

    Range 1..min(n - 1, d). Invariances, cost and failures as for :func:`effective_dimension`.
    (Rudelson & Vershynin 2007.)
    """
    prepared = _prepared(x)
    return stable_rank_of(prepared, _spectrum(prepared), "x")


def spectrum(x: object) -> Float64:
    """Shares of the total variance along the principal axes, descending, summing to 1; min(n, d).

    All NaN for a constant ``x``.
    """
    return _spectrum(_prepared(x))


def is_resolved(value: float, n: int) -> bool:
    """Whether ``n`` samples are enough for a dimension of ``value``: at least ten times as many.

    Otherwise the true value is larger, by an unknown factor: "at least". False for NaN.
    """
    return n >= PER_DIMENSION * value


def order_is_known(a: float, b: float, n_a: int, n_b: int) -> bool:
    """Whether which of two dimensions is larger can be said, each from its own number of samples.

    Values are too low rather than too high. So the lower one must be resolved
    (:func:`is_resolved`), and the higher one too, or ``APART`` times as high: it is "at least"
    that. Two unresolved values have no known order, not even at the same n. False for NaN.
    """
    (low, n_low), (high, n_high) = sorted(((a, n_a), (b, n_b)))
    if math.isnan(a + b) or not is_resolved(low, n_low):
        return False
    return is_resolved(high, n_high) or high >= APART * low


def at_matched_n(
    layers: Sequence[object],
    measure: Callable[[object], float] = effective_dimension,
    *,
    draws: int = 10,
    seed: int = 0,
) -> list[float]:
    """``measure`` of each of ``layers`` (n_l, d_l) at the n of the smallest: a fair comparison.

    Of larger layers it is the mean over ``draws`` random parts of that many rows. What both lack at
    this n they still lack: see :func:`order_is_known`. InputError for unusable arrays, no layers
    and no draws. Cost: ``draws`` times that of the measure.
    """
    if draws < 1:
        raise InputError(f"needs at least 1, got {draws}", where="draws")
    if not layers:
        raise InputError("no layers were given", where="layers")
    arrays = [as_representation(x, f"layers[{i}]") for i, x in enumerate(layers)]
    least = min(len(x) for x in arrays)
    rng = np.random.default_rng(seed)
    values = []
    for x in arrays:
        parts = (
            [x]
            if len(x) == least
            else [x[rng.choice(len(x), least, replace=False)] for _ in range(draws)]
        )
        values.append(float(np.mean([measure(part) for part in parts])))
    return values


def check_threshold(threshold: float, name: str = "threshold") -> None:
    """InputError naming the argument unless 0 < threshold <= 1."""
    if not 0 < threshold <= 1:
        raise InputError(f"must lie in (0, 1], got {threshold}", where=name)


def spectra(layers: list[Prepared]) -> list[Float64]:
    """The spectrum of each prepared layer, layers in parallel."""
    work = sum(float(layer.n * layer.d * min(layer.n, layer.d)) for layer in layers)
    return map_pieces(_spectrum, layers, work)


def effective_dimension_of(
    prepared: LayerFacts, shares: Float64, name: str, threshold: float
) -> Result:
    """:func:`effective_dimension` of a layer whose spectrum is known."""
    reached = np.cumsum(shares) >= threshold - _TIE
    value = NAN if prepared.constant else float(np.argmax(reached) + 1)
    return _result("effective_dimension", value, prepared, name, {"threshold": threshold})


def participation_ratio_of(prepared: LayerFacts, shares: Float64, name: str) -> Result:
    """:func:`participation_ratio` of a layer whose spectrum is known."""
    return _result("participation_ratio", float(1.0 / (shares @ shares)), prepared, name, {})


def effective_rank_of(prepared: LayerFacts, shares: Float64, name: str) -> Result:
    """:func:`effective_rank` of a layer whose spectrum, in float64, is known."""
    rounding = len(shares) * float(np.finfo(np.float64).eps) * shares[0]
    singular = np.sqrt(shares[shares > rounding])
    p = singular / singular.sum()
    value = NAN if prepared.constant else float(np.exp(-(p @ np.log(p))))
    return _result("effective_rank", value, prepared, name, {})


def stable_rank_of(prepared: LayerFacts, shares: Float64, name: str) -> Result:
    """:func:`stable_rank` of a layer whose spectrum is known."""
    return _result("stable_rank", float(1.0 / shares[0]), prepared, name, {})


def _prepared(x: object) -> Prepared:
    array = as_representation(x, "x")
    n, d = array.shape
    return prepare(array, "x", working_dtype(n * d * min(n, d)))


def _spectrum(prepared: Prepared) -> Float64:
    size = min(prepared.n, prepared.d)
    if prepared.constant:
        return np.full(size, np.nan)
    x = prepared.data if prepared.d <= prepared.n else prepared.data.T
    return shares_of(cross_product(x, x), size)


def shares_of(covariance: Float64, size: int) -> Float64:
    """The ``size`` largest eigenvalues of a covariance or Gram, descending, over their sum."""
    values = np.linalg.eigvalsh(covariance)[::-1][:size]
    # Rounding leaves the null directions at about ±1e-17.
    variances = np.maximum(values, 0.0)
    shares: Float64 = variances / variances.sum()
    return shares


def _result(
    measure: str, value: float, prepared: LayerFacts, name: str, params: dict[str, object]
) -> Result:
    n, d = prepared.n, prepared.d
    unseen = n <= d and not prepared.constant
    low = not prepared.constant and not is_resolved(value, n)
    return Result(
        measure=measure,
        value=value,
        n=n,
        dims=(d,),
        estimator=ESTIMATOR,
        params=params,
        warnings=Remarks.of(
            remark("unseen_dimensions", n=n, d=d, most=n - 1) if unseen else None,
            remark("at_least", n=n, d=d, least=round(PER_DIMENSION * value)) if low else None,
            duplicate_warning(prepared, name),
        ),
        reason=Remarks.of(constant_reason(name) if prepared.constant else None),
    )
