"""Writing files so that a crash leaves either the old state or the new one, never a half."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backend.errors import InputError

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


_TEMPORARY = ".tmp-"


def remove_leftovers(root: Path, before: float) -> None:
    """Delete temporary files below ``root`` last written before a time: of writers that are dead.

    ``before`` in seconds since the epoch; a file is written in a moment, so that some seconds ago
    will do.
    """
    for path in root.rglob(f"{_TEMPORARY}*"):
        with contextlib.suppress(FileNotFoundError):  # its writer lives, and was faster
            if path.stat().st_mtime < before:
                path.unlink()


@contextmanager
def published(final: Path, *, replace: bool = False, flush_name: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside ``final``; on success flush it and give it the final name.

    Readers skip the temporary name because it starts with a dot. Without ``replace`` an existing
    ``final`` raises FileExistsError, also when another process makes it meanwhile. On an exception
    the temporary file is removed and ``final`` is untouched. Without ``flush_name`` the content is
    on disk but a power cut may take the name: for those who look whether it is there. What the
    system refuses (a full disk, a missing permission) is an InputError that names ``final``.
    """
    temporary = final.with_name(f"{_TEMPORARY}{uuid.uuid4().hex}")
    try:
        # Not the parents: a run that was deleted meanwhile must not come back as an empty one.
        final.parent.mkdir(exist_ok=True)
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
    finally:
        temporary.unlink(missing_ok=True)


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
