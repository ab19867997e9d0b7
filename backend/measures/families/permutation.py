"""Permutation test of a matrix of CKA values, corrected for looking at all of its cells.

The rows of one side are shuffled, every cell is computed again, and its p-value is how often the
shuffled value reaches the true one. For the corrected p-values the true value is compared with the
*largest* cell of each shuffle (Westfall & Young 1993): layers that resemble each other make the
correction milder than Holm's, and it needs no assumption on the tail. Debiased CKA has the same
null mean and sd in every cell, so that no cell dominates the maximum by its scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from backend.errors import InputError
from backend.measures.chance.grams import LinearGrams
from backend.measures.chance.shuffles import (
    TIE,
    centred_unit,
    few_exchanges,
    shuffled_products,
)
from backend.measures.core.base import FloatArray
from backend.measures.core.groups import as_groups, shuffled_orders
from backend.measures.core.pairs import grid
from backend.measures.core.result import MatrixResult
from backend.measures.families.kernel import cka_matrix, prepare_layers
from backend.remarks import Remarks


def permutation_test(
    layers: Sequence[object],
    others: Sequence[object] | None = None,
    *,
    permutations: int = 999,
    seed: int = 0,
    groups: object = None,
    labels: Sequence[str] | None = None,
    other_labels: Sequence[str] | None = None,
) -> MatrixResult:
    """Debiased CKA of ``layers`` (L arrays (n, d)) with ``others`` (M), tested by permutation.

    ``p_values`` are (1 + shuffles with a value at least as high) / (1 + permutations), one-sided;
    ``p_corrected`` compare with the highest cell of each shuffle, so that under chance any cell of
    the matrix is below 0.05 in 5 % of cases. All cells share the shuffles, which keep what the
    layers of one side have in common. Without ``others`` the layers are compared with each other:
    of each pair the later layer is shuffled, by the same permutations for all pairs, and a layer
    with itself is NaN and not among the cells. Undefined cells are NaN with a reason.

    ``groups`` (n) say which samples belong together: no pair inside one counts, and whole groups of
    one size are exchanged. Where that can be done in too few ways no cell has a p-value, and why is
    among the warnings.

    Cost and memory are those of :func:`~backend.measures.chance.shuffles.shuffled_products`.
    InputError for unusable arrays, n < 4, no permutations.
    """
    if permutations < 1:
        raise InputError(f"needs at least 1, got {permutations}", where="permutations")
    cells = grid(layers, others, labels, other_labels)
    names = cells.names
    prepared = prepare_layers([*layers, *(others or ())], names, min_samples=4)
    split = len(cells.rows)
    right_at = slice(0, split) if others is None else slice(split, None)
    result = cka_matrix(layers, others, labels=labels, other_labels=other_labels, groups=groups)
    n = prepared[0].n
    together = as_groups(groups, n)
    few = few_exchanges(together, n)
    if few is not None:
        unknown = np.full(result.values.shape, np.nan)
        warnings = Remarks.of(result.warnings, few)
        return replace(result, p_values=unknown, p_corrected=unknown, warnings=warnings)
    tested = np.isfinite(result.values)
    if others is None:
        tested &= np.triu(np.ones(tested.shape, dtype=bool), 1)
    # The first order leaves all as it is: true and shuffled values share their rounding.
    orders = [np.arange(n), *shuffled_orders(together, n, permutations, seed)]
    grams = LinearGrams([layer.data for layer in prepared])

    def unit_gram(layer: int) -> FloatArray:
        return centred_unit(grams.whole(layer), together)

    every = range(len(prepared))
    values = shuffled_products(unit_gram, every[:split], every[right_at], orders)
    true, shuffled = values[0], values[1:]
    highest = np.where(tested, shuffled, -np.inf).max(axis=(1, 2), initial=-np.inf)
    raw = (1 + (shuffled >= true - TIE).sum(axis=0)) / (1 + permutations)
    reached = highest[:, None, None] >= true - TIE
    corrected = (1 + reached.sum(axis=0)) / (1 + permutations)
    p, p_corrected = (np.where(tested, found, np.nan) for found in (raw, corrected))
    if others is None:
        below = np.tril_indices_from(p, -1)
        p[below], p_corrected[below] = p.T[below], p_corrected.T[below]
    return replace(
        result,
        p_values=p,
        p_corrected=p_corrected,
        params={**result.params, "permutations": permutations, "seed": seed},
    )
