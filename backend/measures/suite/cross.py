"""CKA between the layers of two models that saw the same samples.

Every block of every stream of one model with every block of every stream of the other, biased and
debiased, each with its null and its bootstrap interval; the debiased one with a p-value, corrected
after Holm over all pairs of the same two streams, as within one model (:mod:`.linear_cka`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from backend.measures.chance.bootstrap import LEVEL, RESAMPLES
from backend.measures.chance.pvalues import holm
from backend.measures.core.base import Float64
from backend.measures.families.kernel import cka_matrix
from backend.measures.suite.finite import explained_rows, with_finite
from backend.measures.suite.layers import Layers, place
from backend.measures.suite.linear_cka import ESTIMATORS
from backend.measures.suite.rows import Row, explained, tidy_frame, tidy_row
from backend.types import LayerRef

if TYPE_CHECKING:
    import pandas as pd


PARAMETERS = {"resamples": RESAMPLES}
"""What the values depend on besides the vectors: part of the key of what is stored."""


def cross_cka(a: Layers, b: Layers, names: tuple[str, str] = ("a", "b")) -> pd.DataFrame:
    """CKA of two models' blocks, columns as in a store: ``stream_a`` of ``a``, ``stream_b`` of
    ``b``.

    ``names`` are the models' in reasons and errors. Both must hold the same n >= 4 samples in the
    same order and under the same pooling; their groups are those of ``a``. Rows of a layer that is
    not finite say so and hold nothing else. Cost: two passes of :func:`cka_matrix` over all layers.
    """
    if a.pooling != b.pooling:
        raise ValueError(f"{a.pooling} vectors cannot be compared with {b.pooling} vectors")
    finite = [with_finite(one, run) for one, run in zip((a, b), names, strict=True)]
    (left, of_left), (right, of_right) = finite
    return tidy_frame(explained_rows(_rows(left, right, names), of_left, of_right))


def _rows(a: Layers, b: Layers, names: tuple[str, str]) -> Iterator[Row]:
    left, right = a.blocks, b.blocks
    if not left or not right:
        return  # a model may have no layer with this pooling
    named = {
        str(place(ref, run)): (place(ref, run),)
        for layers, run in zip((a, b), names, strict=True)
        for ref in layers.blocks
    }
    modalities = dict(zip(names, (a.modalities, b.modalities), strict=True))
    for estimator in ESTIMATORS:
        tested = estimator == "debiased"
        matrix = cka_matrix(
            [a.arrays[ref] for ref in left],
            [b.arrays[ref] for ref in right],
            estimator=estimator,
            labels=[str(place(ref, names[0])) for ref in left],
            other_labels=[str(place(ref, names[1])) for ref in right],
            interval=LEVEL,
            p_value=tested,
            groups=a.groups,
        )
        if matrix.p_values is not None:
            matrix = replace(matrix, p_corrected=_by_streams(matrix.p_values, left, right))
        for i, x in enumerate(left):
            for j, y in enumerate(right):
                (d_x,), (d_y,) = a.dims(x), b.dims(y)
                cell = matrix.cell(i, j, (d_x, d_y))
                yield tidy_row(
                    replace(
                        cell,
                        pooling=a.pooling,
                        warnings=cell.warnings.at(named),
                        reason=explained(cell.reason.at(named), a.pooling, modalities),
                    ),
                    x,
                    y,
                )


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
