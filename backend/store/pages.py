"""How large a Parquet file becomes in memory, from its footer and the headers of its pages.

Nothing is decoded for it. The footer alone would not do: whoever wrote the file wrote the footer,
and a reader makes room for what the headers of the pages say. Headers are Thrift's compact
protocol (Apache Parquet format, ``parquet.thrift``, PageHeader), of which four fields are read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from backend.errors import InputError
from backend.store.wall import refused, regular, require_size

_TAIL = 8
_MOST_FOOTER_BYTES = 16 * 2**20
_MOST_COLUMNS = 4096
_MOST_PAGES = 200_000
_HEADER_BYTES = (256, 2**16)
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 12}
_REFERENCE = 16
"""Bytes a value of text beside its letters: an index and an offset, or DuckDB's reference."""


@dataclass(frozen=True)
class Sizes:
    """``stored``: bytes of the file; ``decoded``: bytes in memory at most, texts counted once.

    ``texts`` are the paths of the columns of text and bytes whose values come from a dictionary,
    which may repeat them.
    """

    stored: int
    decoded: int
    texts: tuple[str, ...]


def sizes(path: Path) -> Sizes:
    """The sizes of a file that is fit to be opened; InputError says why another one is not.

    FileNotFoundError where there is none, ArrowException for a footer that cannot be parsed.
    """
    info = regular(path)
    return _sizes(str(path), (info.st_dev, info.st_ino, info.st_mtime_ns, info.st_size))


@lru_cache(maxsize=65_536)
def _sizes(path: str, identity: tuple[int, int, int, int]) -> Sizes:
    stored = identity[-1]
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a Path costs more, and there are thousands
            _check_footer(file, stored, path)
            metadata = pq.read_metadata(file)
            return _measured(file, metadata, stored, path)
    except PermissionError as error:
        raise refused(path, error) from error


def _check_footer(file: BinaryIO, stored: int, path: str) -> None:
    if stored < _TAIL:
        raise pa.ArrowInvalid("no Parquet file")
    file.seek(stored - _TAIL)
    length = int.from_bytes(file.read(_TAIL)[:4], "little")
    if length > stored:
        raise pa.ArrowInvalid("its footer is longer than the file")
    if length > _MOST_FOOTER_BYTES:
        raise InputError(f"its footer has {length:,} bytes", where=path)
    file.seek(0)


def _measured(file: BinaryIO, metadata: pq.FileMetaData, stored: int, path: str) -> Sizes:
    if metadata.num_columns > _MOST_COLUMNS:
        raise InputError(f"has {metadata.num_columns:,} columns", where=path)
    columns = [metadata.schema.column(at) for at in range(metadata.num_columns)]
    texts = {column.path for column in columns if column.physical_type == "BYTE_ARRAY"}
    listed: set[str] = set()
    decoded = pages = rows = 0
    for at in range(metadata.num_row_groups):
        group = metadata.row_group(at)
        rows += group.num_rows
        for number, column in enumerate(columns):
            chunk = group.column(number)
            begins = [chunk.data_page_offset]
            if chunk.has_dictionary_page and chunk.dictionary_page_offset:
                listed.add(column.path)
                begins.append(chunk.dictionary_page_offset)
            # pyarrow writes 0 for the page of data that a column without rows does not have.
            begin = min((at for at in begins if at), default=0)
            end = begin + chunk.total_compressed_size
            if not 0 <= begin <= end <= stored or group.num_rows < 0:
                raise InputError("its footer names places that it does not have", where=path)
            walk = _Walk(file, begin, end, _MOST_PAGES - pages)
            pages += walk.count
            values = max(walk.values, chunk.num_values, group.num_rows)
            width = column.length if column.physical_type == "FIXED_LEN_BYTE_ARRAY" else 0
            decoded += values * (_WIDTHS.get(column.physical_type) or width or _REFERENCE)
            decoded += walk.decoded if column.path in texts else 0
            require_size(max(decoded, walk.decoded), stored, path)
    if rows != metadata.num_rows:
        raise InputError(f"its footer counts {metadata.num_rows:,} rows and {rows:,}", where=path)
    return Sizes(stored, decoded, tuple(sorted(texts & listed)))


