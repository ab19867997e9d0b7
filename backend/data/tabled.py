"""What the layouts share whose rows have named columns: tables in files, shards, archives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from backend.data.captions import Captions
from backend.data.cells import missing
from backend.data.columns import Named
from backend.data.embedded import Embedded
from backend.data.files import FileSource
from backend.data.labels import LabelColumn
from backend.data.parts import Part, Row, divided
from backend.data.rows import Bad
from backend.data.splits import in_order, usual
from backend.data.tables import Table
from backend.types import Label, TaskKind, TaskSpec

UNDIVIDED = ""
"""The tables of a data set that is not in splits."""

_FILES = ("image", "audio", "regions")


class Tabled(FileSource):
    """Rows of named columns; the tasks are whatever the label columns hold.

    A subclass finds the tables of each split and what their columns are, and hands them to
    :meth:`_laid_out`; :meth:`_sample_id` where rows do not name themselves.
    """

    def __init__(
        self,
        path: str | Path,
        name: str = "",
        *,
        strict: bool = False,
        follow_links: bool = False,
        columns: Named | None = None,
    ) -> None:
        self._named: Named = columns or {}
        super().__init__(path, name, strict=strict, follow_links=follow_links)

    def _laid_out(
        self, tables: Mapping[str, Sequence[Table]], captions: Captions, file: str
    ) -> dict[str, Part]:
        """The splits of tables, by the split column where there is one; sets ``tasks``.

        ``tables`` are those of each split, or all under :data:`UNDIVIDED`; ``file`` is what they
        are called together.
        """
        self._tables, self._captions = tables, captions
        self.tasks: dict[str, TaskSpec] = {}
        for column in captions.labels:
            self._take_labels(column)
        of, note = captions.columns.of, self.report.note
        for what in ("image", "text"):
            if what not in of:
                note(f"no {what} column: {'texts' if 'text' in of else 'images'} alone")
        by = "group" if "group" in of else "id"
        if "split" not in of and UNDIVIDED in tables:
            note(f"no split column: train, dev and test are 8 : 1 : 1 by {by}")
            return divided(file)
        splits = captions.splits.values() if "split" in of else in_order(tables)
        parts = {split: Part(file, key=split) for split in splits}
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
        for column in self._captions.labels:
            if column.name == task:
                return self._take_labels(column, kind, positive)
        return super().declare(task, kind, positive)

    def _rows(self, part: Part) -> Iterator[Row | Bad]:
        captions = self._captions
        by_column = "split" in captions.columns.of
        tables = self._tables.get(UNDIVIDED if by_column else part.key, ())
        if by_column and not tables:
            tables = [*chain.from_iterable(self._tables.values())]
        text_name = "text" if "text" in captions.columns.of else ""
        count = 0
        for table in tables:
            for item in captions.rows(table):
                if isinstance(item, Bad):
                    count += item.row not in ("", 0)  # so that no other row's number changes
                    yield replace(item, file=table.name)
                    continue
                number, row = item
                count += 1
                sample_id = self._sample_id(part.key, count, row)
                if by_column:
                    split = captions.split_of(row)
                    if split is None:
                        yield Bad(number, "no split", str(sample_id or ""), table.name)
                    if split != part.key:
                        continue
                yield Row(
                    number,
                    sample_id,
                    captions.get(row, "text"),
                    raw=row,
                    group=self._group(row),
                    text_name=text_name,
                    file=table.name,
                )

    def _sample_id(self, split: str, count: int, row: Mapping[str, Any]) -> object:
        """What a row is called, the ``count``-th of its split's tables."""
        return count if self._captions.row_ids else self._captions.get(row, "id")

    def _group(self, row: Mapping[str, Any]) -> object:
        """What a row's group is called."""
        value = self._captions.get(row, "group")
        return None if missing(value) else value

    def _files(self, row: Row) -> dict[str, Path | Embedded]:
        of = self._captions.columns.of
        return {what: self._file(row.raw.get(of[what]), what) for what in _FILES if what in of}

    def _file(self, value: object, what: str) -> Path | Embedded:
        return value if isinstance(value, Embedded) else self.locate(value, what)

    def _labels(self, raw: Any) -> dict[str, Label]:
        labels = {c.name: c.label(raw.get(c.column)) for c in self._captions.labels}
        return {name: label for name, label in labels.items() if label is not None}
