"""The command that examines a dataset."""

from __future__ import annotations

from typing import Annotated

import typer

from backend.cli.base import DataOption, StrictOption, app, err, out, print_report
from backend.words import counted


@app.command()
def check(
    data: DataOption,
    split: Annotated[str, typer.Option(help="Default: all splits.")] = "",
    strict: StrictOption = False,
) -> None:
    """Read a dataset as training would and report every row that cannot be used.

    Exit code 2 if there is any; training and capture skip such rows and count them.
    """
    from backend.data.check import check_all
    from backend.data.registry import open_source

    source = open_source(data, strict=strict)
    with err.status(f"reading {data}"):
        report = check_all(source, [split] if split else ())
    for name, good in report.good.items():
        out.print(f"{name}: {counted(good, 'usable sample')}", highlight=False)
    tasks = [
        f"{t.name} ({t.kind}, {counted(len(t.classes), 'class', 'classes')})"
        for t in source.tasks.values()
    ]
    out.print(f"tasks: {', '.join(tasks) or 'none, there are no labels'}", highlight=False)
    print_report(source)
    if report.count:
        raise typer.Exit(2)
