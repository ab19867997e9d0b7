"""Writing one run so that it appears all at once, or goes on where it was interrupted.

Under ``runs/.partial-<run_id>/``: ``work.json`` (the manifest of the work), ``shards/`` (finished
parts of the capture), ``run/`` (the run as it will appear) and, where a capture asks for it,
``state/`` (what else it needs to go on). Commit builds ``run/`` from the shards, flushes it and
renames it to ``runs/<run_id>``; until then no reader looks at any of it.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa
from filelock import FileLock, Timeout

from backend.errors import InputError
from backend.store import tables
from backend.store.assemble import write_samples, write_vectors
from backend.store.files import fsync_dir, fsync_tree, published
from backend.store.labels import Labels, labels_of
from backend.store.manifest import Manifest
from backend.store.paths import (
    WORK,
    RunPaths,
    StorePaths,
    activation_name,
    parquet_keys,
    parse_activation_name,
)
from backend.store.run import as_layer
from backend.store.shards import Shards
from backend.types import LayerRef, Pooling, StreamSpec

log = logging.getLogger(__name__)

CHECKPOINT_SUFFIXES = (".safetensors", ".json", ".txt")


class RunWriter:
    """Writes one run; use as a context manager, end with :meth:`commit`.

    Entering takes the run's lock (a second writer gets InputError at once), refuses a run that
    exists unless ``replace``, and resumes finished shards of the same work. Leaving without a
    commit keeps the shards for the next time.
    """

    def __init__(self, store: StorePaths, manifest: Manifest, *, replace: bool = False) -> None:
        self.manifest = manifest
        self._store = store
        self._replace = replace
        self._final = store.run(manifest.run_id)
        self._partial = store.partial(manifest.run_id)
        self._building = RunPaths(self._partial / "run")
        self._lock: FileLock | None = None
        self._shards: Shards | None = None
        self.committed = False

    def __enter__(self) -> Self:
        self._refuse_existing()
        self._store.runs.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._store.lock(self.manifest.run_id))
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise InputError(
                f"another process is writing run {self.manifest.run_id}",
                where=str(self._store.root),
                hint="Wait for it or choose another --run-id",
            ) from error
        try:
            self._restore_replaced()
            self._refuse_existing()
            self._open_partial()
        except BaseException:
            lock.release()
            raise
        self._lock = lock
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lock is not None:
            if self.committed:
                # Removed while held: a process that waits on it sees the name gone and retries.
                self._store.lock(self.manifest.run_id).unlink(missing_ok=True)
            self._lock.release()
            self._lock = None

    def _refuse_existing(self) -> None:
        if self._final.dir.exists() and not self._replace:
            raise InputError(
                f"run {self.manifest.run_id} exists",
                where=str(self._store.root),
                hint="Choose another --run-id or delete it",
            )

    def _restore_replaced(self) -> None:
        """Bring back the old run if a replacing writer died between its two renames."""
        replaced = self._partial / "replaced"
        if replaced.is_dir() and not self._final.dir.exists():
            replaced.rename(self._final.dir)

    def _open_partial(self) -> None:
        work = self._partial / WORK
        if self._partial.exists() and not self._is_same_work(work):
            log.warning("discarding unfinished work on run %s: it differs", self.manifest.run_id)
            shutil.rmtree(self._partial)
        self._partial.mkdir(exist_ok=True)
        # Everything but the shards and the state that belongs to them is cheap to make again, and
        # may be half written.
        for leftover in (self._building.dir, self._partial / "replaced"):
            if leftover.exists():
                shutil.rmtree(leftover)
        self._building.dir.mkdir()
        with published(work, replace=True) as temporary:
            temporary.write_text(self.manifest.to_json(), encoding="utf-8")
        self._shards = Shards(self._partial / "shards", self.manifest)
        if self._shards.n:
            log.info("run %s goes on after %d samples", self.manifest.run_id, self._shards.n)

    def _is_same_work(self, work: Path) -> bool:
        try:
            return Manifest.read(work).same_work(self.manifest)
        except InputError as error:
            log.warning("unfinished work cannot be read: %s", error)
            return False

    @property
    def shards(self) -> Shards:
        """The finished shards; ValueError outside the ``with`` block."""
        if self._shards is None or self._lock is None:
            raise ValueError("the writer is not open: use it in a with statement")
        return self._shards

    @property
    def streams(self) -> tuple[StreamSpec, ...]:
        """The model's streams in order."""
        return self.manifest.streams

    @property
    def n_written(self) -> int:
        """Number of samples in finished shards; a capture that goes on skips these."""
        return self.shards.n

    @property
    def last_sample_id(self) -> str | None:
        """Id of the last sample in a finished shard, or None."""
        if not self.shards.files:
            return None
        return str(tables.read_parquet(self.shards.files[-1], ["sample_id"]).column(0)[-1])

    @property
    def shard_ends(self) -> tuple[int, ...]:
        """Samples in the first 1, 2, ... finished shards."""
        return tuple(self.shards.ends)

    def keep_shards(self, count: int) -> None:
        """Delete all but the first ``count`` finished shards; their samples are captured again."""
        self.shards.truncate(count)

    def state(self) -> Path:
        """A directory for what a capture needs, besides its shards, to go on; gone at the commit.

        It stays with the unfinished work and is as old as the last file that was put there: whoever
        uses it must tell which shards a file belongs to.
        """
        _ = self.shards
        directory = self._partial / "state"
        directory.mkdir(exist_ok=True)
        return directory

    def written_ids(self) -> Iterator[str]:
        """Ids of the samples in finished shards, in order."""
        for column in self.shards.column("sample_id"):
            yield from column.to_pylist()

    def sample_ids(self) -> np.ndarray:
        """(n_written,) strings (object array) in order."""
        return np.array(list(self.written_ids()), dtype=object)

    def labels(self) -> Labels:
        """Labels of the written samples by task; see :meth:`Run.labels`."""
        columns = {
            task.name: self.shards.column(f"label_{task.name}") for task in self.manifest.tasks
        }
        return labels_of(self.manifest.tasks, columns, f"run {self.manifest.run_id}")

    def write_shard(
        self, samples: pa.Table, vectors: Mapping[tuple[LayerRef, Pooling], np.ndarray]
    ) -> None:
        """Append samples and all their layers; they are safe once this returns.

        ``samples`` has the columns of samples.parquet (``thumbnail`` may be left out); each array
        of ``vectors`` is (rows, width of its site) of the manifest's dtype. NaN and infinite
        values are kept: measures name them. A wrong shape, dtype, column or set of layers raises
        ValueError, a repeated sample id InputError; nothing is written then.
        """
        self.shards.append(samples, vectors)

    def captured(self) -> tuple[tuple[LayerRef, Pooling], ...]:
        """Layers and poolings in the finished shards."""
        parsed = (parse_activation_name(name) for name in self.shards.columns or ())
        return tuple(item for item in parsed if item is not None)

    def layers(self, stream: str, pooling: Pooling = "cls") -> tuple[LayerRef, ...]:
        """The written layers of a stream under one pooling, in order of position."""
        found = [r for r, p in self.captured() if r.stream == stream and p == pooling]
        return tuple(sorted(found, key=self.manifest.stream(stream).position))

    def vectors(
        self, stream: str, layer: int | str | LayerRef, pooling: Pooling = "cls"
    ) -> np.ndarray:
        """(n_written, d) float32 of one layer, for measures of runs that keep no activations."""
        ref = as_layer(stream, layer)
        if (ref, pooling) not in self.captured():
            raise InputError(
                f"run {self.manifest.run_id}: {activation_name(ref, pooling)} was not written"
            )
        width = self.manifest.stream(stream).width_of(ref)
        out = np.empty((self.n_written, width), dtype=np.float32)
        row = 0
        for column in self.shards.column(activation_name(ref, pooling)):
            row = tables.fill_vectors(out, row, column)
        return out

    def add_scores(self, rows: pd.DataFrame) -> None:
        """Set the run's task scores: task, metric, split, value."""
        tables.write_tidy(self._open().scores, tables.scores_table(rows))

    def add_training_measures(self, rows: pd.DataFrame) -> None:
        """Set the measures of the model while it was trained; see :meth:`Run.training_measures`."""
        tables.write_tidy(self._open().training_measures, tables.training_table(rows))

    def add_measures(self, key: str, rows: pd.DataFrame) -> None:
        """Add measures under a new key; see :meth:`Run.add_measures`."""
        tables.write_tidy(self._open().measure(key), tables.measures_table(rows))

    def measure_keys(self) -> tuple[str, ...]:
        """Keys of the measures that were added."""
        return parquet_keys(self._open().measures)

    def driver_keys(self) -> tuple[str, ...]:
        """Keys of the driving samples that were added."""
        return parquet_keys(self._open().drivers)

    def add_drivers(self, key: str, rows: pd.DataFrame) -> None:
        """Add driving samples under a new key; see :meth:`Run.add_drivers`."""
        tables.write_tidy(self._open().driver(key), tables.drivers_table(rows))

    def add_projection(self, key: str, rows: pd.DataFrame) -> None:
        """Add layer coordinates under a new key; see :meth:`Run.add_projection`."""
        tables.write_tidy(self._open().projection(key), tables.projections_table(rows))

    def add_checkpoint(self, directory: Path) -> None:
        """Copy the safetensors, JSON and text files of a save_pretrained directory."""
        if not (directory / "config.json").is_file():
            raise InputError("not a checkpoint: config.json is missing", where=str(directory))
        target = self._open().checkpoint
        target.mkdir()
        for source in sorted(directory.iterdir()):
            if source.is_file() and source.suffix in CHECKPOINT_SUFFIXES:
                shutil.copyfile(source, target / source.name)

    def _open(self) -> RunPaths:
        _ = self.shards
        return self._building

    def commit(self, *, keep_activations: bool = True) -> Manifest:
        """Make the run appear, with n set; returns its manifest.

        Streams the shards into one file per layer and pooling (one row group a shard), so memory
        is bounded by one layer of one shard. If the manifest already names n, another number of
        samples raises InputError and the shards stay.
        """
        shards = self.shards
        expected = self.manifest.dataset.n
        if not shards.n or (expected and expected != shards.n):
            raise InputError(
                f"run {self.manifest.run_id} has {shards.n} samples, expected {expected or 'some'}",
                where=str(self._store.root),
            )
        manifest = self.manifest.with_n(shards.n)
        try:
            self._build(shards, manifest, keep_activations)
            self._publish()
        except OSError as error:
            raise InputError(
                f"run {manifest.run_id} cannot be written ({error.strerror or error})",
                where=str(self._store.root),
                hint="What was captured is kept: make room and start again",
            ) from error
        shutil.rmtree(self._partial)
        return manifest

    def _build(self, shards: Shards, manifest: Manifest, keep_activations: bool) -> None:
        """Write and flush everything of ``run/`` that comes from the shards."""
        run = self._building
        write_samples(shards, run.samples)
        if keep_activations:
            run.activations.mkdir(exist_ok=True)
            for ref, pooling in self.captured():
                write_vectors(shards, activation_name(ref, pooling), run.activation(ref, pooling))
        run.manifest.write_text(manifest.to_json(), encoding="utf-8")
        fsync_tree(run.dir)

    def _publish(self) -> None:
        """Rename ``run/`` to its final place: the moment at which the run appears."""
        if self._replace and self._final.dir.exists():
            self._final.dir.rename(self._partial / "replaced")
        self._refuse_existing()
        self._building.dir.rename(self._final.dir)
        fsync_dir(self._store.runs)
        self.committed = True


def clear_finished(store: StorePaths, run_id: str) -> None:
    """Remove what a writer that was killed just after its run appeared had no time to remove.

    Nothing where the run is not there, or another process is writing it.
    """
    partial = store.partial(run_id)
    if not store.run(run_id).dir.is_dir() or not partial.is_dir():
        return
    lock = FileLock(store.lock(run_id))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return
    shutil.rmtree(partial)
    store.lock(run_id).unlink(missing_ok=True)
    lock.release()
