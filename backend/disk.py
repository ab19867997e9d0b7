"""A full disk as one line, and room that is taken before anything is written there."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backend.errors import InputError, causes

_FULL = (errno.ENOSPC, errno.EDQUOT)
# Libraries in other languages have no errno to tell: torch, pyarrow, safetensors.
_WORDS = ("No space left on device", "Disk quota exceeded")
_BLOCK = 2**20


def is_full(error: BaseException) -> bool:
    """Whether a disk, or what may lie on it, was full: also where it was told as another error."""
    return any(
        (isinstance(one, OSError) and one.errno in _FULL)
        or any(words in str(one) for words in _WORDS)
        for one in causes(error)
    )


@contextmanager
def writing(where: Path, hint: str) -> Iterator[None]:
    """A full disk inside is an InputError that names ``where``; every other error stays."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if not is_full(error):
            raise
        problem = "cannot be written (the disk is full)"
        raise InputError(problem, where=str(where), hint=hint) from error


def reserve(path: Path, nbytes: int) -> None:
    """Make ``path`` a file of so many bytes that has its room on the disk; OSError without any.

    A memory map of a sparse file finds the disk full where no error can be raised, and the process
    ends.
    """
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate") and nbytes:
            os.posix_fallocate(file.fileno(), 0, nbytes)
            return
        for start in range(0, nbytes, _BLOCK):
            file.write(bytes(min(_BLOCK, nbytes - start)))
