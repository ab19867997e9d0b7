"""Measures of representations: pure functions of (n, d) arrays, rows the same samples.

Similarity of two layers
    cka              linear or RBF CKA, biased or debiased, with its exact null
    cka_matrix       every layer with every other, from one pass
    cka_null         mean and sd of biased CKA under a random matching of the samples
    CKAStream        the same from batches, exactly, mergeable
    procrustes       distance left after the best rotation, with or without centring and scaling
    svcca            mean canonical correlation of the leading components
    pwcca            all canonical correlations, weighted by the first side (asymmetric)
    mean_cca         their plain mean
    ..._matrix       of each: every layer with every other, each factored once

Chance and uncertainty
    cka(..., interval=0.95, p_value=True)    and cka_matrix: bootstrap interval, p-value, Holm
    permutation_test       p-values by shuffling, corrected for looking at every cell
    holm                   Holm's correction of any p-values
    mean_over_seeds        mean, sd and t interval over runs
    cka_contributions      which samples drive a cell
    pair_contributions     the same for chosen pairs of many layers, from one pass

Dimension of one layer
    effective_dimension    principal components for 95 % of the variance
    participation_ratio    (Σλ)² / Σλ²
    spectrum               shares of variance along the principal axes

All of a model
    suite                  the tidy rows that a store keeps
    drivers                the samples that drive each pair of layers of two streams
    suite_with_drivers     both from one pass
    MEASURES               what there is: label, kind, range, invariances, source

Results are records (:class:`Result`, :class:`MatrixResult`); ``float()`` and ``numpy.asarray()``
give the bare values. What cannot be computed is NaN with a ``reason``.
"""

from backend.measures.cca import (
    mean_cca,
    mean_cca_matrix,
    pwcca,
    pwcca_matrix,
    svcca,
    svcca_matrix,
)
from backend.measures.contributions import cka_contributions, pair_contributions
from backend.measures.dimension import effective_dimension, participation_ratio, spectrum
from backend.measures.kernel import cka, cka_matrix, cka_null
from backend.measures.permutation import permutation_test
from backend.measures.pvalues import holm
from backend.measures.registry import MEASURES, Measure
from backend.measures.result import MatrixResult, Result
from backend.measures.seeds import SeedMean, mean_over_seeds
from backend.measures.shape import procrustes, procrustes_matrix
from backend.measures.stream import CKAStream
from backend.measures.suite import drivers, suite, suite_with_drivers

__all__ = [
    "MEASURES",
    "CKAStream",
    "MatrixResult",
    "Measure",
    "Result",
    "SeedMean",
    "cka",
    "cka_contributions",
    "cka_matrix",
    "cka_null",
    "drivers",
    "effective_dimension",
    "holm",
    "mean_cca",
    "mean_cca_matrix",
    "mean_over_seeds",
    "pair_contributions",
    "participation_ratio",
    "permutation_test",
    "procrustes",
    "procrustes_matrix",
    "pwcca",
    "pwcca_matrix",
    "spectrum",
    "suite",
    "suite_with_drivers",
    "svcca",
    "svcca_matrix",
]
