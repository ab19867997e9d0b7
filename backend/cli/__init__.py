"""The ``fusionscope`` command. Thin: it reads options, calls a job, prints what came of it."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer
from rich.logging import RichHandler

from backend import __version__
from backend.cli import (  # each adds its commands
    dashboard,
    data,
    families,
    imports,
    intervene,
    models,
    report,
    search,
    stores,
    study,
    trace,
    upkeep,
)
from backend.cli.base import app, err
from backend.errors import InputError

__all__ = [
    "app",
    "dashboard",
    "data",
    "families",
    "imports",
    "intervene",
    "main",
    "models",
    "report",
    "search",
    "stores",
    "study",
    "trace",
    "upkeep",
]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fusionscope {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=err, show_time=False, show_path=False)],
    )


def main() -> None:
    """Run the command; bad input is one line and exit code 2, Ctrl-C is 130."""
    try:
        app()
    except InputError as error:
        print(f"fusionscope: {error}", file=sys.stderr)  # noqa: T201 -- not wrapped, for scripts
        sys.exit(2)
    except KeyboardInterrupt:
        print("fusionscope: interrupted", file=sys.stderr)  # noqa: T201
        sys.exit(130)
