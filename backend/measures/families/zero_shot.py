"""Zero-shot classification: an image is given the class whose prompt lies nearest to it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backend.errors import InputError
from backend.measures.chance.clusters import area_interval, exchanged, share_interval
from backend.measures.core.base import Float64
from backend.measures.core.groups import Groups, group_sums
from backend.measures.core.result import NAN, Result
from backend.remarks import Remarks, remark
from backend.types import NO_LABEL, TaskKind

METRICS: dict[TaskKind, str] = {"binary": "auroc", "multiclass": "accuracy", "multilabel": "auroc"}
"""What is told of each kind of task; of a multilabel one the mean of the classes' areas."""

_TIE = 1e-12  # difference of cosines that is rounding


def zero_shot(
    images: Float64, prompts: Float64, labels: NDArray[np.integer], kind: TaskKind, own: Groups
) -> Result:
    """How well the nearest of the class prompts (C, r) tells the class of unit rows (n, r).

    ``labels`` (n,) are class indices, or (n, C) of 0 and 1 for ``multilabel``; -1 where a sample
    has none, which is then left out. ``own`` (n,) are the groups from 0. Multiclass: the share of
    images whose own prompt has the highest cosine, ties shared out. Binary: the area under the ROC
    curve (AUROC) of the cosine with class 1 minus that with class 0. Multilabel: the mean over
    classes of the AUROC of the cosine; a class that all or none have is left out. Range 0..1. The
    null exchanges the labels of whole groups of one size. (Radford et al. 2021.)
    """
    if len(prompts) < 2:
        raise InputError(f"{len(prompts)} class prompts: it takes two or more", where="prompts")
    labelled = (labels != NO_LABEL).all(axis=1) if labels.ndim > 1 else labels != NO_LABEL
    truth = labels[labelled]
    groups = np.unique(own[labelled], return_inverse=True)[1]
    cosines = images[labelled] @ prompts.T
    dims = (images.shape[1],)
    told = (METRICS[kind], len(truth), dims)
    if len(groups) < 2:
        return _undefined(*told, Remarks.of(remark("unlabelled")))
    if kind == "multiclass":
        return _accuracy(cosines, truth, groups, told)
    scores = (cosines[:, 1] - cosines[:, 0])[:, None] if kind == "binary" else cosines
    chosen = truth[:, None] if kind == "binary" else truth
    both = (chosen.min(axis=0) == 0) & (chosen.max(axis=0) == 1)
    if not both.any():
        return _undefined(*told, Remarks.of(remark("one_answer")))
    return _areas(scores[:, both], chosen[:, both].astype(np.float64), groups, told)


_Told = tuple[str, int, tuple[int, ...]]


def _accuracy(cosines: Float64, truth: NDArray[np.integer], own: Groups, told: _Told) -> Result:
    first = cosines >= cosines.max(axis=1, keepdims=True) - _TIE
    shares = first / first.sum(axis=1, keepdims=True)
    rows = np.arange(len(truth))
    hits = shares[rows, truth]
    mean, sd, few = exchanged(lambda order: float(shares[rows, truth[order]].mean()), own)
    sizes = np.bincount(own).astype(np.float64)
    interval = share_interval(group_sums(hits, own), sizes)
    return _result(float(hits.mean()), told, interval, (mean, sd), Remarks.of(few))


def _areas(scores: Float64, truth: Float64, own: Groups, told: _Told) -> Result:
    """The mean area of the columns of ``scores`` (n, c) for ``truth`` (n, c) of 0 and 1."""
    from scipy.stats import rankdata

    ranks = rankdata(np.round(scores / _TIE), axis=0)
    ones = truth.sum(axis=0)
    zeros = len(truth) - ones

    def areas(chosen: Float64) -> Float64:
        found: Float64 = ((ranks * chosen).sum(axis=0) - ones * (ones + 1) / 2) / (ones * zeros)
        return found

    each = areas(truth)
    within = np.where(truth > 0, _ranks_within(scores, truth > 0), _ranks_within(scores, truth < 1))
    above = np.where(truth > 0, (ranks - within) / zeros, 1 - (ranks - within) / ones)
    moved = ((above - each) / np.where(truth > 0, ones, zeros)).mean(axis=1)
    value = float(each.mean())
    mean, sd, few = exchanged(lambda order: float(areas(truth[order]).mean()), own)
    interval = area_interval(value, group_sums(moved, own))
    return _result(value, told, interval, (mean, sd), Remarks.of(few))


def _ranks_within(scores: Float64, of: NDArray[np.bool_]) -> Float64:
    """Ranks (n, c) among the rows of a column that ``of`` marks; others get any."""
    from scipy.stats import rankdata

    ranks = np.zeros(scores.shape)
    for column in range(scores.shape[1]):
        rows = of[:, column]
        ranks[rows, column] = rankdata(np.round(scores[rows, column] / _TIE))
    return ranks


def _result(
    value: float,
    told: _Told,
    interval: tuple[float, float],
    null: tuple[float, float],
    warnings: Remarks,
) -> Result:
    metric, n, dims = told
    return Result(
        measure="zero_shot",
        value=value,
        n=n,
        dims=dims,
        estimator=metric,
        ci_low=interval[0],
        ci_high=interval[1],
        null_mean=null[0],
        null_sd=null[1],
        warnings=warnings,
    )


def _undefined(metric: str, n: int, dims: tuple[int, ...], reason: Remarks) -> Result:
    return Result("zero_shot", NAN, n, dims, metric, reason=reason)
