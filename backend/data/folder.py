"""Any set of captioned images or recordings: a folder with these and one table of captions.

::

    <folder>/captions.csv  or  captions.jsonl  or  captions.parquet
    <folder>/...files, named in the table by their path relative to the folder

Columns: ``id``, ``image``, ``text``; optional ``audio`` (WAV files: ``backend.data.audio``) and
``regions`` (what a detector made of the image: ``backend.data.regions``); optional ``split``;
optional ``group`` (what the sample has in common with others: its photo, its template, its film);
optional labels: ``label_<task>``, a plain ``label``, or the columns that the user names. Other
columns are passed over. A table of recordings needs no ``image``. Every row names a file in each of
these columns that the table has. What kind of task a label column holds is read off its values: see
``backend.data.labels.LabelColumn``.

Opening a folder reads the table through once (streamed) for its splits and classes.

Splits: the values of the ``split`` column; if it has a train split but no dev split, a tenth of
train is set aside as "dev". Without the column, samples are divided into train, dev and test as
8 : 1 : 1, and the split "all" gives everything. Both by a hash of the group, or of the id where a
row has none: no group is cut, and the division is the same everywhere and does not depend on the
order of the rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from backend.data.base import SPLIT_NAMES
from backend.data.files import FileSource, Part, Row
from backend.data.labels import LabelColumn
from backend.data.rows import Bad
from backend.data.tables import columns_of, table_rows
from backend.errors import InputError
from backend.types import Label, Record, TaskSpec

FILES = ("captions.csv", "captions.jsonl", "captions.parquet")
MAX_SPLITS = 100
MAX_COLUMNS = 1_000
_TASK = re.compile(r"[A-Za-z0-9_.-]{1,60}")


class Folder(FileSource):
    """Captioned images or recordings; its tasks are whatever its label columns hold."""

    layout = "folder"

    def __init__(
        self,
        path: str | Path,
        *,
        strict: bool = False,
        id_column: str = "id",
        image_column: str = "image",
        text_column: str = "text",
        audio_column: str = "audio",
        regions_column: str = "regions",
        split_column: str = "split",
        group_column: str = "group",
        label_columns: Sequence[str] | None = None,
    ) -> None:
        self._id, self._text, self._split = id_column, text_column, split_column
        self._group = group_column
        self._file_columns = {
            "image": image_column,
            "audio": audio_column,
            "regions": regions_column,
        }
        self._wanted = label_columns
        super().__init__(path, strict=strict)

    def _parts(self) -> dict[str, Part]:
        there = [name for name in FILES if (self.root / name).is_file()]
        if len(there) > 1:
            raise InputError(f"{' and '.join(there)}: which one?", where=str(self.root.name))
        self.tasks: dict[str, TaskSpec] = {}
        if not there:
            return {}
        columns, splits = self._scan(self.root / there[0])
        for column in self._labelled:
            task = column.task()
            if task is None:
                self.report.note(f"the label column {column.column!r} is empty")
            else:
                self.tasks[task.name] = task
        by = "group" if self._group in columns else "id"
        if self._split not in columns:
            self.report.note(f"no split column: train, dev and test are 8 : 1 : 1 by {by}")
            return {
                "train": Part(there[0], 0.2, 1.0),
                "dev": Part(there[0], 0.1, 0.2),
                "test": Part(there[0], 0.0, 0.1),
                "all": Part(there[0]),
            }
        parts = {split: Part(there[0], key=split) for split in splits}
        trains = [split for split in splits if split in SPLIT_NAMES["train"]]
        if trains and not any(split in SPLIT_NAMES["dev"] for split in splits):
            parts[trains[0]] = Part(there[0], 0.1, 1.0, key=trains[0])
            parts["dev"] = Part(there[0], 0.0, 0.1, key=trains[0])
            self.report.note(f"no dev split: a tenth of {trains[0]} is dev, by {by}")
        return parts

    def _expected(self) -> str:
        return f"It has {', '.join(FILES[:-1])} or {FILES[-1]} with id, image and text."

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
                mine = (record.sample_id, record.group)
                real = (name for name in self.splits() if self.parts[name].has(*mine))
                yield replace(record, split=next(real))

    def _rows(self, part: Part) -> Iterator[Row | Bad]:
        for item in table_rows(self.root / part.file, self._needed):
            if isinstance(item, Bad):
                yield item
                continue
            number, row = item
            if part.key:
                split = _split_name(row.get(self._split))
                if split is None:
                    yield Bad(number, "no split", str(row.get(self._id) or ""))
                if split != part.key:
                    continue
            group = row.get(self._group)
            yield Row(number, row.get(self._id), row.get(self._text), raw=row, group=group)

    def _files(self, row: Row) -> dict[str, Path]:
        return {what: self.locate(row.raw.get(c), what) for what, c in self._named_files.items()}

    def _labels(self, raw: Any) -> dict[str, Label]:
        labels = {c.name: c.label(raw.get(c.column)) for c in self._labelled}
        return {name: label for name, label in labels.items() if label is not None}

    def _scan(self, path: Path) -> tuple[dict[str, None], list[str]]:
        """One pass: the columns, the splits in sorted order, and the label columns' values."""
        columns = dict.fromkeys(columns_of(path) or ())
        splits: dict[str, None] = {}
        labelled: dict[str, LabelColumn] = {}
        self._needed: set[str] | None = None
        if columns:
            self._require(columns, path)
            labelled = {name: LabelColumn(name, t) for name, t in self._tasks_of(columns).items()}
            files = self._file_columns.values()
            own = (self._id, self._text, self._split, self._group)
            self._needed = {*own, *files, *labelled}
        fixed = bool(columns)
        for item in table_rows(path, {self._split, *labelled} if fixed else None):
            if isinstance(item, Bad):
                continue  # reported when the rows are read
            row = item[1]
            if not fixed and not row.keys() <= columns.keys():
                columns |= dict.fromkeys(row)
                if len(columns) > MAX_COLUMNS:
                    raise InputError(f"over {MAX_COLUMNS:,} columns", where=path.name)
                for name, task in self._tasks_of(columns).items():
                    labelled.setdefault(name, LabelColumn(name, task))
            for name, column in labelled.items():
                column.see(row.get(name))
            split = _split_name(row.get(self._split))
            if split is not None:
                splits[split] = None
            if len(splits) > MAX_SPLITS:
                raise InputError(
                    f"the column {self._split!r} has over {MAX_SPLITS} distinct values",
                    where=path.name,
                )
        self._require(columns, path)
        self._labelled = list(labelled.values())
        self._named_files = {w: c for w, c in self._file_columns.items() if c in columns}
        usual = [name for names in SPLIT_NAMES.values() for name in names if name in splits]
        return columns, [*usual, *sorted(name for name in splits if name not in usual)]

    def _require(self, columns: dict[str, None], path: Path) -> None:
        """Refuse a table without the columns that it must have, naming those that it has."""
        if not columns:
            raise InputError("no rows", where=path.name)
        files = self._file_columns
        image_free = files["audio"] in columns and files["regions"] not in columns
        images = [] if image_free else [files["image"]]
        wanted = [self._id, *images, self._text, *(self._wanted or ())]
        missing = [repr(name) for name in wanted if name not in columns]
        if missing:
            plural = "s" if len(missing) > 1 else ""
            raise InputError(
                f"no column{plural} {', '.join(missing)}",
                where=path.name,
                hint=f"The columns are: {', '.join(map(repr, columns))}.",
            )

    def _tasks_of(self, columns: dict[str, None]) -> dict[str, str]:
        """Label columns and the tasks they are called."""
        names = self._wanted
        if names is None:
            names = [c for c in columns if c == "label" or c.startswith("label_")]
        tasks = {name: name.removeprefix("label_") for name in names}
        for name, task in tasks.items():
            if not _TASK.fullmatch(task):
                hint = "A task's name has 1 to 60 letters, digits, '.', '-' or '_'."
                raise InputError(f"the label column {name!r} gives no task name", hint=hint)
        if len(set(tasks.values())) < len(tasks):
            raise InputError(f"two label columns for one task: {', '.join(tasks)}")
        return tasks


def _split_name(value: object) -> str | None:
    """A split's name as text; None where the row has none."""
    text = "" if value is None else str(value).strip()
    return text if text and text.isprintable() else None
