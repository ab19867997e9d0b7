"""Where an unfinished run lies, and the lock of the one process that finishes it.

Under ``runs/.partial-<run_id>/``: ``work.json`` (the manifest of the work), ``run/`` (the run as it
will appear: its parts are written where they stay), ``state/`` (what else a capture needs to go on,
where it asks for it), and for a moment at the commit ``replaced/`` (the run that gives way) and
``dropped/`` (vectors that are not kept). No reader looks at any of it.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from filelock import FileLock, Timeout

from backend.errors import InputError
from backend.store.files import LOCK_S, fsync_dir, published
from backend.store.left import clear_left, restore_replaced
from backend.store.manifest import Manifest
from backend.store.paths import WORK, RunPaths, StorePaths

log = logging.getLogger(__name__)


class Workplace:
    """The place at which one run is built; whoever builds it must :meth:`take` it first."""

    def __init__(self, store: StorePaths, manifest: Manifest, *, replace: bool) -> None:
        self.manifest = manifest
        self.run = RunPaths(store.partial(manifest.run_id) / "run")
        self._store = store
        self._final = store.run(manifest.run_id)
        self._partial = store.partial(manifest.run_id)
        self._replace = replace
        self._lock: FileLock | None = None

    @property
    def taken(self) -> bool:
        """Whether this process holds the lock."""
        return self._lock is not None

    def take(self) -> None:
        """Lock the run and make its place ready: with the parts of the same work, or empty.

        InputError for a run that exists, unless it is to be replaced, and for one that another
        process is writing.
        """
        clear_left(self._store)
        self._refuse_existing()
        lock = FileLock(self._store.lock(self.manifest.run_id))
        try:
            self._store.runs.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=LOCK_S)
        except Timeout as error:
            raise InputError(
                f"another process is writing run {self.manifest.run_id}",
                where=str(self._store.root),
                hint="Wait for it or choose another `run_id`",
            ) from error
        except OSError as error:
            raise InputError(
                f"cannot be written ({error.strerror})", where=str(self._store.root)
            ) from error
        try:
            self._restore()
            self._refuse_existing()
            self._prepare()
        except BaseException:
            lock.release()
            raise
        self._lock = lock

    def leave(self, *, finished: bool) -> None:
        """Give the lock back."""
        if self._lock is None:
            return
        if finished:
            # Removed while held: a process that waits on it sees the name gone and retries.
            self._store.lock(self.manifest.run_id).unlink(missing_ok=True)
        self._lock.release()
        self._lock = None

    def state(self) -> Path:
        """A directory beside the run, gone with the commit."""
        directory = self._partial / "state"
        directory.mkdir(exist_ok=True)
        return directory

    def publish(self, *, keep_activations: bool) -> None:
        """Rename the run to its final place: the moment at which it appears. Then clear up."""
        if not keep_activations and self.run.activations.exists():
            # Beside the run rather than deleted: until it appears, its vectors may be needed again.
            self.run.activations.rename(self._partial / "dropped")
        if self._replace and self._final.dir.exists():
            self._final.dir.rename(self._partial / "replaced")
        self._refuse_existing()
        self.run.dir.rename(self._final.dir)
        fsync_dir(self._store.runs)

    def clear(self) -> None:
        """Remove the place: after the run has appeared, or because nothing of it is wanted."""
        shutil.rmtree(self._partial)

    def _refuse_existing(self) -> None:
        if self._final.dir.exists() and not self._replace:
            raise InputError(
                f"run {self.manifest.run_id} exists",
                where=str(self._store.root),
                hint="Choose another `run_id` or delete it",
            )

    def _restore(self) -> None:
        """Undo what a writer that died in the middle of publishing had begun."""
        restore_replaced(self._partial, self._final.dir)
        dropped = self._partial / "dropped"
        if dropped.is_dir() and self.run.dir.is_dir():
            dropped.rename(self.run.activations)

    def _prepare(self) -> None:
        work = self._partial / WORK
        if self._partial.exists() and not self._is_same_work(work):
            log.warning("discarding unfinished work on run %s: it differs", self.manifest.run_id)
            shutil.rmtree(self._partial)
        self._partial.mkdir(exist_ok=True)
        self.run.dir.mkdir(exist_ok=True)
        # Everything but the parts and the state that belongs to them is cheap to make again, and
        # may be half written.
        for leftover in (self._partial / "replaced", self._partial / "dropped"):
            shutil.rmtree(leftover, ignore_errors=True)
        for entry in self.run.dir.iterdir():
            if entry in (self.run.samples, self.run.activations):
                continue
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        with published(work, replace=True) as temporary:
            temporary.write_text(self.manifest.to_json(), encoding="utf-8")

    def _is_same_work(self, work: Path) -> bool:
        try:
            return Manifest.read(work).same_work(self.manifest)
        except InputError as error:
            log.warning("unfinished work cannot be read: %s", error)
            return False
