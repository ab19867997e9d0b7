"""The samples table of an import: ids, texts, labels, splits and small images, row by row."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from backend.data.class_names import unnamed_in_words
from backend.data.images import DecodeError, decode, decode_file, image_digest, thumbnail
from backend.data.labels import LabelColumn
from backend.data.report import clipped
from backend.data.rooted import Rooted
from backend.data.rows import Bad, RowError, check_group, check_id, check_text
from backend.data.tables import (
    SUFFIXES,
    TableRow,
    class_names,
    columns_of,
    is_table,
    table_rows,
)
from backend.errors import InputError
from backend.store.imports.ids import require_distinct
from backend.store.samples import Picture
from backend.types import Label, Record, TaskSpec

_IDS = ("id", "sample_id")
_TASK = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,59}")
_DIGEST = re.compile(r"[0-9a-f]{16}")
_MAX_THUMBNAIL_BYTES = 64 * 2**10
_MAX_COLUMNS = 1_000


class Samples(Protocol):
    """Whatever says what the rows are."""

    tasks: dict[str, TaskSpec]
    ids: tuple[str, ...]

    def records(self) -> Iterator[Record]:
        """Every sample in order."""
        ...

    def picture(self, record: Record) -> Picture:
        """What is kept of its image, where it has one."""
        ...


@dataclass(frozen=True)
class Small:
    """What a table holds of an image in place of its file: a thumbnail, the digest of the image."""

    thumbnail: object
    digest: str | None


class RowNumbers:
    """Samples of which nothing is known but their place, or their id."""

    def __init__(self, ids: Sequence[str], split: str) -> None:
        self.ids = tuple(ids)
        self.tasks: dict[str, TaskSpec] = {}
        self.undecodable: list[str] = []
        self.where = self.dataset = "rows"
        self._split = split

    def records(self) -> Iterator[Record]:
        """Ids without texts."""
        for sample_id in self.ids:
            yield Record(sample_id, "", None, self._split, "")

    def picture(self, record: Record) -> Picture:
        """Nothing."""
        return Picture()


class SampleTable(Rooted):
    """A table with one row a sample. It is read whole once, for ids and labels, then streamed.

    Unlike a data set's loader it skips nothing: a row that cannot be used is an InputError, because
    a row of activations belongs to it. An image that is there and cannot be decoded costs only the
    thumbnail; :attr:`undecodable` names those. :attr:`notes` says how the table is read wherever it
    could be read otherwise.
    """

    def __init__(
        self,
        table: Path | pd.DataFrame,
        *,
        split: str | None,
        images: Path | None = None,
        tasks: Sequence[TaskSpec] = (),
    ) -> None:
        self._table, self._split = table, split
        self.where = "the samples" if isinstance(table, pd.DataFrame) else table.name
        self._has_root = images is not None or isinstance(table, Path)
        folder = images or (table.parent if isinstance(table, Path) else Path())
        super().__init__(folder.resolve())
        self.undecodable: list[str] = []
        self.notes: list[str] = []
        self._declared = {task.name: task for task in tasks}
        self._labelled, self._id = self._scan()
        self.tasks = {c.name: c.spec for c in self._labelled if c.spec is not None}
        self.splits: dict[str, None] = {}
        self.ids = tuple(self._checked_ids())
        require_distinct(self.ids, self.where)

    @property
    def dataset(self) -> str:
        """What to call the samples: the table, or its folder where the table is called like any."""
        if isinstance(self._table, pd.DataFrame):
            return "samples"
        stem = self._table.stem
        return (self.root.name if stem in ("samples", "captions") else stem) or stem

    def _rows(self) -> Iterator[TableRow]:
        if isinstance(self._table, pd.DataFrame):
            names = list(map(str, self._table.columns))
            for number, values in enumerate(self._table.itertuples(index=False, name=None)):
                yield number, {k: _plain(v) for k, v in zip(names, values, strict=True)}
            return
        for item in table_rows(self._table, note=self._note):
            if isinstance(item, Bad):
                raise InputError(clipped(item.reason), where=f"{self.where} row {item.row}")
            yield item

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    def _columns(self) -> dict[str, None]:
        if isinstance(self._table, pd.DataFrame):
            return dict.fromkeys(map(str, self._table.columns))
        if not is_table(self._table.name):
            raise InputError(
                f"is no table that is read ({', '.join(SUFFIXES)})", where=str(self._table)
            )
        if not self._table.is_file():
            raise InputError("no such file", where=str(self._table))
        columns = columns_of(self._table)
        if columns is not None:
            return dict.fromkeys(columns)
        names: dict[str, None] = {}
        for _, row in self._rows():
            names |= dict.fromkeys(row)
            if len(names) > _MAX_COLUMNS:
                raise InputError(f"over {_MAX_COLUMNS:,} columns", where=self.where)
        return names

    def _scan(self) -> tuple[list[LabelColumn], str]:
        """The label columns with what they predict, and the column of ids."""
        columns = self._columns()
        ids = [name for name in _IDS if name in columns]
        if not ids:
            raise InputError(
                f"no column {' or '.join(map(repr, _IDS))}",
                where=self.where,
                hint=f"The columns are {', '.join(map(repr, columns)) or 'none'}",
            )
        if "image" in columns and not self._has_root:
            raise InputError(
                "a table of a notebook names images",
                where=self.where,
                hint="Give `images`, the folder that they lie in",
            )
        names = [name for name in columns if name == "label" or name.startswith("label_")]
        orders = {} if isinstance(self._table, pd.DataFrame) else class_names(self._table)
        labelled = []
        for name in names:
            task = name.removeprefix("label_")
            if not _TASK.fullmatch(task):
                raise InputError(f"the label column {name!r} gives no task name", where=self.where)
            labelled.append(LabelColumn(name, task, order=orders.get(name, ())))
        for _, row in self._rows():
            for column in labelled:
                column.see(row.get(column.column))
        for column in labelled:
            if column.column in orders and not orders[column.column]:
                self.notes.append(f"{self.where}: {unnamed_in_words(column.column)}")
            if column.name in self._declared:
                column.declare(self._declared[column.name])
            elif column.task() is None:
                self.notes.append(f"{self.where}: the column {column.column!r} {column.refused}")
            self.notes += [f"{self.where}: {column.column!r}: {each}" for each in column.remarks]
        return labelled, ids[0]

    def _checked_ids(self) -> Iterator[str]:
        """Ids of all rows, each row checked whole, its image's path included."""
        for record in self.records():
            self.splits[record.split] = None
            yield record.sample_id

    def records(self) -> Iterator[Record]:
        """Every row as a record; InputError for one that cannot be used."""
        for number, row in self._rows():
            try:
                yield self._record(number, row)
            except RowError as error:
                raise InputError(
                    clipped(error.reason), where=f"{self.where} row {number}"
                ) from error

    def _record(self, number: int, row: dict[str, Any]) -> Record:
        text, split, image = row.get("text"), row.get("split"), row.get("image")
        labels: dict[str, Label] = {}
        for column in self._labelled:
            label = column.label(row.get(column.column))
            if label is not None:
                labels[column.name] = label
        return Record(
            sample_id=check_id(row.get(self._id)),
            text="" if text in (None, "") else check_text(text, "text"),
            image=_small_of(row) if image in (None, "") else self.locate(image),
            split=self._split or "all" if split in (None, "") else check_text(str(split), "split"),
            source=f"{self.where} row {number}",
            labels=labels,
            group=check_group(row.get("group")),
        )

    def picture(self, record: Record) -> Picture:
        """A small WebP of the row's image and the image's digest, where it can be decoded.

        Of a row that has a thumbnail only, the digest is the one that its table names.
        """
        source = record.image
        try:
            if isinstance(source, Path):
                image = decode_file(source)
                return Picture(thumbnail(image), image_digest([image]))
            if isinstance(source, Small):
                return Picture(_small(source.thumbnail), source.digest)
        except DecodeError as error:
            self.undecodable.append(f"{record.source}: {error}")
        return Picture()


def _small_of(row: dict[str, Any]) -> Small | None:
    """The thumbnail of a row without an image file, and what it says of the image."""
    small, digest = row.get("thumbnail"), row.get("image_digest")
    if small is None and digest in (None, ""):
        return None
    if digest not in (None, "") and not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
        raise RowError(f"image_digest is not 16 hex digits: {str(digest)[:40]}")
    return Small(small, digest or None)


def _small(source: object) -> bytes | None:
    """A thumbnail that a table holds, small and WebP; DecodeError for what is no image."""
    if source is None:
        return None
    if not isinstance(source, bytes):
        raise DecodeError("a thumbnail that is no binary value")
    image = decode(io.BytesIO(source))
    # An export's own: WebP and small, so that it comes back as it is.
    own = source[:4] == b"RIFF" and source[8:12] == b"WEBP"
    return source if own and len(source) <= _MAX_THUMBNAIL_BYTES else thumbnail(image)


def _plain(value: object) -> object:
    """A cell of a DataFrame as a table's file would give it."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, tuple):
        return list(value)
    return None if value is pd.NA or value is None or value != value else value
