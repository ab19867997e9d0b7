"""One run's directory: where its samples and vectors lie, and reading them.

Part ``part-<start>`` holds the rows from ``start`` up to the start of the next one, the same rows
in ``samples`` and in every layer. Runs of versions 1 and 2 have one file instead, which is read as
one part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from backend.errors import InputError
from backend.store import tables, vectors
from backend.store.checks import id_faults, sample_faults
from backend.store.manifest import Manifest
from backend.store.paths import RunPaths, layer_name, names_in, part_name, part_starts
from backend.store.table_files import RunTables
from backend.store.wall import missing, present, require_size
from backend.types import LayerRef, Pooling, StreamSpec

Capture = tuple[LayerRef, Pooling]


class RunFiles(RunTables):
    """A finished run as files, a :class:`backend.store.contents.RunContents`.

    ``manifest`` is that of the run, where it is known: else run.json is read when it is needed.
    """

    def __init__(self, paths: RunPaths, manifest: Manifest | None = None) -> None:
        super().__init__(paths)
        self._given = manifest

    def manifest(self) -> bytes:
        """run.json as it was written; InputError where it cannot be read."""
        return Manifest.content(self.paths.manifest)

    @cached_property
    def _manifest(self) -> Manifest:
        return self._given or Manifest.read(self.paths.manifest)

    @property
    def checkpoint(self) -> Path | None:
        """The save_pretrained directory, if the run keeps one."""
        return self.paths.checkpoint if self.paths.checkpoint.is_dir() else None

    # Which files

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """First rows of the parts in order. InputError where the first part is not there."""
        if not self._manifest.parts:
            return (0,)
        starts = part_starts(self.paths.samples)
        if starts[:1] != (0,):
            raise missing(self.paths.samples / part_name(0))
        return starts

    @property
    def ranges(self) -> tuple[range, ...]:
        """The rows of each part, as the names of the parts and run.json imply."""
        ends = (*self.starts[1:], max(self._manifest.dataset.n, self.starts[-1]))
        return tuple(range(start, end) for start, end in zip(self.starts, ends, strict=True))

    def sample_files(self) -> tuple[Path, ...]:
        """The files of the samples, in row order."""
        if not self._manifest.parts:
            return (self.paths.whole_samples,)
        return tuple(self.paths.samples / part_name(start) for start in self.starts)

    def vector_files(self, ref: LayerRef, pooling: Pooling) -> tuple[Path, ...]:
        """The files of one layer and pooling, in row order, whether or not they are there."""
        if not self._manifest.parts:
            return (self.paths.whole_layer(ref, pooling),)
        folder = self.paths.layer(ref, pooling)
        return tuple(folder / part_name(start) for start in self.starts)

    def captured(self) -> frozenset[Capture]:
        """Every layer and pooling that run.json names and that has vectors."""
        name = _name_in_parts if self._manifest.parts else _name_in_whole
        names = set(_files_below(self.paths.activations, deeper=self._manifest.parts))
        return frozenset(item for item in self._manifest.captures if name(*item) in names)

    # Reading

    def samples(
        self, schema: pa.Schema, columns: Sequence[str], rows: np.ndarray | None
    ) -> pa.Table:
        """Columns of all samples in row order, or of ``rows`` (row numbers) in their order.

        A column that the files of an older run lack is null.
        """
        stored = tables.stored_schema(self._manifest).names
        # One column tells how many rows there are.
        here = [name for name in columns if name in stored] or ["sample_id"]
        table = self._stored_samples(schema, here, rows)
        for name in columns:
            if name not in stored:
                table = table.append_column(
                    schema.field(name), pa.nulls(len(table), schema.field(name).type)
                )
        return table.select(list(columns))

    def _stored_samples(
        self, schema: pa.Schema, columns: Sequence[str], rows: np.ndarray | None
    ) -> pa.Table:
        paths, stored = self.sample_files(), tables.stored_schema(self._manifest)
        if rows is None:
            parts: list[pa.Table] = []
            nbytes = on_disk = 0
            for path in paths:
                table = tables.read_parquet(path, columns, expected=stored)
                nbytes, on_disk = nbytes + table.nbytes, on_disk + present(path).st_size
                require_size(nbytes, on_disk, str(path), len(parts) + 1)
                self._require(sample_faults(stored, table, self._manifest.tasks), path)
                parts.append(_with_fields(table, stored))
            whole = pa.concat_tables(parts)
            if "sample_id" in columns:
                faults = id_faults(whole["sample_id"], self._manifest.dataset.n)
                self._require(faults, paths[0].parent)
            return whole
        pieces, places = [schema.empty_table().select(list(columns))], [np.empty(0, np.int64)]
        for part, at in self._split(rows):
            path, inner = paths[part], rows[at] - self.starts[part]
            table = tables.take_rows(path, columns, inner, expected=stored)
            self._require(sample_faults(stored, table, self._manifest.tasks), path)
            pieces.append(_with_fields(table, schema))
            places.append(at)
        return pa.concat_tables(pieces).take(pa.array(np.argsort(np.concatenate(places))))

    def _require(self, faults: Iterator[str], path: Path) -> None:
        """InputError for the first of the faults."""
        for fault in faults:
            raise InputError(fault, where=str(path))

    def require_ids(self) -> None:
        """InputError unless there are as many sample ids as run.json says, and none twice."""
        self.samples(tables.samples_schema(self._manifest), ["sample_id"], None)

    def vectors(
        self, spec: StreamSpec, ref: LayerRef, pooling: Pooling, rows: np.ndarray | None
    ) -> np.ndarray:
        """(rows, d) float32 of all samples in row order, or of ``rows`` in their order."""
        paths, width = self.vector_files(ref, pooling), spec.width_of(ref)
        n = self._manifest.dataset.n if rows is None else len(rows)
        # What run.json says is not believed before the files are as large as that.
        stored = sum(present(path).st_size for path in paths)
        require_size(4 * n * width, stored, str(paths[0].parent))
        out = np.empty((n, width), dtype=np.float32)
        if rows is None:
            for path, part in zip(paths, self.ranges, strict=True):
                vectors.read_into(out[part.start : part.stop], path, self._manifest.dtype)
            return out
        for index, at in self._split(rows):
            some = np.empty((len(at), width), dtype=np.float32)
            inner = rows[at] - self.starts[index]
            vectors.read_rows(some, paths[index], inner, self._manifest.dtype)
            out[at] = some
        return out

    def _split(self, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Row numbers by part: (index of the part, places in ``rows`` of those that it holds)."""
        parts = np.searchsorted(self.starts, rows, side="right") - 1
        for part in np.unique(parts):
            yield int(part), np.flatnonzero(parts == part)


def _name_in_parts(ref: LayerRef, pooling: Pooling) -> str:
    return f"{ref.stream}/{ref.label}-{pooling}"


def _name_in_whole(ref: LayerRef, pooling: Pooling) -> str:
    return f"{layer_name(ref, pooling)}.parquet"


def _files_below(directory: Path, *, deeper: bool) -> Iterator[str]:
    """Names in a directory, or in the directories below it (``<directory>/<name>``)."""
    for name in names_in(directory):
        if name.startswith("."):
            continue
        if deeper:
            yield from (f"{name}/{inner}" for inner in _files_below(directory / name, deeper=False))
        else:
            yield name


def _with_fields(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The same columns under our fields: a stranger's may allow nulls that they do not have."""
    fields = [schema.field(name) for name in table.column_names]
    return pa.Table.from_arrays(table.columns, schema=pa.schema(fields))
