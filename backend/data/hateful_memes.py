"""Hateful Memes (Kiela et al. 2020), and any set in its layout.

::

    <folder>/train.jsonl  dev_seen.jsonl  dev_unseen.jsonl  test_seen.jsonl  test_unseen.jsonl
    <folder>/img/*.png

One object a line: ``{"id", "img", "label", "text"}``, and ``"group"`` where somebody has added the
template of a meme. Any subset of the files may be there, also those of other names for the splits
(``dev.jsonl`` and ``test.jsonl`` of the first release, ``val.jsonl``: ``backend.data.splits``).
"dev" means ``dev_seen`` and "test" means ``test_seen`` where they exist. The challenge's test files
have no ``label``: their records have no label for the task ``hateful``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backend.data.files import FileSource
from backend.data.jsonfile import json_rows
from backend.data.labels import LabelColumn
from backend.data.parts import Part, Row
from backend.data.rows import Bad
from backend.data.splits import in_order, renamed, split_names, usual
from backend.errors import InputError
from backend.types import Label, TaskSpec

_USUAL = {"train": "train.jsonl", "dev": "dev_seen.jsonl", "test": "test_seen.jsonl"}


class HatefulMemes(FileSource):
    """Memes with one binary task, ``hateful``."""

    layout = "hateful_memes"

    @classmethod
    def holds(cls, folder: Path) -> bool:
        """Whether there is a file that is named like a split."""
        return bool(_split_files(folder))

    def _parts(self) -> dict[str, Part]:
        self.tasks = {"hateful": TaskSpec("hateful", "binary", ("not hateful", "hateful"))}
        self._label = LabelColumn.of(self.tasks["hateful"])
        files = _split_files(self.root)
        names = split_names(files)
        if said := renamed(names):
            self.report.note(said)
        parts: dict[str, Part] = {}
        for written, file in files.items():
            if names[written] in parts:
                other = parts[names[written]].file
                raise InputError(f"{other} and {file} are one split: which?", where=self.root.name)
            parts[names[written]] = Part(file)
        if parts:
            there = {usual(name) for name in parts}
            for split, file in _USUAL.items():
                if split not in there:
                    self.missing_split(split, file)
        return {split: parts[split] for split in in_order(parts)}

    def _expected(self) -> str:
        return "It has train.jsonl, dev_seen.jsonl, test_seen.jsonl and a folder img."

    def _rows(self, part: Part) -> Iterator[Row | Bad]:
        for item in json_rows(self.table(part.file), self.report.note):
            if isinstance(item, Bad):
                yield item
            else:
                number, row = item
                yield Row(
                    number,
                    row.get("id"),
                    row.get("text"),
                    row.get("img"),
                    row.get("label"),
                    group=row.get("group"),
                )

    def _labels(self, raw: Any) -> dict[str, Label]:
        label = self._label.label(raw)
        return {} if label is None else {"hateful": label}


def _split_files(folder: Path) -> dict[str, str]:
    """{a file's name without its ending: the name} of the files that are named like a split."""
    try:
        with os.scandir(folder) as entries:
            files = sorted(e.name for e in entries if e.name.lower().endswith(".jsonl"))
    except OSError:
        return {}
    stems = {name[: -len(".jsonl")]: name for name in files if (folder / name).is_file()}
    return {stem: name for stem, name in stems.items() if usual(stem)}
