"""Reading JSON from outside, streamed: one object a line, an array of objects, or objects in a row.

A row that cannot be read is a :class:`Bad` value in the stream, so that the rest goes on.
"""

from __future__ import annotations

import json
import re
import stat
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

from backend.data.rows import Bad, RowError
from backend.data.textfile import (
    MAX_LINE_BYTES,
    Line,
    Note,
    chunks_of,
    lines_of,
    not_utf8,
    quiet,
)
from backend.errors import InputError

JsonRow = tuple[int, dict[str, Any]]
Piece = Literal["object", "between", "open"]

_LONGEST_BETWEEN = 2**16  # characters between two objects
_ARRAY = re.compile(r"\s*\[\s*(?:\{|\]\s*$)")
_END = re.compile(r"[\r\n]+")
_MARKS = re.compile(r'["\\{}]')
_BETWEEN = re.compile(r"[\s,]*")
_DECODER = json.JSONDecoder()


def json_rows(path: Path, note: Note = quiet) -> Iterator[JsonRow | Bad]:
    """(row number, object) for each object of a file; blank lines are passed over.

    Row numbers are lines from 1 where a line is an object; otherwise (an array, objects over
    several lines) objects are counted from 1, and that is said. Raises InputError for a file that
    cannot be read, and for one object that holds the whole table.
    """
    form = _form(_start(path))
    if form == "lines":
        yield from _by_line(lines_of(path, note), path)
        return
    if form == "array":
        note(f"{path.name} is a JSON array: its objects are the rows, counted from 1")
    else:
        note(
            f"{path.name}: objects go over several lines, or share one; they are the rows, counted "
            "from 1"
        )
    yield from _objects(path, note, array=form == "array")


def parse_json(text: str) -> Any:
    """``json.loads`` for text from outside: every way to fail is a RowError; so is a key twice."""
    try:
        return json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise RowError(f"broken JSON: {error.msg} at column {error.colno}") from error
    except (ValueError, RecursionError) as error:  # absurdly long numbers, absurd nesting
        raise RowError(f"broken JSON: {str(error).partition(';')[0]}") from error


