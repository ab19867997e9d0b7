"""Tar archives of samples: members are read where they lie, nothing is unpacked or followed.

A sample's members share a key, their path up to the first point of the file's name; what comes
behind it says what a member is (``000012.jpg``, ``000012.txt``). They may lie anywhere in the
archive. Links, devices and folders are passed over.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import error as struct_error
from typing import IO, Any, BinaryIO, cast

from backend.data.embedded import Embedded
from backend.data.images import DecodeError
from backend.data.report import clipped
from backend.data.rows import RowError
from backend.data.textfile import MAX_LINE_BYTES
from backend.errors import InputError

MAX_MEMBERS = 1_000_000
MAX_PICTURE_BYTES = 2**28

_BLOCK = 512
_MAX_HEADER = 2**20  # names and attributes in front of a member
# What tarfile raises on damaged archives; anything else would be a fault to hear about.
_DAMAGE = (tarfile.TarError, ValueError, OverflowError, IndexError, struct_error, RecursionError)
_PACKED = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)


@dataclass(frozen=True)
class InTar(Embedded):
    """A member of an archive: ``size`` bytes from byte ``start`` on, called ``name``."""

    start: int
    size: int
    name: str

    @property
    def shown(self) -> str:
        """Its name."""
        return self.name

    def read(self) -> bytes:
        """The member's bytes."""
        if self.size > MAX_PICTURE_BYTES:
            raise DecodeError(f"{self.size:,} bytes, at most {MAX_PICTURE_BYTES:,} are read")
        return _bytes(self)

    def text(self) -> str:
        """The member as text; what is not UTF-8 as lone surrogates. RowError if it is too long."""
        if self.size > MAX_LINE_BYTES:
            raise RowError(f"{self.name} is too long: over {MAX_LINE_BYTES // 2**20} MiB")
        return _bytes(self).decode("utf-8", "surrogateescape").removeprefix("\ufeff")


def samples_in(path: Path) -> tuple[dict[str, dict[str, InTar]], int]:
    """{key: {ending in lower case: member}} of an archive, in its order, and how many were links.

    Of two members of one name the last counts, as when they are unpacked. Memory: some 500 bytes a
    member. Raises InputError for what is no tar archive, or is compressed, cut short, or broken.
    """
    samples: dict[str, dict[str, InTar]] = {}
    links = 0
    for number, member in enumerate(_members(path)):
        if number >= MAX_MEMBERS:
            hint = "Part it into smaller archives."
            raise InputError(f"over {MAX_MEMBERS:,} members", where=path.name, hint=hint)
        links += member.issym() or member.islnk()
        name = member.name.removeprefix("./")
        folder, slash, file = name.rpartition("/")
        stem, point, ending = file.partition(".")
        if member.isreg() and not member.issparse() and stem and point and ending:
            own = samples.setdefault(folder + slash + stem, {})
            own[ending.lower()] = InTar(path, member.offset_data, member.size, name)
    return samples, links


def _members(path: Path) -> Iterator[tarfile.TarInfo]:
    """The members in turn, none remembered."""
    try:
        with path.open("rb") as raw:
            _refuse_packed(raw.read(8), path)
            raw.seek(0)
            yield from _headers(raw, path)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=path.name) from error


def _headers(raw: BinaryIO, path: Path) -> Iterator[tarfile.TarInfo]:
    try:
        archive = tarfile.TarFile(fileobj=cast(IO[bytes], _Bounded(raw)))
    except _DAMAGE as error:
        raise InputError(f"is no tar archive: {error}", where=path.name) from error
    before, size = 0, path.stat().st_size
    while True:
        try:
            member = archive.next()
        except _DAMAGE as error:
            raise _cut(path, archive.offset, str(error)[:80]) from error
        cast(Any, archive).members.clear()  # the stubs do not know them
        if member is None:
            break
        if member.size < 0 or not before < archive.offset <= size:
            raise _cut(path, before, f"a member of {member.size:,} bytes")
        before = archive.offset
        yield member
    raw.seek(archive.offset)
    end = raw.read(_BLOCK)
    if end != bytes(_BLOCK):
        raise _cut(path, archive.offset, "no member" if end.strip(b"\0") else "no mark of its end")


def _refuse_packed(head: bytes, path: Path) -> None:
    packing = next((name for magic, name in _PACKED if head.startswith(magic)), None)
    if packing is not None:
        raise InputError(
            f"is compressed with {packing}, and members are read where they lie",
            where=path.name,
            hint="Unpack it to a plain .tar.",
        )


def _cut(path: Path, offset: int, why: str) -> InputError:
    problem = f"cut short or broken after {offset:,} of {path.stat().st_size:,} bytes ({why})"
    return InputError(problem, where=path.name, hint="Download or pack it again.")


class _Bounded:
    """A file of which no header larger than a mebibyte is read."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw, self.seek, self.tell = raw, raw.seek, raw.tell

    def read(self, size: int) -> bytes:
        """The next bytes. Raises ReadError for too many."""
        if not 0 <= size <= _MAX_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._raw.read(size)


def _bytes(member: InTar) -> bytes:
    try:
        with member.file.open("rb") as raw:
            raw.seek(member.start)
            data = raw.read(member.size)
    except OSError as error:
        where = member.file.name
        raise InputError(f"cannot be read: {error.strerror or error}", where=where) from error
    if len(data) < member.size:
        raise _cut(member.file, member.start, f"in {clipped(member.name, 60)}")
    return data
