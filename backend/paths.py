"""Where the program's own files are, in a checkout and in an installed wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
# A wheel carries the dashboard and the demo inside the package, a checkout beside it.
_BUNDLED = _PACKAGE / "_bundled"


def root() -> Path:
    """The folder that holds app.py, pages/ and cache/demo."""
    return _BUNDLED if _BUNDLED.is_dir() else _PACKAGE.parent


def app_file() -> Path:
    """The dashboard's entry."""
    return root() / "app.py"


def shipped_demo() -> Path:
    """The demo store that comes with the program; it may be read-only."""
    return root() / "cache" / "demo"
