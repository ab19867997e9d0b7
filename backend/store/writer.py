"""Writing one run so that it appears all at once, or goes on where it was interrupted."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa

from backend.data.groups import Grouping
from backend.errors import InputError
from backend.store.checks import Scope, run_scope
from backend.store.contents import TableContents
from backend.store.files import fsync_tree, published
from backend.store.grouping import GROUPING_COLUMNS, grouping_of
from backend.store.holder import TableHolder
from backend.store.labels import Labels, labels_of
from backend.store.manifest import Manifest
from backend.store.parts import PartWriter, Vectors
from backend.store.paths import StorePaths, layer_name
from backend.store.run import as_layer
from backend.store.table_files import RunTables
from backend.store.workplace import Workplace
from backend.store.written import WrittenParts
from backend.types import LayerRef, Pooling, StreamSpec

log = logging.getLogger(__name__)

CHECKPOINT_SUFFIXES = (".safetensors", ".json", ".txt")


class RunWriter(TableHolder):
    """Writes one run; use as a context manager, end with :meth:`commit`.

    Entering takes the run's lock (a second writer gets InputError at once), refuses a run that
    exists unless ``replace``, and goes on with the whole parts of the same work. Leaving without a
    commit keeps them for the next time. Tables that belong to the run are added as to a finished
    one; an unfinished run does not keep them.
    """

    def __init__(self, store: StorePaths, manifest: Manifest, *, replace: bool = False) -> None:
        # A manifest that was read from an older run describes the same work.
        self.manifest = manifest.model_copy(update={"parts": True, "grouped": True})
        self._store = store
        self._place = Workplace(store, self.manifest, replace=replace)
        self._files = RunTables(self._place.run)
        self._written: WrittenParts | None = None
        self._finished = False

    def __enter__(self) -> Self:
        self._place.take()
        self._written = WrittenParts(self._place.run, self.manifest)
        self._written.remove_orphans()
        if self._written.n:
            log.info("run %s goes on after %d samples", self.manifest.run_id, self._written.n)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._place.leave(finished=self._finished)

    @property
    def _parts(self) -> WrittenParts:
        if self._written is None or not self._place.taken:
            raise ValueError("the writer is not open: use it in a with statement")
        return self._written

    @property
    def contents(self) -> TableContents:
        """Where the tables of the run lie; ValueError outside the ``with`` block."""
        _ = self._parts
        return self._files

    @property
    def scope(self) -> Scope:
        """What the rows of the run may speak of; their samples are those that were written."""
        manifest = self.manifest.with_n(self.n_written)
        return run_scope(manifest, lambda: pa.array(self.sample_ids(), pa.string()))

    @property
    def streams(self) -> tuple[StreamSpec, ...]:
        """The model's streams in order."""
        return self.manifest.streams

    # Parts

    def write_part(self, samples: pa.Table, vectors: Vectors) -> None:
        """Append samples and all their layers; they are safe once this returns.

        See :meth:`PartWriter.write`. Another set of layers than that of the parts before raises
        ValueError, a sample id that was written before InputError; nothing is written then.
        """
        self._parts.append(samples, vectors)

    @property
    def parts(self) -> PartWriter:
        """Writes parts of this run from any process; :meth:`refresh` sees what others wrote."""
        return self._parts.writer

    @property
    def written(self) -> tuple[range, ...]:
        """The rows of every whole part in order, also of those that lie behind a gap."""
        return self._parts.ranges

    def refresh(self) -> None:
        """Look again which parts there are, after other processes wrote some."""
        self._parts.recover()

    @property
    def n_written(self) -> int:
        """Samples without a gap from the first on; a capture that goes on skips these."""
        return self._parts.n

    @property
    def last_sample_id(self) -> str | None:
        """Id of the last of these samples, or None."""
        return self._parts.id_at(self._parts.n - 1) if self._parts.n else None

    @property
    def part_ends(self) -> tuple[int, ...]:
        """Samples in the first 1, 2, ... of the parts that follow each other."""
        return tuple(part.rows.stop for part in self._parts.leading)

    def keep_parts(self, count: int) -> None:
        """Delete all but the first ``count`` parts; their samples are captured again."""
        self._parts.truncate(count)

    def state(self) -> Path:
        """A directory for what a capture needs, besides its parts, to go on; gone at the commit.

        It stays with the unfinished work and is as old as the last file that was put there: whoever
        uses it must tell which parts a file belongs to.
        """
        _ = self._parts
        return self._place.state()

    # What is written can be read, for measures of runs that keep no vectors

    def written_ids(self) -> Iterator[str]:
        """Ids of the written samples, in order."""
        for column in self._parts.column("sample_id"):
            yield from column.to_pylist()

    def sample_ids(self) -> np.ndarray:
        """(n_written,) strings (object array) in order."""
        return np.array(list(self.written_ids()), dtype=object)

    def labels(self) -> Labels:
        """Labels of the written samples by task; see :meth:`Run.labels`."""
        columns = {
            task.name: self._parts.column(f"label_{task.name}") for task in self.manifest.tasks
        }
        return labels_of(self.manifest.tasks, columns, f"run {self.manifest.run_id}")

    def grouping(self) -> Grouping:
        """Which of the written samples belong together; see :meth:`Run.grouping`."""
        names = ["sample_id", *GROUPING_COLUMNS]
        columns = {name: _joined(self._parts.column(name)) for name in names}
        return grouping_of(pa.table(columns), lambda: self._parts.column("thumbnail"))

    def groups(self) -> np.ndarray | None:
        """(n_written,) the name of each sample's group; see :meth:`Run.groups`."""
        return self.grouping().names

    def captured(self) -> tuple[tuple[LayerRef, Pooling], ...]:
        """Layers and poolings of the written parts, by stream, pooling and position."""
        return self._parts.layers

    def layers(self, stream: str, pooling: Pooling = "cls") -> tuple[LayerRef, ...]:
        """The written layers of a stream under one pooling, in order of position."""
        self.manifest.stream(stream)
        return tuple(r for r, p in self.captured() if r.stream == stream and p == pooling)

    def vectors(
        self, stream: str, layer: int | str | LayerRef, pooling: Pooling = "cls"
    ) -> np.ndarray:
        """(n_written, d) float32 of one layer; InputError for one that was not written."""
        ref = as_layer(stream, layer)
        if (ref, pooling) not in self.captured():
            name = layer_name(ref, pooling)
            raise InputError(f"run {self.manifest.run_id}: {name} was not written")
        return self._parts.vectors(ref, pooling)

    # The end

    def add_checkpoint(self, directory: Path) -> None:
        """Copy the safetensors, JSON and text files of a save_pretrained directory."""
        _ = self._parts
        if not (directory / "config.json").is_file():
            raise InputError("not a checkpoint: config.json is missing", where=str(directory))
        target = self._place.run.checkpoint
        target.mkdir()
        for source in sorted(directory.iterdir()):
            if source.is_file() and source.suffix in CHECKPOINT_SUFFIXES:
                shutil.copyfile(source, target / source.name)

    def commit(self, *, keep_activations: bool = True) -> Manifest:
        """Make the run appear, with n set; returns its manifest.

        InputError where rows are missing between the parts or a sample id occurs in two, and, if
        the manifest already names n, for another number of samples; the parts stay then.
        """
        parts = self._parts
        parts.recover()
        parts.require_whole()
        expected = self.manifest.dataset.n
        if not parts.n or (expected and expected != parts.n):
            raise InputError(
                f"run {self.manifest.run_id} has {parts.n} samples, expected {expected or 'some'}",
                where=str(self._store.root),
            )
        manifest = self.manifest.with_n(parts.n)
        try:
            fsync_tree(self._place.run.dir)
            with published(self._place.run.manifest, replace=True) as temporary:
                temporary.write_text(manifest.to_json(), encoding="utf-8")
            self._place.publish(keep_activations=keep_activations)
        except OSError as error:
            raise InputError(
                f"run {manifest.run_id} cannot be written ({error.strerror or error})",
                where=str(self._store.root),
                hint="What was captured is kept: make room and start again",
            ) from error
        self._finished = True
        self._place.clear()
        return manifest

    def discard(self) -> None:
        """Remove the unfinished run: nothing of it is worth going on from. The writer is done."""
        _ = self._parts
        self._finished, self._written = True, None
        self._place.clear()


def _joined(pieces: Iterator[pa.ChunkedArray]) -> pa.ChunkedArray:
    """Columns of strings one after the other."""
    return pa.chunked_array([chunk for piece in pieces for chunk in piece.chunks], pa.string())
