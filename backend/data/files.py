"""What the layouts on disk share: a folder, rows that name files in it, and one set of checks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from backend.data.base import PairSource, UnreadableFile
from backend.data.report import Problem, digest8, printable
from backend.data.rooted import Rooted
from backend.data.rows import Bad, RowError, check_group, check_id, check_text
from backend.data.sample import Sample
from backend.errors import InputError
from backend.types import Label, Record

if TYPE_CHECKING:
    from PIL import Image

Read = TypeVar("Read")


@dataclass(frozen=True)
class Row:
    """One row as a layout's file has it, nothing checked yet.

    ``image`` is a path relative to the dataset's folder; ``raw`` is what the layout's own
    methods read; ``group`` names the rows that belong together, which a carved split never parts.
    """

    row: int | str
    sample_id: object
    text: object
    image: object = None
    raw: Any = None
    group: object = None
    text_name: str = "text"


@dataclass(frozen=True)
class Part:
    """A split as a share of what a file holds: the rows whose hash lies in [low, high).

    The hash is of the sample's group, or of the id of one that has none, and of nothing else: a
    part cuts no group, and does not depend on the order of the rows, on the other rows or on the
    machine.
    """

    file: str
    low: float = 0.0
    high: float = 1.0
    key: str = field(default="", compare=False)

    @property
    def whole(self) -> bool:
        """Whether the part is everything in the file."""
        return self.low <= 0 and self.high >= 1

    def has(self, sample_id: str, group: str) -> bool:
        """Whether a sample belongs to the part; ``group`` is "" for one that has none."""
        return self.whole or self.low <= digest8("split", group or sample_id) / 2**64 < self.high


class FileSource(Rooted, PairSource):
    """A dataset in a folder. A layout says which parts there are, their rows and their labels."""

    def __init__(self, path: str | Path, *, strict: bool = False) -> None:
        try:
            root = Path(path).expanduser().resolve()
            is_folder = root.is_dir()
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"not a usable path: {error}", where=self.layout) from error
        if not is_folder:
            raise InputError(
                "no such folder" if not root.exists() else "not a folder", where=str(path)
            )
        Rooted.__init__(self, root)
        self.name = root.name or self.layout
        PairSource.__init__(self, strict=strict)
        self.parts = self._parts()
        if not self.parts:
            raise InputError(
                f"nothing here in the layout {self.layout}", where=str(path), hint=self._expected()
            )

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

    def _files(self, row: Row) -> dict[str, Path]:
        """A row's files: of ``image``, ``audio`` and ``regions`` those it has. Raises RowError."""
        return {"image": self.locate(row.image)}

    def splits(self) -> tuple[str, ...]:
        """The splits that are there, in the layout's order."""
        return tuple(self.parts)

    def missing_split(self, split: str, file: str) -> None:
        """Report a split that the layout should have and this folder has not."""
        self.report.add(Problem(file, "", "", f"missing split file: no split {split!r}"))

    def image(self, record: Record) -> Image.Image:
        """Decode the record's image file to RGB, upright; see ``backend.data.images``."""
        from backend.data.images import decode_file

        return self._read(record, "image", record.image, decode_file)

    def sample(self, record: Record) -> Sample:
        """The record's text, and whatever of image, recording and regions it names."""
        sample = super().sample(record)
        if record.audio is not None:
            from backend.data.audio import read_wav

            sample = replace(sample, audio=self._read(record, "audio", record.audio, read_wav))
        if record.regions is not None:
            from backend.data.regions import read_regions

            regions = self._read(record, "regions", record.regions, read_regions)
            sample = replace(sample, regions=regions)
        return sample

    def _read(self, record: Record, what: str, path: object, read: Callable[[Path], Read]) -> Read:
        """What a record's file holds; UnreadableFile names the file and says why not."""
        from backend.data.images import DecodeError

        if not isinstance(path, Path):
            raise TypeError(f"{record.sample_id} has no {what} file")
        try:
            return read(path)
        except DecodeError as error:
            shown = path.relative_to(self.root) if path.is_relative_to(self.root) else path
            raise UnreadableFile(
                f"unreadable {what}: {printable(shown.as_posix())}: {error}", where=record.source
            ) from error

    def _records(self, split: str) -> Iterator[Record]:
        part = self.parts[split]
        file = part.file
        seen: set[int] = set()
        for row in self._rows(part):
            if isinstance(row, Bad):
                self.report.add(Problem(file, row.row, row.sample_id, row.reason))
                continue
            sample_id = ""
            try:
                sample_id = check_id(row.sample_id)
                group = check_group(row.group)
                if not part.has(sample_id, group):
                    continue
                if digest8(sample_id) in seen:
                    raise RowError("duplicate id")
                text, labels = check_text(row.text, row.text_name), self._labels(row.raw)
                files = self._files(row)
                record = Record(
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
            except RowError as error:
                self.report.add(Problem(file, row.row, sample_id, error.reason))
                continue
            seen.add(digest8(sample_id))
            yield record


def binary_label(value: object) -> int | None:
    """0, 1 or None where there is no label; raises RowError for anything else."""
    if value is None or value == "":
        return None
    if value in (0, 1) and isinstance(value, int | float):
        return int(value)
    if isinstance(value, str) and value in ("0", "1"):
        return int(value)
    raise RowError(f"label is neither 0 nor 1: {str(value)[:40]}")
