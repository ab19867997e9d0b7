"""Hateful Memes (Kiela et al. 2020), and any set in its layout.

::

    <folder>/train.jsonl  dev_seen.jsonl  dev_unseen.jsonl  test_seen.jsonl  test_unseen.jsonl
    <folder>/img/*.png

One object a line: ``{"id", "img", "label", "text"}``, and ``"group"`` where somebody has added the
template of a meme. Any subset of the files may be there; the
first release's ``dev.jsonl`` and ``test.jsonl`` are read too. "dev" means ``dev_seen`` and "test"
means ``test_seen`` where they exist. The challenge's test files have no ``label``: their records
have no label for the task ``hateful``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from backend.data.base import SPLIT_NAMES
from backend.data.files import FileSource, Part, Row, binary_label
from backend.data.rows import Bad, json_rows
from backend.types import Label, TaskSpec

_SPLITS = ("train", "dev_seen", "dev_unseen", "test_seen", "test_unseen", "dev", "test")
_USUAL = {"train": "train.jsonl", "dev": "dev_seen.jsonl", "test": "test_seen.jsonl"}


class HatefulMemes(FileSource):
    """Memes with one binary task, ``hateful``."""

    layout = "hateful_memes"

    def _parts(self) -> dict[str, Part]:
        self.tasks = {"hateful": TaskSpec("hateful", "binary", ("not hateful", "hateful"))}
        files = {split: f"{split}.jsonl" for split in _SPLITS}
        parts = {s: Part(f) for s, f in files.items() if (self.root / f).is_file()}
        if parts:
            for split, file in _USUAL.items():
                if not any(name in parts for name in SPLIT_NAMES[split]):
                    self.missing_split(split, file)
        return parts

    def _expected(self) -> str:
        return "It has train.jsonl, dev_seen.jsonl, test_seen.jsonl and a folder img."

    def _rows(self, part: Part) -> Iterator[Row | Bad]:
        for item in json_rows(self.root / part.file):
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
        label = binary_label(raw)
        return {} if label is None else {"hateful": label}
