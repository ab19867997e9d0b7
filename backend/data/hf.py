"""Hugging Face datasets: saved to disk, as Parquet files, or on the hub.

::

    hf:<folder>        what save_to_disk wrote: state.json or dataset_dict.json and Arrow files;
                       or Parquet files such as data/train-00000-of-00005.parquet
    hf:<owner>/<name>  the Parquet files of a data set on the hub, kept in its local cache

Options behind the path: ``config`` is the folder of one configuration, where there are several;
``revision`` a branch, tag or commit of the hub. Splits are those that it was saved with, or that
files are called like (:mod:`backend.data.shards`). The column of pictures is found by its type,
that of texts by its name or as the only one that holds any; class labels have their names.

A sample is called by its split and row, ``train-12``, unless ``id=COLUMN`` says otherwise. Neither
code nor pickles are read. Memory: one batch or row group, and pictures of 256 MiB.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from backend.data.arrowfile import arrow_rows, arrow_schema
from backend.data.captions import called, read_captions
from backend.data.class_names import class_names_in
from backend.data.columns import LABEL, ROLES, Named, columns_in_words, find_columns, unclear
from backend.data.features import Features, features_of
from backend.data.found_texts import with_texts
from backend.data.jsonfile import read_json
from backend.data.parquetfile import parquet_rows, parquet_schema
from backend.data.parts import Part
from backend.data.rows import Bad, RowError
from backend.data.shards import by_split, chosen_config, require_whole
from backend.data.splits import split_names
from backend.data.tabled import UNDIVIDED, Tabled
from backend.data.tables import TableRow
from backend.data.textfile import Note, quiet
from backend.errors import InputError

_DICT, _STATE = "dataset_dict.json", "state.json"
_ON_HUB = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[\w.-]{1,96}")
_ENDINGS = (".parquet", ".arrow")
_LEVELS = ("", "*/", "*/*/")


class HF(Tabled):
    """Tables of Hugging Face datasets."""

    layout = "hf"
    roles = tuple(role for role in ROLES if role not in ("audio", "regions"))

    def __init__(
        self,
        path: str | Path,
        *,
        strict: bool = False,
        follow_links: bool = False,
        columns: Named | None = None,
        config: str = "",
        revision: str = "",
    ) -> None:
        self._config, name = config, str(path)
        if _ON_HUB.fullmatch(name) and not Path(name).is_dir():
            from backend.data.hubsets import fetch_shards

            folder = fetch_shards(name, revision, config)
            # The cache keeps files elsewhere and links to them.
            super().__init__(
                folder, name.rpartition("/")[2], strict=strict, follow_links=True, columns=columns
            )
            return
        if revision:
            raise InputError("is of data on the hub", where=name, field="revision")
        super().__init__(path, strict=strict, follow_links=follow_links, columns=columns)

    @classmethod
    def holds(cls, folder: Path) -> bool:
        """Whether there are tables or what describes them."""
        return any((folder / f).is_file() for f in (_DICT, _STATE)) or bool(_files(folder))

    def _parts(self) -> dict[str, Part]:
        splits = self._saved() or self._shards()
        if not splits:
            return {}
        tables = {
            split: [_Shard(self.table(file), file) for file in files]
            for split, files in splits.items()
        }
        every = [shard for own in tables.values() for shard in own]
        features, where, note = every[0].features, called(every), self.report.note
        named = _named_image(features, {"id": (), **self._named}, where)
        if len(tables) > 1:
            named = {"split": (), **named}
        named = _with_labels(every[0], with_texts(every, named, note), where)
        captions = read_captions(every, named, note, own_ids=False)
        return self._laid_out(tables, captions, where)

    def _saved(self) -> dict[str, list[str]]:
        """{split: files} of what save_to_disk wrote; nothing elsewhere."""
        if (self.root / _DICT).is_file():
            splits = self._json(_DICT).get("splits")
            if not isinstance(splits, list) or not all(isinstance(name, str) for name in splits):
                raise InputError("names no splits", where=_DICT)
            names = split_names(splits)
            held: dict[str, list[str]] = {}
            for split in splits:  # two of them may mean the same, such as train and restval
                held.setdefault(names[split], []).extend(self._state(f"{split}/")[1])
            return held
        if (self.root / _STATE).is_file():
            split, files = self._state("")
            return {split_names([split])[split] if split else UNDIVIDED: files}
        return {}

    def _state(self, folder: str) -> tuple[str, list[str]]:
        """The split that a saved table is of, "" for none, and its files."""
        where = f"{folder}{_STATE}"
        state = self._json(where)
        files = state.get("_data_files")
        names = [f.get("filename") if isinstance(f, dict) else None for f in files or ()]
        if not names or not all(isinstance(name, str) and name for name in names):
            raise InputError("names no files of data", where=where)
        if state.get("_indices_files") or state.get("_indices_data_files"):
            hint = "Save it again, after flatten_indices()."
            raise InputError("picks rows by a file of indices", where=where, hint=hint)
        split = state.get("_split")
        known = isinstance(split, str) and split.isprintable()
        return str(split) if known else "", [f"{folder}{name}" for name in names]

    def _shards(self) -> dict[str, list[str]]:
        """{split: files} of a folder of tables."""
        files = chosen_config(_files(self.root), self._config, self.root.name)
        require_whole(files, self.root.name)
        return by_split(files, self.report.note)

    def _json(self, file: str) -> Mapping[str, Any]:
        try:
            value = read_json(self.locate(file, "file"))
        except RowError as error:
            raise InputError(error.reason, where=file) from error
        if not isinstance(value, dict):
            raise InputError("is no JSON object", where=file)
        return value

    def _expected(self) -> str:
        return (
            "It has state.json or dataset_dict.json as save_to_disk writes them, or Parquet files "
            "such as data/train-00000-of-00001.parquet."
        )

    def _sample_id(self, split: str, count: int, row: Mapping[str, Any]) -> object:
        if "id" in self._captions.columns.of:
            return super()._sample_id(split, count, row)
        return f"{split}-{count}" if split and UNDIVIDED not in self._tables else str(count)


@dataclass(frozen=True)
class _Shard:
    """An Arrow or Parquet file."""

    path: Path
    name: str

    @property
    def features(self) -> Features:
        """What its columns hold."""
        return features_of(self._schema)

    @property
    def _schema(self) -> pa.Schema:
        return arrow_schema(self.path) if self._is_arrow else parquet_schema(self.path)

    @property
    def _is_arrow(self) -> bool:
        return self.name.endswith(".arrow")

    def columns(self) -> tuple[str, ...]:
        """Those that can be read: no sounds, no lists of pictures."""
        return self.features.names

    def class_names(self) -> Mapping[str, tuple[str, ...]]:
        """The names of classes by column."""
        return class_names_in(self._schema)

    def rows(
        self, columns: Set[str] | None = None, note: Note = quiet, pictures: Set[str] = frozenset()
    ) -> Iterator[TableRow | Bad]:
        """The rows."""
        features = self.features
        wanted = {*features.names} & (columns if columns is not None else {*features.names})
        read = arrow_rows if self._is_arrow else parquet_rows
        return read(self.path, wanted, pictures & {*features.pictures})


def _named_image(features: Features, named: Named, where: str) -> Named:
    """What the user named, and the column of pictures by its type."""
    wanted = named.get("image")
    several = [name for name in features.lists if wanted is None or name in wanted]
    if several and (wanted or not features.pictures):
        raise InputError(
            f"the column {several[0]!r} holds lists of pictures, and one a sample is read",
            where=where,
            hint="Name a column of one: LAYOUT:PATH,image=COLUMN in `data`.",
        )
    if wanted is not None:
        return named
    if len(features.pictures) > 1:
        column = find_columns(features.pictures, {}).of.get("image")
        if column is None:
            raise unclear("image", features.pictures).within(where)
        return {**named, "image": (column,)}
    if features.pictures:
        return {**named, "image": features.pictures}
    if "image" not in find_columns(features.names, named).of:
        raise InputError(
            "no column holds pictures",
            where=where,
            hint=f"The columns are: {columns_in_words(features.names)}. For texts alone say so "
            "behind the path: LAYOUT:PATH,image= in `data`.",
        )
    return named


def _with_labels(shard: _Shard, named: Named, where: str) -> Named:
    """``named``, and beside the columns that are called like labels those of class labels."""
    classes = shard.class_names()
    if LABEL in named or not classes:
        return named
    try:
        columns = find_columns(shard.columns(), named)
    except InputError as error:
        raise error.within(where) from error
    taken = {*columns.of.values(), *columns.labels}
    return {**named, LABEL: (*columns.labels, *(c for c in classes if c not in taken))}


def _files(folder: Path) -> list[str]:
    """The tables below a folder that are not hidden, relative to it."""
    paths = (path for level in _LEVELS for path in folder.glob(f"{level}*"))
    names = (p.relative_to(folder).as_posix() for p in paths if p.name.endswith(_ENDINGS))
    return sorted(name for name in names if not any(p[0] == "." for p in name.split("/")))
