"""A store of runs: listing them, opening one, removing one. Reading never takes a lock."""

from __future__ import annotations

import copy
import hashlib
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from backend.errors import InputError
from backend.store.compare import nearest
from backend.store.files import fsync_dir
from backend.store.manifest import Manifest
from backend.store.pair import RunPair, stored_pairs
from backend.store.paths import DELETED_PREFIX, WORK, StorePaths, check_id
from backend.store.run import Run

if TYPE_CHECKING:
    from backend.store.writer import RunWriter


@dataclass(frozen=True)
class BrokenRun:
    """A directory among the runs that cannot be read as one, and why, in one line."""

    run_id: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """What a store held when it was listed; ``rows`` belong to ``runs`` in order."""

    runs: tuple[Run, ...]
    rows: tuple[dict[str, object], ...]
    broken: tuple[BrokenRun, ...]

    def frame(self) -> pd.DataFrame:
        """A fresh table of the rows; see :meth:`Store.runs`."""
        frame = pd.DataFrame(copy.deepcopy(list(self.rows)), columns=list(RUN_COLUMNS))
        return frame.astype({"seed": "Int64"})


class Store:
    """A directory of runs. Any number of processes may read while others write."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            what = "is a file, not a store directory" if self.path.exists() else "does not exist"
            raise InputError(
                f"store {what}",
                where=str(self.path),
                hint="Make the demo store with: fusionscope demo --no-serve, or write one with: "
                "fusionscope capture --store DIR",
            )
        self.paths = StorePaths(self.path)
        self._listed: tuple[str, Listing] | None = None

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

    def run_ids(self) -> tuple[str, ...]:
        """Sorted ids of all finished runs, the broken ones too."""
        if not self.paths.runs.is_dir():
            return ()
        return tuple(
            sorted(
                entry.name
                for entry in os.scandir(self.paths.runs)
                if not entry.name.startswith(".") and entry.is_dir()
            )
        )

    def run(self, run_id: str) -> Run:
        """Open one run; InputError names the near ids for one that does not exist."""
        paths = self.paths.run(run_id)
        if not paths.dir.is_dir():
            raise InputError(
                f"no run {run_id!r}", where=str(self.path), hint=nearest(run_id, self.run_ids())
            )
        run = Run(paths)
        if run.run_id != run_id:
            raise InputError(
                f"directory is named {run_id} but its run.json says {run.run_id}",
                where=str(paths.dir),
                hint="Rename the directory back",
            )
        return run

    def pair(self, a: str, b: str) -> RunPair:
        """What is stored between the layers of two runs; see :class:`RunPair`."""
        return RunPair(self.paths, self.run(a), self.run(b))

    def listing(self) -> Listing:
        """Every readable run in order of id, and every one that is not with the reason.

        Kept until :meth:`token` changes. A run that disappears meanwhile is in neither list.
        """
        token = self.token()
        cached = self._listed
        if cached is not None and cached[0] == token:
            return cached[1]
        runs, rows, broken = [], [], []
        for run_id in self.run_ids():
            try:
                run = self.run(run_id)
                rows.append(_row(run))
                runs.append(run)
            except InputError as error:
                if (self.path / "runs" / run_id).is_dir():
                    broken.append(BrokenRun(run_id, str(error)))
        listing = Listing(tuple(runs), tuple(rows), tuple(broken))
        self._listed = (token, listing)
        return listing

    def broken(self) -> list[BrokenRun]:
        """Runs that cannot be listed, with the reason of each."""
        return list(self.listing().broken)

    def runs(self) -> pd.DataFrame:
        """One row a readable run, sorted by id; the columns are :data:`RUN_COLUMNS`.

        ``placement`` and ``seed`` are missing for a released model, ``label`` is what to call it.
        ``streams`` is a tuple of StreamSpec, ``poolings``, ``measures`` and ``projections`` tuples
        of names, ``scores`` a dict (see :meth:`Run.score_summary`).
        """
        return self.listing().frame()

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

    def delete(self, run_id: str) -> None:
        """Remove a run (also a broken one) and its comparisons. It disappears at once."""
        directory = self.paths.run(run_id).dir
        if not directory.is_dir():
            raise InputError(
                f"no run {run_id!r}", where=str(self.path), hint=nearest(run_id, self.run_ids())
            )
        grave = self.paths.runs / f"{DELETED_PREFIX}{check_id(run_id)}-{uuid.uuid4().hex[:8]}"
        directory.rename(grave)
        fsync_dir(self.paths.runs)
        shutil.rmtree(grave)
        for pair in stored_pairs(self.paths):
            if run_id in pair:
                shutil.rmtree(self.paths.comparison(*pair))

    def token(self) -> str:
        """A short string that changes when a run, or anything computed from runs, appears or goes.

        Costs a few directory listings; use it as the key of a cache.
        """
        digest = hashlib.blake2b(digest_size=16)
        for run_id in self.run_ids():
            directory = self.path / "runs" / run_id
            digest.update(_file_state(directory / "run.json").encode())
            for part in ("", "measures", "drivers", "projections"):
                digest.update(_state(directory / part).encode())
        for pair in stored_pairs(self.paths):
            digest.update(_state(self.path / "comparisons" / "~".join(pair)).encode())
        return digest.hexdigest()


RUN_COLUMNS = (
    "run_id",
    "model",
    "family",
    "label",
    "placement",
    "seed",
    "dataset",
    "split",
    "n",
    "fingerprint",
    "poolings",
    "dtype",
    "created",
    "streams",
    "has_activations",
    "has_checkpoint",
    "measures",
    "projections",
    "scores",
)


def _row(run: Run) -> dict[str, object]:
    manifest = run.manifest
    return {
        "run_id": run.run_id,
        "model": manifest.model.name,
        "family": manifest.model.family,
        "label": manifest.label,
        "placement": None if manifest.placement is None else manifest.placement.name,
        "seed": manifest.seed,
        "dataset": manifest.dataset.name,
        "split": manifest.dataset.split,
        "n": run.n,
        "fingerprint": manifest.dataset.fingerprint,
        "poolings": manifest.poolings,
        "dtype": manifest.dtype,
        "created": manifest.created,
        "streams": run.streams,
        "has_activations": run.has_activations,
        "has_checkpoint": run.checkpoint is not None,
        "measures": run.measure_names(),
        "projections": run.projection_keys(),
        "scores": run.score_summary(),
    }


def _file_state(path: Path) -> str:
    try:
        info = path.stat()
    except FileNotFoundError:
        return "absent"
    return f"{info.st_ino} {info.st_mtime_ns} {info.st_size}"


def _state(directory: Path) -> str:
    """Identity, time and entries of a directory; empty where there is none."""
    try:
        info = directory.stat()
        names = sorted(entry.name for entry in os.scandir(directory))
    except FileNotFoundError:
        return f"{directory.name} absent\n"
    visible = [name for name in names if not name.startswith(".")]
    return f"{directory} {info.st_ino} {info.st_mtime_ns} {visible}\n"
