"""MM-IMDb (Arevalo et al. 2017) in its directory form.

::

    <folder>/split.json               {"train": [id, ...], "dev": [...], "test": [...]}
    <folder>/dataset/<id>.json        {"plot": [text, ...], "genres": [name, ...], ...}; a "group"
                                      where somebody has added one (the films of one series)
    <folder>/dataset/<id>.jpeg

The posters may end in ``.jpg``. Ids that ``split.json`` has as whole numbers are padded to seven
digits. The HDF5 form of the set (``multimodal_imdb.hdf5``) is refused: its plots are
numbers of words, and which words is in a file that only Python's pickle can read.

The text is the longest of the plots. The task ``genres`` has the 23 genres that are in use once
"News" is dropped; any other genre (full-size sets hold a few "Adult", "Talk-Show", "Reality-TV")
is left out of the labels and noted once. A film left with no genre keeps an empty label.

``split.json`` is the one file that is read whole: it is the index, 12 bytes a film.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backend.data.files import FileSource
from backend.data.jsonfile import read_json
from backend.data.parts import Part, Row
from backend.data.report import clipped
from backend.data.rows import Bad, RowError
from backend.data.splits import in_order, renamed, split_names
from backend.errors import InputError
from backend.types import Label, TaskSpec

GENRES = (
    "Action", "Adventure", "Animation", "Biography", "Comedy", "Crime", "Documentary", "Drama",
    "Family", "Fantasy", "Film-Noir", "History", "Horror", "Music", "Musical", "Mystery", "Romance",
    "Sci-Fi", "Short", "Sport", "Thriller", "War", "Western",
)  # fmt: skip
_INDEX = {genre: index for index, genre in enumerate(GENRES)}
_HDF5 = "multimodal_imdb.hdf5"
_DIGITS = 7
_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")


class MMIMDb(FileSource):
    """Film posters and plots with one multi-label task, ``genres``."""

    layout = "mmimdb"
    marks = ("split.json", _HDF5)

    def _parts(self) -> dict[str, Part]:
        self.tasks = {"genres": TaskSpec("genres", "multilabel", GENRES)}
        self._ids = self._read_index(self.root / "split.json")
        for split in ("train", "dev", "test"):
            if split not in self._ids:
                self.missing_split(split, "split.json")
        return {split: Part("split.json", key=split) for split in self._ids}

    def _read_index(self, path: Path) -> dict[str, list[object]]:
        if not path.exists() and (self.root / _HDF5).is_file():
            raise InputError(
                "its plots are numbers of words, and no file here that is safe to read says which",
                where=_HDF5,
                hint="Take the set's other form, mmimdb.tar.gz, with split.json and dataset/.",
            )
        try:
            index = read_json(self.locate(path.name, "file"))
        except RowError as error:
            raise InputError(error.reason, where="split.json", hint=self._expected()) from error
        if not isinstance(index, dict) or not all(isinstance(v, list) for v in index.values()):
            raise InputError("not an object of id lists", where="split.json")
        names = split_names(index)
        if said := renamed(names):
            self.report.note(said)
        ids: dict[str, list[object]] = {}
        for written, own in index.items():
            ids[names[written]] = ids.get(names[written], []) + own
        return {split: ids[split] for split in in_order(ids)}

    def _expected(self) -> str:
        return "It has split.json with the ids of each split and a folder dataset."

    def _rows(self, part: Part) -> Iterator[Row | Bad]:
        for number, written in enumerate(self._ids[part.key], start=1):
            row = f"{part.key} {number}"
            sample_id = self._id(written)
            if sample_id is None:
                shown = clipped(str(written), 40)
                yield Bad(row, f"id is not a file name of letters, digits, '.', '-', '_': {shown}")
                continue
            try:
                film = self._film(f"dataset/{sample_id}.json")
            except RowError as error:
                yield Bad(row, error.reason, sample_id)
                continue
            image = f"dataset/{sample_id}.jpeg"
            plot, group = _longest(film.get("plot")), film.get("group")
            yield Row(row, sample_id, plot, image, film, group=group, text_name="plot")

    def _id(self, written: object) -> str | None:
        """An entry of ``split.json`` as an id, None for one that cannot be a file's name."""
        if isinstance(written, int) and not isinstance(written, bool) and written >= 0:
            self.report.note(f"ids are whole numbers: padded to {_DIGITS} digits")
            return str(written).zfill(_DIGITS)
        is_name = isinstance(written, str) and _ID.fullmatch(written)
        return str(written) if is_name else None

    def _film(self, file: str) -> dict[str, Any]:
        path = self.locate(file, "sample file")
        try:
            film = read_json(path)
        except RowError as error:
            raise RowError(f"unusable sample file: {file}: {error.reason}") from error
        if not isinstance(film, dict):
            raise RowError(f"unusable sample file: {file}: not a JSON object")
        return film

    def _labels(self, raw: Any) -> dict[str, Label]:
        genres = raw.get("genres")
        if genres is None:
            return {}
        if not isinstance(genres, list) or not all(isinstance(genre, str) for genre in genres):
            raise RowError(f"genres are not a list of names: {str(genres)[:40]}")
        for genre in genres:
            if genre not in _INDEX and genre != "News":
                self.report.note(f"the genre {genre[:40]!r} is not one of the 23 and is left out")
        return {"genres": tuple(sorted({_INDEX[g] for g in genres if g in _INDEX}))}


def _longest(plot: object) -> object:
    """The longest plot; what is neither a text nor a list of texts is left for the checks."""
    if isinstance(plot, list):
        texts = [text for text in plot if isinstance(text, str)]
        return max(texts, key=len, default=None)
    return plot
