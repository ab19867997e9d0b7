"""The files that a question may be asked of: looked through once, for as long as they stay."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from backend.errors import InputError
from backend.store import tables
from backend.store.pages import sizes
from backend.store.wall import refused, require_size

_READERS = 4
_BATCH_ROWS = 16_384

Faults = Callable[[pa.Table], Iterator[str]]


class File(NamedTuple):
    """A file to ask from.

    It must have the columns of ``schema``; ``looked_through`` are those that are read first, and
    ``faults`` says what is wrong with some of its rows, or with all of them where ``whole``.
    ``about`` changes with what ``faults`` goes by.
    """

    path: Path
    schema: pa.Schema
    looked_through: tuple[str, ...]
    faults: Faults
    whole: bool = False
    about: str = ""

    @property
    def state(self) -> str:
        """Of what a verdict on the file is; another file of that name has another one."""
        return f"{self.path} {state_of(str(self.path))} {self.about}"


class LookedThrough:
    """What is known of the files that were asked from; safe to share between threads.

    DuckDB does not verify page checksums and turns flipped bits into other numbers, and it believes
    whatever rows say. So every page and every row is read here first.
    """

    def __init__(self) -> None:
        self._sizes: dict[str, tuple[int, int]] = {}

    def usable(self, files: Sequence[File]) -> tuple[list[File], list[str]]:
        """The files that may be asked, and a line for each that may not.

        Nor are there more files than fit into memory together.
        """
        states = [file.state for file in files]
        unread = [at for at, state in enumerate(states) if state not in self._sizes]
        faults = [""] * len(files)
        if unread:
            with ThreadPoolExecutor(_READERS) as pool:
                verdicts = list(pool.map(_verdict, [files[at] for at in unread]))
            for at, (fault, both) in zip(unread, verdicts, strict=True):
                faults[at] = fault
                if not fault:
                    self._sizes[states[at]] = both
        usable = []
        decoded = stored = 0
        for at, file in enumerate(files):
            if faults[at]:
                continue
            more, size = self._sizes[states[at]]
            stored += size
            try:
                require_size(decoded + more, stored, f"{file.path} and those before", at + 1)
            except InputError as error:
                faults[at] = str(error)
                continue
            decoded += more
            usable.append(file)
        return usable, [fault for fault in faults if fault]


def _verdict(file: File) -> tuple[str, tuple[int, int]]:
    """Why a file cannot be asked from, empty if it can; bytes of its rows in memory, and stored."""
    nbytes = stored = 0
    try:
        with tables.open_parquet(file.path) as opened:
            tables.check_columns(tables.schema_of(opened, file.path), file.schema, file.path)
            stored = sizes(file.path).stored
        parts: list[pa.Table] = []
        for batch in tables.iter_batches(file.path, file.looked_through, _BATCH_ROWS):
            nbytes += batch.nbytes
            table = pa.Table.from_batches([batch])
            if file.whole:
                parts.append(table)
                continue
            for fault in file.faults(table):
                return f"{file.path}: {fault}", (0, 0)
        if parts:
            for fault in file.faults(pa.concat_tables(parts)):
                return f"{file.path}: {fault}", (0, 0)
    except InputError as error:
        return str(error), (0, 0)
    except OSError as error:  # it went meanwhile
        return str(refused(file.path, error)), (0, 0)
    return "", (nbytes, stored)


def changed_ns(state: str) -> int:
    """When what a :func:`state_of` is of was changed last; before 1970 it is negative."""
    return int(state.partition("-")[2].rpartition("-")[0])


def state_of(path: str) -> str:
    """The identity of a file or folder: another one of that name has another. Empty for none."""
    try:
        info = os.stat(path)  # noqa: PTH116 - thousands of them; a Path costs more than this
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return f"closed-0-{error.errno}"  # it is there, and reading it says what is wrong
    return f"{info.st_ino}-{info.st_mtime_ns}-{info.st_size}"
