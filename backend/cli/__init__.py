"""The ``fusionscope`` command. Thin: it reads options, calls a job, prints what came of it."""

from __future__ import annotations

import logging
import sys
from typing import Annotated, Any, NoReturn

import typer
from rich.logging import RichHandler

from backend import __version__
from backend.cli import (  # each adds its commands
    dashboard,
    data,
    explore,
    families,
    imports,
    intervene,
    models,
    report,
    sae,
    search,
    shared_space,
    stores,
    study,
    trace,
    upkeep,
)
from backend.cli.base import Interrupted, app, err
from backend.errors import InputError, printable

__all__ = [
    "app",
    "dashboard",
    "data",
    "explore",
    "families",
    "imports",
    "intervene",
    "main",
    "models",
    "report",
    "sae",
    "search",
    "shared_space",
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


_WRONG_WORDS: tuple[type[Exception], ...] = tuple(
    kind
    for kind in typer.BadParameter.__mro__
    if issubclass(kind, Exception) and kind.__name__ == "ClickException"
)
"""What typer raises for a word that no command takes, under whichever name it has it."""


def main() -> None:
    """Run the command; bad input is one line and exit code 2, Ctrl-C is 130."""
    try:
        sys.exit(app(prog_name="fusionscope", standalone_mode=False))
    except InputError as error:
        _end(str(error), 2)
    except Interrupted:
        _end("interrupted, give the command again to go on", 130)
    except typer.Abort:
        _end("nothing was done", 1)
    except _WRONG_WORDS as error:
        _end(_one_line(error), 2)


def _one_line(error: Any) -> str:
    """What is wrong with the words, and how to see which are right; "" after help was shown."""
    said = " ".join(printable(error.format_message()).split())
    command = error.ctx.command_path if error.ctx else "fusionscope"
    return said and f"{said.removesuffix('.')}. See: {command} --help"


def _end(line: str, code: int) -> NoReturn:
    if line:  # not by rich, which would wrap it: scripts read it
        print(f"fusionscope: {line}", file=sys.stderr)  # noqa: T201
    sys.exit(code)
