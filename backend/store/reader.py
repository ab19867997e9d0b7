"""A store of runs: listing them, opening one, asking them in SQL. Reading never takes a lock."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from filelock import FileLock, Timeout

from backend.errors import InputError
from backend.store import query
from backend.store.compare import nearest
from backend.store.directory import DirectorySource
from backend.store.files import LOCK_S, fsync_dir
from backend.store.kinds import kinds_of
from backend.store.left import remove_pairs
from backend.store.manifest import Manifest
from backend.store.packed import PackedSource
from backend.store.pair import RunPair
from backend.store.paths import DELETED_PREFIX, WORK, StorePaths, check_id
from backend.store.run import Run
from backend.store.source import BrokenRun, Listing, Source

if TYPE_CHECKING:
    from backend.store.imports.sources import Sources
    from backend.store.writer import RunWriter


class Store:
    """Runs, as a directory or as one packed file (read-only; see :func:`backend.store.pack.pack`).

    Any number of processes may read while others write. Threads may share one.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise InputError(
                "store does not exist",
                where=str(self.path),
                hint="Make the demo store with: fusionscope demo --no-serve, or write one with: "
                "fusionscope capture --store DIR",
            )
        self.source: Source = (
            DirectorySource(self.path) if self.path.is_dir() else PackedSource(self.path)
        )

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> Store:
        """Open a store, making its directory where it is missing."""
        try:
            Path(path).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot make the store directory ({error.strerror})", where=str(path)
            ) from error
        return cls(path)

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r})"

    @property
    def paths(self) -> StorePaths:
        """Where things lie in a directory; InputError for a packed store, which nothing changes."""
        if isinstance(self.source, DirectorySource):
            return self.source.paths
        raise InputError(
            "is packed and read-only",
            where=str(self.path),
            hint="Do this to the store that it was packed from",
        )

    def run_ids(self) -> tuple[str, ...]:
        """Sorted ids of all finished runs, the broken ones too."""
        return self.source.run_ids()

    def run(self, run_id: str) -> Run:
        """Open one run; InputError names the near ids for one that does not exist."""
        return self.source.run(run_id)

    def pair(self, a: str, b: str) -> RunPair:
        """What is stored between the layers of two runs; see :class:`RunPair`."""
        return self.source.pair(self.run(a), self.run(b))

    def listing(self) -> Listing:
        """Every readable run in order of id, and every one that is not with the reason.

        The same object for as long as no run appears, goes or is replaced.
        """
        return self.source.listing()

    def broken(self) -> list[BrokenRun]:
        """Runs that cannot be listed, with the reason of each."""
        return list(self.listing().broken)

    def runs(self) -> pd.DataFrame:
        """One row a readable run, sorted by id; the columns are ``RUN_COLUMNS`` of the source.

        ``placement`` and ``seed`` are missing for a released model, ``label`` is what to call it.
        ``streams`` is a tuple of StreamSpec, ``poolings`` one of names, ``scores`` a dict (see
        :meth:`Run.score_summary`). Which measures a run has is asked of it, or in SQL.
        """
        return self.listing().frame()

    def query(self, sql: str, params: Sequence[object] | Mapping[str, object] = ()) -> pd.DataFrame:
        """Run one SELECT over the store; values go into ``params`` (``?`` or ``$name``).

        There is a view a kind of table (``measures``, ``scores``, ...), with ``run_id`` (``pair``
        in ``comparisons``) and ``key`` in front, and ``runs`` and ``samples``: docs/store.md shows
        them. A table that cannot be read is left out with a warning that names it. Wrong SQL
        raises DuckDB's error, any statement but one SELECT ValueError.
        """
        return query.select(self.source, sql, params)

    def token(self, run_id: str) -> str:
        """A short string that changes when the run, or a table that belongs to it, comes or goes.

        Costs a few directory listings; use it as the key of a cache.
        """
        digest = hashlib.blake2b(self.source.version(run_id).encode(), digest_size=16)
        for kind in kinds_of("run"):
            digest.update(f"{kind.name} {self.source.keys(kind, run_id)}\n".encode())
        return digest.hexdigest()

    def holder(self, run_id: str) -> str | None:
        """Whose run has this id, finished or unfinished: the digest of its model.

        None where the id is free, empty where the run cannot be read or does not say.
        """
        finished = self.paths.run(run_id)
        partial = self.paths.partial(run_id)
        if finished.dir.is_dir():
            path = finished.manifest
        elif partial.is_dir():
            path = partial / WORK
        else:
            return None
        try:
            return Manifest.read(path).model.digest
        except InputError:
            return ""  # taken all the same

    def writer(self, manifest: Manifest, *, replace: bool = False) -> RunWriter:
        """A context manager that writes one run; see :class:`backend.store.writer.RunWriter`."""
        from backend.store.writer import RunWriter

        return RunWriter(self.paths, manifest, replace=replace)

    def add_run(self, sources: Sources, **options: Any) -> Run:
        """Activations that were made elsewhere as a run; see :mod:`backend.store.imports`."""
        from backend.store.imports import add_run

        return add_run(self, sources, **options)

    def delete(self, run_id: str) -> None:
        """Remove a run (also a broken one) and its comparisons. It disappears at once."""
        directory = self.paths.run(run_id).dir
        if not directory.is_dir():
            raise InputError(
                f"no run {run_id!r}", where=str(self.path), hint=nearest(run_id, self.run_ids())
            )
        grave = self.paths.runs / f"{DELETED_PREFIX}{check_id(run_id)}-{uuid.uuid4().hex[:8]}"
        try:
            with self._alone(run_id):
                directory.rename(grave)
                fsync_dir(self.paths.runs)
                shutil.rmtree(grave)
                remove_pairs(self.paths, run_id)
        except OSError as error:
            raise InputError(
                f"run {run_id} cannot be deleted ({error.strerror or error})", where=str(self.path)
            ) from error

    @contextmanager
    def _alone(self, run_id: str) -> Iterator[None]:
        """Hold the lock of a run; InputError where another process is writing it."""
        lock = FileLock(self.paths.lock(run_id))
        try:
            lock.acquire(timeout=LOCK_S)
        except Timeout as error:
            raise InputError(
                f"another process is writing run {run_id}", where=str(self.path)
            ) from error
        try:
            yield
        finally:
            if not self.paths.partial(run_id).exists():
                self.paths.lock(run_id).unlink(missing_ok=True)
            lock.release()