def read_json(path: Path) -> Any:
    """A small JSON file, whole. Raises RowError, also for one that is too large to be small."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise RowError("is not a file")
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


def _by_line(lines: Iterator[Line], path: Path) -> Iterator[JsonRow | Bad]:
    head = list(islice(lines, 2))
    empty, alone = True, len(head) == 1
    for number, line in chain(head, lines):
        if line is not None and not line.strip():
            continue
        empty = False
        if line is None:
            yield Bad(number, f"line too long: over {MAX_LINE_BYTES // 2**20} MiB")
            continue
        try:
            values = _values(line)
        except RowError as error:
            yield Bad(number, error.reason)
            continue
        for value in values:
            if isinstance(value, dict):
                if alone and len(values) == 1:
                    _refuse_whole_tables(value, path)
                yield number, value
            else:
                yield Bad(number, f"not a JSON object: {line.strip()[:40]}")
    if empty:
        yield Bad(0, "empty file")


def _values(line: str) -> list[Any]:
    """The value of a line, or the objects that somebody has written one after the other."""
    try:
        return [parse_json(line)]
    except RowError as error:
        if "Extra data" not in error.reason:
            raise
        text, at, values = line.strip(), 0, []
        while at < len(text):
            try:
                _, end = _DECODER.raw_decode(text, at)
            except (ValueError, RecursionError):
                raise error from None
            value = parse_json(text[at:end])
            if not isinstance(value, dict):
                raise error from None
            values.append(value)
            between = _BETWEEN.match(text, end)
            at = between.end() if between else end
        return values


def _start(path: Path) -> str:
    """The beginning of a file: of an array a piece, else up to where its second line begins."""
    parts: list[str] = []
    size, ends = 0, 0
    for chunk in chunks_of(path):
        parts.append(chunk)
        size += len(chunk)
        ends += bool(ends or _END.search(chunk))
        if ends > 1 or size > MAX_LINE_BYTES or _ARRAY.match(parts[0]):
            break
    return "".join(parts)


def _form(start: str) -> str:
    """``lines``, ``array`` or ``objects``, from the beginning of a file."""
    if _ARRAY.match(start):
        return "array"
    first, *more = [line for line in _END.split(start) if line.strip()][:2] or [""]
    first = first.strip()
    if not first.startswith("{") or (more and more[0].lstrip()[:1] in ("{", "[")):
        return "lines"
    try:
        _, end = _DECODER.raw_decode(first)
    except json.JSONDecodeError as error:
        # Unfinished, not damaged: the parser came to the end of the line.
        return "objects" if more and error.pos >= len(first) - 1 else "lines"
    except (ValueError, RecursionError):
        return "lines"
    # Objects in one line that is too long to be read at once.
    return "objects" if end < len(first) and len(first) > MAX_LINE_BYTES else "lines"


def _objects(path: Path, note: Note, *, array: bool) -> Iterator[JsonRow | Bad]:
    """The objects at the top of an array or of the file."""
    row, ended, told = 0, False, False
    for kind, text in _pieces(chunks_of(path, note)):
        if kind == "open":
            yield Bad(row + 1, f"broken JSON: {text}")
            return
        if kind == "between":
            ended = ended or text.rstrip().endswith("]")
            for stray in _strays(text):
                row += 1
                yield Bad(row, f"not a JSON object: {stray}")
            continue
        row += 1
        yield _object(row, text, path, alone=not array)
        if not told and (shown := not_utf8(text)):
            told = True
            note(f"{path.name} row {row} {shown}")
    if array and not ended:
        yield Bad(row + 1, "broken JSON: the array does not end: the file is cut off")
    elif not row:
        yield Bad(0, "empty file")


def _pieces(chunks: Iterator[str]) -> Iterator[tuple[Piece, str]]:
    """Objects, cut out by counting braces, and what is between them, in turn; why one is open."""
    depth = size = skip = 0
    quoted = False
    parts: list[str] = []  # of the piece that is not at its end yet
    for text in chunks:
        start, at = 0, skip
        while match := _MARKS.search(text, at):
            mark, at = match[0], match.end()
            if quoted:
                if mark == "\\":
                    at += 1  # whatever comes next is escaped, also in the next chunk
                elif mark == '"':
                    quoted = False
            elif depth and mark == '"':
                quoted = True
            elif mark == "{":
                if not depth:
                    yield "between", "".join([*parts, text[start : match.start()]])
                    parts, size, start = [], 0, match.start()
                depth += 1
            elif mark == "}" and depth:
                depth -= 1
                if not depth:
                    yield "object", "".join([*parts, text[start:at]])
                    parts, size, start = [], 0, at
        skip = max(0, at - len(text))
        parts.append(text[start:])
        size += len(parts[-1])
        if depth and size > MAX_LINE_BYTES:
            yield "open", f"an object that does not end within {MAX_LINE_BYTES // 2**20} MiB"
            return
        if not depth and size > _LONGEST_BETWEEN:
            yield "between", "".join(parts)
            parts, size = [], 0
    yield ("open", "an object that does not end") if depth else ("between", "".join(parts))


def _strays(between: str) -> list[str]:
    """What stands between objects and is none, cut; nothing for brackets, commas and space."""
    parts = (part.strip(" \t\r\n[]")[:40] for part in re.split(r"[,\r\n]", between))
    return [part for part in parts if part]


def _object(row: int, text: str, path: Path, *, alone: bool) -> JsonRow | Bad:
    try:
        value = parse_json(text)
    except RowError as error:
        return Bad(row, error.reason)
    if alone and row == 1:
        _refuse_whole_tables(value, path)
    return row, value


def _refuse_whole_tables(value: dict[str, Any], path: Path) -> None:
    """InputError for one object that is the table: a list under a key, or a column under each."""
    for key, part in value.items():
        if isinstance(part, list) and part and all(isinstance(row, dict) for row in part):
            raise InputError(
                f"is one object with the rows under {key[:40]!r}",
                where=path.name,
                hint="Save that list alone, or one object a line.",
            )
    if value and all(isinstance(part, dict | list) for part in value.values()):
        raise InputError(
            "is a table by columns, not by rows",
            where=path.name,
            hint="Save it with one object a row (in pandas: orient='records', lines=True).",
        )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {twice[:40]!r} is there twice")
    return made
