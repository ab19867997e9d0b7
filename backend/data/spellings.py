"""Finding a file whose name a table spells otherwise than the folder does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from unicodedata import normalize
from urllib.parse import unquote

from backend.data.report import clipped, digest8
from backend.words import counted

_MOST_NAMES = 2_000_000  # held at once, of all folders together
_MOST_WALKED = 200_000  # files of all folders, where one is looked for by its name alone
_MOST_FOLDERS = 100  # that one name is looked for in
_MOST_FILES = 3  # that fit one name; two are enough to say that there are several


class Spellings:
    """The files below ``root`` that fit a name which no file has exactly.

    These differences are passed over: ``\\`` for ``/``, blanks around the name, ``%20`` for a blank
    (percent encoding), another case, composed or decomposed letters (Unicode NFC and NFD),
    ``.jpeg`` for ``.jpg``, and no ending at all. Folders are listed once and remembered.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._listed: dict[Path, dict[str, list[str]]] = {}
        self._names = 0
        self._walks = 0
        self._places: dict[str, list[str]] | None = None

    def fitting(self, name: str, endings: tuple[str, ...] = ()) -> list[Path]:
        """Paths of what fits ``name``, a relative path; some of them where there are many.

        ``endings`` are those that a name without one of them may lack, such as ``.png``.
        """
        paths: dict[Path, None] = {}
        for form in dict.fromkeys((name, unquote(name))):
            parts = [part for part in form.strip().replace("\\", "/").split("/") if part != "."]
            if parts and not any(part in ("", "..") or "\0" in part for part in parts):
                self._walks = _MOST_FOLDERS
                paths |= dict.fromkeys(self._walk(self._root, parts, endings))
        return list(paths)[:_MOST_FILES]

    def elsewhere(self, name: str, endings: tuple[str, ...] = ()) -> str | None:
        """The one file of that name in any folder, else with another one of ``endings``.

        Relative to the root; None where there is none, or several.
        """
        if self._places is None:
            self._places = self._everywhere()
        last = _key(unquote(name).replace("\\", "/").rpartition("/")[2].strip())
        stem = last.rpartition(".")[0] or last
        for key in (last, *(stem + ending for ending in endings)):
            if found := self._places.get(key, []):
                return found[0] if len(found) == 1 else None
        return None

    def _everywhere(self) -> dict[str, list[str]]:
        """Files by their names; none where there are very many."""
        places: dict[str, list[str]] = {}
        count = 0
        for folder, _, names in os.walk(self._root):
            count += len(names)
            if count > _MOST_WALKED:
                return {}
            inner = Path(folder).relative_to(self._root)
            for name in names:
                places.setdefault(_key(name), []).append((inner / name).as_posix())
        return places

    def _walk(self, folder: Path, parts: list[str], endings: tuple[str, ...]) -> Iterator[Path]:
        self._walks -= 1
        if self._walks < 0:  # links that lead back, under several spellings
            return
        names = self._names_in(folder)
        first, rest = _key(parts[0]), parts[1:]
        if rest:
            for name in names.get(first, ())[:_MOST_FILES]:
                yield from self._walk(folder / name, rest, endings)
            return
        fitting = names.get(first, [])
        if not fitting and not first.endswith(endings):
            fitting = [name for ending in endings for name in names.get(first + ending, ())]
        yield from (folder / name for name in fitting[:_MOST_FILES])

    def _names_in(self, folder: Path) -> dict[str, list[str]]:
        """The names in a folder by their common spelling; none where it cannot be listed."""
        names = self._listed.get(folder)
        if names is None:
            names = {}
            try:
                with os.scandir(folder) as entries:
                    for count, entry in enumerate(entries):
                        if count >= _MOST_NAMES:
                            break
                        names.setdefault(_key(entry.name), []).append(entry.name)
            except OSError:
                names = {}
            if self._names + len(names) > _MOST_NAMES:
                self._listed.clear()
                self._names = 0
            self._names += len(names)
            self._listed[folder] = {key: sorted(own) for key, own in names.items()}
            names = self._listed[folder]
        return names


class Respellings:
    """How many files were found under another spelling, and one of them."""

    def __init__(self) -> None:
        self._written: set[int] = set()
        self._example = ("", "")

    def add(self, written: str, found: str) -> None:
        """A name as a table has it, and the file's; one that was met before counts once."""
        if not self._written:
            self._example = (written, found)
        self._written.add(digest8(written))

    @property
    def in_words(self) -> str:
        """``2 files are found under another spelling, such as 'A.PNG' as 'a.png'``."""
        are = f"{counted(len(self._written), 'file')} {'is' if len(self._written) == 1 else 'are'}"
        written, found = (clipped(name, 60) for name in self._example)
        return f"{are} found under another spelling, such as {written!r} as {found!r}"


def _key(name: str) -> str:
    """What all spellings of a name have in common."""
    plain = normalize("NFC", normalize("NFC", name).casefold())
    return plain.removesuffix(".jpeg") + ".jpg" if plain.endswith(".jpeg") else plain
