"""Schemas of the store's tables, and reading and writing them with errors that name the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from backend.errors import InputError
from backend.store.files import published
from backend.store.manifest import Manifest
from backend.types import LayerRef, TaskSpec

_WHERE = [("stream", pa.string()), ("layer", pa.int32()), ("site", pa.string())]


def _required(*columns: tuple[str, pa.DataType]) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns])


MEASURES = _required(
    ("measure", pa.string()),
    *[(f"{name}_a", kind) for name, kind in _WHERE],
    *[(f"{name}_b", kind) for name, kind in _WHERE],
    ("pooling", pa.string()),
    ("estimator", pa.string()),
    *[
        (name, pa.float64())
        for name in (
            *("value", "ci_low", "ci_high", "null_mean", "null_sd"),
            *("p_value", "p_corrected"),
        )
    ],
    ("n", pa.int64()),
    ("params", pa.string()),
    ("reason", pa.string()),
    ("warnings", pa.string()),
)
TRAINING = pa.schema(
    [
        pa.field("epoch", pa.int32(), nullable=False),
        pa.field("step", pa.int64(), nullable=False),
        *MEASURES,
    ]
)
PROJECTIONS = _required(
    ("sample_id", pa.string()),
    *_WHERE,
    ("pooling", pa.string()),
    ("method", pa.string()),
    ("x", pa.float32()),
    ("y", pa.float32()),
)
DRIVERS = _required(
    *[(f"{name}_a", kind) for name, kind in _WHERE],
    *[(f"{name}_b", kind) for name, kind in _WHERE],
    ("pooling", pa.string()),
    ("rank", pa.int32()),
    ("sample_id", pa.string()),
    ("share", pa.float64()),
)
SCORES = _required(
    ("task", pa.string()), ("metric", pa.string()), ("split", pa.string()), ("value", pa.float64())
)

_LABEL_TYPES = {
    "binary": pa.int8(),
    "multiclass": pa.string(),
    "multilabel": pa.list_(pa.string()),
}


def samples_schema(manifest: Manifest) -> pa.Schema:
    """Schema of samples.parquet: id, split, text, one ``label_<task>`` a task, thumbnail."""
    return pa.schema(
        [
            pa.field("sample_id", pa.string(), nullable=False),
            pa.field("split", pa.string(), nullable=False),
            pa.field("text", pa.string(), nullable=False),
            *[pa.field(f"label_{task.name}", label_type(task)) for task in manifest.tasks],
            pa.field("thumbnail", pa.binary()),
        ]
    )


def label_type(task: TaskSpec) -> pa.DataType:
    """Arrow type of a task's label column."""
    return _LABEL_TYPES[task.kind]


def vector_type(width: int, dtype: str) -> pa.DataType:
    """FixedSizeList<dtype>[width] whose elements are never null (which reads a third faster)."""
    element = pa.float16() if dtype == "float16" else pa.float32()
    return pa.list_(pa.field("element", element, nullable=False), width)


def to_table(rows: pd.DataFrame | pa.Table, schema: pa.Schema, what: str) -> pa.Table:
    """Rows as a table of exactly ``schema``.

    Columns may come in any order; a missing, unknown, null or wrongly typed one raises ValueError
    that names it. NaN is a value in float columns and stays NaN.
    """
    names = list(rows.columns) if isinstance(rows, pd.DataFrame) else rows.column_names
    missing = [name for name in schema.names if name not in names]
    unknown = [name for name in names if name not in schema.names]
    if missing or unknown:
        raise ValueError(f"{what}: missing columns {missing}, unknown columns {unknown}")
    arrays = []
    for field in schema:
        try:
            array = _to_array(rows[field.name], field.type)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise ValueError(f"{what}: column {field.name} is not {field.type}: {error}") from error
        if not field.nullable and array.null_count:
            raise ValueError(f"{what}: column {field.name} holds {array.null_count} nulls")
        arrays.append(array)
    return pa.Table.from_arrays(arrays, schema=schema)


def measures_table(rows: pd.DataFrame | pa.Table) -> pa.Table:
    """Validated measures: a NaN value has a reason and a value has none; sites have names."""
    return _reasoned(to_table(rows, MEASURES, "measures"))


def training_table(rows: pd.DataFrame | pa.Table) -> pa.Table:
    """Validated measures at steps of the training."""
    return _reasoned(to_table(rows, TRAINING, "training measures"))


def _reasoned(table: pa.Table) -> pa.Table:
    undefined = np.isnan(table["value"].to_numpy())
    reasoned = np.array([bool(text) for text in table["reason"].to_pylist()], dtype=bool)
    if (undefined != reasoned).any():
        row = int(np.flatnonzero(undefined != reasoned)[0])
        raise ValueError(f"measures: row {row} must have a reason exactly when its value is NaN")
    _check_sites(table, "site_a", "measures")
    _check_sites(table, "site_b", "measures", empty=True)
    return table


