"""Reading the arrays of one large JSON object, streamed: ``{"images": [{...}, ...], ...}``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

from backend.data.textfile import MAX_LINE_BYTES, chunks_of
from backend.errors import InputError

_BLANK = re.compile(r"[ \t\r\n]*")
_MARKS = re.compile(r'["\[\]{}]')
_AFTER = re.compile(r"[,}\]\s]")
_DECODER = json.JSONDecoder()


def array_objects(path: Path, names: Set[str]) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """(array, number from 1, object) of the arrays of these names at the top of a file's object.

    What else the object holds is passed over. Memory: a piece of the file and one object of at
    most 16 MiB. Raises InputError for what is no such object, and where it is cut short or broken.
    """
    text = _Text(path)
    if text.next() != "{":
        raise InputError("is no JSON object", where=path.name)
    text.at += 1
    while (mark := text.next()) != "}":
        if mark == ",":
            text.at += 1
            continue
        if mark != '"':
            raise text.broken("a name is missing")
        name = text.value()
        if text.next() != ":":
            raise text.broken(f"no value of {str(name)[:40]!r}")
        text.at += 1
        if name in names and text.next() == "[":
            yield from _objects(text, str(name))
        else:
            text.skip()


def _objects(text: _Text, name: str) -> Iterator[tuple[str, int, dict[str, Any]]]:
    text.at += 1
    number = 0
    while (mark := text.next()) != "]":
        if mark == ",":
            text.at += 1
            continue
        number += 1
        value = text.value(f"{name} {number:,}") if mark == "{" else None
        if value is None:
            raise text.broken(f"{name} {number:,} is no object")
        yield name, number, value
    text.at += 1


class _Text:
    """A file's text, of which only the part around ``at`` is held."""

    def __init__(self, path: Path) -> None:
        self._path, self._chunks = path, chunks_of(path)
        self.text, self.at = "", 0

    def broken(self, why: str) -> InputError:
        return InputError(f"broken JSON: {why}", where=self._path.name, hint="Download it again.")

    def next(self) -> str:
        """The next character that is no blank; it is not taken."""
        while True:
            blank = _BLANK.match(self.text, self.at)
            self.at = blank.end() if blank else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if not self._more():
                raise self.broken("cut short")

    def value(self, what: str = "a value") -> Any:
        """The value that begins here, taken."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                if len(self.text) - self.at > MAX_LINE_BYTES:
                    raise self.broken(f"{what} is broken or too long") from error
                if not self._more():
                    raise self.broken(f"cut short or broken in {what}: {error.msg}") from error
            except (ValueError, RecursionError) as error:
                raise self.broken(f"{what}: {str(error)[:80]}") from error
            else:
                self.at = end
                return value

    def skip(self) -> None:
        """Take the value that begins here without building it."""
        depth = 0
        while True:
            mark = self.next()
            if mark in "{[":
                depth += 1
                self.at += 1
            elif mark in "}]" and depth:
                depth -= 1
                self.at += 1
            elif mark == '"':
                self.value()
            elif depth:
                found = _MARKS.search(self.text, self.at)
                self.at = found.start() if found else len(self.text)
                continue
            else:
                self._skip_plain()
            if not depth:
                return

    def _skip_plain(self) -> None:
        """A number or a word: up to what parts it from the next."""
        while self.next() not in ",}]":
            end = _AFTER.search(self.text, self.at)
            self.at = end.start() if end else len(self.text)

    def _more(self) -> bool:
        """Whether there was more of the file; what lies before ``at`` is let go."""
        chunk = next(self._chunks, "")
        self.text, self.at = self.text[self.at :] + chunk, 0
        return bool(chunk)
