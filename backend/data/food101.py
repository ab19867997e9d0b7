"""UPMC Food-101 (Wang et al. 2015): photos of 101 dishes with the titles of their web pages.

::

    <folder>/train_titles.csv  test_titles.csv        file,title,class (no header)
    <folder>/images/{train,test}/<class>/<file>

The classes of the task ``dish`` are the class folders' names, sorted. The layout has no dev split:
a tenth of the training file is set aside as "dev", chosen by a hash of the file name, so that it
is the same everywhere and stays the same when rows are added or removed. "train" is the rest.

The published files are sorted by class. Samples stream class by class in turn instead (the first of
every dish, then the second of every dish, ...), so that the first N are of all dishes. For that the
rows of a file are held while they are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, zip_longest
from typing import Any

from backend.data.files import FileSource, Part, Row
from backend.data.rows import Bad, RowError, csv_rows
from backend.errors import InputError
from backend.types import Label, TaskSpec

DEV_SHARE = 0.1
_FILES = {"train": "train_titles.csv", "test": "test_titles.csv"}


class Food101(FileSource):
    """Dishes with one multi-class task, ``dish``."""

    layout = "food101"

    def _parts(self) -> dict[str, Part]:
        there = [split for split, file in _FILES.items() if (self.root / file).is_file()]
        if not there:
            return {}
        images = [self.root / "images" / split for split in there]
        entries = [entry for top in images if top.is_dir() for entry in top.iterdir()]
        folders = {e.name for e in entries if e.is_dir() and not e.name.startswith(".")}
        if not folders:
            raise InputError(
                "no class folders in images/train or images/test",
                where=str(self.root.name),
                hint=self._expected(),
            )
        self.tasks = {"dish": TaskSpec("dish", "multiclass", tuple(sorted(folders)))}
        self._class = {name: index for index, name in enumerate(sorted(folders))}
        parts: dict[str, Part] = {}
        if "train" in there:
            parts["train"] = Part(_FILES["train"], DEV_SHARE, 1.0, key="train")
            parts["dev"] = Part(_FILES["train"], 0.0, DEV_SHARE, key="train")
            self.report.note(f"dev is {DEV_SHARE:.0%} of train_titles.csv, chosen by file name")
        if "test" in there:
            parts["test"] = Part(_FILES["test"], key="test")
        for split, file in _FILES.items():
            if split not in there:
                self.missing_split(split, file)
        return parts

    def _expected(self) -> str:
        return "It has train_titles.csv, test_titles.csv and images/{train,test}/<class>/<file>."

    def _rows(self, part: Part) -> Iterator[Row | Bad]:
        by_dish: dict[str, list[Row]] = {}
        for item in csv_rows(self.root / part.file, width=3):
            if isinstance(item, Bad):
                yield item
                continue
            number, (file, title, dish) = item
            image = f"images/{part.key}/{dish}/{file}"
            row = Row(number, file, title, image, dish, text_name="title")
            by_dish.setdefault(dish, []).append(row)
        in_turn = chain.from_iterable(zip_longest(*by_dish.values()))
        yield from (row for row in in_turn if row is not None)

    def _labels(self, raw: Any) -> dict[str, Label]:
        if raw not in self._class:
            raise RowError(f"unknown class: {str(raw)[:40]}")
        return {"dish": self._class[raw]}
