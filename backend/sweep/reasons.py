"""Why a cell failed, in one line that says what to do."""

from __future__ import annotations

import errno
import signal

from backend.disk import is_full
from backend.errors import InputError, causes

# On the CPU torch raises a bare RuntimeError; where memory is short, threads do not start either.
_MEMORY = (
    *("out of memory", "can't allocate memory", "not enough memory", "bad_alloc"),
    "can't start new thread",
)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)


def reason_of(error: BaseException, files: str) -> str:
    """One line for whatever a cell raised; ``files`` is what it may have been writing."""
    if is_full(error):
        where = error.where if isinstance(error, InputError) and error.where else files
        return f"disk full while writing {where}: make room and start the sweep again"
    if any(map(_is_memory, causes(error))):
        return "out of memory: lower batch_size or image_size, or run fewer cells at once"
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError) and error.errno in _REFUSED and error.filename:
        return f"cannot be written or read: {error.filename} ({error.strerror})"
    text = " ".join(str(error).split())[:300]
    return f"fault: {type(error).__name__}: {text}" if text else f"fault: {type(error).__name__}"


def reason_of_exit(code: int | None) -> str:
    """One line for a process that ended without saying why."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in {*signal.Signals} else str(-code)
        if name == "SIGKILL":
            return "killed (SIGKILL): most likely out of memory; run fewer cells at once"
        if name == "SIGBUS":
            return "killed (SIGBUS): the disk is full, or a memory-mapped file was cut short"
        return f"killed by {name}"
    return f"ended with exit code {code} and no word"


def _is_memory(error: BaseException) -> bool:
    text = str(error)
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in text.lower() for word in _MEMORY)
    )
