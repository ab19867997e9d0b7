"""The imagefolder layout of Hugging Face datasets: images in folders, with or without metadata.

::

    <folder>/train/metadata.csv  (or .jsonl, .parquet)   file_name, and columns of text and labels
    <folder>/train/0001.png ...                          file_name is relative to its metadata file

    <folder>/train/<class>/0001.png ...                  without metadata: a folder is a class

The splits' folders (train, validation, test and their synonyms, also in a folder ``data``) may be
missing; then the ``split`` column divides the samples, or the folders that ``file_name`` begins
with, else they are divided as those of ``folder`` are. Where there is any metadata, folders are no
classes. An image in several rows has several captions: they are one group.

A sample is called by its image's path, ``train/0001.png``; its captions ``train/0001.png#0``, ...
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from backend.data.captions import called, names_in, read_captions
from backend.data.cells import missing
from backend.data.census import PICTURES
from backend.data.columns import ROLES, Named, find_columns, missing_columns, unclear
from backend.data.embedded import Embedded
from backend.data.found_texts import with_texts
from backend.data.parts import Part, Row
from backend.data.report import digest8
from backend.data.rows import Bad
from backend.data.splits import split_names, usual
from backend.data.tabled import UNDIVIDED, Tabled
from backend.data.tables import Table, TableFile, TableRow
from backend.data.textfile import Note, quiet
from backend.errors import InputError

_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_FILE = "file_name"
_ABOVE = ("", "data")
_PROBE = 100
_MAX_FOLDERS = 20_000


class ImageFolder(Tabled):
    """Images with texts and labels from metadata, or with their folders' names as classes."""

    layout = "imagefolder"
    roles = tuple(role for role in ROLES if role not in ("audio", "regions"))

    @classmethod
    def holds(cls, folder: Path) -> bool:
        """Whether there are metadata, images or folders of splits."""
        return any(_tables(folder).values())

    def _parts(self) -> dict[str, Part]:
        written = {split: own for split, own in _tables(self.root).items() if own}
        tables: dict[str, Sequence[Table]] = dict(written)
        if len(tables) > 1 and UNDIVIDED in tables:
            del tables[UNDIVIDED]
            self.report.note("images beside the splits' folders are in no split")
        names = split_names(tables)
        merged: dict[str, list[Table]] = {}
        for split, own in tables.items():  # two folders may mean the same split
            merged.setdefault(names[split] if split else split, []).extend(own)
        if not merged:
            return {}
        tables = dict(merged)
        self._tell_of_unread(written)
        every = [table for own in tables.values() for table in own]
        for one in every:
            if isinstance(one, TableFile):
                self.table(one.name)
        named = self._named_image(every)
        if len(tables) > 1 and "split" not in named:
            named = {**named, "split": ()}
        if not isinstance(every[0], _Pictures):
            named = with_texts(every, named, self.report.note)
        captions = read_captions(every, named, self.report.note, own_ids=False)
        self._image = captions.columns.of.get("image", "")
        self._own_ids = "id" in captions.columns.of
        self._several = not self._own_ids and _repeats(every, self._image)
        return self._laid_out(tables, captions, called(every))

    def _tell_of_unread(self, written: Mapping[str, Sequence[Table]]) -> None:
        """Name splits' folders whose images are not read, since the others have metadata."""
        for split, folder in _split_folders(self.root).items():
            if split not in written and next(_images_in(self.root / folder), None) is not None:
                self.report.note(f"{folder}/ has images but no metadata: it is not read")

    def _named_image(self, tables: Sequence[Table]) -> Named:
        """What the user named, and the column of images."""
        named = {"id": (), **self._named}
        if named.get("image") == ():
            hint = "Texts alone are read by the layout folder."
            raise InputError("images are what this layout is of", where=self.root.name, hint=hint)
        if "image" in named:
            return named
        names = names_in(tables)
        if _FILE in names:
            return {**named, "image": (_FILE,)}
        fitting = [name for name in names if name.endswith(f"_{_FILE}")]
        if len(fitting) > 1:
            raise unclear("image", fitting).within(called(tables))
        several = [name for name in names if name == f"{_FILE}s" or name.endswith(f"_{_FILE}s")]
        if several and not fitting:
            raise InputError(
                f"the column {several[0]!r} lists several images a sample, and one is read",
                where=called(tables),
                hint="Name a column of one: LAYOUT:PATH,image=COLUMN in `data`.",
            )
        if not fitting:
            raise missing_columns([_FILE], names).within(called(tables))
        return {**named, "image": (fitting[0],)}

    def _expected(self) -> str:
        return (
            "It has metadata.csv, .jsonl or .parquet with file_name beside its images, or folders "
            "of images named like their class, in folders train, validation, test or not."
        )

    def _rows(self, part: Part) -> Iterator[Row | Bad]:
        count: dict[str, int] = {}
        for row in super()._rows(part):
            name = None if isinstance(row, Bad) else _from_root(row, self._image)
            if isinstance(row, Bad) or self._own_ids:
                yield row
            elif missing(name):
                yield Bad(row.row, f"no {self._image}", file=row.file)
            elif not self._several:
                yield replace(row, sample_id=name)
            else:
                file = str(name)
                at = count[file] = count.get(file, -1) + 1
                yield replace(row, sample_id=f"{file}#{at}", group=row.group or file)

    def _files(self, row: Row) -> dict[str, Path | Embedded]:
        return {"image": self.locate(_from_root(row, self._image))} if self._image else {}


