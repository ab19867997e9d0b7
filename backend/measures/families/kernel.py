"""CKA: centred kernel alignment (Kornblith et al. 2019), biased and debiased, with its null.

Linear CKA compares the similarity structures of two representations of the same n samples: 1 when
they agree up to rotation, shift and one common scale, and for the debiased estimator 0 on average
when they are unrelated. The biased estimator grows with d / n: independent data with n = 64 and
d = 768 score 0.92. Hence the default is the debiased one (HSIC_1 of Song et al. 2012, in CKA by
Nguyen et al. 2021), which may be slightly negative and is not clamped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from backend.errors import InputError
from backend.measures.chance.bootstrap import Estimator, interval_level
from backend.measures.chance.grams import Grams, LinearGrams
from backend.measures.chance.grouped import by_group, groups_reason
from backend.measures.chance.inference import PERMUTATIONS, Inference, infer
from backend.measures.chance.pvalues import holm, trace_cubes
from backend.measures.chance.samples import SampleSums, sample_sums
from backend.measures.chance.shuffles import NULL_ORDERS
from backend.measures.core.base import (
    Float64,
    LayerFacts,
    Prepared,
    as_representation,
    constant_reason,
    duplicate_warning,
    prepare,
    prepare_all,
    same_samples,
    working_dtype,
)
from backend.measures.core.groups import Groups, as_groups
from backend.measures.core.hsic import HsicStatistics, all_pairs, multiply_adds
from backend.measures.core.pairs import grid, layer_labels
from backend.measures.core.result import NAN, MatrixResult, Result
from backend.measures.families.rbf import rbf_statistics, rbf_sums
from backend.remarks import NOTHING, Remark, Remarks, remark

Kernel = Literal["linear", "rbf"]

FEW_SAMPLES = 16
"""Below this many samples a warning says that CKA is mostly chance (its null's sd is above 0.1)."""

EQUIDISTANT = remark("cka_equidistant")
UNTRACKED = Remarks.of(remark("cka_untracked"))


def cka(
    x: object,
    y: object,
    *,
    kernel: Kernel = "linear",
    estimator: Estimator = "debiased",
    bandwidth: float = 1.0,
    interval: float | bool = False,
    p_value: bool = False,
    groups: object = None,
) -> Result:
    """CKA of two representations ``x`` (n, d_x) and ``y`` (n, d_y) of the same samples.

    Range: biased 0..1, debiased at most 1 and 0 on average for unrelated data. Invariant to a
    common permutation of the rows, shifts, orthogonal maps and isotropic scaling of either side.
    ``kernel="rbf"`` uses exp(-‖a-b‖² / (2 (bandwidth · m)²)) with m² the median squared distance of
    each side; ``bandwidth`` is ignored by the linear kernel. The null's mean and sd are exact.
    ``interval=0.95`` (or True) adds the bootstrap interval over samples (:mod:`.bootstrap`),
    ``p_value=True`` the one-sided probability of such a debiased value by chance (:mod:`.pvalues`;
    with heavy-tailed rows counted over random matchings: :mod:`.inference`).
    ``groups`` (n names) say which samples belong together, as five captions of a photo. Debiased
    CKA then counts no pair inside a group (:mod:`.grouped`), intervals draw whole groups, and
    ``p_value=True`` gives p and the null by exchanging groups of one size; else the linear kernel's
    null is NaN, as is that of the biased estimator.
    Cost: n·d_x·d_y or ½n²(d_x+d_y) multiply-adds, whichever is less (a p-value always takes the
    Gram); rbf n² memory, and n³ with either addition.
    NaN with a reason if a side is constant or, for rbf, has median distance 0 (up to rounding: 1e-6
    of the root mean square); debiased also for fewer than 4 groups and for a group of half of all
    samples. InputError for unusable arrays, when debiased n < 4, and for a p-value
    of the biased estimator.
    """
    check_choice(estimator, Estimator, "estimator")
    check_choice(kernel, Kernel, "kernel")
    level = interval_level(interval)
    check_p_value(p_value, estimator)
    names = ("x", "y")
    least = 4 if estimator == "debiased" else 2
    arrays = [
        as_representation(a, name, min_samples=least) for a, name in zip((x, y), names, strict=True)
    ]
    n = same_samples(arrays, names)
    widths = [a.shape[1] for a in arrays]
    dtype = np.float64 if kernel == "rbf" else working_dtype(multiply_adds(n, widths))
    prepared = [prepare(a, name, dtype) for a, name in zip(arrays, names, strict=True)]
    params: dict[str, object] = {"kernel": kernel}
    if kernel == "rbf":
        params["bandwidth"] = bandwidth
    together = as_groups(groups, n)
    chance = None
    if (level or p_value or together is not None) and n >= 4:
        sums, grams, cubed = (
            rbf_sums(prepared, bandwidth, together)
            if kernel == "rbf"
            else _linear_sums(prepared, p_value, groups=together)
        )
        statistics = sums.statistics
        chance = _chance(sums, grams, cubed, estimator, level, p_value, kernel)
    elif kernel == "rbf":
        statistics = rbf_statistics(prepared, bandwidth)
    else:
        statistics = all_pairs(prepared)
    value = float(statistics.cka(estimator)[0, 1])
    null = (chance.means, chance.sds) if chance else statistics.null(estimator)
    mean, sd = (float(m[0, 1]) for m in null)
    low, high = (float(m[0, 1]) for m in (chance.low, chance.high)) if chance else (NAN, NAN)
    reasons = layer_reasons(statistics, names)
    return Result(
        measure="cka",
        value=value,
        n=n,
        dims=(widths[0], widths[1]),
        estimator=estimator,
        params=params,
        ci_low=low,
        ci_high=high,
        null_mean=mean,
        null_sd=sd,
        p_value=float(chance.p[0, 1]) if chance and p_value else NAN,
        warnings=Remarks.of(
            cka_warnings(prepared, names, estimator, mean), chance.of_pair(0, 1) if chance else None
        ),
        reason=cka_reason(reasons, together) if np.isnan(value) else NOTHING,
    )


def cka_matrix(
    layers: Sequence[object],
    others: Sequence[object] | None = None,
    *,
    estimator: Estimator = "debiased",
    labels: Sequence[str] | None = None,
    other_labels: Sequence[str] | None = None,
    interval: float | bool = False,
    p_value: bool = False,
    kernel: Kernel = "linear",
    bandwidth: float = 1.0,
    groups: object = None,
) -> MatrixResult:
    """CKA of every layer with every other: ``layers`` L arrays (n, d_l) -> (L, L).

    With ``others`` (M arrays of the same n samples) the result is (L, M). All pairs share one pass
    over the Grams: ½n²Σd + ½(L+M)²n² multiply-adds (or ½n(Σd)² when n is larger than about Σd) and
    (L+M)·64 MB/L of blocks besides the centred copies. Errors and undefined cells as in
    :func:`cka`; names in messages are the labels, or ``layers[3]``.

    ``interval=0.95`` (or True) adds bootstrap intervals over samples, ``p_value=True`` one-sided
    p-values, and Holm's correction of them over all cells, each unordered pair once, a layer with
    itself left out (NaN). Either adds n²(L+M)² multiply-adds, p-values always take the Grams.
    ``groups`` are those of :func:`cka`, and so is ``kernel="rbf"``: (L+M) n² numbers of memory, no
    interval and no p-value.
    """
    check_choice(estimator, Estimator, "estimator")
    check_choice(kernel, Kernel, "kernel")
    level = interval_level(interval)
    if kernel == "rbf" and (level or p_value):
        raise InputError(
            "intervals and p-values of a whole matrix are computed for the linear kernel only",
            where="kernel",
            hint="cka(x, y, kernel='rbf', interval=True) gives those of one pair.",
        )
    check_p_value(p_value, estimator)
    cells = grid(layers, others, labels, other_labels)
    both, names = [*layers, *(others or ())], cells.names
    least = 4 if estimator != "biased" or level else 2
    prepared = prepare_layers(both, names, min_samples=least, exact=kernel == "rbf")
    split = len(cells.rows)
    columns_at = slice(0, split) if cells.square else slice(split, None)
    chance = None
    together = as_groups(groups, prepared[0].n)
    if (level or p_value or together is not None) and prepared[0].n >= 4:
        cross = [(i, j) for i in range(split) for j in range(split, len(both))]
        sums, grams, cubed = (
            rbf_sums(prepared, bandwidth, together)
            if kernel == "rbf"
            else _linear_sums(prepared, p_value, None if cells.square else cross, together)
        )
        chance = _chance(sums, grams, cubed, estimator, level, p_value, kernel)
        statistics = sums.statistics
    elif kernel == "rbf":
        statistics = rbf_statistics(prepared, bandwidth)
    else:
        statistics = all_pairs(prepared)
    at = (slice(0, split), columns_at)
    result = matrix_result(statistics, [p.d for p in prepared], estimator, names, *at, together)
    if kernel == "rbf":
        result = replace(result, params={"kernel": kernel, "bandwidth": bandwidth})
    if chance is not None:
        result = replace(
            result,
            null_means=chance.means[at],
            null_sds=chance.sds[at],
            ci_lows=chance.low[at] if level else None,
            ci_highs=chance.high[at] if level else None,
            p_values=chance.p[at] if p_value else None,
            p_corrected=holm_of_matrix(chance.p[at], cells.square) if p_value else None,
            warnings=Remarks.of(result.warnings, chance.of_all),
        )
    copies = map(duplicate_warning, prepared, names)
    return replace(result, warnings=Remarks.of(result.warnings, *copies))


def matrix_result(
    statistics: HsicStatistics,
    widths: Sequence[int],
    estimator: Estimator,
    labels: Sequence[str] | None = None,
    rows_at: slice = slice(None),
    columns_at: slice = slice(None),
    groups: Groups | None = None,
) -> MatrixResult:
    """The labelled CKA matrix, or a part of it, of finished HSIC sums."""
    names = layer_labels(widths, labels, "layers", "labels")
    values = statistics.cka(estimator)[rows_at, columns_at]
    mean, sd = (m[rows_at, columns_at] for m in statistics.null(estimator))
    defined = np.isfinite(values)
    rows, columns = names[rows_at], names[columns_at]
    of_layers = layer_reasons(statistics, names)
    left, right = of_layers[rows_at], of_layers[columns_at]
    tracked = np.isfinite(statistics.off)[rows_at, columns_at]
    reasons: dict[tuple[int, int], Remarks] = {}
    for i, j in np.argwhere(~defined):
        sides = (left[i], right[j])
        reasons[int(i), int(j)] = cka_reason(sides, groups) if tracked[i, j] else UNTRACKED
    return MatrixResult(
        measure="cka",
        values=values,
        rows=rows,
        columns=columns,
        n=statistics.n,
        estimator=estimator,
        params={"kernel": "linear"},
        null_means=np.where(defined, mean, np.nan),
        null_sds=np.where(defined, sd, np.nan),
        warnings=inflation_warning(statistics.n, widths, estimator),
        reasons=reasons,
    )


def cka_null(x: object, y: object) -> tuple[float, float]:
    """Exact mean and sd of *biased* linear CKA over all n! matchings of the rows (n >= 4).

    The mean is √(PR_x PR_y) / (n-1) with PR the participation ratio. (Kazi-Aoual et al. 1995.)
    NaN for a constant side. The debiased estimator's null is known without data: mean 0 and
    sd √(2 / (n(n-3))).
    """
    names = ("x", "y")
    _, statistics = cka_statistics([x, y], names, min_samples=4)
    mean, sd = statistics.null("biased")
    return float(mean[0, 1]), float(sd[0, 1])


def cka_statistics(
    layers: Sequence[object], names: Sequence[str], *, min_samples: int = 2
) -> tuple[list[Prepared], HsicStatistics]:
    """Both estimators and their nulls for all pairs, from one pass. The other forms build on it."""
    prepared = prepare_layers(layers, names, min_samples=min_samples)
    return prepared, all_pairs(prepared)


def prepare_layers(
    layers: Sequence[object], names: Sequence[str], *, min_samples: int = 2, exact: bool = False
) -> list[Prepared]:
    """The layers checked and centred, in the precision that all pairs of them call for.

    ``exact`` is float64 however large they are.
    """
    if not layers:
        raise InputError("no layers were given", where="layers")
    arrays = [
        as_representation(x, name, min_samples=min_samples)
        for x, name in zip(layers, names, strict=True)
    ]
    n = same_samples(arrays, names)
    work = 0.0 if exact else multiply_adds(n, [a.shape[1] for a in arrays])
    return prepare_all(arrays, names, working_dtype(work), min_samples=min_samples)


def _linear_sums(
    prepared: Sequence[Prepared],
    p_value: bool,
    pairs: Sequence[tuple[int, int]] | None = None,
    groups: Groups | None = None,
) -> tuple[SampleSums, Grams, Float64 | None]:
    grams = LinearGrams([layer.data for layer in prepared])
    if groups is not None:
        return by_group(sample_sums(prepared, pairs), grams, groups), grams, None
    sums = sample_sums(prepared, pairs, cubes=p_value)
    return sums, grams, trace_cubes(prepared) if p_value else None


def _chance(
    sums: SampleSums,
    grams: Grams,
    cubed: Float64 | None,
    estimator: Estimator,
    level: float,
    p_value: bool,
    kernel: Kernel,
) -> Inference:
    """What is asked for; of the rbf kernel, whose Grams are there, the null in groups always."""
    shuffled = p_value or (kernel == "rbf" and sums.groups is not None)
    return infer(
        sums,
        estimator,
        level=level,
        grams=grams if shuffled else None,
        cubed_traces=cubed,
        permutations=PERMUTATIONS if p_value else NULL_ORDERS,
    )


def holm_of_matrix(p: Float64, symmetric: bool) -> Float64:
    """Holm's correction over the cells of a matrix; of a symmetric one each pair counts once."""
    if not symmetric:
        return holm(p)
    above = np.triu_indices_from(p, 1)
    corrected = np.full(p.shape, np.nan)
    corrected[above] = holm(p[above])
    corrected.T[above] = corrected[above]
    return corrected


def check_p_value(p_value: bool, estimator: str) -> None:
    """InputError for a p-value of the biased estimator: its null's skewness is not known here."""
    if p_value and estimator != "debiased":
        raise InputError(
            f"p-values are those of the debiased estimator, not the {estimator} one",
            where="p_value",
            hint="The question is the same: use estimator='debiased'.",
        )


def layer_reasons(statistics: HsicStatistics, names: Sequence[str]) -> list[Remark | None]:
    """Of each layer why it has no CKA with anything; None where it has."""
    return [
        constant_reason(name)
        if constant
        else remark("no_bandwidth", name)
        if layer in statistics.no_bandwidth
        else None
        for layer, (name, constant) in enumerate(zip(names, statistics.constant, strict=True))
    ]


def cka_reason(sides: Iterable[Remark | None], groups: Groups | None = None) -> Remarks:
    """Why CKA is NaN, from what :func:`layer_reasons` says of each side."""
    of_groups = groups_reason(groups) if groups is not None else None
    return Remarks.of(*sides) or Remarks.of(of_groups or EQUIDISTANT)


def inflation_warning(
    n: int, widths: Iterable[int], estimator: str, null_mean: float = np.nan
) -> Remarks:
    """What to beware of in biased CKA of fewer samples than dimensions."""
    widest = max(widths)
    if estimator != "biased" or n >= widest:
        return NOTHING
    if np.isnan(null_mean):
        return Remarks.of(remark("cka_inflated", n=n, d=widest))
    return Remarks.of(remark("cka_inflated_by", n=n, d=widest, chance=round(null_mean, 3)))


def cka_warnings(
    sides: Sequence[LayerFacts], names: Sequence[str], estimator: str, null_mean: float = np.nan
) -> Remarks:
    """All warnings of one CKA value."""
    n = sides[0].n
    few = remark("mostly_chance", n=n) if n < FEW_SAMPLES else None
    inflated = inflation_warning(n, (side.d for side in sides), estimator, null_mean)
    return Remarks.of(few, inflated, *map(duplicate_warning, sides, names))


def check_choice(value: str, choices: object, name: str) -> None:
    """InputError naming the argument unless ``value`` is one of a Literal's strings."""
    allowed = get_args(choices)
    if value not in allowed:
        raise InputError(
            f"unknown {name} {value!r}", where=name, hint=f"Choose one of {', '.join(allowed)}."
        )
