"""A checkpoint's weights as files: which there are, and what their headers say."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from math import prod
from pathlib import Path, PurePosixPath

from safetensors import SafetensorError, safe_open

from backend.errors import InputError

CONFIG = "config.json"
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")
_LFS = b"version https://git-lfs.github.com/spec/"
_HINT = "A checkpoint is what save_pretrained writes: config.json and model.safetensors."


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a safetensors file: its shape and the file's word for its number type."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def count(self) -> int:
        """How many numbers it has."""
        return prod(self.shape)


def weight_files(folder: Path, where: str) -> tuple[Path, ...]:
    """The safetensors files that make up the weights of a checkpoint directory.

    ``model.safetensors``, else the files that ``model.safetensors.index.json`` names. InputError
    where there are none, or one that is named is missing or is no plain name of this directory.
    """
    if (folder / SINGLE).is_file():
        return (folder / SINGLE,)
    if not (folder / INDEX).is_file():
        raise no_weights([path.name for path in folder.iterdir()], where)
    names = shard_names(folder / INDEX, where)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"{INDEX} names {shortened(missing)}, which {'is' if len(missing) == 1 else 'are'} "
            "not there",
            where=where,
            hint="Copy or download the missing files.",
        )
    return tuple(folder / name for name in names)


def shard_names(index: Path, where: str) -> list[str]:
    """The files that an index names, each a plain name in the index's own directory."""
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{INDEX} is broken or has no weight_map", where=where) from error
    for name in names:
        plain = isinstance(name, str) and "\\" not in name and PurePosixPath(name).name == name
        if not plain or not name.endswith(".safetensors"):
            raise InputError(
                f"{INDEX} names {str(name)[:80]!r}, which is no safetensors file of this directory",
                where=where,
            )
    if not names:
        raise InputError(f"{INDEX} names no files", where=where)
    return names


def no_weights(names: Collection[str], where: str) -> InputError:
    """What to say of a directory or repository with these files, none of which can be loaded."""
    pickled = sorted(name for name in names if name.endswith(_PICKLED))
    if pickled:
        return InputError(
            f"has weights as {shortened(pickled)} only, which could run code when opened",
            where=where,
            hint="Convert them to safetensors: load them where you trust them, then "
            "save_pretrained.",
        )
    other = sorted(name for name in names if name.endswith(".safetensors"))
    if other:
        return InputError(
            f"has {shortened(other)} but neither {SINGLE} nor {INDEX}", where=where, hint=_HINT
        )
    return InputError(f"has {CONFIG} but no weights", where=where, hint=_HINT)


def read_headers(files: Collection[Path], where: str) -> dict[str, StoredTensor]:
    """{name: shape and type} of every tensor; nothing but the headers is read.

    InputError names the file that is a git-lfs pointer, cut short, or otherwise no safetensors.
    """
    tensors: dict[str, StoredTensor] = {}
    for path in files:
        try:
            with path.open("rb") as file:
                pointer = file.read(len(_LFS)) == _LFS
        except OSError as error:
            raise InputError(
                f"{path.name} cannot be read ({error.strerror})", where=where
            ) from error
        if pointer:
            raise InputError(
                f"{path.name} is a git-lfs pointer, not the weights",
                where=where,
                hint="Run `git lfs pull` there, or give the hub id instead.",
            )
        try:
            with safe_open(path, "numpy") as stored:
                for name in stored.keys():  # noqa: SIM118 -- not a mapping
                    slices = stored.get_slice(name)
                    tensors[name] = StoredTensor(tuple(slices.get_shape()), slices.get_dtype())
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"{path.name} is cut short or no safetensors file ({first_line(error)})",
                where=where,
                hint="Copy or download it again.",
            ) from error
    if not tensors:
        raise InputError("the weights hold no tensors", where=where)
    return tensors


def shortened(names: Collection[str], most: int = 3) -> str:
    """``a, b, c and 12 more``."""
    shown = ", ".join(list(names)[:most])
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown


def first_line(error: BaseException) -> str:
    """What an error of a library says, in at most 160 characters of one line."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(". ")[:160] if lines else type(error).__name__
