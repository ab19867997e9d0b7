"""Tables that training leaves beside a checkpoint, from where a capture copies them into a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from backend.store import tables
from backend.store.files import published
from backend.store.kinds import Kind


def write_beside(kind: Kind, frames: Sequence[pd.DataFrame], path: Path) -> None:
    """Write rows of a kind as one file; it appears whole and replaces an older one."""
    table = tables.checked(kind, pd.concat(frames, ignore_index=True))
    with published(path, replace=True) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def read_beside(kind: Kind, path: Path) -> pd.DataFrame | None:
    """The rows of such a file, None where there is none; InputError for a damaged one."""
    return tables.to_pandas(tables.read_kind(path, kind)) if path.is_file() else None
