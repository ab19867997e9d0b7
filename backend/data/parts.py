"""What a layout on disk says of its files: the rows in them, and which of them make a split."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from backend.data.report import digest8

ALL = "all"
"""The split that holds the others, where Fusionscope makes them (:func:`divided`)."""


@dataclass(frozen=True)
class Row:
    """One row as a layout's file has it, nothing checked yet.

    ``image`` is a path relative to the dataset's folder; ``raw`` is what the layout's own
    methods read; ``group`` names the rows that belong together, which a carved split never parts.
    A list of texts makes a sample of each. ``text_name`` "" says that the table has no texts.
    ``file`` is the file of a part that has several.
    """

    row: int | str
    sample_id: object
    text: object
    image: object = None
    raw: Any = None
    group: object = None
    text_name: str = "text"
    file: str = ""


@dataclass(frozen=True)
class Part:
    """A split as a share of what a file holds: the rows whose hash lies in [low, high).

    The hash is of the name that a row shares with those it belongs with
    (:mod:`backend.data.carving`), or of its id if it is alone: a part cuts no group, no image and
    no text, and does not depend on the order of the rows or on the machine.
    """

    file: str
    low: float = 0.0
    high: float = 1.0
    key: str = field(default="", compare=False)

    @property
    def whole(self) -> bool:
        """Whether the part is everything in the file."""
        return self.low <= 0 and self.high >= 1

    def has(self, name: str) -> bool:
        """Whether what is called ``name`` belongs to the part."""
        return self.whole or self.low <= digest8("split", name) / 2**64 < self.high


def divided(file: str) -> dict[str, Part]:
    """Train, dev and test as 8 : 1 : 1 of a file without splits, and "all" of it."""
    return {
        "train": Part(file, 0.2, 1.0),
        "dev": Part(file, 0.1, 0.2),
        "test": Part(file, 0.0, 0.1),
        ALL: Part(file),
    }
