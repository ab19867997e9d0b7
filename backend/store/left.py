"""What processes that were killed left in a store: removed by whoever comes next.

A file or directory is left over when nobody holds its lock. Unfinished work is not: it goes on.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from backend.errors import InputError
from backend.store.files import remove_leftovers
from backend.store.kinds import kinds_of
from backend.store.pair import stored_pairs
from backend.store.paths import DELETED_PREFIX, PARTIAL_PREFIX, WORK, StorePaths, is_id, names_in


def clear_left(store: StorePaths) -> tuple[Path, ...]:
    """Remove what no living process owns and nothing goes on from; what was removed.

    Temporary files, rests of deleted runs with their comparisons, the places of runs that have
    appeared, locks of none. A run that gave way to one that never appeared is put back. A store
    that cannot be written to stays as it is.
    """
    try:
        _ = store.runs
    except InputError:  # a link out of the store, which is somebody else's
        return ()
    removed = [path for folder in _folders(store) for path in remove_leftovers(folder)]
    for name in _names(store.runs):
        path = store.runs / name
        if name.startswith(DELETED_PREFIX):
            run_id = name.removeprefix(DELETED_PREFIX).rpartition("-")[0]
            removed += _without_owner(store, run_id, path, _clear_deleted)
        elif name.startswith(PARTIAL_PREFIX):
            run_id = name.removeprefix(PARTIAL_PREFIX).removesuffix(".lock")
            removed += _without_owner(store, run_id, path, _clear_partial)
    return tuple(removed)


def clear_lost(store: StorePaths) -> tuple[Path, ...]:
    """Remove unfinished work that nobody can go on with, since it does not say what it is."""
    lost = [
        store.runs / name
        for name in _names(store.runs)
        if name.startswith(PARTIAL_PREFIX) and not name.endswith(".lock")
        if not (store.runs / name / WORK).exists() and not (store.runs / name / "replaced").exists()
    ]
    removed: list[Path] = []
    for path in lost:
        run_id = path.name.removeprefix(PARTIAL_PREFIX)
        removed += _without_owner(store, run_id, path, _remove)
    return tuple(removed)


def _names(folder: Path) -> list[str]:
    """The names in a folder; none where it is closed."""
    with contextlib.suppress(InputError):
        return names_in(folder)
    return []


def restore_replaced(partial: Path, final: Path) -> bool:
    """Put back a run that gave way to one that never appeared; whether there was such a one."""
    replaced = partial / "replaced"
    if not replaced.is_dir() or final.exists():
        return False
    replaced.rename(final)
    return True


def remove_pairs(store: StorePaths, run_id: str) -> None:
    """Remove what is stored about a run that is gone and each of the others."""
    for kind in kinds_of("pair"):
        for pair in stored_pairs(store, kind):
            if run_id in pair:
                shutil.rmtree(store.pair(kind.name, *pair), ignore_errors=True)


def _folders(store: StorePaths) -> Iterator[Path]:
    """Every folder in which a finished run or a pair gets tables, and that of the index."""
    yield store.root
    keyed = {kind.name for kind in kinds_of("run") if kind.keyed}
    for name in filter(is_id, _names(store.runs)):
        folder = store.runs / name
        if not folder.is_symlink():
            yield folder
            inner = [folder / name for name in keyed.intersection(_names(folder))]
            yield from (path for path in inner if not path.is_symlink())
    for kind in kinds_of("pair"):
        with contextlib.suppress(InputError):  # a link out of the store
            yield from [store.pair(kind.name, *pair) for pair in stored_pairs(store, kind)]


def _without_owner(
    store: StorePaths, run_id: str, path: Path, clear: Callable[[StorePaths, str, Path], bool]
) -> list[Path]:
    """Let ``clear`` look at a path while nobody else can; the path where it was removed."""
    if not is_id(run_id):
        return []
    name = store.lock(run_id)
    ours = not name.exists()
    with contextlib.suppress(InputError, OSError, Timeout), FileLock(name, timeout=0):
        cleared = clear(store, run_id, path)
        if ours or not store.partial(run_id).exists():
            name.unlink(missing_ok=True)  # while it is held, as a writer does
        return [path] if cleared else []
    return []


def _clear_deleted(store: StorePaths, run_id: str, path: Path) -> bool:
    shutil.rmtree(path)
    if not store.run(run_id).dir.exists():
        remove_pairs(store, run_id)
    return True


def _clear_partial(store: StorePaths, run_id: str, path: Path) -> bool:
    """Clear the place of a run: unless it holds one that is still to appear, it is done with."""
    partial, final = store.partial(run_id), store.run(run_id).dir
    restore_replaced(partial, final)
    if not final.is_dir() or (partial / "run").exists():
        return path.name.endswith(".lock") and not partial.exists()
    return _remove(store, run_id, partial)


def _remove(_store: StorePaths, _run_id: str, path: Path) -> bool:
    if path.is_dir():
        shutil.rmtree(path)
    return True
