"""npy and npz. Nothing is ever unpickled."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from backend.errors import InputError
from backend.store.imports.arrays import ID_NAMES, Array, Contents, Streamed
from backend.store.imports.ids import as_ids

_PIECE_BYTES = 8 * 2**20
_MAX_MEMBERS = 10_000
_MAX_RATIO = 100
_HARMLESS_BYTES = 256 * 2**20
_LOCAL_HEADER = struct.Struct("<4s22xHH")


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    length: int

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=object))


def _read_header(stream: BinaryIO, where: str) -> _Header:
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        elif version == (2, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
        else:
            raise InputError(f"npy version {version} is not read", where=where)
    except InputError:
        raise
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"not an npy file ({str(error)[:100]})", where=where) from error
    if dtype.hasobject:
        raise InputError(
            "holds Python objects, which are never unpickled",
            where=where,
            hint="Save it as an array of float32 or float16",
        )
    return _Header(shape, fortran, dtype, stream.tell())


class _InFile(Array):
    """Values that lie uncompressed in a file: an npy file, or a member of an uncompressed npz."""

    def __init__(self, name: str, where: str, header: _Header, path: Path, offset: int) -> None:
        super().__init__(name, where, header.shape, header.dtype)
        self._path, self._offset, self._fortran = path, offset, header.fortran

    def read(self, start: int, stop: int, plane: int | None = None) -> np.ndarray:
        """Rows, by reading: pages of a map would stay in memory."""
        if self._fortran:
            return self._mapped(start, stop, plane)
        row = self.shape[1:] if plane is None else self.shape[2:]
        n = self.shape[0] if plane is None else self.shape[1]
        out = np.empty((min(stop, n) - start, *row), self.dtype)
        self._fill(out, start, plane)
        return out

    def read_into(self, out: np.ndarray, start: int, plane: int | None = None) -> None:
        """Straight from the file where the type is the same: no memory is taken for it."""
        if self._fortran or out.dtype != self.dtype or not out.flags.c_contiguous:
            super().read_into(out, start, plane)
        else:
            self._fill(out, start, plane)

    def _fill(self, out: np.ndarray, start: int, plane: int | None) -> None:
        row = self.shape[1:] if plane is None else self.shape[2:]
        first = start + (0 if plane is None else plane * self.shape[1])
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._offset + first * int(np.prod(row)) * self.dtype.itemsize)
                count = stream.readinto(out.data.cast("B"))
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror})", where=self.where) from error
        if count != out.nbytes:
            raise InputError("was cut short while it was read", where=self.where)

    def _mapped(self, start: int, stop: int, plane: int | None) -> np.ndarray:
        """Rows of an array in Fortran's order, whose columns lie side by side."""
        values = np.memmap(self._path, self.dtype, "r", self._offset, self.shape, "F")
        return np.array((values if plane is None else values[plane])[start:stop])


class _Deflated(Streamed):
    """A compressed member of an npz."""

    def __init__(self, name: str, where: str, header: _Header, path: Path, member: str) -> None:
        super().__init__(name, where, header.shape, header.dtype)
        self._header, self._path, self._member = header, path, member

    def pieces(self, plane: int | None) -> Iterator[np.ndarray]:
        """Rows as they are decompressed; at the end the member's checksum is compared."""
        row = self.shape[1:] if plane is None else self.shape[2:]
        n = self.shape[0] if plane is None else self.shape[1]
        size = self.dtype.itemsize * int(np.prod(row))
        at_once = max(1, _PIECE_BYTES // max(1, size))
        try:
            with zipfile.ZipFile(self._path) as archive, archive.open(self._member) as stream:
                _skip(stream, self._header.length + (0 if plane is None else plane * n * size))
                for start in range(0, n, at_once):
                    rows = min(at_once, n - start)
                    raw = stream.read(rows * size)
                    if len(raw) != rows * size:
                        raise InputError("was cut short", where=self.where)
                    yield np.frombuffer(raw, self.dtype).reshape(rows, *row)
                if plane is None:
                    stream.read(1)  # meets the end, where the checksum is compared
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"is damaged ({str(error)[:100]})", where=self.where) from error


