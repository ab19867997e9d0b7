"""Measures of representations: pure functions of (n, d) arrays, rows the same samples.

Similarity of two layers
    cka              linear or RBF CKA, biased or debiased, with its exact null
    cka_matrix       every layer with every other, from one pass
    cka_null         mean and sd of biased CKA under a random matching of the samples
    CKAStream        the same from batches, exactly, mergeable, with each layer's dimensions

Dimension of one layer
    effective_dimension    principal components for 95 % of the variance
    participation_ratio    (Σλ)² / Σλ²
    spectrum               shares of variance along the principal axes

All of a model
    suite            the tidy rows that a store keeps
    MEASURES         what there is: label, kind, range, invariances, source

Results are records (:class:`Result`, :class:`MatrixResult`); ``float()`` and ``numpy.asarray()``
give the bare values. What cannot be computed is NaN with a ``reason``.
"""

from backend.measures.dimension import effective_dimension, participation_ratio, spectrum
from backend.measures.kernel import cka, cka_matrix, cka_null
from backend.measures.registry import MEASURES, Measure
from backend.measures.result import MatrixResult, Result
from backend.measures.stream import CKAStream
from backend.measures.suite import suite

__all__ = [
    "MEASURES",
    "CKAStream",
    "MatrixResult",
    "Measure",
    "Result",
    "cka",
    "cka_matrix",
    "cka_null",
    "effective_dimension",
    "participation_ratio",
    "spectrum",
    "suite",
]
