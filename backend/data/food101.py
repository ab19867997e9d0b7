"""UPMC Food-101 (Wang et al. 2015): photos of 101 dishes with the titles of their web pages.

::

    <folder>/train_titles.csv  test_titles.csv        file,title,class (no header)
    <folder>/images/{train,test}/<class>/<file>

The two files may lie in a folder ``texts``, as in the set that Kaggle has. The classes of the task
``dish`` are the class folders' names, sorted. The layout has no dev split: a tenth of the training
file is set aside as "dev", chosen by a hash of the file name, so that it is the same everywhere.
Photos that share their bytes or their title stay together (``backend.data.carving``). "train" is
the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backend.data.csvfile import csv_rows
from backend.data.files import FileSource
from backend.data.parts import Part, Row
from backend.data.rows import Bad, RowError
from backend.errors import InputError
from backend.types import Label, TaskSpec

DEV_SHARE = 0.1
_FILES = {"train": "train_titles.csv", "test": "test_titles.csv"}


class Food101(FileSource):
    """Dishes with one multi-class task, ``dish``."""

    layout = "food101"
    marks = tuple(folder + file for folder in ("", "texts/") for file in _FILES.values())

    def _parts(self) -> dict[str, Part]:
        there = {split: _titles(self.root, file) for split, file in _FILES.items()}
        there = {split: file for split, file in there.items() if file}
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
            parts["train"] = Part(there["train"], DEV_SHARE, 1.0, key="train")
            parts["dev"] = Part(there["train"], 0.0, DEV_SHARE, key="train")
            self.report.note(f"dev is {DEV_SHARE:.0%} of train_titles.csv, chosen by file name")
        if "test" in there:
            parts["test"] = Part(there["test"], key="test")
        for split, file in _FILES.items():
            if split not in there:
                self.missing_split(split, file)
        return parts

    def _expected(self) -> str:
        return "It has train_titles.csv, test_titles.csv and images/{train,test}/<class>/<file>."

    def _rows(self, part: Part) -> Iterator[Row | Bad]:
        for item in csv_rows(self.table(part.file), 3, self.report.note):
            if isinstance(item, Bad):
                yield item
                continue
            number, (file, title, dish) = item
            image = f"images/{part.key}/{dish}/{file}"
            yield Row(number, file, title, image, dish, text_name="title")

    def _labels(self, raw: Any) -> dict[str, Label]:
        if raw not in self._class:
            raise RowError(f"unknown class: {str(raw)[:40]}")
        return {"dish": self._class[raw]}


def _titles(root: Path, file: str) -> str:
    """Where a file of titles lies, relative to the folder; "" where it does not."""
    return next((path for path in (file, f"texts/{file}") if (root / path).is_file()), "")
