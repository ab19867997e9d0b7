"""A checkpoint's weights as files: which there are, and what their headers say."""

from __future__ import annotations

import json
import re
import stat
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from math import prod
from pathlib import Path, PurePosixPath

from safetensors import safe_open

from backend.errors import InputError, first_line

CONFIG = "config.json"
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

PIPELINE = "model_index.json"
"""What diffusers writes for a model of several parts, each with a folder of its own."""
PARTS = (
    *("text_encoder", "text_encoder_2", "text_encoder_3"),
    *("transformer", "unet", "vae"),
)
"""The folders of a pipeline that are opened as models."""

_STEMS = ("model", "diffusion_pytorch_model")
_SCHEDULE = Path("scheduler", "scheduler_config.json")
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")
_LFS = b"version https://git-lfs.github.com/spec/"
_PAGE = re.compile(rb"\s*<(!doctype|html|\?xml|head)", re.IGNORECASE)
_PICKLE = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")
_BEGINNING = 512
_LONGEST_NAME = 200
_MOST_HEADER_BYTES = 100_000_000  # of the format itself
_MOST_INDEX_BYTES = 64 * 2**20
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


def require_plain(folder: Path, where: str) -> None:
    """InputError where anything beside the weights is neither a file nor a directory.

    Opening a pipe or a device would wait, or never end. Links are followed: the hub's cache is made
    of them; one that leads nowhere is no file.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"cannot be looked into ({error.strerror})", where=where) from error
    for path in entries:
        try:
            mode = path.stat().st_mode
        except OSError:
            continue
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise InputError(f"{path.name} is a pipe, a socket or a device, no file", where=where)


def weight_files(folder: Path, where: str) -> tuple[Path, ...]:
    """The safetensors files that make up the weights of a checkpoint directory.

    ``model.safetensors``, else the files that ``model.safetensors.index.json`` names; of a pipeline
    those of its parts. InputError where there are none, or one that is named is missing or is no
    plain name of this directory.
    """
    if card_of(folder).name == PIPELINE:
        return tuple(file for part in parts_of(folder, where) for file in weight_files(part, where))
    names = {path.name for path in folder.iterdir()}
    single, index = next(filter(names.intersection, _named()), (SINGLE, INDEX))
    for name in (single, index):
        if (folder / name).is_dir():
            raise InputError(f"{name} is a directory, no file", where=where)
    files = chosen_weights({name for name in names if (folder / name).is_file()}, folder, where)
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"{index} names {shortened(missing)}, which {'is' if len(missing) == 1 else 'are'} "
            "not there",
            where=where,
            hint="Copy or download the missing files.",
        )
    return tuple(folder / name for name in files)


def chosen_weights(names: Collection[str], folder: Path, where: str) -> list[str]:
    """Which of a folder's files are its weights: one file, or those that an index names.

    InputError where there are none.
    """
    for single, index in _named():
        if single in names:
            return [single]
        if index in names:
            return shard_names(folder / index, where)
    raise no_weights(names, where)


def _named() -> list[tuple[str, str]]:
    return [(f"{stem}.safetensors", f"{stem}.safetensors.index.json") for stem in _STEMS]


def card_of(folder: Path) -> Path:
    """What says which model a directory holds: ``config.json``, or ``model_index.json``."""
    card, pipeline = folder / CONFIG, folder / PIPELINE
    return pipeline if pipeline.is_file() and not card.is_file() else card


def parts_of(folder: Path, where: str) -> tuple[Path, ...]:
    """The folders of a pipeline that hold a model; InputError where there are none."""
    there = tuple(folder / part for part in PARTS if (folder / part / CONFIG).is_file())
    if not there:
        raise InputError(f"has {PIPELINE} but none of {', '.join(PARTS)}", where=where)
    return there


def descriptions(folder: Path, where: str) -> tuple[Path, ...]:
    """Every file that says what the weights are of: the card, and those of a pipeline's parts."""
    card = card_of(folder)
    if card.name != PIPELINE:
        return (card,)
    configs = [part / CONFIG for part in parts_of(folder, where)]
    schedule = folder / _SCHEDULE
    return (card, *configs, *([schedule] if schedule.is_file() else []))


