"""NLVR (Suhr et al. 2017): drawn scenes and sentences that are true or false of them.

::

    <folder>/{train,dev,test,hidden}.json   {"sentence", "label", "identifier": "N-M", ...} a line
    <folder>/dev/dev-N-M-K.png            one image for each order K of the scene's boxes

The repository's own form is read as well: ``dev/dev.json`` and ``dev/images/<directory>/...``.
Each image is a sample of its own, with the id ``N-M-K`` and the task ``truth``. How many images a
sentence has (2 in small copies, 6 in the original) is read off the first sentences of a file; one
that is missing is a problem of its own.

The samples of one presentation N are a group: they share its sentence, and those of one scene N-M
show the same boxes in another order. Presentations of a file whose sentences are the same are one
group, too, called like the lowest N: what is read off a sentence alone is the same in all of them.

Where there is no ``train.json`` but a ``dev.json``, that file is divided: a fifth of it is "dev"
and the rest "train", by a hash of the group, so that no scene and no sentence is on both sides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from backend.data.files import FileSource
from backend.data.jsonfile import json_rows
from backend.data.labels import LabelColumn
from backend.data.parts import Part, Row
from backend.data.report import digest8
from backend.data.rows import Bad
from backend.data.texts import folded
from backend.types import Label, TaskSpec

DEV_SHARE = 0.2
_SPLITS = ("train", "dev", "test", "hidden")
_IDENTIFIER = re.compile(r"([0-9]{1,9})-[0-9]{1,9}")
_DIRECTORY = re.compile(r"[A-Za-z0-9_-]{1,40}")
_ORDERS = 6
_PROBE = 16  # sentences that are looked at to learn how many images one has


class NLVR(FileSource):
    """Sentence-image pairs with one binary task, ``truth``."""

    layout = "nlvr"
    marks = tuple(f"{folder}{s}.json" for s in _SPLITS for folder in ("", f"{s}/"))

    def _parts(self) -> dict[str, Part]:
        self.tasks = {"truth": TaskSpec("truth", "binary", ("false", "true"))}
        self._truth = LabelColumn.of(self.tasks["truth"])
        files: dict[str, str] = {}
        for split in _SPLITS:
            for file in (f"{split}.json", f"{split}/{split}.json"):
                if split not in files and (self.root / file).is_file():
                    files[split] = file
        parts = {split: Part(file, key=split) for split, file in files.items()}
        if "train" not in files and "dev" in files:
            train = Part(files["dev"], DEV_SHARE, 1.0, key="dev")
            dev = Part(files["dev"], 0.0, DEV_SHARE, key="dev")
            parts = {**parts, "train": train, "dev": dev}
            self.report.note(f"no train.json: {1 - DEV_SHARE:.0%} of {files['dev']} is train")
        for split in ("train", "dev", "test"):
            if parts and split not in parts:
                self.missing_split(split, f"{split}.json")
        return {split: parts[split] for split in _SPLITS if split in parts}

    def _expected(self) -> str:
        return "It has train.json, dev.json or test.json, and images such as dev/dev-1-0-0.png."

    def _rows(self, part: Part) -> Iterator[Row | Bad]:
        path = self.table(part.file)
        orders, groups = self._orders(part, path), _groups(path)
        seen: set[int] = set()
        for item in json_rows(path, self.report.note):
            if isinstance(item, Bad):
                yield item
                continue
            number, row = item
            identifier = row.get("identifier")
            match = _IDENTIFIER.fullmatch(identifier) if isinstance(identifier, str) else None
            if match is None:
                yield Bad(number, f"identifier is not of the form N-M: {str(identifier)[:40]}")
                continue
            if digest8(identifier) in seen:
                yield Bad(number, "duplicate id", str(identifier))
                continue
            seen.add(digest8(identifier))
            folder = self._folder(part.key, row)
            for k in range(orders):
                yield Row(
                    number,
                    f"{identifier}-{k}",
                    row.get("sentence"),
                    f"{folder}/{part.key}-{identifier}-{k}.png",
                    row.get("label"),
                    group=groups.get(int(match[1]), int(match[1])),
                    text_name="sentence",
                )

    def _labels(self, raw: Any) -> dict[str, Label]:
        label = self._truth.label(raw)
        return {} if label is None else {"truth": label}

    def _folder(self, split: str, row: dict[str, Any]) -> str:
        """Where a sentence's images are: in the split's folder, or in images/<directory> there."""
        directory = str(row.get("directory", ""))
        if _DIRECTORY.fullmatch(directory) and (self.root / split / "images").is_dir():
            return f"{split}/images/{directory}"
        return split

    def _orders(self, part: Part, path: Path) -> int:
        """How many images the sentences of a file have, from the first few of them."""
        most = 1
        for item in islice(json_rows(path), _PROBE):
            if isinstance(item, Bad) or not isinstance(item[1].get("identifier"), str):
                continue
            identifier = item[1]["identifier"]
            if not _IDENTIFIER.fullmatch(identifier):
                continue
            stem = self.root / self._folder(part.key, item[1]) / f"{part.key}-{identifier}"
            there = [k for k in range(_ORDERS) if Path(f"{stem}-{k}.png").is_file()]
            most = max([most, *(k + 1 for k in there)])
        return most


def _groups(path: Path) -> dict[int, int]:
    """{presentation: the lowest that is connected with it by equal sentences}, of those not alone.

    Memory: some 100 bytes a presentation.
    """
    lowest: dict[int, int] = {}
    first: dict[int, int] = {}  # the presentation that has a sentence

    def root(n: int) -> int:
        while (up := lowest.get(n, n)) != n:
            lowest[n] = n = lowest.get(up, up)
        return n

    for item in json_rows(path):
        if isinstance(item, Bad):
            continue
        identifier, sentence = item[1].get("identifier"), item[1].get("sentence")
        match = _IDENTIFIER.fullmatch(identifier) if isinstance(identifier, str) else None
        if match is None or not isinstance(sentence, str) or not sentence.strip():
            continue
        n = int(match[1])
        a, b = root(n), root(first.setdefault(digest8(folded(sentence)), n))
        if a != b:
            lowest[max(a, b)] = min(a, b)
    return {n: root(n) for n in lowest}
