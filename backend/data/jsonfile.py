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
from typing import Any

from backend.data.rows import Bad, RowError
from backend.data.textfile import MAX_LINE_BYTES, Note, lines_of, quiet
from backend.errors import InputError

JsonRow = tuple[int, dict[str, Any]]

_HEAD = 50  # lines that are looked at to learn how the file is built
_MARKS = re.compile(r'["\\{}]')
_STRAY = re.compile(r"[^\s,\[\]].*", re.DOTALL)
_BETWEEN = re.compile(r"[\s,]*")
_DECODER = json.JSONDecoder()


def json_rows(path: Path, note: Note = quiet) -> Iterator[JsonRow | Bad]:
    """(row number, object) for each object of a file; blank lines are passed over.

    Row numbers are lines from 1 where a line is an object; otherwise (an array, objects over
    several lines) objects are counted from 1, and that is said. Raises InputError for a file that
    cannot be read, and for one object that holds the whole table.
    """
    lines = lines_of(path, note)
    head = list(islice(lines, _HEAD))
    form = _form([line for _, line in head if line is not None and line.strip()])
    everything = chain(head, lines)
    if form == "lines":
        yield from _by_line(everything, path, alone=len(head) == 1)
        return
    if form == "array":
        note(f"{path.name} is a JSON array: its objects are the rows, counted from 1")
    else:
        note(f"{path.name}: objects go over several lines; they are the rows, counted from 1")
    yield from _objects(everything, path, array=form == "array")


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


def _by_line(
    lines: Iterator[tuple[int, str | None]], path: Path, *, alone: bool
) -> Iterator[JsonRow | Bad]:
    empty = True
    for number, line in lines:
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


def _form(head: list[str]) -> str:
    """``lines``, ``array`` or ``objects``, from the first lines that are not blank."""
    text = "".join(head).lstrip()
    if re.match(r"\[\s*(?:\{|\]\s*$)", text):
        return "array"
    if not text.startswith("{") or len(head) < 2 or head[1].lstrip()[:1] in ("{", "["):
        return "lines"
    try:
        _DECODER.raw_decode(head[0].strip())
    except json.JSONDecodeError as error:
        # Unfinished, not damaged: the parser came to the end of the line.
        return "objects" if error.pos >= len(head[0].strip()) - 1 else "lines"
    except (ValueError, RecursionError):
        pass
    return "lines"


def _objects(
    lines: Iterator[tuple[int, str | None]], path: Path, *, array: bool
) -> Iterator[JsonRow | Bad]:
    """The objects at the top of an array or of the file, cut out by counting braces."""
    row, depth, quoted = 0, 0, False
    parts: list[str] = []
    size, ended = 0, False
    for _, line in lines:
        if line is None:
            row += 1
            yield Bad(row, f"line too long: over {MAX_LINE_BYTES // 2**20} MiB")
            depth, parts, size, quoted = 0, [], 0, False
            continue
        start = at = 0
        while match := _MARKS.search(line, at):
            mark, at = match[0], match.end()
            if quoted:
                if mark == "\\":
                    at += 1  # whatever comes next is escaped
                elif mark == '"':
                    quoted = False
            elif depth and mark == '"':
                quoted = True
            elif mark == "{":
                if not depth:
                    if stray := _stray(line[start : match.start()]):
                        row += 1
                        yield Bad(row, f"not a JSON object: {stray}")
                    start = match.start()
                depth += 1
            elif mark == "}" and depth:
                depth -= 1
                if not depth:
                    row += 1
                    yield _object(row, "".join([*parts, line[start:at]]), path, alone=not array)
                    parts, size, start = [], 0, at
        if depth:
            parts.append(line[start:])
            size += len(parts[-1])
            if size > MAX_LINE_BYTES:
                break
        else:
            if stray := _stray(line[start:]):
                row += 1
                yield Bad(row, f"not a JSON object: {stray}")
            ended = ended or line[start:].rstrip().endswith("]")
    if depth:
        yield Bad(row + 1, "broken JSON: an object that does not end")
    elif array and not ended:
        yield Bad(row + 1, "broken JSON: the array does not end: the file is cut off")
    elif not row:
        yield Bad(0, "empty file")


def _stray(between: str) -> str:
    """What stands between objects and is none, cut; "" for brackets, commas and space."""
    match = _STRAY.search(between)
    return match[0].strip()[:40] if match else ""


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
