"""What readers of rows share: a row that cannot be used, and the checks of texts, ids and groups.

Bytes that are not UTF-8 come through as lone surrogates, which :func:`check_text` finds in the
field that has them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, time, timedelta

_WHOLE = re.compile(r"[0-9]{1,17}\.0")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True)
class Bad:
    """A row that cannot be read. ``row`` is its line, counted from 1; 0 means the whole file.

    ``file`` is the file of a data set's part that has several.
    """

    row: int | str
    reason: str
    sample_id: str = ""
    file: str = ""


class RowError(Exception):
    """Why a row cannot be used; the loaders raise it, ``FileSource`` turns it into a Problem."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def check_text(value: object, what: str) -> str:
    """A text that can be stored, or RowError. Long texts are kept; ``what`` names the field."""
    if value is None or value != value or (isinstance(value, str) and not value.strip()):
        raise RowError(f"no {what}")
    if not isinstance(value, str):
        raise RowError(f"{what} is not text: {str(value)[:40]}")
    if "\0" in value:
        raise RowError(f"NUL character in {what}")
    if not value.isascii() and _LONE_SURROGATE.search(value):
        form = "UTF-8" if _NOT_UTF8.search(value) else "Unicode"
        raise RowError(f"{what} is not {form}")
    return value


def check_id(value: object) -> str:
    """A sample id as text, exactly as the dataset writes it: a string or a whole number."""
    value = as_whole(as_written(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if value is not None and not isinstance(value, str):
        raise RowError(f"id is neither text nor a whole number: {str(value)[:40]}")
    text = check_text(value, "id")
    if len(text) > 500:
        raise RowError("id is longer than 500 characters")
    return text


def as_written(value: object) -> object:
    """A date, a time or a span of time as the text that other formats have for it."""
    return str(value) if isinstance(value, date | time | timedelta) else value


def as_whole(value: object) -> object:
    """A whole number that is kept as 3.0, which a column with a gap makes of it, as 3."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def plain_number(text: str) -> str:
    """``3.0``, which a column with a gap makes of ``3``, as that; any other text as it is."""
    return text.partition(".")[0] if _WHOLE.fullmatch(text) else text


def check_group(value: object) -> str:
    """The name of a row's group as text; "" where it has none. Raises RowError.

    A whole number is a name too, also as 3.0: a column of numbers with a gap is read so.
    """
    if value is None or value != value or (isinstance(value, str) and not value.strip()):
        return ""
    value = as_whole(as_written(value))
    if isinstance(value, str):
        value = plain_number(value.strip())
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise RowError(f"group is neither text nor a whole number: {str(value)[:40]}")
    name = check_text(str(value), "group").strip()
    if len(name) > 500:
        raise RowError("group is longer than 500 characters")
    return name
