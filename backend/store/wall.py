"""The wall behind which a store of a stranger is read: regular files, bounded bytes, sane numbers.

A store is handed on as a directory that anybody may have written. What is read from it is bounded
before it is held in memory, and whatever does not pass is one InputError that names the file.
"""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path

from backend.errors import InputError

MAX_JSON_BYTES = 4 * 2**20
FREE_BYTES = 64 * 2**20
"""What a file may become in memory, however small it is."""
MOST_TIMES = 64
"""How many times its size on disk a file may become; a table of real measures becomes ten."""
_FREE_FILES = 4
"""How many files' free bytes all files that are read together may have."""
_DIGITS = 20

# What reading a broken file raises besides InputError: of the system, of parsers, of numbers.
FAULTS = (OSError, ValueError, ArithmeticError, RecursionError, MemoryError)


def refused(path: Path | str, error: OSError) -> InputError:
    """What the system says of a file or folder, in one line; that is never called corrupt."""
    hint = "Ask for the permission to read it" if isinstance(error, PermissionError) else None
    return InputError(
        f"cannot be read ({error.strerror or error})", where=os.fspath(path), hint=hint
    )


def regular(path: Path | str) -> os.stat_result:
    """The facts of a regular file; InputError for whatever else bears the name.

    Opening a FIFO waits for ever and a device may do anything, so nothing is opened to find out.
    FileNotFoundError where there is nothing.
    """
    try:
        info = os.stat(path)  # noqa: PTH116 - asked of thousands of files
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(str(error)) from error
    except OSError as error:
        raise refused(path, error) from error
    if not stat.S_ISREG(info.st_mode):
        raise InputError("is not a regular file", where=os.fspath(path))
    return info


def present(path: Path) -> os.stat_result:
    """:func:`regular` of a file that the store needs: InputError where there is nothing, too.

    Between any two looks at a store somebody may delete what the first one saw.
    """
    try:
        return regular(path)
    except FileNotFoundError as error:
        raise missing(path) from error


def missing(path: Path) -> InputError:
    """What a file that should be there is refused with."""
    return InputError("file is missing", where=str(path), hint="See: fusionscope verify")


def content(path: Path, max_bytes: int = MAX_JSON_BYTES) -> bytes:
    """The bytes of a small regular file; FileNotFoundError where there is none.

    InputError for one of more than ``max_bytes``, and for what is no file or cannot be read.
    """
    if regular(path).st_size > max_bytes:
        raise InputError(f"is larger than {max_bytes:,} bytes", where=str(path))
    try:
        with path.open("rb") as handle:
            return handle.read(max_bytes)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise refused(path, error) from error


def parsed(text: str | bytes, where: str) -> object:
    """JSON as Python values, all numbers finite and of 20 digits at most; else InputError."""
    if len(text) > MAX_JSON_BYTES:
        raise InputError(f"is larger than {MAX_JSON_BYTES:,} bytes", where=where)

    def whole(digits: str) -> int:
        if len(digits) > _DIGITS:
            raise InputError(f"holds a number of {len(digits):,} digits", where=where)
        return int(digits)

    def real(digits: str) -> float:
        number = float(digits)
        if not math.isfinite(number):
            raise InputError(f"holds {digits[:_DIGITS]}, which is no finite number", where=where)
        return number

    try:
        value: object = json.loads(text, parse_int=whole, parse_float=real, parse_constant=real)
    except json.JSONDecodeError as error:
        raise InputError(
            f"not valid JSON ({error.msg} at line {error.lineno})", where=where
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"cannot be read ({error})", where=where) from error
    except RecursionError as error:
        raise InputError("is nested too deep", where=where) from error
    return value


def require_size(decoded: float, stored: int, where: str, files: int = 1) -> None:
    """InputError where files of ``stored`` bytes would become ``decoded`` bytes in memory."""
    if decoded > max(FREE_BYTES * min(files, _FREE_FILES), MOST_TIMES * stored):
        raise InputError(
            f"{stored:,} bytes would become {decoded / 2**20:,.0f} MiB in memory", where=where
        )
