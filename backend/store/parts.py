"""Writing the parts of a run: a range of its samples with all their layers.

A part is many files, and counts once its samples are there, which are written last. So a part is
either whole or not there, whoever writes it and however that ends: an interrupted capture goes on
after the last whole one, and several processes can write disjoint ranges of one run.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from backend.errors import InputError
from backend.store import tables
from backend.store.files import published
from backend.store.manifest import Manifest
from backend.store.paths import RunPaths, layer_name, part_name
from backend.store.vectors import write_vectors
from backend.types import LayerRef, Pooling

_THREADS = 4  # flushing many files to disk is mostly waiting

Vectors = Mapping[tuple[LayerRef, Pooling], np.ndarray]


@dataclass(frozen=True)
class PartWriter:
    """Writes parts into a run that is being built. Any process may: it can be pickled."""

    paths: RunPaths
    manifest: Manifest

    def write(self, start: int, samples: pa.Table, vectors: Vectors) -> None:
        """Write the rows from ``start`` on with all their layers; they count once this returns.

        ``samples`` has the columns of the run's samples (``group``, ``image_digest`` and
        ``thumbnail`` may be left out); each array of ``vectors`` is (rows, width of its site) of
        the manifest's dtype. NaN and infinite values are kept: measures name them. A wrong shape,
        dtype or column raises ValueError, a sample id that occurs twice or a start that is taken
        InputError; nothing is written then.
        """
        self.put(start, self.checked(samples, vectors), vectors)

    def put(self, start: int, table: pa.Table, vectors: Vectors) -> None:
        """Write what was checked; see :meth:`write`."""
        target = self.paths.samples / part_name(start)
        if target.exists():
            raise self._taken(target)
        for ref, pooling in vectors:
            folder = self.paths.layer(ref, pooling)
            for directory in (self.paths.activations, folder.parent, folder):
                make_folder(directory)

        def write_layer(item: tuple[tuple[LayerRef, Pooling], np.ndarray]) -> None:
            (ref, pooling), array = item
            path = self.paths.layer(ref, pooling) / part_name(start)
            # A process that was killed may have left this layer without the samples that count it.
            with published(path, replace=True, flush_name=False) as temporary:
                write_vectors(temporary, table["sample_id"], array)

        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(write_layer, vectors.items()))
        try:
            with published(target) as temporary:
                tables.write_samples(temporary, table, layers=len(vectors))
        except FileExistsError as error:
            raise self._taken(target) from error

    def checked(self, samples: pa.Table, vectors: Vectors) -> pa.Table:
        """The samples as they are written; see :meth:`write` for what is refused."""
        if samples.num_rows == 0:
            raise ValueError("a part needs at least one sample")
        if vectors and self.manifest.streaming:
            raise ValueError("a streaming run keeps no vectors")
        schema = tables.samples_schema(self.manifest)
        for name in ("group", "image_digest", "thumbnail"):
            if name not in samples.column_names:
                nothing = pa.nulls(samples.num_rows, schema.field(name).type)
                samples = samples.append_column(name, nothing)
        table = tables.to_table(samples, schema, "samples")
        for (ref, pooling), array in vectors.items():
            self._check_vectors(ref, pooling, array, samples.num_rows)
        hashes = hashes_of(table["sample_id"])
        if len(np.unique(hashes)) != len(hashes):
            raise repeated(self.manifest, _repeated_in(table["sample_id"].to_pylist()))
        return table

    def _check_vectors(self, ref: LayerRef, pooling: Pooling, array: np.ndarray, rows: int) -> None:
        name = layer_name(ref, pooling)
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

    def _taken(self, target: Path) -> InputError:
        return InputError(
            f"run {self.manifest.run_id}: this part was written before",
            where=str(target),
            hint="Give every worker a range of its own",
        )


def make_folder(path: Path) -> None:
    """Make one directory if it is missing, and none above it: a run that is gone stays gone."""
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot be made ({error.strerror or error})", where=str(path)) from error


def hashes_of(ids: pa.ChunkedArray) -> np.ndarray:
    """(n,) 8 bytes a sample id, so that memory stays flat as samples grow."""
    digests = (hashlib.blake2b(text.encode(), digest_size=8).digest() for text in ids.to_pylist())
    return np.frombuffer(b"".join(digests), dtype="<u8")


def repeated(manifest: Manifest, sample_id: str) -> InputError:
    """The error for a sample id that occurs twice."""
    return InputError(
        f"run {manifest.run_id}: sample id {sample_id!r} occurs twice",
        hint="Give every sample an id of its own",
    )


def _repeated_in(ids: Sequence[str]) -> str:
    """The first id that occurs again."""
    return next(text for text, count in Counter(ids).items() if count > 1)
