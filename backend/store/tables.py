"""Reading and writing the store's Parquet files, with errors that name the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from backend.errors import InputError
from backend.store.files import published
from backend.store.kinds import Kind, check_sites
from backend.store.manifest import Manifest
from backend.store.pages import sizes
from backend.store.wall import FAULTS, missing, refused, regular, require_size
from backend.types import TaskSpec

_LABEL_TYPES = {
    "binary": pa.int8(),
    "multiclass": pa.string(),
    "multilabel": pa.list_(pa.string()),
}
_LAYERS = b"fusionscope.layers"
_GROUPED = ("group", "image_digest")
_SAMPLE_ROW_GROUP = 256  # so that showing one sample reads few thumbnails


def samples_schema(manifest: Manifest) -> pa.Schema:
    """Columns of a run's samples: id, split, text, group, digest of the image, one
    ``label_<task>`` a task, thumbnail.

    ``group`` is null where the data set does not give one, ``image_digest`` (see
    :func:`backend.data.images.image_digest`) where there is no image.
    """
    return pa.schema(
        [
            pa.field("sample_id", pa.string(), nullable=False),
            pa.field("split", pa.string(), nullable=False),
            pa.field("text", pa.string(), nullable=False),
            *[pa.field(name, pa.string()) for name in _GROUPED],
            *[pa.field(f"label_{task.name}", label_type(task)) for task in manifest.tasks],
            pa.field("thumbnail", pa.binary()),
        ]
    )


def stored_schema(manifest: Manifest) -> pa.Schema:
    """The columns that a run's files of samples have: older runs lack some."""
    schema = samples_schema(manifest)
    if manifest.grouped:
        return schema
    return pa.schema([field for field in schema if field.name not in _GROUPED])


def label_type(task: TaskSpec) -> pa.DataType:
    """Arrow type of a task's label column."""
    return _LABEL_TYPES[task.kind]


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


def checked(kind: Kind, rows: pd.DataFrame | pa.Table) -> pa.Table:
    """Rows as a table of ``kind``; ValueError names the kind and what it does not allow."""
    table = to_table(rows, kind.schema, kind.name)
    try:
        check_sites(kind, table)
        kind.check(table)
    except ValueError as error:
        raise ValueError(f"{kind.name}: {error}") from error
    return table


def write_once(path: Path, table: pa.Table) -> None:
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


def write_samples(path: Path, table: pa.Table, *, layers: int) -> None:
    """Write samples: small row groups, zstd, thumbnails as they are. No name is published.

    ``layers`` is how many layers were written with them; see :func:`layers_beside`.
    """
    table = table.replace_schema_metadata({_LAYERS: str(layers)})
    leaves = [
        f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name
        for field in table.schema
    ]
    codecs = dict.fromkeys(leaves, "zstd")
    codecs["thumbnail"] = "none"  # WebP is compressed already
    pq.write_table(
        table,
        path,
        row_group_size=_SAMPLE_ROW_GROUP,
        compression=codecs,
        use_dictionary=[
            name
            for name in table.column_names
            if name not in ("sample_id", "image_digest", "thumbnail")
        ],
        write_statistics=[name for name in leaves if name != "thumbnail"],
        write_page_checksum=True,
    )


