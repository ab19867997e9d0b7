"""A full disk is one line wherever it is found."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from backend.disk import is_full, reserve, writing
from backend.errors import InputError
from backend.store.imports.arrays import Rows

FULL = OSError(errno.ENOSPC, "No space left on device")


def failing(error: Exception) -> Callable[..., NoReturn]:
    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    return fail


def after(error: Exception, cause: Exception) -> Exception:
    error.__context__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (FULL, True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (RuntimeError("PytorchStreamWriter failed writing file: No space left on device"), True),
        (after(RuntimeError("writing failed"), FULL), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (ValueError("a space left on"), False),
    ],
)
def test_a_full_disk_is_an_input_error_and_nothing_else_is(error: Exception, full: bool) -> None:
    assert is_full(error) == full
    with pytest.raises(InputError if full else type(error)) as caught, writing(Path("out"), "Try."):
        raise error
    if full:
        assert str(caught.value) == "out: cannot be written (the disk is full). Try."
    else:
        assert caught.value is error


@pytest.mark.parametrize("nbytes", [0, 5, 3 * 2**20 + 1])
@pytest.mark.parametrize("system", [True, False])
def test_room_that_is_reserved_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nbytes: int, system: bool
) -> None:
    if not system:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    reserve(tmp_path / "file", nbytes)
    about = (tmp_path / "file").stat()
    assert about.st_size == nbytes and about.st_blocks * 512 >= nbytes


def test_rows_are_gathered_in_room_that_is_theirs_or_the_disk_is_called_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.arange(12, dtype="<f4").reshape(4, 3)
    rows = Rows("a", "here", (4, 3), np.dtype("<f4"))
    filled = rows.write(tmp_path / "a.rows")
    assert (tmp_path / "a.rows").stat().st_blocks
    filled[:] = values
    assert (rows.read(1, 4) == values[1:]).all()
    if hasattr(os, "posix_fallocate"):
        monkeypatch.setattr("os.posix_fallocate", failing(FULL))
        with pytest.raises(InputError, match=r"the disk is full.* Make room"):
            rows.write(tmp_path / "b.rows")