def stored_tensors(folder: Path, where: str) -> dict[str, StoredTensor]:
    """{name: shape and type} of the weights of a directory; of a pipeline with the part before.

    InputError as of :func:`read_headers`.
    """
    if card_of(folder).name != PIPELINE:
        return read_headers(weight_files(folder, where), where)
    return {
        f"{part.name}.{name}": tensor
        for part in parts_of(folder, where)
        for name, tensor in read_headers(weight_files(part, where), where).items()
    }


def shard_names(index: Path, where: str) -> list[str]:
    """The files that an index names, each a plain name in the index's own directory."""
    try:
        if index.stat().st_size > _MOST_INDEX_BYTES:
            raise InputError(f"{index.name} is larger than an index can be", where=where)
        named = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{index.name} is broken or has no weight_map", where=where) from error
    for name in named:
        plain = isinstance(name, str) and "\\" not in name and PurePosixPath(name).name == name
        if not plain or not name.endswith(".safetensors"):
            raise InputError(
                f"{index.name} names {str(name)[:80]!r}, which is no safetensors file of this"
                " directory",
                where=where,
            )
    if not named:
        raise InputError(f"{index.name} names no files", where=where)
    return sorted(set(named))


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

    InputError names the file that is a git-lfs pointer, a page of the web, a pickle, empty, cut
    short, or otherwise no safetensors, and a name that is stored twice.
    """
    tensors: dict[str, StoredTensor] = {}
    for path in files:
        try:
            with path.open("rb") as file:
                begun = file.read(_BEGINNING)
        except OSError as error:
            raise InputError(
                f"{path.name} cannot be read ({error.strerror})", where=where
            ) from error
        _refuse_other(path.name, begun, where)
        try:
            with safe_open(path, "numpy") as stored:
                for name in stored.keys():  # noqa: SIM118 -- not a mapping
                    if name in tensors:
                        raise InputError(f"{name[:80]} is stored in two files", where=where)
                    slices = stored.get_slice(name)
                    tensors[name] = StoredTensor(tuple(slices.get_shape()), slices.get_dtype())
            _refuse_twice(path, begun, where)
        except InputError:
            raise
        except Exception as error:  # of the library's own kinds, and whatever its numbers overflow
            raise InputError(
                f"{path.name} is cut short or no safetensors file ({first_line(error)})",
                where=where,
                hint="Copy or download it again.",
            ) from error
    if not tensors:
        raise InputError("the weights hold no tensors", where=where)
    return tensors


def _refuse_other(name: str, begun: bytes, where: str) -> None:
    """InputError where a file's first bytes say that it is of another kind."""
    if not begun:
        raise InputError(f"{name} is empty", where=where, hint="Copy or download it again.")
    if begun.startswith(_LFS):
        raise InputError(
            f"{name} is a git-lfs pointer, not the weights",
            where=where,
            hint="Run `git lfs pull` there, or give the hub id instead.",
        )
    if _PAGE.match(begun):
        raise InputError(
            f"{name} is a page of the web, not the weights",
            where=where,
            hint="Download the file itself: a page came instead, often one that asks to log in.",
        )
    if begun.startswith(_PICKLE) and begun[8:9] != b"{":  # a length may begin like one
        raise InputError(
            f"{name} is a pickle or zip file, which could run code when opened",
            where=where,
            hint="Convert it to safetensors where you trust it, then save_pretrained.",
        )


def _refuse_twice(path: Path, begun: bytes, where: str) -> None:
    """InputError where a header names a tensor twice, of which readers take one or the other."""
    length = int.from_bytes(begun[:8], "little")
    with path.open("rb") as file:
        file.seek(8)
        header = file.read(min(length, _MOST_HEADER_BYTES))

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        (name, count), *_ = Counter(name for name, _ in pairs).most_common(1) or [("", 0)]
        if count > 1:
            raise InputError(f"{path.name} names {name[:80]} twice", where=where)
        return dict(pairs)

    json.loads(header, object_pairs_hook=once)


def shortened(names: Collection[str], most: int = 3) -> str:
    """``a, b, c and 12 more``; a name that is longer than any is cut, and says so."""
    shown = ", ".join(
        name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"
        for name in list(names)[:most]
    )
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown
