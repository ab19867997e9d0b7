"""Writing whole stores into one DuckDB file, for exchange."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from backend import __version__
from backend.errors import InputError
from backend.progress import SILENT, Progress
from backend.store import tables
from backend.store.connection import PACKED, identifier, literal
from backend.store.files import held, published
from backend.store.holder import TableHolder
from backend.store.index import Entry, table_of
from backend.store.kinds import Kind, kinds_of
from backend.store.numbers import NumberedRuns, is_numbered
from backend.store.packed_file import COLUMNS, ENTRY_COLUMNS, PACK_VERSION
from backend.store.reader import Store
from backend.store.run import Run
from backend.store.source import OWNER, SAMPLE_COLUMNS

if sys.platform != "win32":
    import fcntl

STORAGE_VERSION = "v1.0.0"
"""The oldest DuckDB that reads a packed file; newer ones do as well."""

_BLOCK_BYTES = 32 * 2**20
_SAMPLE_ROWS = 4096


@dataclass(frozen=True)
class Packed:
    """What was packed: numbers of runs, samples, tables and vectors, and the file's size."""

    runs: int
    samples: int
    tables: int
    vectors: int
    bytes: int


def pack(
    stores: Sequence[Store],
    out: Path,
    *,
    activations: bool = True,
    numbers: bool = False,
    replace: bool = False,
    progress: Progress = SILENT,
) -> Packed:
    """Write everything that the pages need into ``out``; checkpoints stay where they are.

    Several ``stores`` (cells that were computed on several machines), packed ones among them,
    become one; the ids of their runs differ. The file appears whole or not at all, a file of that
    name is kept unless ``replace``, and one that another process writes in any case. Without
    ``activations`` what is computed from them is still there; ``numbers`` leaves out all that shows
    or names a sample, too (:mod:`backend.store.numbers`). Anything that cannot be read raises
    InputError: a file for exchange says nothing of what it lacks. Memory is bounded by 32 MiB of
    vectors, the largest table and DuckDB's own 512 MB.
    """
    taken = InputError(
        "exists already", where=str(out), hint="Choose another name, or `replace` it"
    )
    if out.exists() and not replace:
        raise taken
    listed = _listed(stores)
    if replace:
        _require_not_written(out)
    try:
        with ExitStack() as stack, published(out, replace=replace) as temporary:
            # DuckDB makes its file itself.
            made = temporary.with_name(f"{temporary.name}.db")
            try:
                with closing(_opened(made)) as connection:
                    numbered = NumberedRuns() if numbers else None
                    packer = _Packer(connection, activations, progress, numbered)
                    packer.pack(listed)
                    connection.execute(f"CHECKPOINT {PACKED}")
                    connection.execute(f"DETACH {PACKED}")
                stack.enter_context(held(made))
                if replace:
                    _require_not_written(out)
                made.replace(temporary)
            except duckdb.IOException as error:
                raise InputError(
                    f"cannot be written ({str(error).splitlines()[0]})", where=str(out)
                ) from error
            finally:
                for path in (made, made.with_name(f"{made.name}.wal")):
                    path.unlink(missing_ok=True)
    except FileExistsError as error:
        raise taken from error  # somebody made it meanwhile
    return packer.packed(out.stat().st_size)


def _require_not_written(out: Path) -> None:
    """InputError for a database that another process is writing: its work would be lost.

    Who reads it keeps the file as it was.
    """
    if sys.platform == "win32" or not out.is_file():
        return  # there a file that is open is not replaced at all
    with out.open("rb") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # as DuckDB locks what it reads
        except BlockingIOError as error:
            raise InputError(
                "is being written by another process",
                where=str(out),
                hint="Close it there, or choose another name.",
            ) from error
        except OSError:
            return  # a file system without locks


