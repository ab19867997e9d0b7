"""Files that a table names: only those that really lie in the table's folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path, PureWindowsPath

from backend.data.report import clipped
from backend.data.rows import RowError, check_text
from backend.data.spellings import Spellings
from backend.errors import InputError

_ENDINGS = {
    "image": (".jpg", ".png", ".webp", ".gif", ".bmp"),
    "audio": (".wav",),
    "regions": (".npz", ".safetensors"),
}

Respelled = Callable[[str, str], None]
"""Is told of a file that was found under another spelling: the name as written, and the file's."""


class Rooted:
    """Whoever reads files that rows name by their path relative to ``root``, a resolved folder.

    ``follow_links``: a link may lead out of the folder. ``respelled``: a name that no file has
    exactly is looked for in other spellings (:class:`Spellings`), and whoever wants that is told.
    """

    def __init__(
        self, root: Path, *, follow_links: bool = False, respelled: Respelled | None = None
    ) -> None:
        self.root = root
        self._follow_links = follow_links
        self._respelled = respelled
        self._spellings = Spellings(root)
        self._parents: dict[Path, bool] = {}

    def locate(self, relative: object, what: str = "image") -> Path:
        """The file that a row names, checked to exist and to lie inside the folder.

        Raises RowError for a list, an absolute path that leads elsewhere, ``..``, a link that leads
        out, a missing file, a name that several files fit, or anything that is not a regular file.
        """
        if isinstance(relative, list):
            raise RowError(f"several {what} paths, and one is read: {str(relative)[:80]}")
        name = check_text(relative, f"{what} path")
        windows = PureWindowsPath(name)  # splits at / and \, so that both kinds are caught
        absolute = bool(windows.anchor) or Path(name).is_absolute()
        inner = self._inner(name) if absolute else name
        shown = clipped(name, 200)
        if inner is None or ".." in windows.parts:
            problem = f"{what} path leaves the dataset's folder: {shown}"
            raise RowError(f"{problem}{self._elsewhere(name, what)}")
        path = self._regular(self.root / inner, name, what)
        if path is None and self._respelled is not None:
            fitting = self._spellings.fitting(inner, _ENDINGS.get(what, ()))
            if len(fitting) > 1:
                two = " and ".join(p.relative_to(self.root).as_posix() for p in fitting[:2])
                raise RowError(f"{what} is not clear: {shown}: {two} fit")
            path = self._regular(fitting[0], name, what) if fitting else None
        if path is None:
            web = ": a web address, which is not opened" if "://" in name else ""
            raise RowError(f"missing {what}: {shown}{web}{self._elsewhere(name, what)}")
        if self._respelled is not None and (absolute or path != self.root / inner):
            self._respelled(name, path.relative_to(self.root).as_posix())
        return path

    def table(self, file: str) -> Path:
        """A file of the layout itself, as :meth:`locate` finds those that rows name.

        So a table that is a link out of the folder is refused as a picture would be. InputError.
        """
        try:
            return self.locate(file, "file")
        except RowError as error:
            raise InputError(error.reason, where=self.root.name) from error

    def _elsewhere(self, name: str, what: str) -> str:
        """Where a file of that name lies, in words; "" for nowhere."""
        if self._respelled is None:
            return ""
        found = self._spellings.elsewhere(name, _ENDINGS.get(what, ()))
        return f" (there is {clipped(found, 80)})" if found is not None else ""

    def _inner(self, name: str) -> str | None:
        """An absolute path as one that is relative to the folder, where it lies inside."""
        path = Path(name)
        if self._respelled is None or not path.is_absolute() or "\0" in name:
            return None
        for base in (path, Path(os.path.realpath(path.parent)) / path.name):
            if base.is_relative_to(self.root) and ".." not in base.parts:
                return base.relative_to(self.root).as_posix()
        return None

    def _regular(self, path: Path, name: str, what: str) -> Path | None:
        """The path, checked to be a regular file inside the folder; None where nothing is there."""
        try:
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                inside = path.resolve().is_relative_to(self.root)
                mode = path.stat().st_mode
            else:
                inside = self._inside(path.parent)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, RuntimeError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise RowError(f"{what} path cannot be used: {name[:80]}: {why}") from error
        if not inside and not self._follow_links:
            raise RowError(
                f"{what} path leaves the dataset's folder: {name}: it is a link, which "
                "--follow-links allows"
            )
        if not stat.S_ISREG(mode):
            raise RowError(f"{what} is not a file: {name}")
        return path

    def _inside(self, folder: Path) -> bool:
        """Whether a folder really lies in the root; remembered, since images share folders."""
        inside = self._parents.get(folder)
        if inside is None:
            inside = Path(os.path.realpath(folder)).is_relative_to(self.root)
            if len(self._parents) < 10_000:
                self._parents[folder] = inside
        return inside
