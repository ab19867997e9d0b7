"""The lines of a text file as people save it: what is unambiguous is read, the rest is named.

Read, and said: gzip, UTF-16 and UTF-32 (with a byte order mark, UTF-16 also without one), lines
that end with CR alone. A file of another kind (a workbook, an archive, a web page) is an InputError
that says what it is and how to save it. Bytes that are not UTF-8 come through as lone surrogates.
"""

from __future__ import annotations

import codecs
import gzip
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from backend.errors import InputError

Note = Callable[[str], None]
"""Is told, in a sentence, how a file is read where it could be read otherwise."""

Line = tuple[int, str | None]
"""Its number from 1, and the line with its end, or None for one that is too long."""

MAX_LINE_BYTES = 16 * 2**20
MAX_EXPANSION = 200
"""A gzip that grows beyond this is not text; checked above 64 MiB."""

_CHUNK = 1 << 16
_MAX_HEAD = 2**20
_GZIP = b"\x1f\x8b"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_OTHERS = (
    (b"PK\x03\x04", "an Excel workbook or a ZIP archive", "Save it as CSV (UTF-8), or unpack it."),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "Save it as CSV (UTF-8)."),
    (b"PAR1", "a Parquet file", "Let its name end with .parquet."),
    (b"ARROW1", "an Arrow file (Feather)", "Save it as Parquet."),
    (b"\xff\xff\xff\xff", "an Arrow stream", "Save it as Parquet."),
    (b"SQLite format 3", "an SQLite database", "Export the table as CSV."),
    (b"\x89HDF", "an HDF5 file", "Save the table as Parquet or CSV."),
    (b"BZh", "compressed with bzip2", "Unpack it."),
    (b"\xfd7zXZ", "compressed with xz", "Unpack it."),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "Unpack it."),
    (b"7z\xbc\xaf", "a 7-Zip archive", "Unpack it."),
    (b"Rar!", "a RAR archive", "Unpack it."),
    (b"\x80\x02", "a pickle, of which nothing is read", "Save the table as CSV or Parquet."),
    (b"\x80\x03", "a pickle, of which nothing is read", "Save the table as CSV or Parquet."),
    (b"\x80\x04", "a pickle, of which nothing is read", "Save the table as CSV or Parquet."),
    (b"\x80\x05", "a pickle, of which nothing is read", "Save the table as CSV or Parquet."),
    (b"%PDF", "a PDF", "Save the table as CSV."),
    (b"version https://git-lfs", "a Git LFS pointer, not the file", "Fetch it: git lfs pull."),
    (b"<!doctype html", "a web page", "Download the file itself."),
    (b"<html", "a web page", "Download the file itself."),
)


def quiet(sentence: str) -> None:
    """A :data:`Note` for whoever does not want to be told."""


def lines_of(path: Path, note: Note = quiet) -> Iterator[Line]:
    """(number from 1, line with its end) of a text file; None for one that is too long.

    Raises InputError for what is no text and for a file that cannot be read.
    """
    end = "\n"
    parts: list[str] = []  # of the line that is not at its end yet
    number = size = 0
    told = too_long = False
    for text in chunks_of(path, note):
        if number == size == 0 and not too_long and "\n" not in text and "\r" in text:
            end = "\r"
            note(f"{path.name}: its lines end with CR alone: read as that")
        *ended, rest = text.split(end)
        for piece in ended:
            line, number = "".join([*parts, piece]), number + 1
            yield number, None if too_long or len(line) > MAX_LINE_BYTES else line + end
            if not told and (shown := not_utf8(line)):
                told = True
                note(f"{path.name} row {number} {shown}")
            parts, size, too_long = [], 0, False
        if rest:
            parts.append(rest)
            size += len(rest)
        if size > MAX_LINE_BYTES:
            parts, size, too_long = [], 0, True
    if parts or too_long:
        line = "".join(parts)
        if not told and (shown := not_utf8(line)):
            note(f"{path.name} row {number + 1} {shown}")
        yield number + 1, None if too_long else line


