"""The parts of an unfinished run that are there already: checked, in order, with their gaps."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from backend.errors import InputError
from backend.store import tables, vectors
from backend.store.files import remove_leftovers
from backend.store.manifest import Manifest
from backend.store.parts import PartWriter, Vectors, hashes_of, repeated
from backend.store.paths import RunPaths, layer_name, part_name, part_starts
from backend.types import LayerRef, Pooling

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """A whole part: its rows, the hashes of its sample ids, its layers."""

    rows: range
    hashes: np.ndarray
    layers: frozenset[tuple[LayerRef, Pooling]]


class WrittenParts:
    """The parts of one run that is being built, in order of their rows.

    ``leading`` are those that follow each other from row 0 on; a writer that appends goes on
    behind them, and drops what lies behind a gap, whose rows it will write again.
    """

    def __init__(self, paths: RunPaths, manifest: Manifest) -> None:
        self.paths, self.manifest = paths, manifest
        self.writer = PartWriter(paths, manifest)
        self._parts: dict[int, Part] = {}
        self.recover()

    def recover(self) -> None:
        """Read again which parts there are; those that are damaged are dropped with a warning."""
        before, self._parts = self._parts, {}
        end = 0
        for start in part_starts(self.paths.samples):
            try:
                part = before.get(start) or self._read(start)
                if start < end:
                    raise InputError("it overlaps the one before", where=part_name(start))
            except (InputError, ValueError) as error:
                log.warning("run %s: dropping an unusable part: %s", self.manifest.run_id, error)
                self._remove(start)
                continue
            self._parts[start] = part
            end = part.rows.stop

    def _read(self, start: int) -> Part:
        samples = self.paths.samples / part_name(start)
        ids = tables.read_parquet(samples, ["sample_id"]).column(0)
        layers = frozenset(
            (ref, pooling)
            for ref, pooling in self.manifest.captures
            if (self.paths.layer(ref, pooling) / part_name(start)).exists()
        )
        if len(layers) != (count := tables.layers_beside(samples)):
            raise InputError(
                f"{count} layers were written, {len(layers)} are there", where=str(samples)
            )
        if self._parts and layers != (first := next(iter(self._parts.values()))).layers:
            raise ValueError(_other_layers(layers, first.layers))
        for ref, pooling in layers:
            path = self.paths.layer(ref, pooling) / part_name(start)
            with tables.open_parquet(path) as file:
                rows, kind = file.metadata.num_rows, file.schema_arrow.field("vector").type
            vectors.check_type(
                kind, self.manifest.stream(ref.stream).width_of(ref), self.manifest.dtype
            )
            if rows != len(ids):
                raise InputError(f"{rows} rows, its samples have {len(ids)}", where=str(path))
        return Part(range(start, start + len(ids)), hashes_of(ids), layers)

    @property
    def leading(self) -> tuple[Part, ...]:
        """The parts that follow each other from row 0 on."""
        out: list[Part] = []
        for part in self._parts.values():
            if part.rows.start != (out[-1].rows.stop if out else 0):
                break
            out.append(part)
        return tuple(out)

    @property
    def ranges(self) -> tuple[range, ...]:
        """The rows of every whole part, in order, also of those behind gaps."""
        return tuple(part.rows for part in self._parts.values())

    @property
    def n(self) -> int:
        """Rows of the leading parts."""
        leading = self.leading
        return leading[-1].rows.stop if leading else 0

    @property
    def layers(self) -> tuple[tuple[LayerRef, Pooling], ...]:
        """Layers and poolings of the parts, by stream, pooling and position."""
        if not self._parts:
            return ()
        layers = next(iter(self._parts.values())).layers
        return tuple(capture for capture in self.manifest.captures if capture in layers)

    def truncate(self, count: int) -> None:
        """Delete all but the first ``count`` leading parts, the last one first."""
        keep = {part.rows.start for part in self.leading[:count]}
        for start in reversed(self._parts):
            if start not in keep:
                self._remove(start)
        self._parts = {start: part for start, part in self._parts.items() if start in keep}

    def append(self, samples: pa.Table, layers: Vectors) -> None:
        """Write the next part, behind the leading ones; it counts once this returns.

        See :meth:`PartWriter.write`. Another set of layers than before raises ValueError, a sample
        id that was written before InputError.
        """
        if len(self._parts) > len(leading := self.leading):
            self.truncate(len(leading))
        table = self.writer.checked(samples, layers)
        if self._parts and set(layers) != set(self.layers):
            raise ValueError(_other_layers(frozenset(layers), frozenset(self.layers)))
        hashes = hashes_of(table["sample_id"])
        again = np.isin(hashes, self._hashes())
        if again.any():
            raise repeated(self.manifest, table["sample_id"][int(np.flatnonzero(again)[0])].as_py())
        start = self.n
        self.writer.put(start, table, layers)
        rows = range(start, start + table.num_rows)
        self._parts[start] = Part(rows, hashes, frozenset(layers))

    def _hashes(self) -> np.ndarray:
        return np.concatenate(
            [np.empty(0, dtype="<u8"), *(part.hashes for part in self._parts.values())]
        )

    def require_whole(self) -> None:
        """InputError unless there are no gaps, and no sample id occurs in two parts."""
        if len(self.leading) < len(self._parts):
            gap = next(start for start in self._parts if start > self.n)
            raise InputError(
                f"run {self.manifest.run_id} lacks the samples of rows {self.n} to {gap - 1}",
                hint="What was captured is kept: start again to capture them",
            )
        hashes = self._hashes()
        values, counts = np.unique(hashes, return_counts=True)
        if len(values) != len(hashes):
            twice = hashes == values[counts > 1][0]
            raise repeated(self.manifest, self.id_at(int(np.flatnonzero(twice)[0])))

    def id_at(self, row: int) -> str:
        """The id of a written sample."""
        part = next(part for part in self._parts.values() if row in part.rows)
        path = self.paths.samples / part_name(part.rows.start)
        rows = np.array([row - part.rows.start])
        return str(tables.take_rows(path, ["sample_id"], rows).column(0)[0].as_py())

    def column(self, name: str) -> Iterator[pa.ChunkedArray]:
        """One column of the samples, a leading part at a time."""
        for part in self.leading:
            path = self.paths.samples / part_name(part.rows.start)
            yield tables.read_parquet(path, [name]).column(0)

    def vectors(self, ref: LayerRef, pooling: Pooling) -> np.ndarray:
        """(n, d) float32 of one layer in the leading parts."""
        width = self.manifest.stream(ref.stream).width_of(ref)
        out = np.empty((self.n, width), dtype=np.float32)
        for part in self.leading:
            path = self.paths.layer(ref, pooling) / part_name(part.rows.start)
            vectors.read_into(out[part.rows.start : part.rows.stop], path, self.manifest.dtype)
        return out

    def remove_orphans(self) -> None:
        """Delete layers that no samples count, and temporary files: of writers that are dead."""
        for folder, _, _ in os.walk(self.paths.dir):
            remove_leftovers(Path(folder))
        for path in _files_below(self.paths.activations):
            if path.name not in {part_name(start) for start in self._parts}:
                path.unlink()

    def _remove(self, start: int) -> None:
        """The samples first: without them the rest does not count."""
        (self.paths.samples / part_name(start)).unlink(missing_ok=True)
        for ref, pooling in self.manifest.captures:
            (self.paths.layer(ref, pooling) / part_name(start)).unlink(missing_ok=True)


def _files_below(directory: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(directory):
        yield from (Path(folder, name) for name in names)


def _other_layers(
    layers: frozenset[tuple[LayerRef, Pooling]], before: frozenset[tuple[LayerRef, Pooling]]
) -> str:
    changed = sorted(layer_name(ref, pooling) for ref, pooling in layers ^ before)
    return f"a part must hold the same layers as those before: {changed}"
