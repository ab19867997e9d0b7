"""Which store the dashboard looks at, and in what state it is."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from stat import S_ISDIR
from typing import Literal

from backend.errors import InputError
from backend.paths import shipped_demo
from backend.store import Listing, Store
from backend.views.groups import Overview, RunInfo, group_runs

ENVIRONMENT = "FUSIONSCOPE_STORE"
PACKED_FROM = "STORE"
"""Stands in commands for the store that a packed one was packed from."""
Status = Literal["unnamed", "missing", "empty", "broken", "fine"]


@dataclass(frozen=True)
class StoreView:
    """The store as the pages see it."""

    status: Status
    path: str
    message: str = ""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return Path(self.path).name or self.path

    @property
    def is_packed(self) -> bool:
        """Whether it is one file, which nothing can be added to."""
        return Path(self.path).is_file()

    @property
    def origin(self) -> str:
        """The store as commands name it that add to it: of a packed one, that it came from."""
        return PACKED_FROM if self.is_packed else self.path

    def adding(self, words: str) -> str:
        """``words`` such as "This makes them", before a command that adds to :attr:`origin`."""
        if not self.is_packed:
            return f"{words}:"
        return (
            "This store is packed and read-only; the one that it was packed from "
            f"({PACKED_FROM}) may hold more. {words} there, before it is packed again:"
        )


def named_store(
    arguments: Sequence[str] | None = None, environment: Mapping[str, str] | None = None
) -> str | None:
    """The path after ``--store`` on the command line, else the environment's, else the demo's.

    The demo store is looked for in ``cache/demo`` below the current directory and next to app.py.
    None where nothing is named and there is no demo.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    environment = os.environ if environment is None else environment
    for at, word in enumerate(arguments):
        if word == "--store" and at + 1 < len(arguments):
            return arguments[at + 1]
        if word.startswith("--store="):
            return word.removeprefix("--store=")
    if environment.get(ENVIRONMENT):
        return environment[ENVIRONMENT]
    for candidate in (Path("cache") / "demo", shipped_demo()):
        if candidate.is_dir():
            return str(candidate)
    return None


def opened(path: str) -> Store:
    """The store at ``path``, kept open: its listing and its connection serve every question.

    Another store under the same name is another store; a packed file is one for as long as it is
    not replaced. InputError where there is none.
    """
    try:
        info = os.stat(path)  # noqa: PTH116 - a hundred times a page; a Path costs more than this
    except OSError:
        return Store(path)  # says what is wrong
    changing = S_ISDIR(info.st_mode)
    identity = (info.st_dev, info.st_ino, *(() if changing else (info.st_mtime_ns, info.st_size)))
    return _opened(path, identity)


@lru_cache(maxsize=8)
def _opened(path: str, _identity: tuple[int, ...]) -> Store:
    return Store(path)


def look(path: str | None) -> StoreView:
    """The state of the store at ``path``; costs a directory listing."""
    if path is None:
        return StoreView("unnamed", "", "No store was named")
    try:
        store = opened(path)
        if not store.run_ids():
            return StoreView("empty", path, f"{path} holds no runs")
    except InputError as error:
        return StoreView("missing", path, str(error))
    except OSError as error:
        return StoreView("broken", path, f"{path}: {error.strerror or error}")
    return StoreView("fine", path)


def overview(path: str) -> Overview:
    """Every run of the store, grouped; a run that cannot be read is listed with its reason.

    Only what listings show is read: a corrupt table of measures shows where it is used, and the
    rest of its run stays usable. The same object for as long as no run comes or goes.
    """
    store = opened(path)
    return _grouped(store, _Same(store.listing()))


class _Same:
    """A listing that equals only itself: comparing thousands of runs would cost what is saved."""

    def __init__(self, listing: Listing) -> None:
        self.listing = listing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.listing is self.listing

    def __hash__(self) -> int:
        return id(self.listing)


@lru_cache(maxsize=8)
def _grouped(store: Store, same: _Same) -> Overview:
    runs = [RunInfo(entry, store.source) for entry in same.listing.entries]
    return Overview(group_runs(runs), same.listing.broken)
