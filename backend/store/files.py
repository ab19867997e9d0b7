"""Writing files so that a crash leaves either the old state or the new one, never a half."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backend.errors import InputError

if sys.platform != "win32":
    import fcntl

# What file systems without hard links answer (exFAT, some network mounts).
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def fsync_file(path: Path) -> None:
    """Flush a written file to disk."""
    with path.open("rb+") as handle:
        os.fsync(handle.fileno())


def fsync_dir(path: Path) -> None:
    """Flush a directory's entries to disk, where the system lets a directory be opened."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(root: Path) -> None:
    """Flush every file and directory below ``root``, and ``root`` itself."""
    for folder, _, names in os.walk(root, topdown=False):
        for name in names:
            fsync_file(Path(folder, name))
        fsync_dir(Path(folder))


_TEMPORARY = re.compile(r"\.tmp-[0-9a-f]{32}")
LOCK_S = 2.0
"""How long a run's lock is waited for: whoever only looks what is left holds it for a moment."""
_OLD_S = 3_600
"""How old a file is whose writer is dead, where the system has no locks to tell."""


def remove_leftovers(folder: Path) -> tuple[Path, ...]:
    """Delete the temporary files in a folder whose writers are dead; those that were deleted.

    A writer that lives holds its file locked. What may not be deleted is left where it is.
    """
    removed = []
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):  # noqa: PTH208 - thousands of them
            if _TEMPORARY.match(name) and _is_left(folder / name):
                with contextlib.suppress(FileNotFoundError):  # its writer lives, and was faster
                    (folder / name).unlink()
                    removed.append(folder / name)
    return tuple(removed)


def _is_left(path: Path) -> bool:
    """Whether nobody writes a temporary file, or what was made beside it, any more."""
    own = path.with_name(path.name[: len(".tmp-") + 32])
    if not own.exists():
        return True
    if sys.platform == "win32":
        return own.stat().st_mtime < time.time() - _OLD_S
    descriptor = os.open(own, os.O_RDONLY | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return own.stat().st_mtime < time.time() - _OLD_S
    finally:
        os.close(descriptor)
    return True


@contextmanager
def _owned(folder: Path) -> Iterator[Path]:
    """Make a temporary file in a folder and hold it locked; it is gone afterwards."""
    while True:
        path = folder / f".tmp-{uuid.uuid4().hex}"
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        if sys.platform != "win32":
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        if path.exists():  # else somebody took it for left over before it was locked
            break
        os.close(descriptor)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a file locked as its writer does: before it takes the name of a temporary file.

    A lock is of the file, not of its name, and what nobody holds is taken for left over.
    """
    descriptor = os.open(path, os.O_RDWR)
    try:
        if sys.platform != "win32":
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def published(final: Path, *, replace: bool = False, flush_name: bool = True) -> Iterator[Path]:
    """Yield a temporary file beside ``final``; on success flush it and give it the final name.

    The file is there and empty. Readers skip its name because it starts with a dot. Without
    ``replace`` an existing ``final`` raises FileExistsError, also when another process makes it
    meanwhile. On an exception the temporary file is removed and ``final`` is untouched; those of
    writers that are dead are removed with it. Without ``flush_name`` the content is on disk but a
    power cut may take the name, and dead ones stay: for those who look whether it is there. What
    the system refuses (a full disk, a missing permission) is an InputError that names ``final``.
    """
    try:
        # Not the parents: a run that was deleted meanwhile must not come back as an empty one.
        final.parent.mkdir(exist_ok=True)
        if flush_name:
            remove_leftovers(final.parent)
        with _owned(final.parent) as temporary:
            yield temporary
            fsync_file(temporary)
            if replace:
                temporary.replace(final)
            else:
                _name_once(temporary, final)
            if flush_name:
                fsync_dir(final.parent)
    except FileExistsError:
        raise
    except OSError as error:
        raise InputError(
            f"cannot be written ({error.strerror or error})", where=str(final)
        ) from error


def _name_once(temporary: Path, final: Path) -> None:
    """Give ``temporary`` the name ``final`` unless it is taken (FileExistsError)."""
    try:
        # A hard link fails where the name exists; a rename would overwrite it.
        final.hardlink_to(temporary)
    except OSError as error:
        if isinstance(error, FileExistsError) or error.errno not in _NO_HARD_LINKS:
            raise
        if final.exists():
            raise FileExistsError(str(final)) from error
        temporary.replace(final)
