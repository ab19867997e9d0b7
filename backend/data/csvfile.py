"""Reading CSV from outside, streamed, in the dialects that people's programs write.

Read, and said where it is not the plain form: columns parted by ``;``, tab or ``|``, a first line
``sep=;``, a space after every separator, quotes escaped as ``\\"``. A record that cannot be read is
a :class:`Bad` value in the stream; reading goes on at its next line. A quote that stays open and
swallows the rows behind it is such a record, even where the number of fields comes out right.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from backend.data.rows import Bad
from backend.data.textfile import MAX_LINE_BYTES, Line, Note, head_of, lines_of, quiet

MAX_RECORD_LINES = 100
_FEWEST_RECORD_LINES = 4  # the bound sinks to this where many records turn out to be open quotes

_HEAD = 30  # lines from which the dialect is read
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_SEP_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_SPANNING_SHARE = 0.02  # of the records; where more of them span lines, that is how the file is
_SHOWN = 5
_WORD = re.compile(r"[\w-]+")
_TELLING = re.compile(r"9|(?=.*\W)\S+")

CsvRow = tuple[int, list[str]]


@dataclass(frozen=True)
class Dialect:
    """How the fields of a line are told apart."""

    separator: str = ","
    spaced: bool = False

    def fields(self, line: str) -> list[str]:
        """The fields of one line alone; a quote that is left open ends with it."""
        reader = csv.reader([line], delimiter=self.separator, skipinitialspace=self.spaced)
        try:
            return next(reader, [])
        except csv.Error:
            return []


def csv_rows(path: Path, width: int | None = None, note: Note = quiet) -> Iterator[CsvRow | Bad]:
    """(line number, fields) for each record of a CSV file, headers included.

    ``width`` is how many fields a record has; without it the first record says. Empty fields beyond
    it are dropped.
    """
    # Process-wide in the csv module; raised, never lowered, so that nobody else is affected.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    lines = lines_of(path, note)
    head = head_of(lines, _HEAD)
    first = next((line for _, line in head if line is not None and line.strip()), "")
    declared = _SEP_LINE.fullmatch(first)
    if declared:
        head = head[next(at for at, (_, line) in enumerate(head) if line == first) + 1 :]
    dialect = _dialect([line for _, line in head if line], declared and declared[1], width)
    usual = "\t" if ".tsv" in path.suffixes else ","
    if dialect.separator != usual:
        what = _SEPARATORS.get(dialect.separator, repr(dialect.separator))
        note(f"{path.name}: its columns are parted by {what}")
    if dialect.spaced:
        note(f"{path.name}: spaces after the separators are no part of the values")
    yield from _Records(path.name, dialect, width, note).read(chain(head, lines))


class _Records:
    """The records of one file, and what is said of them at its end."""

    def __init__(self, name: str, dialect: Dialect, width: int | None, note: Note) -> None:
        self._name, self._dialect, self._width, self._note = name, dialect, width, note
        self._headed = width is None
        self._count = 0
        self._shapes: list[set[str]] = []
        self._escaped = False
        self._spanning: list[str] = []
        self._spans = 0

    def read(self, source: Iterator[Line]) -> Iterator[CsvRow | Bad]:
        lines = _Rewindable(source)
        separator, spaced = self._dialect.separator, self._dialect.spaced
        reader = csv.reader(lines, strict=True, delimiter=separator, skipinitialspace=spaced)
        empty = True
        while True:
            lines.begin()
            try:
                fields, problem = next(reader), ""
            except StopIteration:
                break
            except csv.Error as error:
                fields, problem = [], f"broken CSV: {error}"
            if not problem and (not fields or fields == [""]):
                continue
            empty = False
            self._width = self._width or len(fields)
            fields = self._cut(fields)
            problem = problem or self._problem(fields, lines)
            unescaped = self._unescaped(lines) if problem or len(lines.taken) > 1 else None
            if unescaped is not None:
                if not self._escaped:
                    self._note(
                        f'{self._name}: quotes in quotes are written \\" (first in row '
                        f"{lines.first}): read as quotes"
                    )
                self._escaped = True
                number = lines.first
                lines.retry_after_first()
                yield number, unescaped
            elif problem:
                yield Bad(lines.first, problem)
                lines.retry_after_first()
            else:
                self._count += 1
                if len(lines.taken) == 1 and not (self._headed and self._count == 1):
                    self._learn(fields)
                if len(lines.taken) > 1:
                    self._spans += 1
                    if len(self._spanning) < _SHOWN:
                        self._spanning.append(f"{lines.first} to {lines.taken[-1][0]}")
                yield lines.first, fields
        if empty:
            yield Bad(0, "empty file")
        self._tell_of_spanning()

    def _cut(self, fields: list[str]) -> list[str]:
        """Without empty fields beyond the width, as spreadsheets write them."""
        width = self._width or 0
        return fields[:width] if not any(fields[width:]) else fields

    def _problem(self, fields: list[str], lines: _Rewindable) -> str:
        width = self._width or 0
        if len(fields) != width:
            return f"broken CSV: {len(fields)} fields where {width} are expected"
        last = lines.taken[-1][0]
        if len(lines.taken) > 1 and width > 2 and self._each_is_a_row(lines):
            return (
                f"broken CSV: a quote stays open up to row {last}: close it; if that is one cell, "
                "save the table as JSON"
            )
        return ""

    def _learn(self, fields: list[str]) -> None:
        """Remember how the values of each column look, as long as they look alike."""
        self._shapes += [set() for _ in fields[len(self._shapes) :]]
        for shapes, value in zip(self._shapes, fields, strict=False):
            if len(shapes) < 2:
                shapes.add(_shape(value))

    def _each_is_a_row(self, lines: _Rewindable) -> bool:
        """Whether every line of a record could be a record of its own, and is no prose.

        It has the separators of one. Prose with as many of them has a space behind one, or in a
        column beside that of the open quote a value that is like no other of the column.
        """
        cells = [self._cells(line or "") for _, line in lines.taken]
        first = cells[0]
        if any(len(own) != self._width for own in cells):
            return False
        opened = next((at for at, cell in enumerate(first) if cell.lstrip()[:1] == '"'), 0)
        return not any(
            cell and at != opened and self._is_prose(cell, first[at], at)
            for own in cells[1:]
            for at, cell in enumerate(own)
        )

    def _cells(self, line: str) -> list[str]:
        cells = line.rstrip("\r\n").split(self._dialect.separator)
        return [cell.strip() for cell in cells] if self._dialect.spaced else cells

    def _is_prose(self, cell: str, above: str, at: int) -> bool:
        """Whether a cell is none of its column; ``above`` is one that is."""
        shapes = {_shape(above), *(self._shapes[at] if at < len(self._shapes) else ())}
        alike = len(shapes) == 1 and all(map(_TELLING.fullmatch, shapes))
        return (cell[0] == " " != above[:1]) or (alike and _shape(cell) not in shapes)

    def _unescaped(self, lines: _Rewindable) -> list[str] | None:
        """The record's first line alone, read with quotes escaped by a backslash, if it fits."""
        line = lines.taken[0][1] if lines.taken else None
        if line is None or '\\"' not in line:
            return None
        try:
            (fields,) = csv.reader(
                [line.replace('\\"', '""')],
                strict=True,
                delimiter=self._dialect.separator,
                skipinitialspace=self._dialect.spaced,
            )
        except (csv.Error, ValueError):
            return None
        fields = self._cut(fields)
        return fields if len(fields) == self._width else None

    def _tell_of_spanning(self) -> None:
        if self._spans and self._spans <= max(1, _SPANNING_SHARE * self._count):
            more = f" and {self._spans - _SHOWN:,} more" if self._spans > _SHOWN else ""
            self._note(
                f"{self._name}: a quoted cell goes over lines {', '.join(self._spanning)}{more}, "
                "where rows are one line each: if that is not meant, close the quote"
            )


