"""The one place that turns ids and layers into paths.

An id comes from a command line, a URL or a file that somebody copied, so every path is checked
twice: the id against its pattern, and the resolved path against the store that it must lie in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from backend.errors import InputError
from backend.types import POOLINGS, LayerRef, Pooling

ID_PATTERN = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,79}"
"""1 to 80 letters, digits, dots, dashes and underscores; no leading dot, so neither . nor .."""

PARTIAL_PREFIX = ".partial-"
DELETED_PREFIX = ".deleted-"
WORK = "work.json"
"""The manifest of an unfinished run, in its partial directory."""

_ID = re.compile(ID_PATTERN)


def check_id(value: str, what: str = "run id") -> str:
    """Return ``value`` if it may become part of a path, else raise InputError."""
    if not isinstance(value, str) or not is_id(value):
        raise InputError(
            f"{what} {value!r} is not valid",
            hint="Use 1 to 80 letters, digits, '.', '_' or '-', not starting with '.'",
        )
    return value


def is_id(value: str) -> bool:
    """Whether ``value`` may become part of a path."""
    return _ID.fullmatch(value) is not None


def inside(root: Path, path: Path) -> Path:
    """Return ``path`` if it resolves to a place inside ``root`` (symbolic links followed).

    Raises InputError otherwise, for example for a run that is a link out of the store.
    """
    if not path.resolve().is_relative_to(root.resolve()):
        raise InputError("path leads out of the store", where=str(path))
    return path


@dataclass(frozen=True)
class StorePaths:
    """Paths of a store: its runs, their comparisons, and what is only visible to writers."""

    root: Path

    @property
    def runs(self) -> Path:
        """The directory that holds one directory a run."""
        return inside(self.root, self.root / "runs")

    def run(self, run_id: str) -> RunPaths:
        """Paths of a finished run."""
        return RunPaths(inside(self.root, self.runs / check_id(run_id)))

    @property
    def comparisons(self) -> Path:
        """The directory of what was computed between two runs, one directory a pair."""
        return inside(self.root, self.root / "comparisons")

    def comparison(self, first: str, second: str) -> Path:
        """The directory of one pair; a tilde stands in no id, so the name is unambiguous."""
        return inside(self.root, self.comparisons / f"{check_id(first)}~{check_id(second)}")

    def partial(self, run_id: str) -> Path:
        """Where a run is written before it appears; readers never look there."""
        return inside(self.root, self.runs / f"{PARTIAL_PREFIX}{check_id(run_id)}")

    def lock(self, run_id: str) -> Path:
        """The file that the one writer of a run holds locked."""
        return inside(self.root, self.runs / f"{PARTIAL_PREFIX}{check_id(run_id)}.lock")


@dataclass(frozen=True)
class RunPaths:
    """Paths inside one run's directory (finished, or being built by a writer)."""

    dir: Path

    @property
    def manifest(self) -> Path:
        """The file that makes a directory a run."""
        return self._in("run.json")

    @property
    def samples(self) -> Path:
        """One row a sample: id, split, text, labels, thumbnail."""
        return self._in("samples.parquet")

    @property
    def scores(self) -> Path:
        """Task scores, if there are any."""
        return self._in("scores.parquet")

    @property
    def training_measures(self) -> Path:
        """Measures of the model while it was trained, if there are any."""
        return self._in("training_measures.parquet")

    @property
    def checkpoint(self) -> Path:
        """A save_pretrained directory, if the run keeps one."""
        return self._in("checkpoint")

    @property
    def activations(self) -> Path:
        """The directory of one file per layer and pooling."""
        return self._in("activations")

    @property
    def measures(self) -> Path:
        """The directory of tidy measures, one file a key."""
        return self._in("measures")

    @property
    def projections(self) -> Path:
        """The directory of layer coordinates, one file a key."""
        return self._in("projections")

    @property
    def drivers(self) -> Path:
        """The directory of the samples that drive a pair of layers, one file a key."""
        return self._in("drivers")

    def activation(self, ref: LayerRef, pooling: Pooling) -> Path:
        """The file of one layer and pooling."""
        return self._in("activations", f"{activation_name(ref, pooling)}.parquet")

    def measure(self, key: str) -> Path:
        """The file of one key of measures."""
        return self._in("measures", f"{check_id(key, 'measure key')}.parquet")

    def projection(self, key: str) -> Path:
        """The file of one key of projections."""
        return self._in("projections", f"{check_id(key, 'projection key')}.parquet")

    def driver(self, key: str) -> Path:
        """The file of one key of driving samples."""
        return self._in("drivers", f"{check_id(key, 'drivers key')}.parquet")

    def _in(self, *parts: str) -> Path:
        return inside(self.dir, self.dir.joinpath(*parts))


def activation_name(ref: LayerRef, pooling: Pooling) -> str:
    """``vision-4-cls``: the file stem (and shard column) of one layer and pooling."""
    check_id(ref.stream, "stream name")
    if pooling not in POOLINGS:
        raise InputError(f"pooling {pooling!r} is unknown", hint=f"Choose from {POOLINGS}")
    return f"{ref.stream}-{ref.label}-{pooling}"


def parse_activation_name(stem: str) -> tuple[LayerRef, Pooling] | None:
    """Inverse of :func:`activation_name`; None for a name that is not one."""
    parts = stem.rsplit("-", 2)
    if len(parts) != 3 or not parts[0]:
        return None
    for pooling in POOLINGS:
        if parts[2] == pooling:
            try:
                return LayerRef.parse(parts[0], parts[1]), pooling
            except ValueError:
                return None
    return None


def parquet_keys(directory: Path) -> tuple[str, ...]:
    """Sorted stems of the finished Parquet files in ``directory`` (empty if it is missing)."""
    try:
        names = [entry.name for entry in directory.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return ()
    stems = (name.removesuffix(".parquet") for name in names if name.endswith(".parquet"))
    return tuple(sorted(stem for stem in stems if _ID.fullmatch(stem)))
