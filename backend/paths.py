"""Where the program's own files are, in a checkout and in an installed wheel."""

from __future__ import annotations

from pathlib import Path

_BESIDE = Path(__file__).resolve().parent.parent
# A wheel carries the dashboard's scripts and the demo in a folder of its own, so that a script's
# folder, which Streamlit puts first on the import path, holds no package.
_BUNDLED = _BESIDE / "_bundled"


def root() -> Path:
    """The folder that holds app.py, pages/ and cache/demo."""
    return _BUNDLED if _BUNDLED.is_dir() else _BESIDE


def app_file() -> Path:
    """The dashboard's entry."""
    return root() / "app.py"


def shipped_demo() -> Path:
    """The demo store that comes with the program; it may be read-only."""
    return root() / "cache" / "demo"


def shipped_study() -> Path:
    """The numbers of docs/study.md as a packed store, which come with the program."""
    return root() / "cache" / "study-numbers.duckdb"
