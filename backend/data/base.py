"""What every dataset layout offers: splits, records, samples, and a report of what is wrong.

A source streams. It holds no sample in memory; what grows with the dataset is one 8-byte digest
an id while a split is being read (to find duplicates).
"""

from __future__ import annotations

import hashlib
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, ClassVar

from backend.data.report import Problem, Report, clipped
from backend.data.sample import Sample
from backend.data.splits import chosen
from backend.errors import InputError
from backend.types import Label, Record, TaskKind, TaskSpec

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Pair", "PairSource", "Problem", "Report", "UnreadableFile"]


_EVERYWHERE = ("strict", "follow_links", "columns")


class UnreadableFile(InputError):  # noqa: N818 (named like the other InputErrors a caller sees)
    """An image, recording or file of regions that is there but cannot be read, or not safely."""


@dataclass(frozen=True)
class Pair:
    """A record with what it names, decoded: its text, and its image, recording and regions."""

    record: Record
    sample: Sample


class PairSource(ABC):
    """Image-text pairs with labels, read from one dataset layout.

    Attributes: ``layout`` (the registry's name), ``name`` (what to call this dataset), ``tasks``
    (what its labels predict), ``refused`` (label columns that are no task, and why), ``strict``
    (stop at the first problem) and ``report`` (what was skipped). A subclass sets ``layout``,
    ``name`` and ``tasks`` and writes :meth:`splits`,
    :meth:`_records` and :meth:`image`; :meth:`sample` where it has more than text and image.
    ``roles`` are those of :data:`backend.data.columns.ROLES` whose columns the user may name: the
    constructor of a layout that has some takes ``columns``.
    """

    layout: str
    roles: ClassVar[tuple[str, ...]] = ()
    name: str
    tasks: dict[str, TaskSpec]

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self.report = Report(self.name, strict=strict)
        self.refused: dict[str, str] = {}

    @classmethod
    def options(cls) -> tuple[str, ...]:
        """What may stand behind the path of this layout: roles of columns, and options of its own.

        The latter are the constructor's keyword-only parameters, which take text.
        """
        parameters = inspect.signature(cls).parameters.values()
        own = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in _EVERYWHERE]
        return (*cls.roles, *own)

    def declare(self, task: str, kind: TaskKind, positive: str = "") -> None:
        """Say of which kind a task is, and which class of a binary one is positive.

        Raises InputError where the layout says so itself, or has no such task.
        """
        own = self.tasks.get(task)
        if own is None:
            hint = f"It has: {', '.join((*self.tasks, *self.refused)) or 'none'}."
            raise InputError(
                f"no task {task!r}", where=f"data {self.name}", field="task", hint=hint
            )
        if kind != own.kind or (positive and positive != own.classes[-1]):
            problem = f"{task} is {own.kind} in the layout {self.layout}"
            raise InputError(problem, where=f"data {self.name}", field="task")

    def read_as(self, tasks: Iterable[TaskSpec]) -> None:
        """Read labels as a checkpoint's tasks were, where their kind or positive class was said.

        A task that cannot be read so stays as it is.
        """
        for task in tasks:
            own = self.tasks.get(task.name)
            if own == task or (own is None and task.name not in self.refused):
                continue
            flags = task.classes == (f"not {task.name}", task.name)
            positive = task.classes[-1] if task.kind == "binary" and not flags else ""
            with suppress(InputError):
                self.declare(task.name, task.kind, positive)

    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """The splits that are there, under this dataset's own names, without overlap."""

    @abstractmethod
    def _records(self, split: str) -> Iterator[Record]:
        """Stream the good records of a split (one of :meth:`splits`) in a fixed order.

        What is wrong goes to :attr:`report` and is skipped. Callers use :meth:`records`.
        """

    @abstractmethod
    def image(self, record: Record) -> Image.Image:
        """Decode a record's image to RGB, or raise :class:`UnreadableFile`."""

    def sample(self, record: Record) -> Sample:
        """The record's text and image; a layout that has more says so itself."""
        return Sample(record.text, () if record.image is None else (self.image(record),))

    def canonical(self, split: str) -> str:
        """The split of this dataset that a user means by ``split``.

        As :func:`backend.data.splits.chosen` says: its own name, or a word for train, dev or test.
        Raises InputError naming the splits that exist.
        """
        there = self.splits()
        found = chosen(split, there)
        if found is not None:
            return found
        known = clipped(", ".join(there)) or "none"
        raise InputError(f"no split {split!r} in {self.name}", hint=f"There are: {known}.")

    def records(self, split: str, limit: int | None = None) -> Iterator[Record]:
        """Stream at most ``limit`` good records of a split: metadata only, in a fixed order.

        Rows with a problem are reported, skipped and do not count towards ``limit``. Raises
        InputError at once for an unknown split or a negative limit, and at the first problem of
        a strict source.
        """
        return islice(self._records(self.canonical(split)), _checked(limit))

    def require_still_there(self, split: str, n: int) -> None:
        """InputError if fewer than ``n`` records of a split can be found now.

        For whoever has read ``n`` and met problems on the way: a dataset that vanishes while it is
        read looks like one whose last images are missing.
        """
        try:
            found = sum(1 for _ in self.records(split))
        except InputError as error:
            raise self._vanished(split, n, 0) from error
        if found < n:
            raise self._vanished(split, n, found)

    def _vanished(self, split: str, n: int, found: int) -> InputError:
        return InputError(
            f"vanished while it was read: of {n} samples of split {split!r} {found} are left",
            where=f"data {self.name}",
            hint="Bring it back and start again.",
        )

    def pairs(self, split: str, limit: int | None = None) -> Iterator[Pair]:
        """Stream at most ``limit`` decoded pairs; those with an unreadable file are skipped.

        ``limit`` counts good pairs, so an unreadable file is made up for by the next record.
        """
        return islice(self.decoded(self._records(self.canonical(split))), _checked(limit))

    def fingerprint(self, split: str, limit: int | None = None) -> str:
        """16 hex digits of a SHA-256 over ids, texts and label names, in order.

        Two sources with the same fingerprint hold the same samples in the same order (images are
        not part of it). Streams; costs one pass over the metadata.
        """
        return fingerprint_of(self.records(split, limit), self.tasks)

    def decoded(self, records: Iterable[Record]) -> Iterator[Pair]:
        """The records as samples; one with an unreadable file is reported and left out."""
        for record in records:
            try:
                sample = self.sample(record)
            except UnreadableFile as error:
                file, _, row = record.source.rpartition(" row ")
                at = int(row) if row.isdecimal() else row
                problem = Problem(file or row, at if file else "", record.sample_id, error.problem)
                self.report.add(problem)
                continue
            yield Pair(record, sample)


def fingerprint_of(records: Iterable[Record], tasks: Mapping[str, TaskSpec]) -> str:
    """16 hex digits of a SHA-256 over ids, texts and label names of records, in order."""
    state = hashlib.sha256()
    for record in records:
        labels = {task: _class_names(tasks[task], label) for task, label in record.labels.items()}
        row = json.dumps([record.sample_id, record.text, labels], sort_keys=True)
        state.update(row.encode())
        state.update(b"\n")
    return state.hexdigest()[:16]


def _class_names(task: TaskSpec, label: Label) -> list[str] | None:
    """A label as class names, so that a fingerprint does not depend on other classes."""
    if label is None:
        return None
    indices = label if isinstance(label, tuple) else (label,)
    return [task.classes[index] for index in indices]


def _checked(limit: int | None) -> int | None:
    if limit is not None and limit < 0:
        raise InputError(f"a limit of {limit} samples", hint="It must be 0 or more.")
    return limit
