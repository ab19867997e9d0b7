"""safetensors, through its own library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from backend.errors import InputError
from backend.store.imports.arrays import ID_NAMES, Array, Contents
from backend.store.imports.ids import as_ids

_DTYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
_BFLOAT16 = "BF16"
_WHOLE = ("I64", "I32", "U64", "U32")


class _Tensor(Array):
    """One tensor; bfloat16, which numpy has not, becomes float32, which holds all its values."""

    def __init__(self, path: Path, name: str, shape: tuple[int, ...], kind: str) -> None:
        dtype = np.dtype("<f4" if kind == _BFLOAT16 else _DTYPES.get(kind, "V1"))
        super().__init__(name, f"{path.name}: {name}", shape, dtype)
        self._path, self._key, self._kind = path, name, kind
        if dtype.kind == "V":
            raise InputError(f"holds {kind}", where=self.where, hint="Save it as F32 or F16")

    def read(self, start: int, stop: int, plane: int | None = None) -> np.ndarray:
        """Rows; the file is opened for each read, so that its pages do not stay in memory."""
        torch_needed = self._kind == _BFLOAT16
        try:
            with safe_open(self._path, "pt" if torch_needed else "np") as file:
                tensor = file.get_slice(self._key)
                rows = tensor[start:stop] if plane is None else tensor[plane, start:stop]
        except (SafetensorError, OSError) as error:
            raise InputError(f"cannot be read ({str(error)[:100]})", where=self.where) from error
        values: np.ndarray = rows.float().numpy() if torch_needed else rows
        return values


def open_safetensors(path: Path, prefix: tuple[str, ...]) -> Contents:
    """Every tensor of a safetensors file; one that is called like ids holds whole numbers."""
    arrays: list[Array] = []
    ids = None
    try:
        with safe_open(path, "np") as file:
            for name in file.keys():  # noqa: SIM118 -- not a mapping
                tensor = file.get_slice(name)
                kind, shape = tensor.get_dtype(), tuple(tensor.get_shape())
                if name in ID_NAMES and kind in _WHOLE and len(shape) == 1:
                    ids = as_ids(file.get_tensor(name).tolist(), f"{path.name}: {name}")
                else:
                    arrays.append(_Tensor(path, name, shape, kind))
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"not a whole safetensors file ({str(error)[:120]})", where=path.name
        ) from error
    return Contents(path.name, prefix, tuple(arrays), ids)
