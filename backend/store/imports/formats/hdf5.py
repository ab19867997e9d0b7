"""HDF5, with h5py where it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from backend.errors import InputError
from backend.store.imports.arrays import ID_NAMES, Array, Contents
from backend.store.imports.ids import as_ids

_MAX_CHUNK_BYTES = 512 * 2**20


class _Dataset(Array):
    """One data set."""

    def __init__(self, path: Path, name: str, dataset: Any) -> None:
        super().__init__(name, f"{path.name}: {name}", tuple(dataset.shape), dataset.dtype)
        self._path, self._key = path, name

    def read(self, start: int, stop: int, plane: int | None = None) -> np.ndarray:
        """Rows."""
        h5py = _h5py(self._path)
        try:
            with h5py.File(self._path, "r") as file:
                dataset = file[self._key]
                rows = dataset[start:stop] if plane is None else dataset[plane, start:stop]
        except (OSError, KeyError, RuntimeError) as error:
            raise InputError(f"cannot be read ({str(error)[:120]})", where=self.where) from error
        values: np.ndarray = rows
        return values


def open_hdf5(path: Path, prefix: tuple[str, ...]) -> Contents:
    """Every data set of the file itself: what it links or maps to in other files is refused."""
    h5py = _h5py(path)
    arrays: list[Array] = []
    ids: list[tuple[str, ...]] = []
    try:
        with h5py.File(path, "r") as file:

            def visit(name: str, item: Any) -> None:
                if not isinstance(item, h5py.Dataset):
                    return
                _refuse_elsewhere(item, f"{path.name}: {name}")
                if name.rpartition("/")[2] in ID_NAMES:
                    ids.append(_ids(item, f"{path.name}: {name}"))
                elif item.dtype.hasobject or item.dtype.kind in "SU":
                    return  # texts that somebody keeps beside the arrays
                else:
                    arrays.append(_Dataset(path, name, item))

            file.visititems(visit)  # follows no link into another file
    except (OSError, RuntimeError, KeyError) as error:
        raise InputError(f"not a whole HDF5 file ({str(error)[:120]})", where=path.name) from error
    if len(ids) > 1:
        raise InputError(f"{len(ids)} data sets of ids", where=path.name)
    return Contents(path.name, prefix, tuple(arrays), ids[0] if ids else None)


def _refuse_elsewhere(dataset: Any, where: str) -> None:
    if dataset.is_virtual or dataset.external:
        raise InputError("its values lie in another file", where=where)
    chunk = dataset.chunks
    if chunk and int(np.prod(chunk)) * dataset.dtype.itemsize > _MAX_CHUNK_BYTES:
        raise InputError(
            f"a chunk is larger than {_MAX_CHUNK_BYTES // 2**20} MiB",
            where=where,
            hint="Save it with smaller chunks",
        )


def _ids(dataset: Any, where: str) -> tuple[str, ...]:
    if len(dataset.shape) != 1 or dataset.dtype.kind not in "OSiu":
        raise InputError("ids must be one axis of text or whole numbers", where=where)
    return as_ids(dataset[:].tolist(), where)


def _h5py(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise InputError(
            "reading HDF5 needs h5py",
            where=path.name,
            hint="Install it with: pip install 'fusionscope[hdf5]'",
        ) from error
    return h5py
