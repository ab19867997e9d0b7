"""Measures of representations: pure functions of (n, d) arrays, rows the same samples.

Similarity of two layers
    cka              linear or RBF CKA, biased or debiased, with its exact null
    cka_matrix       every layer with every other, from one pass
    cka_null         mean and sd of biased CKA under a random matching of the samples
    CKAStream        the same from batches, exactly, mergeable

    mutual_knn       share of the k nearest neighbours in common; jaccard_knn, over their union
    cknna            CKA restricted to mutual nearest neighbours
    rsa              rank correlation or cosine of the distances between samples
    *_matrix         each of these for every pair of layers, the work on a layer done once

Two modalities
    retrieval        R@k both ways after an orthogonal map fitted on half of the pairs
    modality_gap     distance of the centroids of normalised embeddings
    alignment        mean squared distance of true pairs
    uniformity       how evenly one layer's directions cover the sphere

Dimension of one layer
    effective_dimension    principal components for 95 % of the variance
    participation_ratio    (Σλ)² / Σλ²
    effective_rank         exp of the entropy of the singular values
    stable_rank            Σλ / λ_max
    two_nn                 intrinsic dimension, from two nearest neighbours
    spectrum               shares of variance along the principal axes

What a layer gives away
    linear_probe     cross-validated score of a linear classifier of labels

All of a model
    suite            the tidy rows that a store keeps
    MEASURES         what there is: label, kind, range, invariances, source

Results are records (:class:`Result`, :class:`MatrixResult`); ``float()`` and ``numpy.asarray()``
give the bare values. What cannot be computed is NaN with a ``reason``.
"""

from backend.measures.dimension import (
    effective_dimension,
    effective_rank,
    participation_ratio,
    spectrum,
    stable_rank,
)
from backend.measures.gap import alignment, modality_gap, uniformity
from backend.measures.intrinsic import two_nn
from backend.measures.kernel import cka, cka_matrix, cka_null
from backend.measures.neighbours import (
    cknna,
    cknna_matrix,
    jaccard_knn,
    jaccard_knn_matrix,
    mutual_knn,
    mutual_knn_matrix,
)
from backend.measures.probes import linear_probe
from backend.measures.registry import MEASURES, Measure
from backend.measures.result import MatrixResult, Result
from backend.measures.retrieval import Retrieval, retrieval
from backend.measures.rsa import rsa, rsa_matrix
from backend.measures.stream import CKAStream
from backend.measures.suite import suite

__all__ = [
    "MEASURES",
    "CKAStream",
    "MatrixResult",
    "Measure",
    "Result",
    "Retrieval",
    "alignment",
    "cka",
    "cka_matrix",
    "cka_null",
    "cknna",
    "cknna_matrix",
    "effective_dimension",
    "effective_rank",
    "jaccard_knn",
    "jaccard_knn_matrix",
    "linear_probe",
    "modality_gap",
    "mutual_knn",
    "mutual_knn_matrix",
    "participation_ratio",
    "retrieval",
    "rsa",
    "rsa_matrix",
    "spectrum",
    "stable_rank",
    "suite",
    "two_nn",
    "uniformity",
]
