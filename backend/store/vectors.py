"""How vectors lie in files: one value of fixed length a row, little endian, in plain pages.

Plain pages are what reading is fast with: no codec, no dictionary, no statistics (float noise does
not compress; see benchmarks/store.py). Row groups are small, so that the vectors of one sample are
read without the others; page checksums are written and verified all the same. Files of versions 1
and 2 hold lists of fixed size instead, and are read as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from backend.errors import InputError
from backend.store import tables
from backend.store.manifest import Dtype, Manifest

PANDAS = 'np.frombuffer(b"".join(frame["vector"]), "<f4").reshape(len(frame), -1)'
"""The vectors of a file that pandas has read; ``"<f2"`` where run.json says float16."""

DUCKDB = {
    "float32": "list_transform(range(0, octet_length(vector), 4), lambda i: "
    "(vector[i+4:i+4] || vector[i+3:i+3] || vector[i+2:i+2] || vector[i+1:i+1])::BIT::FLOAT)",
    # A half float has an exponent of 5 bits: moved to where FLOAT has 8 it is 2^112 too small.
    "float16": "list_transform(list_transform(range(0, octet_length(vector), 2), lambda i: "
    r"('\x00\x00'::BLOB || vector[i+2:i+2] || vector[i+1:i+1])::BIT::UINTEGER), lambda h: "
    "CASE WHEN h & 31744 = 31744 "
    "THEN (((h & 32768) << 16) | 2139095040 | ((h & 1023) << 13))::UINTEGER::BIT::FLOAT "
    "ELSE ((((h & 32768) << 16) | ((h & 32767) << 13))::UINTEGER::BIT::FLOAT "
    "* 5192296858534827628530496329220096)::FLOAT END)",
}
"""SQL of DuckDB that makes the column ``vector`` a list of FLOAT, by the run's dtype."""

_STORED: dict[Dtype, np.dtype[Any]] = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2")}
_ROW_GROUP = 128
_READ_ROWS = 256
_PART_BYTES = 64 * 2**20
_PART_ROWS = 1024


def vector_type(width: int, dtype: Dtype) -> pa.DataType:
    """Fixed-length binary that holds ``width`` numbers."""
    return pa.binary(width * _STORED[dtype].itemsize)


def list_type(width: int, dtype: Dtype) -> pa.DataType:
    """The type of vectors in versions 1 and 2: lists of fixed size without nulls."""
    element = pa.float16() if dtype == "float16" else pa.float32()
    return pa.list_(pa.field("element", element, nullable=False), width)


def part_rows(manifest: Manifest) -> int:
    """Samples a part: a bounded number of bytes over all layers, at least one."""
    values = sum(manifest.stream(ref.stream).width_of(ref) for ref, _ in manifest.captures)
    sample = _STORED[manifest.dtype].itemsize * max(1, values)
    return min(_PART_ROWS, max(1, _PART_BYTES // sample))


def write_vectors(path: Path, ids: pa.Array | pa.ChunkedArray, array: np.ndarray) -> None:
    """Write ``array`` (n, d), float32 or float16, with its sample ids. No name is published."""
    stored = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    width = stored.shape[1] * stored.itemsize
    column = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(width), len(stored), [None, pa.py_buffer(stored)]
    )
    schema = pa.schema(
        [
            pa.field("sample_id", pa.string(), nullable=False),
            pa.field("vector", column.type, nullable=False),
        ]
    )
    pq.write_table(
        pa.Table.from_arrays([ids, column], schema=schema),
        path,
        row_group_size=_ROW_GROUP,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
        column_encoding={"sample_id": "DELTA_BYTE_ARRAY", "vector": "PLAIN"},
    )


def as_array(column: pa.Array, width: int, dtype: Dtype) -> np.ndarray:
    """(rows, width) of a column of either type, without a copy."""
    if pa.types.is_fixed_size_list(column.type):
        values: np.ndarray = column.flatten().to_numpy(zero_copy_only=True)
        return values.reshape(-1, width)
    stored = _STORED[dtype]
    flat = np.frombuffer(
        column.buffers()[1],
        dtype=stored,
        count=len(column) * width,
        offset=column.offset * width * stored.itemsize,
    )
    return flat.reshape(-1, width)


def check_type(kind: pa.DataType, width: int, dtype: Dtype) -> None:
    """ValueError unless a column of this type holds vectors of ``width`` numbers of ``dtype``."""
    expected = vector_type(width, dtype)
    if kind not in (expected, list_type(width, dtype)):
        raise ValueError(f"vectors are {kind}, run.json says {width} x {dtype} ({expected})")


def read_into(out: np.ndarray, path: Path, dtype: Dtype) -> None:
    """Fill ``out`` (rows, d) with the vectors of a file, which must be as many and as wide.

    InputError names the file.
    """
    row = 0
    for batch in tables.iter_batches(path, ["vector"], _READ_ROWS):
        column = batch.column(0)
        _check(column, out.shape[1], dtype, path)
        if row + len(column) <= len(out):
            out[row : row + len(column)] = as_array(column, out.shape[1], dtype)
        row += len(column)
    if row != len(out):
        raise InputError(f"holds {row} rows, expected {len(out)}", where=str(path))


def read_rows(out: np.ndarray, path: Path, rows: np.ndarray, dtype: Dtype) -> None:
    """Fill ``out`` (len(rows), d) with some rows of a file, reading their row groups only."""
    column = tables.take_rows(path, ["vector"], rows).column(0).combine_chunks()
    _check(column, out.shape[1], dtype, path)
    out[:] = as_array(column, out.shape[1], dtype)


def _check(column: pa.Array, width: int, dtype: Dtype, path: Path) -> None:
    if column.null_count:
        raise InputError(f"{column.null_count:,} vectors are missing", where=str(path))
    try:
        check_type(column.type, width, dtype)
    except ValueError as error:
        raise InputError(str(error), where=str(path)) from error