def projections_table(rows: pd.DataFrame) -> pa.Table:
    """Validated projections: finite coordinates at sites."""
    table = to_table(rows, PROJECTIONS, "projections")
    _check_sites(table, "site", "projections")
    for axis in ("x", "y"):
        if not np.isfinite(table[axis].to_numpy()).all():
            raise ValueError(f"projections: column {axis} holds NaN or infinite values")
    return table


def drivers_table(rows: pd.DataFrame | pa.Table) -> pa.Table:
    """Validated driving samples: sites, finite shares."""
    table = to_table(rows, DRIVERS, "drivers")
    for column in ("site_a", "site_b"):
        _check_sites(table, column, "drivers")
    if not np.isfinite(table["share"].to_numpy()).all():
        raise ValueError("drivers: column share holds NaN or infinite values")
    return table


def scores_table(rows: pd.DataFrame) -> pa.Table:
    """Validated scores."""
    return to_table(rows, SCORES, "scores")


def write_tidy(path: Path, table: pa.Table) -> None:
    """Write a small table under its final name at once; InputError if that name exists."""
    try:
        with published(path) as temporary:
            pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)
    except FileExistsError as error:
        raise InputError(
            f"{path.parent.name} {path.stem!r} exists and a store is never edited",
            where=str(path.parent),
            hint="Choose another key",
        ) from error


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a file of the store; InputError if it is missing or has no readable footer."""
    try:
        return pq.ParquetFile(path, page_checksum_verification=True, memory_map=False)
    except FileNotFoundError as error:
        raise InputError(
            "file is missing", where=str(path), hint="See: fusionscope verify"
        ) from error
    except (pa.ArrowException, OSError) as error:
        raise _corrupt(path, error) from error


def read_parquet(
    path: Path, columns: Sequence[str] | None = None, row_groups: Sequence[int] | None = None
) -> pa.Table:
    """Read a file (or some of its row groups) with page checksums verified; InputError names it."""
    with open_parquet(path) as file:
        try:
            if row_groups is None:
                return file.read(columns=columns)
            return file.read_row_groups(list(row_groups), columns=columns)
        except (pa.ArrowException, OSError) as error:
            raise _corrupt(path, error) from error


def read_checked(path: Path, schema: pa.Schema) -> pa.Table:
    """Read a tidy file whose columns must be those of ``schema``; InputError names the file."""
    table = read_parquet(path)
    if table.schema.names != schema.names or table.schema.types != schema.types:
        differing = set(table.schema.names) ^ set(schema.names) or "types"
        raise InputError(f"columns are not those of this version ({differing})", where=str(path))
    return table


def iter_row_groups(path: Path, column: str) -> Iterator[pa.ChunkedArray]:
    """One column of a file, a row group at a time."""
    with open_parquet(path) as file:
        for index in range(file.metadata.num_row_groups):
            try:
                table = file.read_row_group(index, columns=[column])
            except (pa.ArrowException, OSError) as error:
                raise _corrupt(path, error) from error
            yield table.column(0)


def verify_pages(path: Path, columns: Sequence[str]) -> None:
    """Read columns and forget them, a row group at a time; InputError where a checksum is wrong."""
    with open_parquet(path) as file:
        try:
            for index in range(file.metadata.num_row_groups):
                file.read_row_group(index, columns=list(columns))
        except (pa.ArrowException, OSError) as error:
            raise _corrupt(path, error) from error


def fill_vectors(out: np.ndarray, start: int, column: pa.ChunkedArray) -> int:
    """Copy a FixedSizeList column into rows ``start:`` of ``out`` (n, d); return the next row."""
    width = out.shape[1]
    for chunk in column.chunks:
        rows = chunk.flatten().to_numpy(zero_copy_only=True).reshape(-1, width)
        out[start : start + len(rows)] = rows
        start += len(rows)
    return start


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """As a DataFrame; a nullable binary label stays an integer (Int8), null is <NA>."""
    frame: pd.DataFrame = table.to_pandas(types_mapper={pa.int8(): pd.Int8Dtype()}.get)
    return frame


def _to_array(values: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        return (
            pa.concat_arrays(values.cast(kind).chunks) if values.num_chunks else pa.array([], kind)
        )
    # pandas reads NaN as null unless told otherwise; in a float column NaN is a value here.
    return pa.array(values, type=kind, from_pandas=not pa.types.is_floating(kind))


def _check_sites(table: pa.Table, column: str, what: str, *, empty: bool = False) -> None:
    for name in table[column].unique().to_pylist():
        if not (is_site_name(name) or (empty and not name)):
            raise ValueError(
                f"{what}: column {column} holds {name!r}, expected 'block' or a site's name"
            )


def is_site_name(name: str) -> bool:
    """Whether ``name`` can be that of a site."""
    try:
        LayerRef("", 0, name)
    except ValueError:
        return False
    return True


def _corrupt(path: Path, error: Exception) -> InputError:
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(
        f"corrupt Parquet file ({first})",
        where=str(path),
        hint="Delete the run and make it again, or restore the file from a copy",
    )
