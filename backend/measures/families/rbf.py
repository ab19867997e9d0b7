"""CKA with the Gaussian (RBF) kernel: its Gram matrices, brought to the sums of :mod:`.hsic`
and :mod:`.samples`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from backend.errors import InputError
from backend.measures.chance.grams import HeldGrams
from backend.measures.chance.grouped import by_group
from backend.measures.chance.samples import SampleSums, sample_sums_of_grams
from backend.measures.core.base import Float64, Prepared
from backend.measures.core.groups import Groups
from backend.measures.core.hsic import HsicStatistics, gram_statistics

_NO_DISTANCE = 1e-12
"""A median squared distance below this share of the mean one is that of copies: rounding."""


def rbf_statistics(layers: Sequence[Prepared], bandwidth: float) -> HsicStatistics:
    """The HSIC sums of centred RBF Grams exp(-‖a-b‖² / (2 (bandwidth · m)²)).

    m² is the median of each layer's n x n squared distances, as in Kornblith et al. (2019), so the
    result does not depend on a layer's scale. Where at least half of the pairs are copies, m is 0:
    such a layer is in ``no_bandwidth`` and undefined. Layers must be float64; memory is L n²
    numbers.
    """
    emptied, diagonals, no_bandwidth = _grams(layers, bandwidth)
    return replace(gram_statistics(emptied, diagonals), no_bandwidth=no_bandwidth)


def rbf_sums(
    layers: Sequence[Prepared], bandwidth: float, groups: Groups | None = None
) -> tuple[SampleSums, HeldGrams, Float64]:
    """The same with what each sample adds (n >= 4), in ``groups`` or not, the Grams, and tr W³
    (L,), which costs n³ a layer.
    """
    emptied, diagonals, no_bandwidth = _grams(layers, bandwidth)
    cubed = np.zeros(len(layers))
    for index, (gram, diagonal) in enumerate(zip(emptied, diagonals, strict=True)):
        whole = gram + np.diag(diagonal)
        cubed[index] = (whole @ whole).ravel() @ whole.ravel()
    sums, grams = sample_sums_of_grams(emptied, diagonals), HeldGrams(emptied, diagonals)
    sums = replace(sums, statistics=replace(sums.statistics, no_bandwidth=no_bandwidth))
    return sums if groups is None else by_group(sums, grams, groups), grams, cubed


def _grams(layers: Sequence[Prepared], bandwidth: float) -> tuple[Float64, Float64, frozenset[int]]:
    """Centred Grams with emptied diagonals (L, n, n), those diagonals (L, n), and the layers that
    have no bandwidth; these and constant layers are zeros.
    """
    if not np.isfinite(bandwidth) or bandwidth <= 0:
        raise InputError(f"must be a positive number, got {bandwidth}", where="bandwidth")
    n = layers[0].n
    diagonals = np.zeros((len(layers), n))
    emptied = np.zeros((len(layers), n, n))
    no_bandwidth = set()
    for index, layer in enumerate(layers):
        if layer.constant:
            continue
        kernel = _rbf_gram(layer, bandwidth)
        if kernel is None:
            no_bandwidth.add(index)
            continue
        gram = _centred(kernel)
        diagonals[index] = np.diag(gram)
        np.fill_diagonal(gram, 0)
        emptied[index] = gram
    return emptied, diagonals, frozenset(no_bandwidth)


def _rbf_gram(layer: Prepared, bandwidth: float) -> Float64 | None:
    """The kernel (n, n); None where the median distance, and with it the bandwidth, is 0."""
    x, norms = layer.data, layer.row_norms
    squared = norms[:, None] + norms[None, :] - 2 * (x @ x.T)
    np.fill_diagonal(squared, 0)
    np.maximum(squared, 0, out=squared)  # rounding leaves copies at about ±1e-17
    median = float(np.median(squared))
    if not median > _NO_DISTANCE * float(squared.mean()):
        return None
    gram: Float64 = np.exp(-squared / (2 * bandwidth**2 * median))
    return gram


def _centred(gram: Float64) -> Float64:
    means = gram.mean(axis=0)
    centred: Float64 = gram - means[:, None] - means[None, :] + means.mean()
    return centred
