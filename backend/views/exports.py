"""Tables as files: what a reader wants in them, as CSV and as Parquet with its provenance."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from backend.remarks import in_words
from backend.views.groups import RunGroup, noun
from backend.views.provenance import Provenance

METADATA = b"fusionscope.provenance"
"""The key of a Parquet file's metadata under which its provenance stands, as JSON."""

COLUMNS_FOR_PEOPLE = (
    *("label", "run_id", "seed", "epoch", "step", "measure"),
    *("stream_a", "layer_a", "site_a", "stream_b", "layer_b", "site_b"),
    *("pooling", "estimator", "value", "ci_low", "ci_high", "null_mean", "null_sd"),
    *("p_value", "p_corrected", "n", "params", "key", "reason", "warnings"),
)


def for_people(frame: pd.DataFrame, groups: Sequence[RunGroup]) -> pd.DataFrame:
    """Measure rows with the columns that a reader of the file wants, in their order, in words."""
    rows = frame[[column for column in COLUMNS_FOR_PEOPLE if column in frame.columns]]
    said = {name: rows[name].map(in_words) for name in ("reason", "warnings") if name in rows}
    return rows.assign(**said).rename(columns={"label": noun(groups)})


def to_csv(table: pd.DataFrame) -> bytes:
    """A table as UTF-8 CSV with a line of names."""
    return table.to_csv(index=False).encode()


def to_parquet(table: pd.DataFrame, provenance: Provenance) -> bytes:
    """A table as Parquet; its provenance stands in the metadata under :data:`METADATA`."""
    rows = pa.Table.from_pandas(table, preserve_index=False)
    described = {**(rows.schema.metadata or {}), METADATA: provenance.to_json().encode()}
    written = io.BytesIO()
    pq.write_table(rows.replace_schema_metadata(described), written, compression="zstd")
    return written.getvalue()
