"""CKA between the layers of two models that saw the same samples.

Every block of every stream of one model with every block of every stream of the other, biased and
debiased, each with its null and its bootstrap interval; the debiased one with a p-value, corrected
after Holm over all pairs of the same two streams, as within one model (:mod:`.suite`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from backend.measures.chance.bootstrap import LEVEL
from backend.measures.chance.pvalues import holm
from backend.measures.core.base import Float64
from backend.measures.families.kernel import cka_matrix
from backend.measures.suite.presets import Layers
from backend.measures.suite.suite import (
    COLUMNS,
    ESTIMATORS,
    constant_layer_reason,
    site_name,
    tidy_row,
)
from backend.types import LayerRef

if TYPE_CHECKING:
    import pandas as pd


def cross_cka(a: Layers, b: Layers, names: tuple[str, str] = ("a", "b")) -> pd.DataFrame:
    """CKA of two models' blocks, columns as in ``COLUMNS``: ``stream_a`` of ``a``, ``stream_b`` of
    ``b``.

    ``names`` are the models' in reasons and errors. Both must hold the same n >= 4 samples in the
    same order and under the same pooling. Cost: two passes of :func:`cka_matrix` over all layers.
    """
    import pandas as pd

    if a.pooling != b.pooling:
        raise ValueError(f"{a.pooling} vectors cannot be compared with {b.pooling} vectors")
    rows = [*_rows(a, b, names)]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def _rows(a: Layers, b: Layers, names: tuple[str, str]) -> Iterator[dict[str, object]]:
    left, right = a.blocks, b.blocks
    if not left or not right:
        return  # a model may have no layer with this pooling
    constant = {
        (side, ref): f"{name}: {constant_layer_reason(ref, layers.pooling, layers.modalities)}"
        for side, layers, name in zip((0, 1), (a, b), names, strict=True)
        for ref in layers.blocks
        if _is_constant(layers.arrays[ref])
    }
    for estimator in ESTIMATORS:
        tested = estimator == "debiased"
        found = cka_matrix(
            [a.arrays[ref] for ref in left],
            [b.arrays[ref] for ref in right],
            estimator=estimator,
            labels=[f"{site_name(ref)} of {names[0]}" for ref in left],
            other_labels=[f"{site_name(ref)} of {names[1]}" for ref in right],
            interval=LEVEL,
            p_value=tested,
        )
        said = _by_layer(found.warnings, [*found.rows, *found.columns])
        if found.p_values is not None:
            found = replace(found, p_corrected=_by_streams(found.p_values, left, right))
        for i, x in enumerate(left):
            for j, y in enumerate(right):
                dims = (int(a.arrays[x].shape[1]), int(b.arrays[y].shape[1]))
                about = (*said[""], *said[found.rows[i]], *said[found.columns[j]])
                cell = replace(found.cell(i, j, dims), warnings=about, pooling=a.pooling)
                why = [constant[key] for key in ((0, x), (1, y)) if key in constant]
                if cell.reason and why:
                    cell = replace(cell, reason="; ".join(why))
                yield tidy_row(cell, x, y)


def _by_layer(warnings: Sequence[str], labels: Sequence[str]) -> dict[str, list[str]]:
    """Warnings under the label of the layer that they name, under "" those that name none."""
    said: dict[str, list[str]] = {"": [], **{label: [] for label in labels}}
    for text in warnings:
        said[next((label for label in labels if f" of {label} " in text), "")].append(text)
    return said


def _by_streams(p: Float64, left: Sequence[LayerRef], right: Sequence[LayerRef]) -> Float64:
    """Holm's correction (L, M), each stream of one model with each of the other for itself."""
    corrected = np.full(p.shape, np.nan)
    for stream in dict.fromkeys(ref.stream for ref in left):
        for other in dict.fromkeys(ref.stream for ref in right):
            at = np.ix_(
                [i for i, ref in enumerate(left) if ref.stream == stream],
                [j for j, ref in enumerate(right) if ref.stream == other],
            )
            corrected[at] = holm(p[at])
    return corrected


def _is_constant(x: np.ndarray) -> bool:
    return bool((x == x[:1]).all())
