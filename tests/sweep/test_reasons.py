"""Each way a cell can fail is one line that says what to do."""

from __future__ import annotations

import signal

import pytest
import torch

from backend.errors import InputError
from backend.sweep.reasons import reason_of, reason_of_exit


def raised_from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), "disk full while writing its files"),
        (
            raised_from(InputError("cannot be written", where="cache/s"), OSError(28, "full")),
            "disk full while writing cache/s: make room",
        ),
        (RuntimeError("write failed: No space left on device (os error 28)"), "disk full"),
        (OSError(122, "Disk quota exceeded"), "disk full while writing"),
        (
            RuntimeError('IoError(Os { code: 122, message: "Disk quota exceeded" })'),
            "disk full while writing",
        ),
        (OSError(12, "Cannot allocate memory"), "out of memory"),
        (
            raised_from(InputError("cannot be written", where="s"), OSError(12, "memory")),
            "out of memory",
        ),
        (RuntimeError("can't start new thread"), "out of memory"),
        (OSError(30, "Read-only file system", "cache/s"), "cannot be written or read: cache/s"),
        (MemoryError(), "out of memory: lower batch_size"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you"), "out of memory"),
        (InputError("does not exist", where="data x"), "data x: does not exist"),
        (KeyError("k"), "fault: KeyError: 'k'"),
        (RuntimeError("a\nb"), "fault: RuntimeError: a b"),
    ],
)
def test_reasons(error: Exception, said: str) -> None:
    assert reason_of(error, "its files").startswith(said)
    assert "\n" not in reason_of(error, "its files")


def test_reasons_of_a_process_that_said_nothing() -> None:
    assert "out of memory" in reason_of_exit(-signal.SIGKILL)
    assert reason_of_exit(-signal.SIGTERM) == "killed by SIGTERM"
    assert reason_of_exit(3) == "ended with exit code 3 and no word"
