"""Any set of captioned images or recordings: a folder with these and one table of captions.

::

    <folder>/captions.csv  or  captions.jsonl  or  captions.parquet
    <folder>/...files, named in the table by their path relative to the folder

Columns: ``id``, ``image``, ``text``; optional ``audio`` (WAV files: ``backend.data.audio``) and
``regions`` (what a detector made of the image: ``backend.data.regions``); optional ``split``;
optional ``group`` (what the sample has in common with others: its photo, its template, its film);
optional labels: ``label_<task>``, a plain ``label``. Columns that are called otherwise are named
behind the path (``folder:PATH,text=Title,label=mood,group=``: ``backend.data.registry.parse``).
Other columns are passed over. A table of recordings needs no ``image``. Every row names a file in
each of these columns that the table has. What kind of task a label column holds is read off its
values: see ``backend.data.labels.LabelColumn``.

Opening a folder reads the table through once (streamed) for its splits and classes.

Splits: the values of the ``split`` column; if it has a train split but no dev split, a tenth of
train is set aside as "dev". Without the column, samples are divided into train, dev and test as
8 : 1 : 1, and the split "all" gives everything. Both by a hash of the group, or of the id where a
row has none. Rows with the same group, image or text stay together (``backend.data.carving``), and
the division is the same everywhere and does not depend on the order of the rows.

A list of texts in a row makes a sample of each (``id#0``, ``id#1``, ...), all of one group.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from backend.data.captions import STEM, read_captions, table_in
from backend.data.columns import ROLES, Named
from backend.data.embedded import Embedded
from backend.data.files import FileSource, Part, Row
from backend.data.labels import LabelColumn
from backend.data.rows import Bad
from backend.data.splits import usual
from backend.data.tables import SUFFIXES
from backend.types import Label, Record, TaskKind, TaskSpec

_FILES = ("image", "audio", "regions")


class Folder(FileSource):
    """Captioned images or recordings; its tasks are whatever its label columns hold."""

    layout = "folder"
    roles = ROLES
    marks = tuple(f"{STEM}{ending}{packed}" for ending in SUFFIXES for packed in ("", ".gz"))

    def __init__(
        self,
        path: str | Path,
        *,
        strict: bool = False,
        follow_links: bool = False,
        columns: Named | None = None,
    ) -> None:
        self._named = columns or {}
        super().__init__(path, strict=strict, follow_links=follow_links)

    def _parts(self) -> dict[str, Part]:
        self.tasks: dict[str, TaskSpec] = {}
        path = table_in(self.root)
        if path is None:
            return {}
        file, note = path.name, self.report.note
        self._table = read_captions(path, self._named, note)
        for column in self._table.labels:
            self._take_labels(column)
        of = self._table.columns.of
        for what in ("image", "text"):
            if what not in of:
                note(f"no {what} column: {'texts' if 'text' in of else 'images'} alone")
        by = "group" if "group" in of else "id"
        if "split" not in of:
            note(f"no split column: train, dev and test are 8 : 1 : 1 by {by}")
            return {
                "train": Part(file, 0.2, 1.0),
                "dev": Part(file, 0.1, 0.2),
                "test": Part(file, 0.0, 0.1),
                "all": Part(file),
            }
        parts = {split: Part(file, key=split) for split in self._table.splits.values()}
        trains = [split for split in parts if usual(split) == "train"]
        if trains and not any(usual(split) == "dev" for split in parts):
            parts[trains[0]] = Part(file, 0.1, 1.0, key=trains[0])
            parts["dev"] = Part(file, 0.0, 0.1, key=trains[0])
            note(f"no dev split: a tenth of {trains[0]} is dev, by {by}")
        return parts

    def _take_labels(
        self, column: LabelColumn, kind: TaskKind | None = None, positive: str = ""
    ) -> None:
        """Fix what a label column predicts, and say how it is read."""
        task = column.task(kind, positive)
        self.tasks.pop(column.name, None)
        self.refused.pop(column.name, None)
        name, said = f"the label column {column.column!r}", list(column.remarks)
        if task is not None:
            self.tasks[task.name] = task
        else:
            self.refused[column.name] = column.refused
            self.report.note(f"{name} {column.refused}", key=f"{name} refused")
        if said:
            self.report.note(f"{name}: {'; '.join(said)}", key=name)

    def declare(self, task: str, kind: TaskKind, positive: str = "") -> None:
        """Say of which kind a label column is, and which class of a binary one is positive."""
        for column in self._table.labels:
            if column.name == task:
                return self._take_labels(column, kind, positive)
        return super().declare(task, kind, positive)

    def _expected(self) -> str:
        return f"It has {STEM}.csv, .tsv, .jsonl, .json or .parquet with id, image and text."

    def splits(self) -> tuple[str, ...]:
        """The splits that are there; "all" is extra, since it holds the others."""
        return tuple(name for name in self.parts if name != "all" or self.parts[name].key)

    def canonical(self, split: str) -> str:
        """As for every source; "all" is everything where there is no split column."""
        return split if split == "all" and split in self.parts else super().canonical(split)

    def _records(self, split: str) -> Iterator[Record]:
        for record in super()._records(split):
            if split in self.splits():
                yield record
            else:
                yield replace(record, split=self._split_of(record.sample_id))

    def _split_of(self, sample_id: str) -> str:
        """The split that a sample of "all" is in."""
        parts = ((name, self.parts[name]) for name in self.splits())
        return next(n for n, part in parts if part.has(self._together(part).of(sample_id)))

    def _rows(self, part: Part) -> Iterator[Row | Bad]:
        table = self._table
        text_name = "text" if "text" in table.columns.of else ""
        for item in table.rows():
            if isinstance(item, Bad):
                yield item
                continue
            number, row = item
            sample_id = table.get(number, row, "id")
            if part.key:
                split = table.split_of(row)
                if split is None:
                    yield Bad(number, "no split", str(sample_id or ""))
                if split != part.key:
                    continue
            text, group = table.get(number, row, "text"), table.get(number, row, "group")
            yield Row(number, sample_id, text, raw=row, group=group, text_name=text_name)

    def _files(self, row: Row) -> dict[str, Path | Embedded]:
        of = self._table.columns.of
        return {what: self._file(row.raw.get(of[what]), what) for what in _FILES if what in of}

    def _file(self, value: object, what: str) -> Path | Embedded:
        return value if isinstance(value, Embedded) else self.locate(value, what)

    def _labels(self, raw: Any) -> dict[str, Label]:
        labels = {c.name: c.label(raw.get(c.column)) for c in self._table.labels}
        return {name: label for name, label in labels.items() if label is not None}
