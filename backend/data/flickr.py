"""Flickr8k and Flickr30k (Hodosh et al. 2013; Young et al. 2014), every caption of an image.

::

    <folder>/Flickr8k.token.txt           <image>#<number> TAB <caption>
             results_20130124.token       the same for Flickr30k
             captions.txt                 image,caption with a header, as Kaggle has Flickr8k
             dataset_flickr8k.json        the splits of Karpathy and Fei-Fei (2015), also ..30k
    <folder>/Flickr_8k.trainImages.txt    an image a line; devImages, testImages
    <folder>/Flicker8k_Dataset/*.jpg      or flickr30k_images/, Images/, images/, or the folder

The text files may lie in Flickr8k_text/. Where there are several, the first in the order
``dataset_*.json``, ``*.token*``, ``captions.txt`` is read. Without lists of images (or Karpathy's
splits) the images are divided as those of ``folder`` are: train, dev and test 8 : 1 : 1, and "all".

A sample is a caption, called ``<image>#<number>``; its group is its image.

Memory: the names of the images in the lists, some 100 bytes each.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backend.data.csvfile import csv_rows
from backend.data.files import FileSource
from backend.data.karpathy import karpathy_rows, karpathy_splits
from backend.data.parts import Part, Row, divided
from backend.data.rows import Bad
from backend.data.splits import in_order
from backend.data.textfile import Note, lines_of
from backend.errors import InputError
from backend.types import Label

_KARPATHY = ("dataset_flickr8k.json", "dataset_flickr30k.json")
_TOKENS = ("Flickr8k.token.txt", "results_20130124.token", "Flickr30k.token.txt")
_CSV = "captions.txt"
_FILES = (*_KARPATHY, *_TOKENS, _CSV)
_TEXTS = ("", "Flickr8k_text/", "flickr30k/")
_LISTS = {
    split: tuple(f"{stem}.{split}Images.txt" for stem in ("Flickr_8k", "Flickr_30k"))
    for split in ("train", "dev", "test")
}
_IMAGES = (
    "Flicker8k_Dataset",  # as the original archive spells it
    "Flickr8k_Dataset",
    "flickr30k_images",
    "flickr30k-images",
    "Images",
    "images",
)
_TOKEN = re.compile(r"([^\t]+)#(\d{1,4})\t(.*)", re.DOTALL)


class Flickr(FileSource):
    """Photos with five captions each and no labels."""

    layout = "flickr"
    marks = tuple(folder + file for file in _FILES for folder in _TEXTS)

    def _parts(self) -> dict[str, Part]:
        self.tasks = {}
        file = next((mark for mark in self.marks if (self.root / mark).is_file()), None)
        if file is None:
            return {}
        self._images = next((f"{f}/" for f in _IMAGES if (self.root / f).is_dir()), "")
        self._listed = self._lists()
        if file.endswith(_KARPATHY):
            self._written = karpathy_splits(self.table(file))
            return {split: Part(file, key=split) for split in in_order(self._written.values())}
        if self._listed:
            for split, names in _LISTS.items():
                if split not in self._listed:
                    self.missing_split(split, names[0])
            return {split: Part(file, key=split) for split in self._listed}
        self.report.note("no lists of images: train, dev and test are 8 : 1 : 1 by image")
        return divided(file)

    def _lists(self) -> dict[str, frozenset[str]]:
        """{split: the names of its images}, of the lists that are there; none may overlap."""
        listed: dict[str, frozenset[str]] = {}
        for split, names in _LISTS.items():
            files = [f"{folder}{name}" for name in names for folder in _TEXTS]
            file = next((file for file in files if (self.root / file).is_file()), None)
            if file is not None:
                lines = (line.strip() for _, line in lines_of(self.table(file)) if line)
                listed[split] = frozenset(name for name in lines if name)
        counts = Counter(name for names in listed.values() for name in names)
        twice = next((name for name, times in counts.items() if times > 1), None)
        if twice is not None:
            raise InputError(f"{twice[:80]} is in two lists of images", where=self.root.name)
        return listed

    def _expected(self) -> str:
        return f"It has one of {', '.join(_FILES)} and a folder of images such as {_IMAGES[0]}."

    def _rows(self, part: Part) -> Iterator[Row | Bad]:
        path = self.table(part.file)
        if part.file.endswith(_KARPATHY):
            written = {name for name, split in self._written.items() if split == part.key}
            yield from karpathy_rows(
                path, written, lambda row: f"{self._images}{row.get('filename')}"
            )
            return
        rows = _captions(path, self.report.note) if part.file.endswith(_CSV) else _tokens(path)
        wanted = self._listed.get(part.key)
        for row in rows:
            if isinstance(row, Bad) or wanted is None or row.group in wanted:
                yield row

    def _files(self, row: Row) -> Any:
        image = row.image if row.image is not None else f"{self._images}{row.group}"
        return {"image": self.locate(image)}

    def _labels(self, raw: Any) -> dict[str, Label]:
        return {}


def _tokens(path: Path) -> Iterator[Row | Bad]:
    for number, line in lines_of(path):
        if line is not None and not line.strip():
            continue
        match = _TOKEN.fullmatch(line.rstrip("\r\n")) if line is not None else None
        if match is None:
            shown = (
                "line too long"
                if line is None
                else f"not <image>#<number> TAB <caption>: {line.strip()[:40]}"
            )
            yield Bad(number, shown)
            continue
        name, count, text = match.groups()
        yield Row(number, f"{name}#{count}", text.strip(), group=name, text_name="caption")


def _captions(path: Path, note: Note) -> Iterator[Row | Bad]:
    """Of a table without numbers: an image's captions are numbered as they come."""
    counts: Counter[str] = Counter()
    for item in csv_rows(path, 2, note):
        if isinstance(item, Bad):
            yield item
            continue
        number, (name, text) = item
        if number == 1 and name.strip().casefold() == "image":
            continue
        yield Row(number, f"{name}#{counts[name]}", text, group=name, text_name="caption")
        counts[name] += 1
