"""Chance and uncertainty of every pair at once: what CKA's functions attach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backend.measures.chance.bootstrap import RESAMPLES, Estimator, cka_intervals
from backend.measures.chance.pvalues import cka_p_values
from backend.measures.chance.samples import SampleSums
from backend.measures.core.base import Float64


@dataclass(frozen=True, eq=False)
class Inference:
    """Interval ends and one-sided p-values of CKA, (L, L) each; NaN where not computed."""

    low: Float64
    high: Float64
    p: Float64


def infer(
    sums: SampleSums,
    estimator: Estimator,
    *,
    level: float = 0.0,
    cubed_traces: Float64 | None = None,
    resamples: int = RESAMPLES,
) -> Inference:
    """The intervals of ``sums.pairs`` at ``level`` (0: none), and the p-values of all pairs.

    p-values need ``cubed_traces`` (tr W³ of each layer) and are those of the debiased estimator:
    for the biased one they are NaN. So are they between a layer and itself, which tests nothing.
    """
    size = len(sums.diagonals)
    low, high, p = np.full((3, size, size), np.nan)
    if level:
        i, j = np.array(sums.pairs).T
        ends = cka_intervals(sums, estimator, level=level, resamples=resamples)
        for matrix, end in zip((low, high), ends, strict=True):
            matrix[i, j] = matrix[j, i] = end
    if cubed_traces is not None and estimator == "debiased":
        p = cka_p_values(sums, cubed_traces)
        np.fill_diagonal(p, np.nan)
    return Inference(low, high, p)
