"""The tables of a run or of a pair of runs as files: one Parquet file a key."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path

import pyarrow as pa

from backend.errors import InputError
from backend.store import tables
from backend.store.kinds import Kind, Owner
from backend.store.paths import RunPaths, StorePaths, check_id, parquet_keys


class TableFiles(ABC):
    """Tables in directories, a :class:`backend.store.contents.TableContents`."""

    owner: Owner

    @property
    @abstractmethod
    def where(self) -> str:
        """The directory that errors name."""

    @abstractmethod
    def directory(self, kind: Kind) -> Path:
        """Where the tables of a keyed kind lie."""

    @abstractmethod
    def single(self, kind: Kind) -> Path:
        """The file of a kind that has no keys."""

    def file(self, kind: Kind, key: str = "") -> Path:
        """Where the table of a key lies, whether or not it is there.

        InputError for what cannot be a key, ValueError for a kind that is not held here.
        """
        if kind.owner != self.owner or kind.keyed != bool(key):
            raise ValueError(f"a {self.owner} holds no {kind.name} under the key {key!r}")
        if not kind.keyed:
            return self.single(kind)
        return self.directory(kind) / f"{check_id(key, f'key of {kind.name}')}.parquet"

    def files(self, kind: Kind) -> dict[str, Path]:
        """{key: file} of the tables that are there, in order of key."""
        if kind.keyed:
            return {key: self.file(kind, key) for key in parquet_keys(self.directory(kind))}
        path = self.file(kind)
        return {"": path} if os.path.lexists(path) else {}

    def keys(self, kind: Kind) -> tuple[str, ...]:
        """Sorted keys of the tables that are there."""
        return tuple(self.files(kind))

    def place(self, kind: Kind, key: str) -> str:
        """The file."""
        return str(self.file(kind, key))

    def table(self, kind: Kind, key: str) -> pa.Table:
        """All rows under a key; InputError names the file that is missing or wrong."""
        return tables.read_kind(self.file(kind, key), kind)

    def add(self, kind: Kind, key: str, table: pa.Table) -> None:
        """Write a checked table under a new key; InputError where that exists."""
        tables.write_once(self.file(kind, key), table)


class RunTables(TableFiles):
    """``<run>/<kind>/<key>.parquet``, ``<run>/<kind>.parquet``."""

    owner = "run"

    def __init__(self, paths: RunPaths) -> None:
        self.paths = paths

    @property
    def where(self) -> str:
        """The run's directory."""
        return str(self.paths.dir)

    def directory(self, kind: Kind) -> Path:
        """``<run>/<kind>``."""
        return self.paths.inside(kind.name)

    def single(self, kind: Kind) -> Path:
        """``<run>/<kind>.parquet``."""
        return self.paths.inside(f"{kind.name}.parquet")


class PairTables(TableFiles):
    """``<store>/<kind>/<run>~<run>/<key>.parquet``, the ids of the runs in sorted order."""

    owner = "pair"

    def __init__(self, store: StorePaths, first: str, second: str) -> None:
        self._store = store
        self._ids = (first, second)

    @property
    def where(self) -> str:
        """The store's directory."""
        return str(self._store.root)

    def directory(self, kind: Kind) -> Path:
        """``<store>/<kind>/<run>~<run>``."""
        return self._store.pair(kind.name, *self._ids)

    def single(self, kind: Kind) -> Path:
        """``<store>/<kind>/<run>~<run>.parquet``."""
        return self.directory(kind).with_suffix(".parquet")

    def add(self, kind: Kind, key: str, table: pa.Table) -> None:
        """Write a checked table under a new key; InputError where that exists."""
        folder = self.directory(kind).parent
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot be made ({error.strerror or error})", where=str(folder)
            ) from error
        super().add(kind, key, table)