def head_of(lines: Iterator[Line], most: int) -> list[Line]:
    """The first lines, taken: at most ``most``, and none behind a mebibyte of them."""
    head: list[Line] = []
    size = 0
    while len(head) < most and size < _MAX_HEAD and (line := next(lines, None)) is not None:
        head.append(line)
        size += len(line[1] or "")
    return head


def chunks_of(path: Path, note: Note = quiet) -> Iterator[str]:
    """The text of a file in pieces of some 64 KiB, wherever its lines end.

    Raises InputError for what is no text and for a file that cannot be read.
    """
    with _opened(path, note) as stream:
        head = stream.read(_CHUNK)
        _refuse_other_kinds(path, head)
        encoding, mark = _encoding(head)
        if encoding != "utf-8":
            note(f"{path.name} is {encoding[:-3].upper()}, not UTF-8: read as that")
        errors = "surrogateescape" if encoding == "utf-8" else "strict"
        decoder = codecs.getincrementaldecoder(encoding)(errors)
        chunk, taken = head[mark:], mark
        while True:
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                problem = f"broken {encoding[:-3].upper()} after {taken:,} bytes"
                raise InputError(problem, where=path.name, hint="Save it as UTF-8.") from error
            if text:
                yield text
            if not chunk:
                return
            taken += len(chunk)
            chunk = stream.read(_CHUNK)


@contextmanager
def _opened(path: Path, note: Note) -> Iterator[_Stream]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError("is not a file", where=path.name)
        with path.open("rb") as raw:
            packed = raw.read(2) == _GZIP
            raw.seek(0)
            if not packed:
                yield _Stream(raw, path)
                return
            note(f"{path.name} is compressed with gzip: read as that")
            with gzip.open(raw, "rb") as unpacked:
                yield _Stream(
                    cast(BinaryIO, unpacked), path, most=MAX_EXPANSION * path.stat().st_size
                )
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        why = getattr(error, "strerror", None) or error
        raise InputError(f"cannot be read: {why}", where=path.name) from error


class _Stream:
    """Bytes of a file, unpacked; damage of the packing and endless growth are InputErrors."""

    def __init__(self, raw: BinaryIO, path: Path, most: int | None = None) -> None:
        self._raw, self._path, self._read = raw, path, 0
        self._most = None if most is None else max(most, 64 * 2**20)

    def read(self, size: int) -> bytes:
        """The next bytes; empty at the end."""
        try:
            chunk = self._raw.read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(
                f"broken gzip after {self._read:,} bytes: {error}",
                where=self._path.name,
                hint="Download or pack it again.",
            ) from error
        self._read += len(chunk)
        if self._most is not None and self._read > self._most:
            raise InputError(
                f"grows more than {MAX_EXPANSION}-fold when it is unpacked",
                where=self._path.name,
                hint="If that is meant, unpack it first.",
            )
        return chunk


def _encoding(head: bytes) -> tuple[str, int]:
    """The encoding, and how many bytes of a byte order mark come first."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding, len(mark)
    even, odd = head[0:4096:2].count(0), head[1:4096:2].count(0)
    half = max(1, min(len(head), 4096) // 2)
    if odd > 0.4 * half and even < 0.05 * half:
        return "utf-16-le", 0
    if even > 0.4 * half and odd < 0.05 * half:
        return "utf-16-be", 0
    return "utf-8", 0


def _refuse_other_kinds(path: Path, head: bytes) -> None:
    start = head.lstrip()[:32] if head[:1] in b" \r\n\t<" else head[:32]
    for magic, what, hint in _OTHERS:
        if start.lower().startswith(magic) if magic[:1] == b"<" else start.startswith(magic):
            raise InputError(f"is {what}", where=path.name, hint=hint)


def not_utf8(text: str) -> str:
    """What a text that is not UTF-8 would say in the encoding that it probably has; else ""."""
    if text.isascii():
        return ""
    bad = next((at for at, c in enumerate(text) if "\udc80" <= c <= "\udcff"), None)
    if bad is None:
        return ""
    part = text[max(0, bad - 12) : bad + 12].encode("utf-8", "surrogateescape")
    shown = part.decode("cp1252", "replace").strip()
    return (
        f"is not UTF-8; in Windows-1252 it says {shown!r}. Save the file as UTF-8 "
        "(in a spreadsheet: CSV UTF-8)"
    )
