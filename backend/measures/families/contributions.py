"""Which samples drive a cell: each sample's share of the debiased HSIC of two layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backend.measures.chance.grams import LinearGrams
from backend.measures.chance.grouped import by_group
from backend.measures.chance.samples import SampleSums, sample_sums
from backend.measures.core.base import Float64
from backend.measures.core.groups import as_groups
from backend.measures.families.kernel import prepare_layers


def cka_contributions(x: object, y: object, *, groups: object = None) -> Float64:
    """Each sample's share (n,) of the debiased HSIC of ``x`` (n, d_x) and ``y`` (n, d_y), n >= 4.

    Sample a's row of the U-centred products, Σ_b A[a,b] B[a,b], over the absolute value of their
    sum: the shares sum to 1, or to -1 if debiased CKA is negative. A positive share says that the
    sample's neighbours in x are its neighbours in y and raises CKA, a negative one lowers it. Where
    CKA is about 0, shares are large and cancel. NaN for a constant side or equidistant samples.
    ``groups`` are those of :func:`backend.measures.cka`: pairs inside a group do not count.
    Cost as of one pair in :func:`backend.measures.cka_matrix`. InputError for unusable arrays.
    """
    return pair_contributions([x, y], [(0, 1)], groups=groups)[:, 0]


def pair_contributions(
    layers: Sequence[object],
    pairs: Sequence[tuple[int, int]],
    *,
    labels: Sequence[str] | None = None,
    groups: object = None,
) -> Float64:
    """:func:`cka_contributions` of the chosen pairs of L layers, (n, P), from one pass.

    ``labels`` name the layers in error messages. ½n²Σd + 1½L²n² multiply-adds, or 2nΣ d_i d_j.
    """
    names = list(labels) if labels else [f"layers[{i}]" for i in range(len(layers))]
    prepared = prepare_layers(layers, names, min_samples=4)
    sums = sample_sums(prepared, pairs)
    together = as_groups(groups, prepared[0].n)
    if together is not None:
        sums = by_group(sums, LinearGrams([layer.data for layer in prepared]), together)
    return shares(sums, range(len(layers), len(sums.pairs)))


def shares(sums: SampleSums, columns: Sequence[int]) -> Float64:
    """Shares (n, P) of the chosen ones of ``sums.pairs``."""
    if not len(columns):
        return np.empty((sums.statistics.n, 0))
    terms = sums.terms(np.asarray(columns))
    i, j = np.array(sums.pairs)[np.asarray(columns)].T
    defined = np.isfinite(sums.statistics.debiased()[i, j])
    with np.errstate(divide="ignore", invalid="ignore"):
        share: Float64 = terms / np.where(defined, np.abs(terms.sum(axis=0)), np.nan)
    return share


def extremes(share: Float64, count: int) -> list[tuple[int, int]]:
    """(rank, sample) of the highest and the lowest shares of one pair (n,).

    Ranks 1..count are the highest, -1..-count the lowest, the most extreme first; fewer of each
    when there are fewer than 2·count samples. Ties go to the earlier sample. None if undefined.
    """
    if np.isnan(share).any():
        return []
    count = min(count, len(share) // 2)
    down = np.argsort(-share, kind="stable")[:count]
    up = np.argsort(share, kind="stable")[:count]
    return [
        *((rank, int(sample)) for rank, sample in enumerate(down, 1)),
        *((-rank, int(sample)) for rank, sample in enumerate(up, 1)),
    ]