def _listed(stores: Sequence[Store]) -> list[tuple[Store, tuple[Entry, ...]]]:
    """Each store with its runs; InputError for a broken run and for an id in two stores."""
    listed, owners = [], dict[str, Path]()
    for store in stores:
        listing = store.listing()
        if listing.broken:
            first = listing.broken[0]
            raise InputError(
                f"run {first.run_id} cannot be read ({first.reason})",
                where=str(store.path),
                hint="Mend or delete it first",
            )
        for entry in listing.entries:
            if entry.run_id in owners:
                raise InputError(
                    f"run {entry.run_id} is also in {owners[entry.run_id]}",
                    where=str(store.path),
                    hint="Delete one of the two",
                )
            owners[entry.run_id] = store.path
        listed.append((store, listing.entries))
    _require_names(listed)
    return listed


def _require_names(listed: Sequence[tuple[Store, Sequence[Entry]]]) -> None:
    """InputError where stores share a data set and one of them has only numbers of its samples."""
    shared = Counter(name for _, entries in listed for name in {entry.dataset for entry in entries})
    for store, entries in listed:
        for entry in entries:
            if shared[entry.dataset] > 1 and is_numbered(store.run(entry.run_id)):
                raise InputError(
                    f"the samples of {entry.dataset} have lost their names here, and another store "
                    "has the same data set",
                    where=str(store.path),
                    hint="Pack the stores that these numbers are of",
                )


