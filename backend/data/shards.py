"""Files that are parts of one data set: which split each is of, by how it is called.

As on the Hugging Face hub: ``train-00000-of-00005.parquet``, ``data/validation-000.tar``,
``test/0000.parquet``, ``my_train_file.parquet``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from backend.data.report import clipped
from backend.data.splits import split_names, usual
from backend.data.tabled import UNDIVIDED
from backend.data.textfile import Note
from backend.errors import InputError
from backend.words import counted, listed

_SHARD = re.compile(r"(.+?)-[0-9]{5,}-of-[0-9]{5,}(?:-[0-9a-f]{8,})?")
_NUMBERED = re.compile(r"(.+)-([0-9]{5,9})-of-([0-9]{5,9})(?:-[0-9a-f]{8,})?\.[a-z]+")
_COUNTED = re.compile(r"(-[0-9]+)+$")
_NO_LETTERS = re.compile(r"[^A-Za-z]+")


def by_config(files: Iterable[str]) -> dict[str, list[str]]:
    """{folder of a configuration: its files}: folders of splits, and ``data``, are none."""
    configs: dict[str, list[str]] = {}
    for file in sorted(files):
        parts = [p for p in PurePosixPath(file).parts[:-1] if p != "data" and not usual(p)]
        configs.setdefault("/".join(parts), []).append(file)
    return configs


def chosen_config(files: Iterable[str], config: str, where: str) -> list[str]:
    """The files of a configuration, or of the only one. InputError names those there are."""
    configs = by_config(files)
    if config in configs or not configs:
        return configs.get(config, [])
    shown = listed(repr(clipped(name or ".", 40)) for name in list(configs)[:8])
    if config:
        raise InputError(f"no configuration {config!r}", where=where, hint=f"There are: {shown}.")
    if len(configs) > 1:
        first = next(name for name in configs if name)
        raise InputError(
            f"has {len(configs)} configurations: {shown}",
            where=where,
            hint=f"Say which behind the path in `data`: LAYOUT:PATH,config={clipped(first, 40)}",
        )
    return next(iter(configs.values()))


def require_whole(files: Iterable[str], where: str) -> None:
    """InputError where files that are numbered ``-00000-of-00005`` are not all there."""
    there: dict[tuple[str, int], set[int]] = {}
    for file in files:
        if match := _NUMBERED.fullmatch(file):
            there.setdefault((match[1], int(match[3])), set()).add(int(match[2]))
    for (stem, count), numbers in there.items():
        if len(numbers) < count:
            first = next(number for number in range(count) if number not in numbers)
            raise InputError(
                f"{len(numbers):,} of the {count:,} files of {clipped(stem, 60)} are there: number "
                f"{first} is missing",
                where=where,
                hint="Download it again.",
            )


def by_split(files: Iterable[str], note: Note) -> dict[str, list[str]]:
    """{split as it is called here: its files in order}; all of them under UNDIVIDED if none is.

    Files that name no split beside others that do are not read, and named.
    """
    written: dict[str, list[str]] = {}
    for file in sorted(files):
        written.setdefault(_split_of(PurePosixPath(file)), []).append(file)
    if len(written) > 1 and (without := written.pop(UNDIVIDED, None)):
        named = f"{counted(len(without), 'file')}, such as {clipped(without[0], 60)},"
        note(f"{named} {'name' if len(without) > 1 else 'names'} no split: not read")
    names = split_names(written)
    splits: dict[str, list[str]] = {}
    for split, own in written.items():
        splits.setdefault(names[split] if split else split, []).extend(own)
    return splits


def _split_of(file: PurePosixPath) -> str:
    """The split that a file's name or folder says."""
    stem = file.name.partition(".")[0]
    whole = _COUNTED.sub("", stem)
    if usual(whole):  # dev_seen and dev_unseen are two
        return whole
    shard = _SHARD.fullmatch(stem)
    if shard and usual(shard[1]):
        return shard[1]
    words = [word for word in _NO_LETTERS.split(stem) if usual(word)]
    words += [folder for folder in reversed(file.parts[:-1]) if usual(folder)]
    return words[0] if words else shard[1] if shard else UNDIVIDED
