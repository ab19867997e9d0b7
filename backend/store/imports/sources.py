"""What the user names (files, folders, arrays of a notebook) as contents that can be read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backend.errors import InputError
from backend.store.imports.arrays import ID_NAMES, Array, Contents, Held
from backend.store.imports.formats.duck import open_duckdb
from backend.store.imports.formats.hdf5 import open_hdf5
from backend.store.imports.formats.npy import open_npy, open_npz
from backend.store.imports.formats.parquet import open_parquet_vectors
from backend.store.imports.formats.tensors import open_safetensors
from backend.store.imports.ids import as_ids

Named = Mapping[str, Any]
"""Arrays of a notebook by name: anything that numpy can look at, or the path of a file."""

Sources = str | Path | Sequence[str | Path] | Named

MAPPING = "mapping.toml"
"""The file that says what a folder of arrays holds; see :mod:`backend.store.imports.mapping`."""

_MAX_FILES = 100_000
_END_BYTES = 1 * 2**20


@dataclass(frozen=True)
class Settings:
    """How files are read: the type of values in binary columns, and the one table of a DuckDB."""

    binary: np.dtype
    table: str | None = None


_OPENERS: dict[str, Callable[[Path, tuple[str, ...], Settings], list[Contents]]] = {
    ".npz": lambda path, prefix, _: [open_npz(path, prefix)],
    ".safetensors": lambda path, prefix, _: [open_safetensors(path, prefix)],
    ".parquet": lambda path, prefix, s: [open_parquet_vectors(path, prefix, s.binary)],
    ".h5": lambda path, prefix, _: [open_hdf5(path, prefix)],
    ".hdf5": lambda path, prefix, _: [open_hdf5(path, prefix)],
    ".duckdb": lambda path, prefix, s: open_duckdb(path, prefix, s.binary, s.table),
    ".db": lambda path, prefix, s: open_duckdb(path, prefix, s.binary, s.table),
}
_NPY = ".npy"
SUFFIXES = (_NPY, *_OPENERS)


def files_of(sources: str | Path | Sequence[str | Path], but: Sequence[Path] = ()) -> list[Path]:
    """The files that are meant: themselves, and those of a format inside folders, sorted.

    ``but`` are the files inside folders that are something else, such as the samples table.
    """
    given = [sources] if isinstance(sources, str | Path) else list(sources)
    other = {path.resolve() for path in but}
    files: list[Path] = []
    for path in map(Path, given):
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES and p.is_file())
            files += [p for p in inside if p.resolve() not in other and not p.is_symlink()]
        elif path.is_file():
            if path.suffix not in SUFFIXES:
                raise InputError(
                    f"is of no format that is read ({', '.join(SUFFIXES)})", where=str(path)
                )
            files.append(path)
        else:
            raise InputError("no such file or folder", where=str(path))
    if not files or len(files) > _MAX_FILES:
        raise InputError(
            f"{len(files):,} files of activations, expected 1 to {_MAX_FILES:,}",
            where=", ".join(map(str, given)) or None,
            hint=f"The formats are {', '.join(SUFFIXES)}",
        )
    if len({path.resolve() for path in files}) < len(files):
        raise InputError("a file is given twice", where=", ".join(map(str, given)))
    return files


def open_files(files: Sequence[Path], settings: Settings) -> list[Contents]:
    """What the files hold; all npy files are one :class:`Contents`, with the ids of an ids.npy."""
    contents: list[Contents] = []
    single: list[Array] = []
    ids: list[tuple[str, ...]] = []
    for path in files:
        try:
            if path.suffix == _NPY:
                array, own = open_npy(path)
                array.name = "/".join((*_folders(path), array.name))
                ids.append(own) if own is not None else single.append(array)
            else:
                contents += _OPENERS[path.suffix](path, (*_folders(path), path.stem), settings)
        except PermissionError as error:
            raise InputError("may not be read", where=str(path)) from error
    if len(ids) > 1:
        raise InputError(f"{len(ids)} npy files of ids, expected one")
    if single:
        names = ", ".join(array.where for array in single[:3])
        where = names if len(single) <= 3 else f"{names}, ..."
        contents.append(Contents(where, (), tuple(single), ids[0] if ids else None))
    return contents


def open_arrays(arrays: Named, settings: Settings) -> tuple[list[Path], list[Contents]]:
    """The arrays of a notebook; values that are paths are opened as files, under their names."""
    files: list[Path] = []
    held: list[Array] = []
    ids: tuple[str, ...] | None = None
    for name, value in arrays.items():
        if name in ID_NAMES:
            ids = as_ids(np.asarray(value).tolist(), f"array {name!r}")
        elif isinstance(value, str | Path):
            files.append(Path(value))
            held.append(_only_array(name, Path(value), settings))
        else:
            held.append(Held(name, np.asarray(value)))
    if not held:
        raise InputError("no arrays were given")
    return files, [Contents("the arrays", (), tuple(held), ids)]


def _only_array(name: str, path: Path, settings: Settings) -> Array:
    contents = open_files(files_of(path), settings)
    arrays = [array for part in contents for array in part.arrays]
    if len(arrays) != 1 or contents[0].ids is not None or contents[0].prepare is not None:
        raise InputError(
            f"holds {len(arrays)} arrays, expected one without ids",
            where=str(path),
            hint="Give the path itself rather than a name for it",
        )
    arrays[0].name = name
    return arrays[0]


def digest_of(files: Sequence[Path], contents: Sequence[Contents], settings: Sequence[str]) -> str:
    """16 hex digits that tell these sources from others: sizes, and both ends of every file.

    ``settings`` say what is made of them, such as which array is which layer.
    A file of many gigabytes is not read whole for it. Arrays of a notebook count by both ends too.
    """
    digest = hashlib.blake2b(digest_size=8)
    digest.update("\n".join(settings).encode())
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as stream:
            digest.update(stream.read(_END_BYTES))
            stream.seek(max(0, size - _END_BYTES))
            digest.update(stream.read(_END_BYTES))
    for part in contents:
        for array in part.arrays:
            digest.update(f"{array.name} {array.shape} {array.dtype}\n".encode())
            if isinstance(array, Held):
                digest.update(array.ends(_END_BYTES))
    return digest.hexdigest()


def _folders(path: Path) -> Iterator[str]:
    yield from (part for part in path.parent.parts if part not in ("/", ".", ".."))
