"""The one place that turns ids and layers into paths.

An id comes from a command line, a URL or a file that somebody copied, so every path is checked
twice: the id against its pattern, and the resolved path against the store that it must lie in.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from backend.errors import InputError
from backend.store.wall import refused
from backend.types import POOLINGS, LayerRef, Pooling

ID_PATTERN = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,79}"
"""1 to 80 letters, digits, dots, dashes and underscores; no leading dot, so neither . nor .."""

PARTIAL_PREFIX = ".partial-"
DELETED_PREFIX = ".deleted-"
WORK = "work.json"
"""The manifest of an unfinished run, in its partial directory."""

_ID = re.compile(ID_PATTERN)
_PART = re.compile(r"part-(\d{9})\.parquet")


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
    # realpath, since a Path that is a loop of links cannot be resolved at all.
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
        raise InputError("path leads out of the store", where=str(path))
    return path


@dataclass(frozen=True)
class StorePaths:
    """Paths of a store: its runs, what it keeps of pairs, and what is only visible to writers."""

    root: Path

    @property
    def runs(self) -> Path:
        """The directory that holds one directory a run."""
        return inside(self.root, self.root / "runs")

    def run(self, run_id: str) -> RunPaths:
        """Paths of a finished run."""
        return RunPaths(inside(self.root, self.runs / check_id(run_id)))

    def pair(self, kind: str, first: str, second: str) -> Path:
        """The directory of what a kind keeps of two runs; no id holds a tilde."""
        return inside(self.root, self.root / kind / f"{check_id(first)}~{check_id(second)}")

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
        return self.inside("run.json")

    @property
    def checkpoint(self) -> Path:
        """A save_pretrained directory, if the run keeps one."""
        return self.inside("checkpoint")

    @property
    def samples(self) -> Path:
        """The directory of the samples, one file a part."""
        return self.inside("samples")

    @property
    def activations(self) -> Path:
        """The directory of the vectors, one directory a stream."""
        return self.inside("activations")

    def layer(self, ref: LayerRef, pooling: Pooling) -> Path:
        """The directory of one layer and pooling, one file a part."""
        name = f"{ref.label}-{check_pooling(pooling)}"
        return self.inside("activations", check_id(ref.stream, "stream name"), name)

    @property
    def whole_samples(self) -> Path:
        """All samples of a run of version 1 or 2."""
        return self.inside("samples.parquet")

    def whole_layer(self, ref: LayerRef, pooling: Pooling) -> Path:
        """All vectors of one layer and pooling of a run of version 1 or 2."""
        return self.inside("activations", f"{layer_name(ref, pooling)}.parquet")

    def inside(self, *parts: str) -> Path:
        """A path below the run's directory; InputError where links lead out of it."""
        return inside(self.dir, self.dir.joinpath(*parts))


def check_pooling(pooling: Pooling) -> Pooling:
    """Return ``pooling`` if there is such a one, else raise InputError."""
    if pooling not in POOLINGS:
        raise InputError(f"pooling {pooling!r} is unknown", hint=f"Choose from {POOLINGS}")
    return pooling


def layer_name(ref: LayerRef, pooling: Pooling) -> str:
    """``vision-4-cls``: one layer and pooling in messages, and in file names before version 3."""
    return f"{check_id(ref.stream, 'stream name')}-{ref.label}-{check_pooling(pooling)}"


def names_in(directory: Path) -> list[str]:
    """The names in a directory, none where there is no such; InputError for one that is closed."""
    try:
        return os.listdir(directory)  # noqa: PTH208 - thousands of them; names are all it takes
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise refused(directory, error) from error


def part_name(start: int) -> str:
    """The file of the part whose first row is ``start``; names sort as the parts do."""
    return f"part-{start:09d}.parquet"


def part_starts(directory: Path) -> tuple[int, ...]:
    """First rows of the finished parts in ``directory``, sorted; empty if it is missing."""
    return tuple(
        sorted(int(match[1]) for match in map(_PART.fullmatch, names_in(directory)) if match)
    )


def parquet_keys(directory: Path) -> tuple[str, ...]:
    """Sorted stems of the finished Parquet files in ``directory`` (empty if it is missing)."""
    names = (name for name in names_in(directory) if name.endswith(".parquet"))
    stems = (name.removesuffix(".parquet") for name in names)
    return tuple(sorted(stem for stem in stems if _ID.fullmatch(stem)))
