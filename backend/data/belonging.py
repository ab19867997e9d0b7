"""Which samples of a whole data set belong together, and whether its splits part them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backend.data.groups import Codes, codes_of, crossing, examples_of, grouping
from backend.data.images import image_digest
from backend.data.looks import Look, look_of, looks_alike
from backend.data.report import KEPT, Problem, Report, clipped, digest8
from backend.data.texts import cut_in_words, folded
from backend.types import Record
from backend.words import counted


class Belonging:
    """Collects, sample by sample, what shows that samples belong together; then tells a report.

    Memory: a kilobyte a sample.
    """

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._sources: list[str] = []
        self._splits: list[str] = []
        self._given: list[str] = []
        self._images: list[str | None] = []
        self._looks: list[Look | None] = []
        self._texts: list[bytes | None] = []
        self._words: list[int] = []

    def add(
        self, record: Record, split: str, images: Sequence[Image.Image], same_as: int | None = None
    ) -> None:
        """One usable sample of a split with its images, or those of an earlier one (its number)."""
        self._ids.append(record.sample_id)
        self._sources.append(record.source)
        self._splits.append(split)
        self._given.append(record.group)
        if same_as is None:
            self._images.append(image_digest(images))
            self._looks.append(look_of(images))
        else:
            self._images.append(self._images[same_as])
            self._looks.append(self._looks[same_as])
        plain = folded(record.text)
        self._texts.append(digest8(plain).to_bytes(8, "big") if plain else None)
        self._words.append(len(plain.split()))

    def tell(self, report: Report) -> None:
        """Say what belongs together in each split, and what stands in the way of asking by group.

        A given group that lies in two splits is a problem: what is learned in one is asked again in
        the other. The rest are notes: images and texts that occur more than once without being
        declared, samples without a group where others have one, a split that is one group.
        """
        if not self._ids:
            return
        ids = np.array(self._ids, dtype=object)
        splits, images, texts = map(codes_of, (self._splits, self._images, self._texts))
        for code in range(int(splits.max()) + 1):
            rows = np.flatnonzero(splits == code)
            given = [self._given[row] for row in rows]
            own = grouping(ids[rows], given, images[rows], texts[rows])
            name = self._splits[rows[0]]
            report.together[name] = own.in_words
            if own.count == 1 and own.n > 1:
                report.note(
                    f"all {own.n:,} samples of {name} are one group ({own.how}): nothing can be "
                    "compared between groups. Give groups that are smaller, or texts that differ"
                )
        self._tell_of_parted_groups(report, codes_of(self._given), splits)
        units = np.arange(len(ids))
        if any(self._given):
            given_codes = codes_of(self._given)
            holes = given_codes < 0
            # A sample without a group is one of its own.
            units = np.where(holes, given_codes.max() + 1 + units, given_codes)
            if holes.any():
                report.note(
                    f"{counted(int(holes.sum()), 'sample')} without a group where others have "
                    f"one, such as {_shown(ids[holes][0])}: each counts as a group of its own"
                )
        for what, contents in (("image", looks_alike(self._looks)), ("text", texts)):
            self._tell_of_repeats(report, what, contents, units, splits, ids)
        if words := cut_in_words(self._words):
            report.note(words)

    def _tell_of_parted_groups(self, report: Report, groups: Codes, splits: Codes) -> None:
        for first, other in examples_of(groups, splits, crossing(groups, splits), KEPT):
            reason = (
                f"group in two splits: {self._given[first]} is in {self._splits[first]} and "
                f"{self._splits[other]}; put all of it into one"
            )
            report.add(Problem(self._sources[other], "", self._ids[other], reason))

    def _tell_of_repeats(
        self,
        report: Report,
        what: str,
        contents: Codes,
        units: Codes,
        splits: Codes,
        ids: NDArray[np.object_],
    ) -> None:
        """Images that look the same, or equal texts, that no group declares to be the same."""
        several = int(splits.max()) + 1
        here = np.where(contents < 0, -1, contents * several + splits)
        within = crossing(here, units)
        if within.any():
            ((first, other),) = examples_of(here, units, within, 1)
            report.note(
                f"{_many(contents[within], what)} more than once in a split and no group says so: "
                f"{int(within.sum()):,} samples, such as {_shown(ids[first])} and "
                f"{_shown(ids[other])}. They are no independent samples: give those of one {what} "
                "the same group"
            )
        across = crossing(contents, splits) & crossing(contents, units)
        if across.any():
            ((first, other),) = examples_of(contents, splits, across, 1)
            report.note(
                f"{_many(contents[across], what)} in more than one split: "
                f"{int(across.sum()):,} samples, such as {_shown(ids[first])} "
                f"({self._splits[first]}) and {_shown(ids[other])} ({self._splits[other]}). What "
                f"is learned in one is asked again in the other: put those of one {what} into one "
                "split"
            )


def _many(contents: Codes, what: str) -> str:
    """``1 image occurs``, ``12 images occur``."""
    count = len(np.unique(contents))
    return f"{counted(count, what)} {'occurs' if count == 1 else 'occur'}"


def _shown(sample_id: object) -> str:
    return clipped(str(sample_id), 40)
