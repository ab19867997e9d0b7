"""Where in a folder the data lies, as it is after a download or an unpacked archive."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from backend.data.report import clipped
from backend.errors import InputError

_MOST_FOLDERS = 1_000
_LEVELS = 2


def holder(folder: Path, holds: Callable[[Path], bool], layout: str) -> Path:
    """The folder that ``holds`` the data: ``folder``, or the only one below it.

    Looks two levels down, not behind links and not into hidden folders. ``folder`` itself where
    none has; InputError naming those there are where several on one level have.
    """
    level = [folder]
    for _ in range(_LEVELS + 1):
        holders = [here for here in level if holds(here)]
        if len(holders) == 1:
            return holders[0]
        if holders:
            inner = [clipped(here.relative_to(folder).as_posix()) for here in holders]
            raise InputError(
                f"{len(inner)} folders here have the layout {layout}: {', '.join(inner[:5])}",
                where=clipped(str(folder)),
                hint=f"Name one of them, such as {layout}:{clipped(str(folder))}/{inner[0]}.",
            )
        level = [inner for outer in level for inner in _folders_in(outer)][:_MOST_FOLDERS]
    return folder


def _folders_in(folder: Path) -> list[Path]:
    """The folders in a folder that are no links and not hidden, in the order of their names."""
    try:
        with os.scandir(folder) as entries:
            inner = [
                Path(entry.path)
                for entry in islice(entries, _MOST_FOLDERS)
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith((".", "__"))
            ]
    except OSError:
        return []
    return sorted(inner)