def _from_root(row: Row, column: str) -> Any:
    """A row's file from the data set's folder on; what is no relative path is left as it is."""
    value, folder = row.raw.get(column), row.file.rpartition("/")[0]
    if not folder or not isinstance(value, str) or missing(value) or Path(value).is_absolute():
        return value
    return f"{folder}/{value}"


@dataclass(frozen=True)
class _ByFolder(TableFile):
    """Metadata of several splits in one file: a row is of the split in whose folder its file is."""

    def columns(self) -> tuple[str, ...] | None:
        """Those of the file, and that of the split."""
        own = super().columns()
        return own and (*own, "split")

    def rows(
        self, columns: Set[str] | None = None, note: Note = quiet, pictures: Set[str] = frozenset()
    ) -> Iterator[TableRow | Bad]:
        """The rows."""
        for item in super().rows(columns and columns | {_FILE}, note, pictures):
            if not isinstance(item, Bad):
                item[1]["split"] = _split_in(item[1].get(_FILE))
            yield item


@dataclass(frozen=True)
class _Pictures:
    """Images in folders that are their classes, as rows in the order of their names."""

    folder: Path
    name: str
    classes: tuple[str, ...]

    def columns(self) -> tuple[str, ...]:
        """The file, and its class where there are any."""
        return (_FILE, "label") if self.classes else (_FILE,)

    def class_names(self) -> Mapping[str, tuple[str, ...]]:
        """None: classes are called as they are written."""
        return {}

    def rows(
        self, columns: Set[str] | None = None, note: Note = quiet, pictures: Set[str] = frozenset()
    ) -> Iterator[TableRow | Bad]:
        """A row an image; one in no class's folder has no label."""
        number = 0
        for label in ("", *self.classes):
            for file in _images_in(self.folder / label):
                number += 1
                path = f"{label}/{file}" if label else file
                yield number, {_FILE: path, "label": label or None}


def _tables(root: Path) -> dict[str, list[Table]]:
    """The tables of each split's folder, and of the folder itself under UNDIVIDED."""
    splits = _split_folders(root)
    folders = {UNDIVIDED: "", **splits}
    metadata = {split: _metadata(root, folder) for split, folder in folders.items()}
    if any(metadata.values()):
        return metadata
    return {split: _pictures(root, folder, splits) for split, folder in folders.items()}


def _split_folders(root: Path) -> dict[str, str]:
    """{name of a split as it is written: its folder}."""
    return {
        entry: f"{above}/{entry}".lstrip("/")
        for above in _ABOVE
        for entry in _folders_in(root / above)
        if usual(entry)
    }


def _metadata(root: Path, folder: str) -> list[Table]:
    prefix = f"{folder}/" if folder else ""
    paths = [root / folder / name for name in _METADATA]
    there = [path for path in paths if path.is_file()]
    if len(there) > 1:
        names = " and ".join(f"{prefix}{path.name}" for path in there)
        raise InputError(f"{names}: which one?", where=root.name)
    kind = _ByFolder if not folder and there and _by_folder(there[0]) else TableFile
    return [kind(path, f"{prefix}{path.name}") for path in there]


def _pictures(root: Path, folder: str, splits: Mapping[str, str]) -> list[Table]:
    here = root / folder
    others = {*splits.values(), "data"} if not folder else set()
    inner = [name for name in _folders_in(here) if name not in others]
    classes = tuple(name for name in inner if next(_images_in(here / name), None) is not None)
    if not classes and next(_images_in(here), None) is None:
        return []
    return [_Pictures(here, f"{folder or '.'}/", classes)]


def _by_folder(path: Path) -> bool:
    """Whether a metadata file without a split column names files in splits' folders."""
    split = False
    for item in islice(TableFile(path, path.name).rows(), _PROBE):
        if not isinstance(item, Bad):
            if "split" in find_columns(item[1], {}).of:
                return False
            split = split or _split_in(item[1].get(_FILE)) is not None
    return split


def _split_in(value: object) -> str | None:
    """The split in whose folder a file lies, by its path from the data set's folder."""
    parts = value.replace("\\", "/").split("/") if isinstance(value, str) else []
    parts = parts[1:] if parts[:1] == ["data"] else parts
    return parts[0] if len(parts) > 1 and usual(parts[0]) else None


def _repeats(tables: Sequence[Table], column: str) -> bool:
    """Whether an image is in several rows. Memory: 8 bytes an image while it is asked."""
    seen: set[int] = set()
    for table in tables:
        for item in table.rows({column}):
            value = None if isinstance(item, Bad) else item[1].get(column)
            if isinstance(value, str):
                digest = digest8(table.name, value)
                if digest in seen:
                    return True
                seen.add(digest)
    return False


def _folders_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            found = [e.name for e in islice(entries, _MAX_FOLDERS) if e.is_dir()]
    except OSError:
        return []
    return sorted(name for name in found if not name.startswith((".", "__")))


def _images_in(folder: Path) -> Iterator[str]:
    """The images in a folder by name; none where it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if e.name.lower().endswith(PICTURES)]
    except OSError:
        return
    yield from sorted(name for name in names if not name.startswith("."))
