"""Where in a TOML file a value stands: the standard library's parser does not say."""

from __future__ import annotations

import re
from collections.abc import Sequence

Path = tuple[str | int, ...]

_NAME = r"(?:[\w-]+|\"[^\"]*\"|'[^']*')"
_DOTTED = rf"({_NAME}(?:\s*\.\s*{_NAME})*)"
_TABLES = re.compile(rf"\s*\[\[\s*{_DOTTED}\s*\]\]")
_TABLE = re.compile(rf"\s*\[\s*{_DOTTED}\s*\]\s*(?:#.*)?$")
_KEY = re.compile(rf"\s*{_DOTTED}\s*=")
_ITEM = re.compile(r"\"[^\"]*\"|'[^']*'|#.*|[+-]?[\w.]+")


def line_of(text: str, path: Sequence[str | int]) -> int | None:
    """The 1-based line of ``("datasets", 1, "train", "epochs")``, or of what it stands in."""
    lines = _lines(text)
    wanted = tuple(path)
    while wanted:
        if wanted in lines:
            return lines[wanted]
        parent = wanted[:-1]
        if parent in lines and isinstance(wanted[-1], int):
            return _item_line(text, lines[parent], wanted[-1])
        wanted = parent
    return None


def _lines(text: str) -> dict[Path, int]:
    """Line of every table and key that starts a line of its own."""
    lines: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if match := _TABLES.match(line):
            names = _names(match[1])
            parent = _resolved(names[:-1], counts)
            array = (*parent, names[-1])
            counts[array] = counts.get(array, -1) + 1
            lines.setdefault(array, number)
            table = (*array, counts[array])
            lines[table] = number
        elif match := _TABLE.match(line):
            table = _resolved(_names(match[1]), counts)
            lines[table] = number
        elif match := _KEY.match(line):
            lines[(*table, *_names(match[1]))] = number
    return lines


def _names(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"' ") for part in dotted.split("."))


def _resolved(names: Sequence[str], counts: dict[Path, int]) -> Path:
    """The path of a table: a name of an array of tables means the last one so far."""
    path: Path = ()
    for name in names:
        path = (*path, name)
        if path in counts:
            path = (*path, counts[path])
    return path


def _item_line(text: str, start: int, index: int) -> int:
    """The line of an array's item, where the array begins on line ``start``."""
    lines = text.splitlines()
    seen = 0
    for number in range(start, len(lines) + 1):
        line = lines[number - 1]
        if number == start:
            line = line.partition("=")[2]
        elif _KEY.match(line) or _TABLE.match(line):
            break
        seen += sum(not item.startswith("#") for item in _ITEM.findall(line))
        if seen > index:
            return number
    return start
