"""The shards of a run that is being written: one file holds some samples and all their layers.

A shard is either complete or absent (temporary name, fsync, rename), so an interrupted capture
goes on after the last one. Commit later turns shards into one file per layer and pooling.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from backend.errors import InputError
from backend.store import tables
from backend.store.files import published
from backend.store.manifest import Manifest
from backend.store.paths import activation_name, parse_activation_name
from backend.types import LayerRef, Pooling

log = logging.getLogger(__name__)

_SHARD = re.compile(r"shard-\d{6}\.parquet")


class Shards:
    """The finished shards of one run, in order, in ``directory``."""

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self.directory = directory
        self.manifest = manifest
        self.files: list[Path] = []
        self.ends: list[int] = []  # samples in the first 1, 2, ... shards
        self.columns: tuple[str, ...] | None = None
        # Eight bytes a sample rather than its id, so that memory stays flat as samples grow.
        self._hashes = np.empty(0, dtype=np.uint64)
        directory.mkdir(parents=True, exist_ok=True)
        self._recover()

    @property
    def n(self) -> int:
        """Samples in all finished shards."""
        return self.ends[-1] if self.ends else 0

    def truncate(self, count: int) -> None:
        """Delete all but the first ``count`` shards, the last one first."""
        for path in reversed(self.files[count:]):
            path.unlink()
        del self.files[count:], self.ends[count:]
        self._hashes = self._hashes[: self.n]
        if not self.files:
            self.columns = None

    def _recover(self) -> None:
        """Take over the shards that are whole; drop temporary files and what follows a gap."""
        for leftover in self.directory.glob(".tmp-*"):
            leftover.unlink()
        found = sorted(p for p in self.directory.iterdir() if _SHARD.fullmatch(p.name))
        for at, path in enumerate(found):
            try:
                if path.name != f"shard-{at:06d}.parquet":
                    raise InputError("a shard before it is missing", where=str(path))
                ids = tables.read_parquet(path, ["sample_id"]).column(0)
                columns = self._vector_columns(path)
                self._accept(path, columns, self._check(ids, columns))
            except (InputError, ValueError) as error:
                log.warning("dropping %d unusable shards: %s", len(found) - at, error)
                for dropped in found[at:]:
                    dropped.unlink()
                return

    def _vector_columns(self, path: Path) -> tuple[str, ...]:
        with tables.open_parquet(path) as file:
            names: list[str] = file.schema_arrow.names
        return tuple(name for name in names if parse_activation_name(name) is not None)

    def _accept(self, path: Path, columns: tuple[str, ...], hashes: np.ndarray) -> None:
        self._hashes = np.concatenate([self._hashes, hashes])
        self.columns = columns
        self.files.append(path)
        self.ends.append(self.n + len(hashes))

    def _check(self, ids: pa.ChunkedArray, columns: tuple[str, ...]) -> np.ndarray:
        """Hashes of ids that may follow those before; else ValueError or InputError."""
        if self.columns is not None and columns != self.columns:
            changed = sorted(set(columns) ^ set(self.columns))
            raise ValueError(f"a shard must hold the same layers as those before: {changed}")
        return self._new_hashes(ids)

    def _new_hashes(self, ids: pa.ChunkedArray) -> np.ndarray:
        """Hashes of ids; InputError if an id is repeated or was written before."""
        texts = ids.to_pylist()
        hashes = np.array([_hash(text) for text in texts], dtype=np.uint64)
        known = np.isin(hashes, self._hashes)
        if known.any():
            self._refuse(texts[int(np.flatnonzero(known)[0])])
        if len(np.unique(hashes)) != len(hashes):
            seen: set[str] = set()
            for text in texts:
                if text in seen:
                    self._refuse(text)
                seen.add(text)
        return hashes

    def _refuse(self, sample_id: str) -> None:
        raise InputError(
            f"run {self.manifest.run_id}: sample id {sample_id!r} occurs twice",
            hint="Give every sample an id of its own",
        )

    def append(
        self, samples: pa.Table, vectors: Mapping[tuple[LayerRef, Pooling], np.ndarray]
    ) -> None:
        """Write one shard; it counts once this returns. See :meth:`RunWriter.write_shard`."""
        if samples.num_rows == 0:
            raise ValueError("a shard needs at least one sample")
        if vectors and self.manifest.streaming:
            raise ValueError("a streaming run keeps no vectors")
        if "thumbnail" not in samples.column_names:
            nothing = pa.nulls(samples.num_rows, pa.binary())
            samples = samples.append_column("thumbnail", nothing)
        table = tables.to_table(samples, tables.samples_schema(self.manifest), "samples")
        names = []
        for (ref, pooling), array in vectors.items():
            name = activation_name(ref, pooling)
            column = self._vector_column(name, ref, pooling, array, samples.num_rows)
            table = table.append_column(pa.field(name, column.type, nullable=False), column)
            names.append(name)
        columns = tuple(names)
        if self.columns is not None and set(columns) == set(self.columns):
            columns = self.columns
            table = table.select([*tables.samples_schema(self.manifest).names, *columns])
        path = self.directory / f"shard-{len(self.files):06d}.parquet"
        hashes = self._check(table["sample_id"], columns)
        with published(path) as temporary:
            # Short-lived, and written while a model waits: compressing it would only cost time.
            pq.write_table(
                table,
                temporary,
                compression="none",
                use_dictionary=False,
                write_statistics=False,
                write_page_checksum=True,
                row_group_size=table.num_rows,
            )
        self._accept(path, columns, hashes)

    def _vector_column(
        self, name: str, ref: LayerRef, pooling: Pooling, array: np.ndarray, rows: int
    ) -> pa.Array:
        spec = self.manifest.stream(ref.stream)
        if ref not in spec.refs:
            raise ValueError(f"{name}: stream {ref.stream} has no layer {ref.label}")
        if pooling not in self.manifest.poolings:
            raise ValueError(f"{name}: the manifest's poolings are {self.manifest.poolings}")
        if pooling not in spec.poolings_of(ref):
            raise ValueError(f"{name}: the layer's poolings are {spec.poolings_of(ref)}")
        width = spec.width_of(ref)
        if array.shape != (rows, width):
            raise ValueError(f"{name}: shape {array.shape}, expected {(rows, width)}")
        if array.dtype != np.dtype(self.manifest.dtype):
            raise ValueError(
                f"{name}: dtype {array.dtype}, the manifest says {self.manifest.dtype}"
            )
        values = pa.array(np.ascontiguousarray(array).reshape(-1))
        kind = tables.vector_type(width, self.manifest.dtype)
        return pa.FixedSizeListArray.from_arrays(values, type=kind)

    def column(self, name: str) -> Iterator[pa.ChunkedArray]:
        """One column, a shard at a time."""
        for path in self.files:
            yield tables.read_parquet(path, [name]).column(0)

    def rows(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Some columns, a shard at a time."""
        for path in self.files:
            yield tables.read_parquet(path, columns)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
