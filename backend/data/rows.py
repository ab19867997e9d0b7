"""Reading text files of rows that may be damaged: JSON lines and CSV, streamed.

A row that cannot be read is a :class:`Bad` value in the stream, so that the rest goes on. A file
that cannot be read at all is an InputError. Bytes that are not UTF-8 come through as lone
surrogates, which :func:`check_text` finds in the field that has them.
"""

from __future__ import annotations

import csv
import json
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.errors import InputError

MAX_LINE_BYTES = 16 * 2**20
MAX_RECORD_LINES = 100

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True)
class Bad:
    """A row that cannot be read. ``row`` is its line, counted from 1; 0 means the whole file."""

    row: int | str
    reason: str
    sample_id: str = ""


class RowError(Exception):
    """Why a row cannot be used; the loaders raise it, ``FileSource`` turns it into a Problem."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]] | Bad]:
    """(line number, object) for each line of a JSON lines file; blank lines are passed over."""
    empty = True
    for number, line in _lines(path):
        if line is not None and not line.strip():
            continue
        empty = False
        if line is None:
            yield Bad(number, f"line too long: over {MAX_LINE_BYTES // 2**20} MiB")
            continue
        try:
            value = parse_json(line)
        except RowError as error:
            yield Bad(number, error.reason)
            continue
        if isinstance(value, dict):
            yield number, value
        else:
            yield Bad(number, f"not a JSON object: {line.strip()[:40]}")
    if empty:
        yield Bad(0, "empty file")


def csv_rows(path: Path, width: int | None = None) -> Iterator[tuple[int, list[str]] | Bad]:
    """(line number, fields) for each record of a CSV file, headers included.

    ``width`` is how many fields a record has; without it the first record says. A record that is
    damaged (an open quote, too many fields) costs that one line: reading goes on at the next.
    """
    # Process-wide in the csv module; raised, never lowered, so that nobody else is affected.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    lines = _Rewindable(_lines(path))
    reader = csv.reader(lines, strict=True)
    empty = True
    while True:
        lines.begin()
        try:
            fields = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            empty = False
            yield Bad(lines.first, f"broken CSV: {error}")
            lines.retry_after_first()
            continue
        if not fields or fields == [""]:
            continue
        empty = False
        width = width or len(fields)
        if len(fields) != width:
            yield Bad(lines.first, f"broken CSV: {len(fields)} fields where {width} are expected")
            lines.retry_after_first()
            continue
        yield lines.first, fields
    if empty:
        yield Bad(0, "empty file")


def parse_json(text: str) -> Any:
    """``json.loads`` for text from outside: every way to fail is a RowError."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise RowError(f"broken JSON: {error.msg} at column {error.colno}") from error
    except (ValueError, RecursionError) as error:  # absurdly long numbers, absurd nesting
        raise RowError(f"broken JSON: {str(error).partition(';')[0]}") from error


def read_json(path: Path) -> Any:
    """A small JSON file, whole. Raises RowError, also for one that is too large to be small."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_LINE_BYTES + 1)
    except FileNotFoundError as error:
        raise RowError("missing file") from error
    except (OSError, ValueError) as error:
        raise RowError(f"unreadable file: {getattr(error, 'strerror', None) or error}") from error
    if len(raw) > MAX_LINE_BYTES:
        raise RowError(f"file too long: over {MAX_LINE_BYTES // 2**20} MiB")
    if not raw.strip():
        raise RowError("empty file")
    return parse_json(raw.decode("utf-8", "surrogateescape").removeprefix("\ufeff"))


def check_text(value: object, what: str) -> str:
    """A text that can be stored, or RowError. Long texts are kept; ``what`` names the field."""
    if value is None or value == "":
        raise RowError(f"no {what}")
    if not isinstance(value, str):
        raise RowError(f"{what} is not text: {str(value)[:40]}")
    if not value.strip():
        raise RowError(f"no {what}")
    if "\0" in value:
        raise RowError(f"NUL character in {what}")
    if _NOT_UTF8.search(value):
        raise RowError(f"{what} is not UTF-8")
    if _LONE_SURROGATE.search(value):
        raise RowError(f"{what} is not Unicode")
    return value


def check_id(value: object) -> str:
    """A sample id as text, exactly as the dataset writes it: a string or a whole number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if value is not None and not isinstance(value, str):
        raise RowError(f"id is neither text nor a whole number: {str(value)[:40]}")
    text = check_text(value, "id")
    if len(text) > 500:
        raise RowError("id is longer than 500 characters")
    return text


def check_group(value: object) -> str:
    """The name of a row's group as text; "" where it has none. Raises RowError.

    A whole number is a name too, also as 3.0: a column of numbers with a gap is read so.
    """
    if value is None or value != value or (isinstance(value, str) and not value.strip()):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise RowError(f"group is neither text nor a whole number: {str(value)[:40]}")
    name = check_text(str(value), "group").strip()
    if len(name) > 500:
        raise RowError("group is longer than 500 characters")
    return name


def _lines(path: Path) -> Iterator[tuple[int, str | None]]:
    """(number from 1, line with its end) of a UTF-8 file; None for one that is too long."""
    try:
        with path.open("rb") as stream:
            number = 0
            while raw := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                if number == 1:
                    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
                        raise InputError("is UTF-16", where=path.name, hint="Save it as UTF-8.")
                    raw = raw.removeprefix(b"\xef\xbb\xbf")
                if len(raw) > MAX_LINE_BYTES:
                    while raw and not raw.endswith(b"\n"):
                        raw = stream.readline(MAX_LINE_BYTES)
                    yield number, None
                    continue
                yield number, raw.decode("utf-8", "surrogateescape")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path.name) from error


class _Rewindable:
    """Lines for ``csv.reader`` that can be given again when they did not make a record.

    A class, not a generator: it must survive raising.
    """

    def __init__(self, lines: Iterator[tuple[int, str | None]]) -> None:
        self._lines = lines
        self._again: deque[tuple[int, str | None]] = deque()
        self._taken: list[tuple[int, str | None]] = []

    def __iter__(self) -> _Rewindable:
        return self

    def __next__(self) -> str:
        if len(self._taken) >= MAX_RECORD_LINES:
            raise csv.Error(f"a quote stays open for {MAX_RECORD_LINES} lines")
        item = self._again.popleft() if self._again else next(self._lines)
        self._taken.append(item)
        if item[1] is None:
            raise csv.Error(f"a line of over {MAX_LINE_BYTES // 2**20} MiB")
        return item[1]

    def begin(self) -> None:
        """A new record starts with the next line."""
        self._taken.clear()

    @property
    def first(self) -> int:
        """The line at which the current record started."""
        return self._taken[0][0]

    def retry_after_first(self) -> None:
        """Give all lines of this record again but its first."""
        self._again.extendleft(reversed(self._taken[1:]))
        self._taken.clear()
