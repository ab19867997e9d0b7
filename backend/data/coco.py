"""COCO captions (Lin et al. 2014; Chen et al. 2015), every caption of an image.

::

    <folder>/annotations/captions_train2017.json  captions_val2017.json     (or of 2014)
    <folder>/train2017/000000000009.jpg ...  val2017/...                    (or in a folder images)

Also the split of Karpathy and Fei-Fei (2015), ``dataset_coco.json``, with the folders of 2014: its
restval is train. The annotation files may lie beside the folder's images, too.

A sample is a caption: its id is the annotation's, its group the image's, so that all captions of an
image belong together. Nothing is labelled.

Memory: the names of a split's images, some 150 bytes an image.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backend.data.files import FileSource
from backend.data.jsonarrays import array_objects
from backend.data.karpathy import karpathy_rows, karpathy_splits
from backend.data.parts import Part, Row
from backend.data.rows import Bad
from backend.data.splits import in_order, renamed, split_names
from backend.errors import InputError
from backend.types import Label
from backend.words import listed

KARPATHY = "dataset_coco.json"
_FILE = re.compile(r"captions_([a-z]+)(\d{4})\.json")
_OF_A_SPLIT = re.compile(r"(train|val|test)[0-9]{4}")
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_FOLDERS = ("", "annotations/")
_IMAGES = ("", "images/")


class Coco(FileSource):
    """Photos with five captions each and no labels."""

    layout = "coco"

    @classmethod
    def holds(cls, folder: Path) -> bool:
        """Whether captions lie here or in annotations/."""
        return bool(_captions(folder)) or _karpathy(folder) is not None

    def _parts(self) -> dict[str, Part]:
        self.tasks = {}
        self._names: dict[str, dict[int, object]] = {}
        karpathy = _karpathy(self.root)
        if karpathy:
            self._written = karpathy_splits(self.table(karpathy))
            return {split: Part(karpathy, key=split) for split in in_order(self._written.values())}
        files = {
            at: file for at, file in _captions(self.root).items() if self._has_images(*at, file)
        }
        years = sorted({year for _, year in files})
        if len(years) > 1:
            raise InputError(
                f"has captions of {listed(years)}, which share their images",
                where=self.root.name,
                hint="Move the files of one year elsewhere.",
            )
        names = split_names(split for split, _ in files)
        if said := renamed(names):
            self.report.note(said)
        parts = {
            names[split]: Part(file, key=f"{split}{year}") for (split, year), file in files.items()
        }
        return {split: parts[split] for split in in_order(parts)}

    def _expected(self) -> str:
        return (
            "It has annotations/captions_train2017.json, captions_val2017.json and the folders "
            f"train2017 and val2017; or {KARPATHY}."
        )

    def _rows(self, part: Part) -> Iterator[Row | Bad]:
        if part.file.endswith(KARPATHY):
            written = {name for name, split in self._written.items() if split == part.key}
            yield from karpathy_rows(self.table(part.file), written, self._karpathy_image)
            return
        names, folder = self._images(part), self._folder(part.key)
        for _, number, row in array_objects(self.table(part.file), {"annotations"}):
            image_id, sample_id = row.get("image_id"), row.get("id")
            name = names.get(image_id) if isinstance(image_id, int) else None
            if name is None:
                yield Bad(number, f"no such image_id: {str(image_id)[:40]}", str(sample_id or ""))
                continue
            image = f"{folder}/{name}"
            yield Row(
                number, sample_id, row.get("caption"), image, group=image_id, text_name="caption"
            )

    def _images(self, part: Part) -> dict[int, object]:
        """{image_id: file name} of a split; read once."""
        names = self._names.get(part.file)
        if names is None:
            names = {}
            for _, _, row in array_objects(self.table(part.file), {"images"}):
                if isinstance(row.get("id"), int) and isinstance(row.get("file_name"), str):
                    names[row["id"]] = row["file_name"]
            self._names[part.file] = names
        return names

    def _has_images(self, split: str, year: str, file: str) -> bool:
        if self._folder(f"{split}{year}"):
            return True
        self.report.note(f"no folder {split}{year} with the images of {file}: no split {split!r}")
        return False

    def _folder(self, name: str) -> str:
        """Where the images of a split lie: in its own folder, or all together in images/."""
        own = [
            f"{above}{name}" for above in _IMAGES if name and (self.root / above / name).is_dir()
        ]
        images = self.root / "images"
        # A folder of images/ for some split: then they do not lie there all together.
        apart = images.is_dir() and any(_OF_A_SPLIT.fullmatch(one.name) for one in images.iterdir())
        together = ["images"] if images.is_dir() and not apart else []
        return next(iter(own + together), "")

    def _karpathy_image(self, row: dict[str, Any]) -> str:
        folder = str(row.get("filepath", ""))
        return (
            f"{self._folder(folder) if _PLAIN.fullmatch(folder) else folder}/{row.get('filename')}"
        )

    def _labels(self, raw: Any) -> dict[str, Label]:
        return {}


def _captions(folder: Path) -> dict[tuple[str, str], str]:
    """{(split, year): file} of the caption files here or in annotations/."""
    files: dict[tuple[str, str], str] = {}
    for above in _FOLDERS:
        inner = folder / above
        for path in sorted(inner.glob("captions_*.json")) if inner.is_dir() else ():
            if match := _FILE.fullmatch(path.name):
                files.setdefault((match[1], match[2]), f"{above}{path.name}")
    return files


def _karpathy(folder: Path) -> str | None:
    return next((f + KARPATHY for f in _FOLDERS if (folder / f / KARPATHY).is_file()), None)
