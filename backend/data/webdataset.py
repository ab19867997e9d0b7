"""WebDataset: samples in tar archives, their members called alike.

::

    <folder>/train-000000.tar ... or  webdataset:<folder>/name-{000..003}.tar
        000001.jpg  000001.txt  000001.json  000001.cls ...

The members of a key are a sample: its picture (``.jpg``, ``.png``, ...), its text (``.txt``), its
class (``.cls``), and what an object in ``.json`` has: text, labels, group, wherever there is no
member for it. Other members are passed over; of Python's pickles nothing is ever read. Splits are
those that the archives are called or lie in folders like (:mod:`backend.data.shards`).

A sample is called by its key, in front of it the archive where keys occur in several. Nothing is
unpacked to disk. Memory: the members of four archives, some 500 bytes each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from backend.data.captions import called, read_captions
from backend.data.census import PICTURES
from backend.data.columns import ROLES, Named
from backend.data.embedded import Embedded
from backend.data.found_texts import with_texts
from backend.data.jsonfile import parse_json
from backend.data.parts import Part, Row
from backend.data.report import clipped, digest8
from backend.data.rows import Bad, RowError
from backend.data.shards import by_split
from backend.data.tabled import Tabled
from backend.data.tables import TableRow
from backend.data.tars import InTar, samples_in
from backend.data.textfile import Note, quiet
from backend.data.unread import unread_in
from backend.errors import InputError
from backend.words import counted, listed

_KEY, _IMAGE, _TEXT, _LABEL = "key", "image", "text", "label"
_TEXTS = {"txt": _TEXT, "text": _TEXT, "caption": "caption", "cls": _LABEL}
_PICTURES = frozenset(ending.removeprefix(".") for ending in PICTURES)
_NUMBERS = re.compile(r"\{([0-9]{1,12})\.\.([0-9]{1,12})\}")
_MOST = 100_000


class WebDataset(Tabled):
    """Samples in tar archives, read where they lie."""

    layout = "webdataset"
    roles = tuple(role for role in ROLES if role not in ("audio", "regions"))

    def __init__(
        self,
        path: str | Path,
        *,
        strict: bool = False,
        follow_links: bool = False,
        columns: Named | None = None,
    ) -> None:
        folder, _, last = str(path).rpartition("/")
        self._pattern = last if last.endswith(".tar") else ""
        folder = (folder or ".") if self._pattern else str(path)
        super().__init__(folder, strict=strict, follow_links=follow_links, columns=columns)

    @classmethod
    def holds(cls, folder: Path) -> bool:
        """Whether there are archives in it, or in folders of it."""
        return any(folder.glob("*.tar")) or any(folder.glob("*/*.tar"))

    def _parts(self) -> dict[str, Part]:
        files = self._archives()
        if not files:
            return {}
        splits = by_split(files, self.report.note)
        tables = {
            split: [_Archive(self._archive(file), file) for file in own]
            for split, own in splits.items()
        }
        every = [table for own in tables.values() for table in own]
        where, note, seen = called(every), self.report.note, _survey(every)
        if seen.links:
            note(f"{counted(seen.links, 'member')} not read: links are not followed")
        named = self._named_image(seen.endings, where)
        if len(tables) > 1:
            named = {"split": (), **named}
        captions = read_captions(every, with_texts(every, named, note), note, own_ids=False)
        self._own_ids = "id" in captions.columns.of
        self._keys_repeat = seen.keys_repeat
        if self._keys_repeat and not self._own_ids:
            note("keys occur in several archives: ids begin with the archive's name")
        return self._laid_out(tables, captions, where)

    def _archives(self) -> list[str]:
        if not self._pattern:
            if unread := unread_in(self.root, beside=".tar"):
                self.report.note(f"not all files are read: {unread}")
            paths = [*self.root.glob("*.tar"), *self.root.glob("*/*.tar")]
            return sorted(path.relative_to(self.root).as_posix() for path in paths)
        return _expanded(self._pattern)

    def _archive(self, file: str) -> Path:
        try:
            return self.locate(file, "archive")
        except RowError as error:
            raise InputError(error.reason, where=self.root.name) from error

    def _named_image(self, endings: Set[str], where: str) -> Named:
        """What the user named; InputError where there are no pictures and nobody said so."""
        named: Named = {"id": (), **self._named}
        if "image" in named:
            return named
        if not endings & _PICTURES:
            shown = listed(f".{clipped(ending, 20)}" for ending in sorted(endings)[:8]) or "nothing"
            raise InputError(
                f"no member is a picture (they end in {shown})",
                where=where,
                hint="For texts alone say so behind the path: LAYOUT:PATH,image= in `data`.",
            )
        return {**named, "image": (_IMAGE,)}

    def _expected(self) -> str:
        return "It has tar archives such as train-000000.tar with 000001.jpg and 000001.txt."

    def _rows(self, part: Part) -> Iterator[Row | Bad]:
        for row in super()._rows(part):
            if isinstance(row, Bad) or self._own_ids:
                yield row
            else:
                key = row.raw[_KEY]
                above = f"{row.file.removesuffix('.tar')}/" if self._keys_repeat else ""
                yield replace(row, sample_id=f"{above}{key}")

    def _file(self, value: object, what: str) -> Path | Embedded:
        if value is None:
            raise RowError("no picture of the key")
        return super()._file(value, what)


@dataclass(frozen=True)
class _Archive:
    """A tar archive as a table: a row a key."""

    path: Path
    name: str

    def columns(self) -> None:
        """Each row has its own."""

    def class_names(self) -> Mapping[str, tuple[str, ...]]:
        """None: classes are called as they are written."""
        return {}

    def rows(
        self, columns: Set[str] | None = None, note: Note = quiet, pictures: Set[str] = frozenset()
    ) -> Iterator[TableRow | Bad]:
        """The samples, in the order of their first members."""
        samples, _ = _index(self.path)
        for number, (key, members) in enumerate(samples.items(), start=1):
            try:
                yield number, _row(key, members, columns)
            except RowError as error:
                yield Bad(number, error.reason, key, self.name)
        if not samples:
            yield Bad(0, "empty archive", file=self.name)


def _row(key: str, members: dict[str, InTar], columns: Set[str] | None) -> dict[str, Any]:
    row: dict[str, Any] = {_KEY: key}
    images = [member for ending, member in members.items() if ending in _PICTURES]
    if len(images) > 1:
        names = listed(clipped(image.name, 40) for image in images[:3])
        raise RowError(f"{counted(len(images), 'picture')} of one key, and one is read: {names}")
    if images:
        row[_IMAGE] = images[0]
    for ending, column in _TEXTS.items():
        if ending in members and (columns is None or column in columns):
            row.setdefault(column, members[ending].text())
    described = members.get("json")
    if described is not None and (columns is None or columns - row.keys()):
        value = parse_json(described.text())
        if not isinstance(value, dict):
            raise RowError(f"{described.name} is no JSON object")
        row = value | row
    return row


@lru_cache(maxsize=4)
def _index(path: Path) -> tuple[dict[str, dict[str, InTar]], int]:
    """The samples of an archive; those of the last few are kept, as they are read again."""
    return samples_in(path)


@dataclass(frozen=True)
class _Survey:
    """What the members of archives are called, and whether a key is in several."""

    endings: frozenset[str]
    links: int
    keys_repeat: bool


def _survey(archives: Sequence[_Archive]) -> _Survey:
    """Memory: 8 bytes a key while it is asked."""
    endings: set[str] = set()
    keys: set[int] = set()
    links = 0
    repeat = False
    for archive in archives:
        samples, own = _index(archive.path)
        links += own
        for key, members in samples.items():
            endings.update(members)
            digest = digest8(key)
            repeat = repeat or digest in keys
            keys.add(digest)
    return _Survey(frozenset(endings), links, repeat)


def _expanded(pattern: str) -> list[str]:
    """``name-{000..003}.tar`` as four names."""
    names = [pattern]
    while match := _NUMBERS.search(names[0]):
        first, last, width = int(match[1]), int(match[2]), len(match[1])
        if not 0 < (last - first + 1) * len(names) <= _MOST:
            problem = f"{match[0]} is no range of archives, of which at most {_MOST:,} are read"
            raise InputError(problem, where=pattern)
        names = [
            name.replace(match[0], f"{number:0{width}}", 1)
            for name in names
            for number in range(first, last + 1)
        ]
    return names
