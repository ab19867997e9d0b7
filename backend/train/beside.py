"""Tables that training leaves beside a checkpoint, from where a capture copies them into a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from backend.store import tables
from backend.store.files import published
from backend.store.kinds import Kind
from backend.store.wall import parsed

_OPTIONS = b"options"


def write_beside(
    kind: Kind,
    frames: Sequence[pd.DataFrame],
    path: Path,
    options: Mapping[str, object] | None = None,
) -> None:
    """Write rows of a kind as one file, and by which options they were made.

    It appears whole and replaces an older one.
    """
    table = tables.checked(kind, pd.concat(frames, ignore_index=True))
    if options is not None:
        table = table.replace_schema_metadata({_OPTIONS: json.dumps(options)})
    with published(path, replace=True) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def read_beside(kind: Kind, path: Path) -> pd.DataFrame | None:
    """The rows of such a file, None where there is none; InputError for a damaged one."""
    return tables.to_pandas(tables.read_kind(path, kind)) if path.is_file() else None


def options_beside(path: Path) -> dict[str, object] | None:
    """By which options the rows of such a file were made; None where an older version made them."""
    said = (pq.read_schema(path).metadata or {}).get(_OPTIONS)
    options = parsed(said, str(path)) if said is not None else None
    return options if isinstance(options, dict) else None
