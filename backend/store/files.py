"""Writing files so that a crash leaves either the old state or the new one, never a half."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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


@contextmanager
def published(final: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``final``; on success flush it and give it the final name.

    Readers skip the temporary name because it starts with a dot. Without ``replace`` an existing
    ``final`` raises FileExistsError, also when another process makes it meanwhile. On an exception
    the temporary file is removed and ``final`` is untouched.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".tmp-{uuid.uuid4().hex}")
    try:
        yield temporary
        fsync_file(temporary)
        if replace:
            temporary.replace(final)
        else:
            # A hard link fails where the name exists; a rename would overwrite it.
            final.hardlink_to(temporary)
        fsync_dir(final.parent)
    finally:
        temporary.unlink(missing_ok=True)