def _skip(stream: object, count: int) -> None:
    while count > 0:
        got = len(stream.read(min(count, _PIECE_BYTES)))  # type: ignore[attr-defined]
        if not got:
            return
        count -= got


def open_npy(path: Path) -> tuple[Array, tuple[str, ...] | None]:
    """The array of an npy file; of one that is called like ids, the ids."""
    where = path.name
    with path.open("rb") as stream:
        header = _read_header(stream, where)
        size = stream.seek(0, 2)
    if size < header.length + header.nbytes:
        missing = header.length + header.nbytes - size
        raise InputError(f"is cut short: {missing:,} bytes are missing", where=where)
    array = _InFile(path.stem, where, header, path, header.length)
    if path.stem in ID_NAMES:
        return array, _ids(array, where)
    return array, None


def open_npz(path: Path, prefix: tuple[str, ...]) -> Contents:
    """Every array of an npz."""
    where = path.name
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            _refuse_bombs(members, path)
            arrays = [_member(archive, info, path) for info in members]
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise InputError(f"not a whole npz ({str(error)[:100]})", where=where) from error
    ids = [array for array in arrays if array.name in ID_NAMES]
    if len(ids) > 1:
        raise InputError(f"ids in {ids[0].name!r} and in {ids[1].name!r}", where=where)
    rest = tuple(array for array in arrays if array.name not in ID_NAMES)
    return Contents(where, prefix, rest, _ids(ids[0], where) if ids else None)


def _refuse_bombs(members: list[zipfile.ZipInfo], path: Path) -> None:
    """InputError for a small archive that would become huge, before anything is unpacked."""
    size, unpacked = path.stat().st_size, sum(info.file_size for info in members)
    packed = sum(info.compress_size for info in members)
    if len(members) > _MAX_MEMBERS:
        raise InputError(f"{len(members):,} members, at most {_MAX_MEMBERS:,}", where=path.name)
    if packed > size or (unpacked > _HARMLESS_BYTES and unpacked > _MAX_RATIO * size):
        raise InputError(
            f"{size:,} bytes would unpack to {unpacked:,}: refused as a zip bomb",
            where=path.name,
            hint="Save honest arrays without compression",
        )


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Array:
    name = info.filename.removesuffix(".npy")
    where = f"{path.name}: {name}"
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError("is encrypted or packed in a way that npz is not", where=where)
    with archive.open(info) as stream:
        header = _read_header(stream, where)  # type: ignore[arg-type]
    if header.length + header.nbytes != info.file_size:
        raise InputError(f"holds {info.file_size:,} bytes, its header says other", where=where)
    if info.compress_type == zipfile.ZIP_STORED:
        return _InFile(name, where, header, path, _data_offset(info, path) + header.length)
    if header.fortran and len(header.shape) > 1:
        raise InputError(
            "is compressed in Fortran's order, which cannot be read row by row",
            where=where,
            hint="Save numpy.ascontiguousarray of it",
        )
    return _Deflated(name, where, header, path, info.filename)


def _data_offset(info: zipfile.ZipInfo, path: Path) -> int:
    """Where a member's bytes begin: behind its local header, whose lengths are its own."""
    with path.open("rb") as stream:
        stream.seek(info.header_offset)
        raw = stream.read(_LOCAL_HEADER.size)
    signature, name, extra = _LOCAL_HEADER.unpack(raw)
    offset: int = info.header_offset + _LOCAL_HEADER.size + name + extra
    if signature != b"PK\x03\x04" or offset + info.file_size > path.stat().st_size:
        raise InputError("not a whole npz (a member lies outside)", where=path.name)
    return offset


def _ids(array: Array, where: str) -> tuple[str, ...]:
    if len(array.shape) != 1 or array.dtype.kind not in "USiu":
        raise InputError(
            f"ids must be one axis of text or whole numbers, got {array.dtype} {array.shape}",
            where=where,
        )
    return as_ids(array.read(0, array.shape[0]).tolist(), f"{where}: {array.name}")
