"""Reading the files that a record of a folder names: its image, its recording, its regions."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, TypeVar

from backend.data.base import UnreadableFile
from backend.data.embedded import Embedded
from backend.data.report import clipped
from backend.data.sample import Sample
from backend.types import Record

Read = TypeVar("Read")


@contextmanager
def opened_image(record: Record, root: Path) -> Iterator[BinaryIO]:
    """The bytes of a record's image.

    UnreadableFile, naming the file relative to ``root``, for what goes wrong with them within.
    """
    from backend.data.images import DecodeError

    image = record.image
    if isinstance(image, Embedded):
        with _named(record, "image", image.shown):
            yield io.BytesIO(image.read())
        return
    if not isinstance(image, Path):
        raise TypeError(f"{record.sample_id} has no image file")
    with _named(record, "image", _shown(image, root)):
        try:
            stream = image.open("rb")
        except OSError as error:
            raise DecodeError(error.strerror or str(error)) from error
        with stream:
            yield stream


def with_files(sample: Sample, record: Record, root: Path) -> Sample:
    """The sample with the recording and the regions that its record names.

    Boxes of regions are in pixels of the sample's image, which may have fewer than the file's.
    """
    if record.audio is not None:
        from backend.data.audio import read_wav

        sample = replace(sample, audio=_read(record, "audio", record.audio, read_wav, root))
    if record.regions is not None and sample.images:
        from backend.data.images import size_in_header
        from backend.data.regions import read_regions

        regions = _read(record, "regions", record.regions, read_regions, root)
        with opened_image(record, root) as stream:
            stored = size_in_header(stream)
        scale = round(max(stored) / max(sample.images[0].size))
        sample = replace(sample, regions=replace(regions, boxes=regions.boxes / scale))
    return sample


def _read(
    record: Record, what: str, path: object, read: Callable[[Path], Read], root: Path
) -> Read:
    """What a record's file holds; UnreadableFile names the file and says why not."""
    if not isinstance(path, Path):
        raise TypeError(f"{record.sample_id} has no {what} file")
    with _named(record, what, _shown(path, root)):
        return read(path)


@contextmanager
def _named(record: Record, what: str, file: str) -> Iterator[None]:
    """UnreadableFile, naming the file, for what cannot be decoded."""
    from backend.data.images import DecodeError

    try:
        yield
    except DecodeError as error:
        raise UnreadableFile(
            f"unreadable {what}: {clipped(file)}: {error}", where=record.source
        ) from error


def _shown(path: Path, root: Path) -> str:
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()
