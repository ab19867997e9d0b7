"""Parquet files of vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from backend.errors import InputError
from backend.store.imports.arrays import Contents
from backend.store.imports.formats.columns import VectorTable

_BUFFER_BYTES = 1 * 2**20


def open_parquet_vectors(path: Path, prefix: tuple[str, ...], binary: np.dtype) -> Contents:
    """The columns of vectors of a Parquet file."""

    def batches(columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        try:
            with _open(path) as file:
                yield from file.iter_batches(rows, columns=list(columns), use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise _damaged(path, error) from error

    try:
        with _open(path) as file:
            schema, n = file.schema_arrow, file.metadata.num_rows
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from error
    return VectorTable(path.name, prefix, schema, n, batches, binary).contents()


def _open(path: Path) -> pq.ParquetFile:
    # Read through a small buffer: a row group may hold all rows.
    return pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER_BYTES, memory_map=False)


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"not a whole Parquet file ({str(error)[:120]})", where=path.name)