def _shape(value: str) -> str:
    """What values of one kind have in common: ``img/01.png`` and ``img/b2.png`` are ``a/a.a``."""
    return "9" if value.isdecimal() else _WORD.sub("a", value)


def _dialect(head: list[str], declared: str | None, width: int | None) -> Dialect:
    """How the lines of a file's head are written."""
    there = [line for line in head if line.strip()]
    separator = declared or _separator(there, width)
    spaced = Dialect(separator, spaced=True)
    rows = [Dialect(separator).fields(line) for line in there][1:]
    values = [field for row in rows for field in row[1:] if field.strip()]
    if values and all(field.startswith(" ") for field in values):
        return spaced
    return Dialect(separator)


def _separator(head: list[str], width: int | None) -> str:
    """What parts most lines into ``width`` fields; into as many as the first, which names columns.

    That has the most, as names of columns hold no separators.
    """
    fields = {each: [len(Dialect(each).fields(line)) for line in head] for each in _SEPARATORS}
    if not head:
        return ","
    if width is not None:
        fitting = {each: counts.count(width) for each, counts in fields.items()}
        if any(fitting.values()):
            return max(fitting, key=lambda each: fitting[each])
    most = max(counts[0] for counts in fields.values())
    fitting = {each: counts.count(most) for each, counts in fields.items() if counts[0] == most}
    return max(fitting, key=lambda each: fitting[each]) if most > 1 else ","


class _Rewindable:
    """Lines for ``csv.reader`` that can be given again when they did not make a record.

    A class, not a generator: it must survive raising.
    """

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._again: deque[Line] = deque()
        self._most = MAX_RECORD_LINES
        self._size = 0
        self.taken: list[Line] = []

    def __iter__(self) -> _Rewindable:
        return self

    def __next__(self) -> str:
        if len(self.taken) >= self._most:
            raise csv.Error(f"a quote stays open for {self._most} lines")
        item = self._again.popleft() if self._again else next(self._lines)
        self.taken.append(item)
        line = item[1]
        self._size += len(line or "")
        if line is None or self._size > MAX_LINE_BYTES:
            raise csv.Error(f"a row of over {MAX_LINE_BYTES // 2**20} MiB")
        return line

    def begin(self) -> None:
        """A new record starts with the next line."""
        self.taken.clear()
        self._size = 0

    @property
    def first(self) -> int:
        """The line at which the current record started."""
        return self.taken[0][0]

    def retry_after_first(self) -> None:
        """Give all lines of this record again but its first."""
        if len(self.taken) > _FEWEST_RECORD_LINES:
            self._most = max(_FEWEST_RECORD_LINES, self._most - 1)
        self._again.extendleft(reversed(self.taken[1:]))
        self.taken.clear()
