"""What a run, or a pair of runs, of a packed store is read from; nothing can be added."""

# ruff: noqa: S608 - statements are made of our own names; every value is bound

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import numpy as np
import pyarrow as pa

from backend.errors import InputError
from backend.store import query
from backend.store.connection import PACKED
from backend.store.index import Entry
from backend.store.kinds import Kind
from backend.store.packed_file import COLUMNS
from backend.store.source import Part
from backend.types import LayerRef, Pooling, StreamSpec

if TYPE_CHECKING:
    from backend.store.packed import PackedSource


class PackedTables:
    """The tables of one owner, a :class:`backend.store.contents.TableContents`."""

    def __init__(self, source: PackedSource, owner: str) -> None:
        self.source = source
        self.owner = owner

    @property
    def where(self) -> str:
        """The packed file."""
        return str(self.source.path)

    def keys(self, kind: Kind) -> tuple[str, ...]:
        """Sorted keys of the tables that are there."""
        return self.source.keys(kind, self.owner)

    def place(self, kind: Kind, key: str) -> str:
        """Where the table lies in the file."""
        return f"{self.where}: {kind.name} {key} of {self.owner}"

    def table(self, kind: Kind, key: str) -> pa.Table:
        """All rows under a key; InputError where there is none."""
        if key not in self.keys(kind):
            raise InputError(f"{self.owner} has no {kind.name} {key!r}", where=self.where)
        answer = query.every_row(self.source, kind, [Part(self.owner, key)])
        if answer.problems:
            raise InputError(answer.problems[0])
        return answer.table.select(kind.schema.names).cast(kind.schema)

    def add(self, kind: Kind, key: str, table: pa.Table) -> NoReturn:
        """InputError: a packed store does not change."""
        raise InputError(
            "is packed and read-only",
            where=self.where,
            hint="Do this to the store that it was packed from",
        )


class _Capture(NamedTuple):
    number: int
    width: int
    dtype: str


class PackedRun(PackedTables):
    """Everything of one run, a :class:`backend.store.contents.RunContents`."""

    def __init__(self, source: PackedSource, entry: Entry) -> None:
        super().__init__(source, entry.run_id)
        self._entry = entry

    checkpoint: Path | None = None

    def manifest(self) -> bytes:
        """run.json as it was when the run was packed."""
        return self._entry.run_json

    def samples(
        self, schema: pa.Schema, columns: Sequence[str], rows: np.ndarray | None
    ) -> pa.Table:
        """Columns of all samples in row order, or of ``rows`` in their order."""
        table = query.sample_columns(self.source, self._entry, columns)
        typed = table.cast(pa.schema([schema.field(name) for name in columns]))
        return typed if rows is None else typed.take(pa.array(rows))

    @cached_property
    def _captures(self) -> dict[tuple[LayerRef, Pooling], _Capture]:
        own, which = "run_id = $run_id", {"run_id": self.owner}
        self.source.file.decoded("captures", COLUMNS["captures"], own, which)
        rows = self.source.file.rows(f"SELECT * FROM {PACKED}.captures WHERE {own}", which)
        by_name = {
            (row["stream"], row["site"], row["pooling"]): _Capture(
                row["capture"], row["width"], row["dtype"]
            )
            for row in rows.to_pylist()
            if row["capture"] is not None
        }
        return {
            (ref, pooling): by_name[ref.stream, ref.label, pooling]
            for ref, pooling in self._entry.manifest.captures
            if (ref.stream, ref.label, pooling) in by_name
        }

    def captured(self) -> frozenset[tuple[LayerRef, Pooling]]:
        """Every layer and pooling that run.json names and that has vectors."""
        return frozenset(self._captures)

    def vectors(
        self, spec: StreamSpec, ref: LayerRef, pooling: Pooling, rows: np.ndarray | None
    ) -> np.ndarray:
        """(rows, d) float32 of all samples in row order, or of ``rows`` in their order."""
        capture, width = self._captures[ref, pooling], spec.width_of(ref)
        dtype = np.dtype(self._entry.dtype).newbyteorder("<")
        # Rows lie in order; of the numbers that are asked for each is read once.
        wanted = np.arange(self._entry.n) if rows is None else np.unique(rows)
        # Looked at before any is fetched: their lengths are a stranger's.
        if (capture.width, capture.dtype) != (width, self._entry.dtype) or (
            not self.source.holds_vectors(capture.number, self._entry.n, width * dtype.itemsize)
        ):
            raise self._no_vectors(ref, pooling, width)
        self.source.file.require_size(4 * width * len(wanted), f"vectors of run {self.owner}")
        some = "" if rows is None else " AND list_contains($rows, row)"
        table = self.source.file.rows(
            f"SELECT row, vector FROM {PACKED}.activations WHERE capture = $capture{some}",
            {"capture": capture.number} | ({} if rows is None else {"rows": wanted.tolist()}),
        )
        if not np.array_equal(table["row"].to_numpy(), wanted):
            raise self._no_vectors(ref, pooling, width)
        raw = b"".join(table["vector"].to_pylist())
        array = np.frombuffer(raw, dtype).reshape(len(wanted), width).astype(np.float32)
        return array if rows is None else array[np.searchsorted(wanted, rows)]

    def _no_vectors(self, ref: LayerRef, pooling: Pooling, width: int) -> InputError:
        return InputError(
            f"the {pooling} vectors of {ref.stream} {ref.label} of run {self.owner} are not "
            f"{self._entry.n} of {width} numbers",
            where=self.where,
            hint="Get the file once more",
        )
