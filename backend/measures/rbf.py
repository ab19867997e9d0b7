"""CKA with the Gaussian (RBF) kernel: its Gram matrices, brought to the sums of :mod:`.hsic`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backend.errors import InputError
from backend.measures.base import Float64, Prepared
from backend.measures.hsic import HsicStatistics


def rbf_statistics(layers: Sequence[Prepared], bandwidth: float) -> HsicStatistics:
    """The HSIC sums of centred RBF Grams exp(-‖a-b‖² / (2 (bandwidth · m)²)).

    m² is the median of each layer's n x n squared distances, as in Kornblith et al. (2019), so the
    result does not depend on a layer's scale. Layers must be float64; memory is L n² numbers.
    """
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
    flat = emptied.reshape(len(layers), n * n)
    return HsicStatistics(
        n=n,
        traces=diagonals.sum(axis=1),
        w=diagonals @ diagonals.T,
        off=flat @ flat.T,
        eps=float(np.finfo(np.float64).eps),
    )


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
