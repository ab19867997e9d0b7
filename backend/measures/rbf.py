"""CKA with the Gaussian (RBF) kernel: its Gram matrices, brought to the sums of :mod:`.hsic`
and :mod:`.samples`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backend.errors import InputError
from backend.measures.base import Float64, Prepared
from backend.measures.hsic import HsicStatistics, gram_statistics
from backend.measures.samples import SampleSums, sample_sums_of_grams


def rbf_statistics(layers: Sequence[Prepared], bandwidth: float) -> HsicStatistics:
    """The HSIC sums of centred RBF Grams exp(-‖a-b‖² / (2 (bandwidth · m)²)).

    m² is the median of each layer's n x n squared distances, as in Kornblith et al. (2019), so the
    result does not depend on a layer's scale. Layers must be float64; memory is L n² numbers.
    """
    emptied, diagonals = _grams(layers, bandwidth)
    return gram_statistics(emptied, diagonals)


def rbf_sums(layers: Sequence[Prepared], bandwidth: float) -> tuple[SampleSums, Float64]:
    """The same with what each sample adds (n >= 4), and tr W³ (L,), which costs n³ a layer."""
    emptied, diagonals = _grams(layers, bandwidth)
    cubed = np.zeros(len(layers))
    for index, (gram, diagonal) in enumerate(zip(emptied, diagonals, strict=True)):
        whole = gram + np.diag(diagonal)
        cubed[index] = (whole @ whole).ravel() @ whole.ravel()
    return sample_sums_of_grams(emptied, diagonals), cubed


def _grams(layers: Sequence[Prepared], bandwidth: float) -> tuple[Float64, Float64]:
    """Centred Grams with emptied diagonals (L, n, n), and those diagonals (L, n)."""
    if not np.isfinite(bandwidth) or bandwidth <= 0:
        raise InputError(f"must be a positive number, got {bandwidth}", where="bandwidth")
    n = layers[0].n
    diagonals = np.zeros((len(layers), n))
    emptied = np.zeros((len(layers), n, n))
    for index, layer in enumerate(layers):
        if not layer.constant:
            gram = _centred(_rbf_gram(layer, bandwidth))
            diagonals[index] = np.diag(gram)
            np.fill_diagonal(gram, 0)
            emptied[index] = gram
    return emptied, diagonals


def _rbf_gram(layer: Prepared, bandwidth: float) -> Float64:
    x, norms = layer.data, layer.row_norms
    squared = norms[:, None] + norms[None, :] - 2 * (x @ x.T)
    np.fill_diagonal(squared, 0)
    median = float(np.median(squared))
    if not median > 0:
        raise InputError(
            "more than half of the sample pairs are identical, so the median distance is 0",
            where="kernel",
            hint="Use kernel='linear'.",
        )
    gram: Float64 = np.exp(-squared / (2 * bandwidth**2 * median))
    return gram


def _centred(gram: Float64) -> Float64:
    means = gram.mean(axis=0)
    centred: Float64 = gram - means[:, None] - means[None, :] + means.mean()
    return centred
