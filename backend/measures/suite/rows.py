"""Results as the tidy rows that a store keeps."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from backend.measures.core.result import Result
from backend.measures.suite.layers import Layers, constant_layer_reason, place, site_name
from backend.remarks import Place, Remark, Remarks
from backend.types import LayerRef

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, object]

COLUMNS: dict[str, str] = {
    "measure": "str",
    "stream_a": "str",
    "layer_a": "int32",
    "site_a": "str",
    "stream_b": "str",
    "layer_b": "int32",
    "site_b": "str",
    "pooling": "str",
    "estimator": "str",
    "value": "float64",
    "ci_low": "float64",
    "ci_high": "float64",
    "null_mean": "float64",
    "null_sd": "float64",
    "p_value": "float64",
    "p_corrected": "float64",
    "n": "int64",
    "params": "str",
    "reason": "str",
    "warnings": "str",
}


@dataclass(frozen=True, eq=False)
class Table:
    """The rows of a part, and what else it keeps.

    ``drivers`` are the samples that drive its cells as row numbers, where it has any. ``probes``
    are the columns of :data:`backend.store.kinds.PROBES` with arrays in place of bytes. Rows and
    probes are computed as they are taken.
    """

    rows: Iterable[Row]
    drivers: pd.DataFrame | None = None
    probes: Iterable[Row] = ()


def tidy_frame(rows: Iterable[Row]) -> pd.DataFrame:
    """Rows as a frame, columns and types as in ``COLUMNS``."""
    import pandas as pd

    return pd.DataFrame([*rows], columns=list(COLUMNS)).astype(COLUMNS)


def row_of(layers: Layers, result: Result, *refs: LayerRef) -> Row:
    """The row of a result of one layer or two.

    What the result calls x and y, or by the layers' labels, becomes the layers; constant ones are
    explained, and the note on left-out samples is added.
    """
    places = {name: (place(ref),) for name, ref in zip(("x", "y"), refs, strict=False)}
    places |= {site_name(ref): (place(ref),) for ref in refs}
    named = replace(
        result,
        pooling=layers.pooling,
        reason=explained(result.reason.at(places), layers.pooling, {"": layers.modalities}),
        warnings=Remarks.of(result.warnings.at(places), layers.note),
    )
    return tidy_row(named, *refs)


def explained(
    reason: Remarks, pooling: str, modalities: Mapping[str, Mapping[str, str]]
) -> Remarks:
    """A reason in which a constant layer, of which more can be told, is told more of.

    ``modalities`` are those of each run's streams ("" where there is one run).
    """

    def told(one: Remark) -> Iterator[Remark]:
        if one.code != "constant":
            yield one
            return
        for layer in one.layers:
            if isinstance(layer, Place):
                ref = LayerRef.parse(layer.stream, layer.layer)
                yield constant_layer_reason(ref, pooling, modalities[layer.run], layer.run)
            else:
                yield replace(one, layers=(layer,))

    return Remarks.of(*(told(one) for one in reason))


def tidy_row(result: Result, a: LayerRef, b: LayerRef | None = None) -> Row:
    """A result between two layers, or of one, as a row of the store."""
    return {
        "measure": result.measure,
        "stream_a": a.stream,
        "layer_a": a.layer,
        "site_a": a.site,
        "stream_b": b.stream if b else "",
        "layer_b": b.layer if b else -1,
        "site_b": b.site if b else "",
        "pooling": result.pooling,
        "estimator": result.estimator,
        "value": result.value,
        "ci_low": result.ci_low,
        "ci_high": result.ci_high,
        "null_mean": result.null_mean,
        "null_sd": result.null_sd,
        "p_value": result.p_value,
        "p_corrected": result.p_corrected,
        "n": result.n,
        "params": json.dumps(dict(result.params), sort_keys=True),
        "reason": result.reason.to_text(),
        "warnings": result.warnings.to_text(),
    }