def layers_beside(path: Path) -> int:
    """How many layers belong to these samples; InputError where the file does not say."""
    with open_parquet(path) as file:
        written = (file.schema_arrow.metadata or {}).get(_LAYERS, b"")
    if not written.isdigit():
        raise InputError("does not say how many layers belong to it", where=str(path))
    return int(written)


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a file of the store whose content fits into memory, to be read by what follows here.

    Columns of text come with their dictionaries, so that a value that is repeated does not cost
    its length each time before :func:`read_open` has counted. InputError if the file is missing, is
    no regular file, has no readable footer, or would become too large.
    """
    try:
        texts = sizes(path).texts
        return pq.ParquetFile(
            path, read_dictionary=texts, page_checksum_verification=True, memory_map=False
        )
    except FileNotFoundError as error:
        raise missing(path) from error
    except InputError:
        raise
    except PermissionError as error:
        raise refused(path, error) from error
    except (pa.ArrowException, *FAULTS) as error:
        raise _corrupt(path, error) from error


def schema_of(file: pq.ParquetFile, path: Path) -> pa.Schema:
    """The columns of a file of :func:`open_parquet` as they are read; InputError names ``path``."""
    try:
        return pa.schema([item.with_type(_plain_type(item.type)) for item in file.schema_arrow])
    except (pa.ArrowException, *FAULTS) as error:
        raise _corrupt(path, error) from error


def check_columns(columns: pa.Schema, expected: pa.Schema, path: Path) -> None:
    """InputError, naming the first column that differs, unless names, order and types agree."""
    missing = [name for name in expected.names if name not in columns.names]
    unknown = [name for name in columns.names if name not in expected.names]
    for words, names in (("lacks the column", missing), ("has the unknown column", unknown)):
        if names:
            raise InputError(f"{words} {names[0]}", where=str(path))
    if columns.names != expected.names:
        raise InputError(f"its columns are not in the order {expected.names}", where=str(path))
    for item, wanted in zip(columns, expected, strict=True):
        if item.type != wanted.type:
            raise InputError(
                f"column {item.name} is {item.type}, expected {wanted.type}", where=str(path)
            )


def read_parquet(
    path: Path, columns: Sequence[str], *, expected: pa.Schema | None = None
) -> pa.Table:
    """Read columns of a file with page checksums verified; InputError names it.

    ``expected``: the columns that the whole file must have, see :func:`check_columns`.
    """
    with open_parquet(path) as file:
        if expected is not None:
            check_columns(schema_of(file, path), expected, path)
        return read_open(file, path, columns)


def read_open(
    file: pq.ParquetFile,
    path: Path,
    columns: Sequence[str] | None = None,
    row_groups: Sequence[int] | None = None,
) -> pa.Table:
    """Read from a file that is open already; InputError names ``path``."""
    try:
        if row_groups is None:
            table = file.read(columns=columns)
        else:
            table = file.read_row_groups(list(row_groups), columns=columns)
        return _plain(table, path)
    except InputError:
        raise
    except (pa.ArrowException, *FAULTS) as error:
        raise _corrupt(path, error) from error


def take_rows(
    path: Path, columns: Sequence[str], rows: np.ndarray, *, expected: pa.Schema | None = None
) -> pa.Table:
    """The rows with these numbers, in their order, reading only the row groups that hold them."""
    with open_parquet(path) as file:
        if expected is not None:
            check_columns(schema_of(file, path), expected, path)
        metadata = file.metadata
        sizes = np.array([metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)])
        if len(rows) and rows.max() >= metadata.num_rows:
            raise InputError(
                f"holds {metadata.num_rows} rows, row {rows.max()} was asked for", where=str(path)
            )
        ends = np.cumsum(sizes)
        groups = np.searchsorted(ends, rows, side="right")
        needed = np.unique(groups)
        table = read_open(file, path, columns, needed.tolist())
    starts_in_table = np.cumsum(sizes[needed]) - sizes[needed]
    starts_in_file = (ends - sizes)[needed]
    at = np.searchsorted(needed, groups)
    return table.take(pa.array(rows - starts_in_file[at] + starts_in_table[at]))


def read_kind(path: Path, kind: Kind) -> pa.Table:
    """Read a table whose columns must be those of ``kind``; InputError names the file."""
    with open_parquet(path) as file:
        check_columns(schema_of(file, path), kind.schema, path)
        return read_open(file, path)


def iter_batches(path: Path, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
    """Some columns of a file, at most ``rows`` rows at a time; InputError names the file."""
    with open_parquet(path) as file:
        try:
            for batch in file.iter_batches(batch_size=rows, columns=list(columns)):
                table = _plain(pa.Table.from_batches([batch]), path).combine_chunks()
                yield from table.to_batches()
        except InputError:
            raise
        except (pa.ArrowException, *FAULTS) as error:
            raise _corrupt(path, error) from error


def verify_pages(path: Path, columns: Sequence[str]) -> None:
    """Read columns and forget them, a few rows at a time; InputError where a checksum is wrong."""
    for _ in iter_batches(path, columns, _SAMPLE_ROW_GROUP):
        pass


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


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """The type of values that come with a dictionary, by themselves."""
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_list(kind):
        return pa.list_(_plain_type(kind.value_type))
    return kind


def _plain(table: pa.Table, path: Path) -> pa.Table:
    """A table without dictionaries and with valid text.

    InputError, before anything is made, where repeated values would become too large.
    """
    stored = regular(path).st_size
    require_size(table.nbytes + sum(map(_repeated_bytes, table.columns)), stored, str(path))
    table.validate(full=True)
    plain = [_plain_type(item.type) for item in table.schema]
    if plain == table.schema.types:
        return table
    return table.cast(
        pa.schema([i.with_type(kind) for i, kind in zip(table.schema, plain, strict=True)])
    )


def _repeated_bytes(column: pa.ChunkedArray) -> int:
    """Bytes of text that a column has without its dictionary."""
    total = 0
    for chunk in column.chunks:
        values = chunk.flatten() if pa.types.is_list(chunk.type) else chunk
        if pa.types.is_dictionary(values.type):
            lengths = pc.binary_length(values.dictionary)
            total += pc.sum(lengths.take(values.indices)).as_py() or 0
    return total


def _corrupt(path: Path, error: Exception) -> InputError:
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(
        f"corrupt Parquet file ({first})",
        where=str(path),
        hint="Delete the run and make it again, or restore the file from a copy",
    )
