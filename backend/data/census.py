"""What a whole data set shows that no single row does: classes, text lengths, images left over."""

from __future__ import annotations

import os
from array import array
from collections import Counter
from pathlib import Path

from backend.data.base import PairSource
from backend.data.report import Report, clipped, digest8
from backend.data.splits import usual
from backend.types import NO_LABEL, Record
from backend.words import counted, listed

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")

_FAR_LONGER = 50  # times the mean of the others
_LONG = 5_000  # characters
_SHOWN = 3


class Census:
    """Counts, sample by sample; then tells a report. Memory: some 30 bytes a sample."""

    def __init__(self) -> None:
        self._lengths = array("Q")
        self._longest: list[tuple[int, str]] = []
        self._classes: dict[tuple[str, str], Counter[int]] = {}
        self._named: dict[Path, set[int]] = {}

    def add(self, record: Record, split: str, source: PairSource) -> None:
        """One usable sample of a split."""
        self._lengths.append(len(record.text))
        if len(record.text) > _LONG:
            self._longest = sorted([*self._longest, (len(record.text), record.source)])[-100:]
        for name in source.tasks:
            label = record.labels.get(name)
            counts = self._classes.setdefault((name, split), Counter())
            # A set of classes is as good as one class here: it is asked whether all are alike.
            value = digest8(*label) if isinstance(label, tuple) else label
            counts[NO_LABEL if value is None else value] += 1
        if isinstance(record.image, Path):
            self._named.setdefault(record.image.parent, set()).add(digest8(record.image.name))

    def tell(self, report: Report, source: PairSource, *, whole: bool) -> None:
        """Say what stands out; ``whole``: all splits were looked at."""
        self._tell_of_classes(report, source)
        self._tell_of_lengths(report)
        if whole:
            self._tell_of_left_over(report)
            _tell_of_splits(report, source)

    def _tell_of_classes(self, report: Report, source: PairSource) -> None:
        for (name, split), counts in self._classes.items():
            labelled = counts.total() - counts[NO_LABEL]
            values = [value for value in counts if value != NO_LABEL and counts[value]]
            if not labelled:
                report.note(f"no sample of {split} has a label for the task {name}")
            elif len(values) == 1:
                task = source.tasks[name]
                one = "the same"
                if task.kind != "multilabel":
                    one = repr(clipped(task.classes[values[0]], 40))
                report.note(
                    f"{counted(labelled, 'label')} for {name} in {split}, and every one is {one}: "
                    f"{split} can neither train nor score it"
                )

    def _tell_of_lengths(self, report: Report) -> None:
        n, total = len(self._lengths), sum(self._lengths)
        far = [
            (length, where)
            for length, where in self._longest
            if n > 1 and length > _FAR_LONGER * (total - length) / (n - 1)
        ]
        if far:
            shown = listed([f"{w} ({length:,} characters)" for length, w in far[-_SHOWN:]])
            report.note(
                f"{counted(len(far), 'text')} far longer than the rest: {clipped(shown, 300)}. "
                "If a quote was left open there, rows are lost in it"
            )

    def _tell_of_left_over(self, report: Report) -> None:
        """Pictures beside those that rows name, which none does."""
        count, first = 0, ""
        for folder, named in self._named.items():
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if not entry.name.lower().endswith(PICTURES):
                            continue
                        if digest8(entry.name) not in named:
                            count += 1
                            first = first or f"{folder.name}/{entry.name}"
            except OSError:
                continue
        if count:
            there = sum(map(len, self._named.values()))
            report.note(
                f"{counted(count, 'image lies', 'images lie')} there that no usable row names, "
                f"such as {clipped(first, 80)} ({there:,} are named): rows may be missing or lost"
            )


def _tell_of_splits(report: Report, source: PairSource) -> None:
    """Say of a data set without a split to train or to choose by that it cannot be trained."""
    there = source.splits()
    lacking = [name for name in ("train", "dev") if not any(usual(s) == name for s in there)]
    if lacking and there:
        report.note(
            f"no split to {'train on' if 'train' in lacking else 'choose the best epoch by'}: it "
            f"can be captured ({clipped(', '.join(there), 100)}), not trained"
        )
