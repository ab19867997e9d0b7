"""Layers with NaN or infinite vectors: they have no measures, and every other layer keeps its own.

Such a layer stands in as a constant one, which no measure can use, so that its rows are where they
would be; then the reason is put right.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from backend.measures.suite.layers import Array, Layers, place
from backend.measures.suite.rows import Row, Table
from backend.remarks import Remark, Remarks, remark
from backend.types import LayerRef

Why = Mapping[LayerRef, Remark]
"""{layer: why it has no measures}."""

_NUMBERS = ("value", "ci_low", "ci_high", "null_mean", "null_sd", "p_value", "p_corrected")


def with_finite(layers: Layers, run: str = "") -> tuple[Layers, Why]:
    """The layers (of a run) with zeros in place of those that are not finite; of these why."""
    why: dict[LayerRef, Remark] = {}
    for ref, array in layers.arrays.items():
        rows = _not_finite(array)
        if rows:
            why[ref] = remark("not_finite", place(ref, run), rows=rows, n=layers.n)
    arrays = {ref: np.zeros_like(x) if ref in why else x for ref, x in layers.arrays.items()}
    return (replace(layers, arrays=arrays) if why else layers), why


def explained_table(table: Table, why: Why) -> Table:
    """``table`` of the layers of :func:`with_finite`, with the reasons in ``why`` in their rows."""
    if not why:
        return table
    probes = (row for row in table.probes if _reason(row, "", why) is None)
    return Table(explained_rows(table.rows, why, why), table.drivers, probes)


def explained_rows(rows: Iterable[Row], a: Why, b: Why) -> Iterator[Row]:
    """The same of rows between layers of two models, each with its own reasons."""
    for row in rows:
        reasons = Remarks.of(_reason(row, "_a", a), _reason(row, "_b", b))
        if reasons:
            unknown = dict.fromkeys(_NUMBERS, math.nan)
            row = {**row, **unknown, "reason": reasons.to_text(), "warnings": ""}
        yield row


def _reason(row: Row, side: str, why: Why) -> Remark | None:
    at = tuple(row[f"{name}{side}"] for name in ("stream", "layer", "site"))
    return next(
        (said for ref, said in why.items() if (ref.stream, ref.layer, ref.site) == at), None
    )


def _not_finite(array: Array) -> int:
    """Rows with a NaN or infinite value; arrays of another kind are for the measures to refuse."""
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating):
        return 0
    # One pass over nearly every layer: a finite sum has finite terms.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(array.sum(dtype=np.float64)):
            return 0
    return int((~np.isfinite(array)).any(axis=1).sum())
