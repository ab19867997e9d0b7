"""Files that a table names: only those that really lie in the table's folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PureWindowsPath

from backend.data.rows import RowError, check_text


class Rooted:
    """Whoever reads files that rows name by their path relative to ``root``, a resolved folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._parents: dict[Path, bool] = {}

    def locate(self, relative: object, what: str = "image") -> Path:
        """The file that a row names, checked to exist and to lie inside the folder.

        Raises RowError for an absolute path, ``..``, a link that leads out, a missing file or
        anything that is not a regular file.
        """
        name = check_text(relative, f"{what} path")
        windows = PureWindowsPath(name)  # splits at / and \, so that both kinds are caught
        if windows.anchor or Path(name).is_absolute() or ".." in windows.parts:
            raise RowError(f"{what} path leaves the dataset's folder: {name}")
        path = self.root / name
        try:
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                inside = path.resolve().is_relative_to(self.root)
                mode = path.stat().st_mode
            else:
                inside = self._inside(path.parent)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise RowError(f"missing {what}: {name}") from error
        except (OSError, ValueError, RuntimeError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise RowError(f"{what} path cannot be used: {name[:80]}: {why}") from error
        if not inside:
            raise RowError(f"{what} path leaves the dataset's folder: {name}: it is a link")
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
