"""Tensors and configurations of files that others made. Nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from backend.errors import InputError
from backend.store.imports.formats.npy import open_npz
from backend.store.imports.formats.tensors import open_safetensors

_MOST_CONFIG_BYTES = 2**20

Tensors = dict[str, Tensor]


def read_tensors(path: Path) -> Tensors:
    """The arrays of an npz or safetensors file, float32; a single number of the latter as (1,)."""
    contents = (open_npz if path.suffix == ".npz" else open_safetensors)(path, ())
    arrays = [array for array in contents.arrays if array.shape]
    found = {a.name: torch.from_numpy(a.read(0, a.shape[0]).astype("f4")) for a in arrays}
    if path.suffix != ".npz":
        with safe_open(path, "pt") as file:
            for name in (one.name for one in contents.arrays if not one.shape):
                found[name] = file.get_tensor(name).float().reshape(1)
    return found


def read_config(path: Path) -> dict[str, Any]:
    """A JSON file that holds one object; InputError for anything else."""
    where = str(path)
    try:
        if path.stat().st_size > _MOST_CONFIG_BYTES:
            raise InputError(f"has more than {_MOST_CONFIG_BYTES:,} bytes", where=where)
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError("is no JSON that can be read", where=where) from error
    if not isinstance(config, dict):
        raise InputError("holds no JSON object", where=where)
    return config


def need(tensors: Mapping[str, object], names: Collection[str], where: str) -> None:
    """InputError that names what is missing."""
    missing = [name for name in names if name not in tensors]
    if missing:
        raise InputError(
            f"has no {' or '.join(missing)}",
            where=where,
            hint=f"It holds: {', '.join(sorted(map(str, tensors))[:12]) or 'nothing'}.",
        )


def whole(config: Mapping[str, Any], name: str, where: str) -> int:
    """A positive whole number of a configuration."""
    value = config.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{name} is {value!r}, expected a positive whole number", where=where)
    return value


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """Of names, shapes and values: the same for the same weights in any file."""
    made = hashlib.sha256()
    for name in sorted(tensors):
        made.update(f"{name} {tuple(tensors[name].shape)}".encode())
        made.update(tensors[name].contiguous().numpy().tobytes())
    return made.hexdigest()[:16]