def _opened(path: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:")
    for setting in (
        "memory_limit='512MB'",
        "temp_directory=''",
        "python_enable_replacements=false",
    ):
        connection.execute(f"SET {setting}")
    connection.execute(
        f"ATTACH {literal(str(path))} AS {PACKED} (STORAGE_VERSION '{STORAGE_VERSION}')"
    )
    for name, columns in COLUMNS.items():
        listed = ", ".join(f"{identifier(column)} {kind}" for column, kind in columns.items())
        connection.execute(f"CREATE TABLE {PACKED}.{name} ({listed})")
    return connection


class _Packer:
    """Copies run by run; counts what it copied."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        activations: bool,
        progress: Progress,
        numbered: NumberedRuns | None,
    ) -> None:
        self._connection = connection
        self._activations = activations and numbered is None
        self._numbered = numbered
        self._progress = progress
        self._waiting: dict[str, list[pa.Table]] = {}
        self._waiting_bytes = 0
        self._done = self._total = 0
        self._runs = self._samples = self._parts = self._captures = self._vectors = 0

    def packed(self, size: int) -> Packed:
        """What was packed, into a file of so many bytes."""
        return Packed(self._runs, self._samples, self._parts, self._vectors, size)

    def pack(self, listed: Sequence[tuple[Store, Sequence[Entry]]]) -> None:
        """Everything of every run, then of every pair, store by store."""
        made_by = pa.table({"pack_version": [PACK_VERSION], "made_by": [__version__]})
        self._insert("fusionscope", made_by)
        self._total = sum(
            entry.n * (1 + self._n_captures(entry)) for _, entries in listed for entry in entries
        )
        for store, entries in listed:
            runs = {entry.run_id: store.run(entry.run_id) for entry in entries}
            if self._numbered:
                runs = {run_id: self._numbered.run(run) for run_id, run in runs.items()}
            for entry in entries:
                self._pack_run(entry, runs[entry.run_id])
            self._pack_pairs(store, runs)
        self._flush()

    def _pack_run(self, entry: Entry, run: Run) -> None:
        self._pack_samples(run)
        for kind in kinds_of("run"):
            self._pack_tables(kind, run.run_id, run, run.contents.keys(kind))
        has_activations = self._n_captures(entry) > 0
        if has_activations:
            self._pack_vectors(run)
        row = entry._replace(
            run_json=run.contents.manifest(),
            has_activations=has_activations,
            has_checkpoint=False,
        )
        self._insert("runs", table_of([row]).select(list(ENTRY_COLUMNS)))
        self._runs += 1

    def _pack_pairs(self, store: Store, runs: Mapping[str, Run]) -> None:
        for kind in kinds_of("pair"):
            for owner in store.source.owners(kind):
                first, _, second = owner.partition("~")
                if first in runs and second in runs:
                    pair = store.source.pair(runs[first], runs[second])
                    current = [pair.stored_key(key) for key in pair.keys(kind)]
                    self._pack_tables(kind, owner, pair, current)

    def _n_captures(self, entry: Entry) -> int:
        return len(entry.manifest.captures) if self._activations and entry.has_activations else 0

    def _pack_samples(self, run: Run) -> None:
        schema = tables.samples_schema(run.manifest)
        labels = [name for name in schema.names if name.startswith("label_")]
        for rows in _blocks(run.n, _SAMPLE_ROWS):
            table = run.contents.samples(schema, schema.names, rows)
            texts = [
                json.dumps(row, ensure_ascii=False) for row in table.select(labels).to_pylist()
            ]
            columns = {
                "run_id": pa.array([run.run_id] * len(rows)),
                "row": pa.array(rows),
                **{name: table[name] for name in SAMPLE_COLUMNS if name != "run_id"},
                "labels": pa.array(texts if labels else ["{}"] * len(rows)),
                "thumbnail": table["thumbnail"],
            }
            self._insert("samples", pa.table(columns))
            self._samples += len(rows)
            self._advance(len(rows), f"{run.run_id}: samples")

    def _pack_tables(
        self, kind: Kind, owner: str, holder: TableHolder, keys: Iterable[str]
    ) -> None:
        for key in keys:
            table = holder.rows(kind, key)
            names = {"part": self._parts, OWNER[kind.owner]: owner, "key": key}
            columns = [name for name in names if name in COLUMNS[kind.name]]
            for at, name in enumerate(columns):
                value = pa.scalar(names[name], pa.int32() if name == "part" else pa.string())
                table = table.add_column(at, name, pa.repeat(value, len(table)))
            self._insert(kind.name, table)
            part = {"part": [self._parts], "kind": [kind.name], "owner": [owner], "key": [key]}
            self._insert("parts", pa.table(part))
            self._parts += 1

    def _pack_vectors(self, run: Run) -> None:
        dtype = np.dtype(run.manifest.dtype).newbyteorder("<")
        for ref, pooling in run.captured():
            width = run.manifest.stream(ref.stream).width_of(ref)
            capture = {
                "capture": [self._captures],
                "run_id": [run.run_id],
                "stream": [ref.stream],
                "site": [ref.label],
                "pooling": [pooling],
                "dtype": [run.manifest.dtype],
                "width": [width],
            }
            self._insert("captures", pa.table(capture))
            for rows in _blocks(run.n, max(1, _BLOCK_BYTES // (4 * width))):
                values = run.vectors(ref.stream, ref, pooling, rows).astype(dtype)
                size = width * dtype.itemsize
                binary = pa.FixedSizeBinaryArray.from_buffers(
                    pa.binary(size), len(rows), [None, pa.py_buffer(values.tobytes())]
                )
                number = pa.repeat(pa.scalar(self._captures, pa.int32()), len(rows))
                columns = {"capture": number, "row": pa.array(rows)}
                columns["vector"] = binary.cast(pa.binary())
                self._insert("activations", pa.table(columns))
                self._vectors += len(rows)
                self._advance(len(rows), f"{run.run_id}: {ref.stream} {ref.label}")
            self._captures += 1

    def _insert(self, name: str, rows: pa.Table) -> None:
        """Add rows to a table, many tables of a few rows at once."""
        self._waiting.setdefault(name, []).append(rows)
        self._waiting_bytes += rows.nbytes
        if self._waiting_bytes >= _BLOCK_BYTES:
            self._flush()

    def _flush(self) -> None:
        """Add all that waits: each commit waits for the disk, and what is not committed is held."""
        self._connection.execute("BEGIN")
        for name, pieces in self._waiting.items():
            self._connection.register("_rows", pa.concat_tables(pieces))
            self._connection.execute(f"INSERT INTO {PACKED}.{name} BY NAME FROM _rows")
            self._connection.unregister("_rows")
        self._connection.execute("COMMIT")
        self._waiting, self._waiting_bytes = {}, 0

    def _advance(self, rows: int, what: str) -> None:
        self._done += rows
        self._progress.advance(self._done, self._total, what)


def _blocks(n: int, size: int) -> Iterator[np.ndarray]:
    """Row numbers 0..n-1 in blocks."""
    for start in range(0, n, size):
        yield np.arange(start, min(start + size, n), dtype=np.int64)
