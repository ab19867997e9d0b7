"""The command that writes a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qsl

import typer

from backend.cli.base import app, out, words
from backend.progress import Bar


@app.command()
def report(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A store, or a packed one.")],
    target: Annotated[Path, typer.Option("--out", help="The HTML file to write.")],
    pages: Annotated[
        str, typer.Option("--pages", help="transitions,compare,...; default: all.")
    ] = "",
    query: Annotated[
        str,
        typer.Option("--view", help="The part after ? of a dashboard address; options go first."),
    ] = "",
    runs: Annotated[
        str, typer.Option("--runs", help="Placements, models or run ids; default: the dashboard's.")
    ] = "",
    measure: Annotated[str, typer.Option("--measure", help="Of two layers; default: cka.")] = "",
    pooling: Annotated[str, typer.Option("--pooling", help="cls or mean.")] = "",
    estimator: Annotated[str, typer.Option("--estimator", help="debiased or biased.")] = "",
    preset: Annotated[str, typer.Option("--preset", help="default or thesis.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write the dashboard's figures and tables as one HTML file that works anywhere, offline."""
    from backend.report.build import state_of, write_report

    options = {
        "runs": runs,
        "measure": measure,
        "pooling": pooling,
        "estimator": estimator,
        "preset": preset,
    }
    given = dict(parse_qsl(query.rpartition("?")[2]))
    state = state_of(given | {name: text for name, text in options.items() if text})
    with Bar("report") as bar:
        size = write_report(str(store), target, state, words(pages), force=force, progress=bar)
    out.print(f"{target}: {size / 1e6:.1f} MB", soft_wrap=True, highlight=False)
