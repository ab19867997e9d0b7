"""What commands share whose result is printed, answered as JSON, and written into a new folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import typer

from backend.cli.base import out
from backend.errors import InputError
from backend.words import listed


def require_new(folder: Path | None) -> None:
    """InputError for a folder of ``--out`` that is there already."""
    if folder is not None and folder.exists():
        raise InputError("exists", where=str(folder), hint="Choose another folder for `out`.")


def tell(
    values: Callable[[], Mapping[str, Any]],
    show: Callable[[], None],
    *,
    as_json: bool,
    folder: Path | None,
) -> None:
    """Print ``values`` as JSON, or ``show`` them and name the files that ``folder`` has got."""
    if as_json:
        typer.echo(json.dumps(values(), indent=2, allow_nan=False))
        return
    show()
    if folder is not None:
        out.print(f"\n{folder}: {listed(sorted(path.name for path in folder.iterdir()))}")
