"""What the layouts on disk share: a folder, rows that name files in it, and one set of checks."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from backend.data.base import Pair, PairSource
from backend.data.carving import Joined, joined
from backend.data.deeper import holder
from backend.data.embedded import Embedded
from backend.data.media import opened_image, with_files
from backend.data.parts import ALL, Part, Row
from backend.data.report import Problem, clipped, digest8
from backend.data.rooted import Rooted
from backend.data.rows import Bad, RowError, check_group, check_id, check_text
from backend.data.sample import Sample
from backend.data.spellings import Respellings
from backend.data.spread import spread, spread_by
from backend.data.texts import captions_in
from backend.data.unread import unread_in, what_to_do
from backend.errors import InputError
from backend.types import Label, Record

if TYPE_CHECKING:
    from PIL import Image


class FileSource(Rooted, PairSource):
    """A dataset in a folder. A layout says which parts there are, their rows and their labels.

    ``marks`` are files of which a folder in the layout has one, relative to it (:meth:`holds`).
    Where the folder that was named has none, but exactly one below it has, that is read.
    """

    marks: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        path: str | Path,
        name: str = "",
        *,
        strict: bool = False,
        follow_links: bool = False,
    ) -> None:
        try:
            folder = Path(path).expanduser().resolve()
            is_folder = folder.is_dir()
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"not a usable path: {error}", where=self.layout) from error
        if not is_folder:
            there = folder.exists()
            hint = self._options_in_words(str(path))
            if there:
                unread = "" if self.holds(folder.parent) else what_to_do(folder.name)
                hint = unread or "Name the folder that it lies in."
            problem = "not a folder" if there else "no such folder"
            raise InputError(problem, where=str(path), hint=hint)
        root = holder(folder, self.holds, self.layout)
        Rooted.__init__(self, root, follow_links=follow_links, respelled=self._tell_of_spelling)
        self.name = name or folder.name or self.layout
        PairSource.__init__(self, strict=strict)
        self._joined: dict[tuple[str, str], Joined] = {}
        self._respellings = Respellings()
        if root != folder:
            lies = clipped(root.relative_to(folder).as_posix())
            self.report.note(f"the data lies deeper, in {lies}, and is read there")
        self.parts = self._parts()
        if not self.parts:
            hint = f"{self._expected()} {unread_in(root)}".strip()
            raise InputError(
                f"nothing here in the layout {self.layout}", where=str(path), hint=hint
            )

    @classmethod
    def holds(cls, folder: Path) -> bool:
        """Whether a folder looks like the layout, by the names of the files in it."""
        return any((folder / mark).is_file() for mark in cls.marks)

    @classmethod
    def _options_in_words(cls, path: str) -> str | None:
        """What may stand behind a path, for one that looks as if something did."""
        if not re.search(r",\s*\w+=", path):
            return None
        names = cls.options()
        behind = f"these: {', '.join(names)}" if names else "nothing"
        return f"Behind a path of {cls.layout} may stand {behind}."

    @abstractmethod
    def _parts(self) -> dict[str, Part]:
        """The splits that are there; also sets ``tasks`` and reports missing split files."""

    @abstractmethod
    def _expected(self) -> str:
        """One sentence: which files the layout has."""

    @abstractmethod
    def _rows(self, part: Part) -> Iterator[Row | Bad]:
        """Stream the rows of the part's file, in file order."""

    @abstractmethod
    def _labels(self, raw: Any) -> dict[str, Label]:
        """A row's labels; tasks without a label are absent. Raises RowError."""

    def _files(self, row: Row) -> Mapping[str, Path | Embedded]:
        """A row's files: of ``image``, ``audio`` and ``regions`` those it has. Raises RowError."""
        return {"image": self.locate(row.image)}

    def splits(self) -> tuple[str, ...]:
        """The splits that are there, in the layout's order; :data:`ALL` is extra."""
        return tuple(name for name in self.parts if name != ALL or self.parts[name].key)

    def canonical(self, split: str) -> str:
        """As for every source; "all" is everything where the splits are made here."""
        return split if split == ALL and split in self.parts else super().canonical(split)

    def missing_split(self, split: str, file: str) -> None:
        """Say that a split which the layout should have is not there."""
        self.report.note(f"missing split file {file}: no split {split!r}")

    def records(self, split: str, limit: int | None = None) -> Iterator[Record]:
        """As for every source; under a limit they come in the order of ``spread``, and it is said.

        So the first N of a file that is sorted by class are of all classes.
        """
        head = super().records(split, limit)  # refuses a split or a limit that there is not
        return head if limit is None else islice(self._spread(split), limit)

    def pairs(self, split: str, limit: int | None = None) -> Iterator[Pair]:
        """As for every source, in the order of :meth:`records`."""
        if limit is None:
            return super().pairs(split)
        super().pairs(split, limit)
        return islice(self.decoded(self._spread(split)), limit)

    def _spread(self, split: str) -> Iterator[Record]:
        name = self.canonical(split)
        by = spread_by(self.tasks)
        if by is not None:
            self.report.note(
                f"a limit takes every class of {by} in its share, not the head of the file"
            )
        return spread(lambda: self._records(name), self.tasks)

    def image(self, record: Record) -> Image.Image:
        """Decode the record's image file to RGB, upright; see ``backend.data.images``."""
        from backend.data.images import decode

        with opened_image(record, self.root) as stream:
            return decode(stream)

    def sample(self, record: Record) -> Sample:
        """The record's text, and whatever of image, recording and regions it names."""
        return with_files(super().sample(record), record, self.root)

    def _records(self, split: str) -> Iterator[Record]:
        part = self.parts[split]
        together = Joined({}) if part.whole else self._together(part)
        seen: set[int] = set()
        for row in self._samples(part):
            file = row.file or part.file
            if isinstance(row, Bad):
                self.report.add(Problem(file, row.row, row.sample_id, row.reason))
                continue
            sample_id = ""
            try:
                sample_id = check_id(row.sample_id)
                if not part.has(together.of(sample_id)):
                    continue
                if digest8(sample_id) in seen:
                    raise RowError("duplicate id")
                record = self._record(row, file, self._split_of(split, sample_id))
            except RowError as error:
                self.report.add(Problem(file, row.row, sample_id, error.reason))
                continue
            seen.add(digest8(sample_id))
            yield record

    def _split_of(self, split: str, sample_id: str) -> str:
        """The split itself, or that which a sample of :data:`ALL` is in."""
        if split in self.splits():
            return split
        parts = ((name, self.parts[name]) for name in self.splits())
        return next(n for n, part in parts if part.has(self._together(part).of(sample_id)))

    def _record(self, row: Row, file: str, split: str) -> Record:
        """A row, checked, what is cheap to check first. Raises RowError."""
        sample_id, group = check_id(row.sample_id), check_group(row.group)
        text = check_text(row.text, row.text_name) if row.text_name else ""
        labels, files = self._labels(row.raw), self._files(row)
        return Record(
            sample_id=sample_id,
            text=text,
            labels=labels,
            split=split,
            source=f"{file} row {row.row}",
            image=files.get("image"),
            audio=files.get("audio"),
            regions=files.get("regions"),
            group=group,
        )

    def _samples(self, part: Part) -> Iterator[Row | Bad]:
        """The rows of a part's file; one with several texts as a row for each, of one group."""
        for row in self._rows(part):
            if not isinstance(row, Bad) and (several := captions_in(row.text)) is not None:
                self.report.note(
                    f"texts such as {clipped(str(row.text), 60)} are read as lists: each item is "
                    "a caption of its own",
                    key="lists",
                )
                row = replace(row, text=several)
            if isinstance(row, Bad) or not isinstance(row.text, list):
                yield row
                continue
            try:
                sample_id, group = check_id(row.sample_id), check_group(row.group)
            except RowError as error:
                yield Bad(row.row, error.reason, file=row.file)
                continue
            if not row.text:
                yield Bad(row.row, f"no {row.text_name}", sample_id, row.file)
            for number, text in enumerate(row.text):
                own, name = f"{sample_id}#{number}", group or sample_id
                yield replace(row, sample_id=own, text=text, group=name)

    def _together(self, part: Part) -> Joined:
        """What a carved part's file holds that belongs together; read once, and said."""
        key = (part.file, part.key)
        if key not in self._joined:
            self._joined[key] = joined(self._usable(part))
            if words := self._joined[key].in_words:
                self.report.note(f"{part.key or part.file}: {words}")
        return self._joined[key]

    def _usable(self, part: Part) -> Iterator[Record]:
        """The usable rows of all of a part's file; the others are reported when they are read."""
        for row in self._samples(part):
            if not isinstance(row, Bad):
                try:
                    yield self._record(row, part.file, "")
                except RowError:
                    continue

    def _tell_of_spelling(self, written: str, found: str) -> None:
        self._respellings.add(written, found)
        self.report.note(self._respellings.in_words, key="spelling")