class _Walk:
    """The headers of the pages of a column chunk: how many, their values, their decoded bytes."""

    def __init__(self, file: BinaryIO, begin: int, end: int, most: int) -> None:
        self.count = self.values = self.decoded = 0
        while begin < end:
            if self.count >= most:
                raise pa.ArrowInvalid("too many pages")
            header = _header_at(file, begin, end)
            self.count += 1
            self.values += header.values
            # Values that say only in how many letters they begin like the one before.
            prefixed = header.encoding == _DELTA_BYTE_ARRAY
            self.decoded += header.decoded * (max(1, header.values) if prefixed else 1)
            begin += header.length + header.stored


@dataclass
class _Header:
    """One page: bytes of its header, of its content stored and decoded, values of a data page."""

    length: int
    stored: int
    decoded: int
    values: int
    encoding: int


def _header_at(file: BinaryIO, at: int, end: int) -> _Header:
    for size in _HEADER_BYTES:
        raw = os.pread(file.fileno(), min(size, end - at), at)
        try:
            return _header(_Compact(raw))
        except IndexError:
            continue  # it has statistics and is longer
    raise pa.ArrowInvalid("a page has no header")


def _header(reader: _Compact) -> _Header:
    decoded = stored = values = encoding = 0
    for number, kind in reader.fields():
        if number == 2 and kind == _I32:
            decoded = reader.zigzag()
        elif number == 3 and kind == _I32:
            stored = reader.zigzag()
        elif number in _ENCODED_AT and kind == _STRUCT:
            values, encoding = _data_page(reader, _ENCODED_AT[number])
        else:
            reader.skip(kind)
    if decoded < 0 or stored < 0 or values < 0:
        raise pa.ArrowInvalid("a page has a negative size")
    return _Header(reader.at, stored, decoded, values, encoding)


def _data_page(reader: _Compact, encoded_at: int) -> tuple[int, int]:
    """The number of values of a data page and how they are encoded."""
    values = encoding = 0
    for number, kind in reader.fields():
        if number == 1 and kind == _I32:
            values = reader.zigzag()
        elif number == encoded_at and kind == _I32:
            encoding = reader.zigzag()
        else:
            reader.skip(kind)
    return values, encoding


_TRUE, _FALSE, _BYTE, _I32, _DOUBLE, _BINARY, _STRUCT = 1, 2, 3, 5, 7, 8, 12
_MOST_DEEP = 8
_DELTA_BYTE_ARRAY = 7
_ENCODED_AT = {5: 2, 8: 4}
"""{field of a data page's header, of version 1 or 2: the field in it that names the encoding}."""


@dataclass
class _Compact:
    """Thrift's compact protocol, as far as pages need it. IndexError at the end of ``raw``."""

    raw: bytes
    at: int = 0
    _deep: int = field(default=0, repr=False)

    def _byte(self) -> int:
        byte = self.raw[self.at]
        self.at += 1
        return byte

    def varint(self) -> int:
        """An unsigned number of at most 64 bits."""
        number = shift = 0
        while shift < 70:
            byte = self._byte()
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7
        raise pa.ArrowInvalid("a page has a broken header")

    def zigzag(self) -> int:
        """A signed number."""
        number = self.varint()
        return (number >> 1) ^ -(number & 1)

    def fields(self) -> Iterator[tuple[int, int]]:
        """(number, type) of each field of a struct; whoever asks reads or skips its value."""
        number = 0
        while (byte := self._byte()) != 0:
            delta, kind = byte >> 4, byte & 0x0F
            number = number + delta if delta else self.zigzag()
            yield number, kind

    def skip(self, kind: int) -> None:
        """Pass over a value."""
        if kind in (_TRUE, _FALSE):
            return
        if kind == _BYTE:
            self.at += 1
        elif kind <= 6:
            self.varint()
        elif kind == _DOUBLE:
            self.at += 8
        elif kind == _BINARY:
            length = self.varint()
            self.at += length
        elif kind == _STRUCT and self._deep < _MOST_DEEP:
            self._deep += 1
            for _, inner in self.fields():
                self.skip(inner)
            self._deep -= 1
        else:
            raise pa.ArrowInvalid("a page has a broken header")
