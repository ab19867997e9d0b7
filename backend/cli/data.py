"""The command that examines a dataset."""

from __future__ import annotations

from typing import Annotated

import typer

from backend.cli.base import (
    DataOption,
    FollowLinksOption,
    StrictOption,
    app,
    err,
    out,
    print_report,
    words,
)
from backend.errors import InputError
from backend.words import counted


@app.command()
def check(
    data: DataOption,
    split: Annotated[str, typer.Option(help="Default: all splits.")] = "",
    task: Annotated[
        str,
        typer.Option(
            help="What labels are: NAME=multiclass, NAME=multilabel, NAME=binary:POSITIVE_CLASS."
        ),
    ] = "",
    strict: StrictOption = False,
    follow_links: FollowLinksOption = False,
) -> None:
    """Read a dataset as training would and report every row that cannot be used.

    Also says which samples belong together, names images and texts that occur more than once, and
    says how columns, labels and splits are read wherever they could be read otherwise. Exit code 2
    for a row that cannot be used (training and capture skip and count them), and for an id or a
    group that lies in two splits.
    """
    from backend.data.check import check_all
    from backend.data.labels import parse_kinds
    from backend.data.registry import open_source

    source = open_source(data, strict=strict, follow_links=follow_links)
    for name, (kind, positive) in parse_kinds(words(task)).items():
        if kind is None:
            raise InputError(f"{name!r} says no kind", field="task", hint=f"Write {name}=KIND.")
        source.declare(name, kind, positive)
    with err.status(f"reading {data}"):
        report = check_all(source, [split] if split else ())
    for name, good in report.good.items():
        groups = f" in {report.together[name]}" if report.together.get(name) else ""
        out.print(f"{name}: {counted(good, 'usable sample')}{groups}", highlight=False)
    tasks = [
        f"{t.name} ({t.kind}, {counted(len(t.classes), 'class', 'classes')})"
        for t in source.tasks.values()
    ]
    none = "none (see the notes)" if source.refused else "none, there are no labels"
    out.print(f"tasks: {', '.join(tasks) or none}", highlight=False)
    print_report(source)
    if report.count:
        raise typer.Exit(2)
