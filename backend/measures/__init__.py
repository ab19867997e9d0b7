"""Measures of representations: pure functions of (n, d) arrays, rows the same samples.

Similarity of two layers
    cka              linear or RBF CKA, biased or debiased, with its exact null
    cka_matrix       every layer with every other, from one pass
    cka_null         mean and sd of biased CKA under a random matching of the samples
    CKAStream        the same from batches, exactly, mergeable, with each layer's dimensions
    procrustes       distance left after the best rotation, with or without centring and scaling
    svcca            mean canonical correlation of the leading components
    pwcca            all canonical correlations, weighted by the first side (asymmetric)
    mean_cca         their plain mean
    mutual_knn       share of the k nearest neighbours in common; jaccard_knn, over their union
    cknna            CKA restricted to mutual nearest neighbours
    rsa              rank correlation or cosine of the distances between samples
    linear_predictivity    R² of predicting one layer from another, held out (asymmetric)
    *_matrix         each of these for every pair of layers, the work on a layer done once

Chance and uncertainty
    cka(..., interval=0.95, p_value=True)    and cka_matrix: bootstrap interval, p-value, Holm
    cka(..., groups=names)    samples that belong together (captions of a photo): no pair inside a
                           group counts, chance and intervals are by group; so for neighbours,
                           predictivity, retrieval and probes
    permutation_test       p-values by shuffling, corrected for looking at every cell
    holm                   Holm's correction of any p-values
    mean_over_seeds        mean, sd and t interval over runs
    cka_contributions      which samples drive a cell
    pair_contributions     the same for chosen pairs of many layers, from one pass

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

What there is
    MEASURES               {name: label, kind, range, invariances, source, how it is called}

A :class:`Result` is a float with a record, of a :class:`MatrixResult` ``numpy.asarray()`` gives the
bare values. What cannot be computed is NaN with a ``reason``.
"""

from backend.measures.chance.pvalues import holm
from backend.measures.chance.seeds import Bounds, SeedMean, mean_over_seeds
from backend.measures.core.result import MatrixResult, Result
from backend.measures.families.cca import (
    mean_cca,
    mean_cca_matrix,
    pwcca,
    pwcca_matrix,
    svcca,
    svcca_matrix,
)
from backend.measures.families.contributions import cka_contributions, pair_contributions
from backend.measures.families.dimension import (
    effective_dimension,
    effective_rank,
    participation_ratio,
    spectrum,
    stable_rank,
)
from backend.measures.families.gap import alignment, modality_gap, uniformity
from backend.measures.families.intrinsic import two_nn
from backend.measures.families.kernel import cka, cka_matrix, cka_null
from backend.measures.families.neighbours import (
    cknna,
    cknna_matrix,
    jaccard_knn,
    jaccard_knn_matrix,
    mutual_knn,
    mutual_knn_matrix,
)
from backend.measures.families.permutation import permutation_test
from backend.measures.families.predictivity import (
    linear_predictivity,
    linear_predictivity_matrix,
)
from backend.measures.families.probes import linear_probe
from backend.measures.families.retrieval import Retrieval, retrieval
from backend.measures.families.rsa import rsa, rsa_matrix
from backend.measures.families.shape import procrustes, procrustes_matrix
from backend.measures.registry import MEASURES, Measure
from backend.measures.streaming.stream import CKAStream

__all__ = [
    "MEASURES",
    "Bounds",
    "CKAStream",
    "MatrixResult",
    "Measure",
    "Result",
    "Retrieval",
    "SeedMean",
    "alignment",
    "cka",
    "cka_contributions",
    "cka_matrix",
    "cka_null",
    "cknna",
    "cknna_matrix",
    "effective_dimension",
    "effective_rank",
    "holm",
    "jaccard_knn",
    "jaccard_knn_matrix",
    "linear_predictivity",
    "linear_predictivity_matrix",
    "linear_probe",
    "mean_cca",
    "mean_cca_matrix",
    "mean_over_seeds",
    "modality_gap",
    "mutual_knn",
    "mutual_knn_matrix",
    "pair_contributions",
    "participation_ratio",
    "permutation_test",
    "procrustes",
    "procrustes_matrix",
    "pwcca",
    "pwcca_matrix",
    "retrieval",
    "rsa",
    "rsa_matrix",
    "spectrum",
    "stable_rank",
    "svcca",
    "svcca_matrix",
    "two_nn",
    "uniformity",
]
