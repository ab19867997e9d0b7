"""The commands that read a study: table and findings."""

from __future__ import annotations

from typing import Annotated

import typer

from backend.cli.base import JsonOption, StoreOption, app, err
from backend.errors import InputError
from backend.words import listed


@app.command()
def table(
    store: StoreOption,
    form: Annotated[
        str, typer.Option("--format", help="text, csv, json, latex or markdown.")
    ] = "text",
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", help="auroc, macro_f1, accuracy; default: each task's own."),
    ] = None,
    baseline: Annotated[
        str, typer.Option("--baseline", help="Placement to compare the others with, by seed.")
    ] = "",
    published: Annotated[
        bool, typer.Option("--published", help="Show the thesis's numbers beside, apart from all.")
    ] = False,
    spreadsheet: Annotated[
        bool,
        typer.Option(
            "--spreadsheet", help="With csv: texts that a spreadsheet would run get an apostrophe."
        ),
    ] = False,
) -> None:
    """Placements x tasks: mean ± sd over seeds, the best marked; differences to a baseline."""
    from backend.spreadsheet import harmless
    from backend.study import build_table, published_beside, render
    from backend.study.formats import tidy
    from backend.views.items import items_of
    from backend.views.study import layouts, opened, score_frame

    if spreadsheet and form != "csv":
        raise InputError("is for csv alone", field="spreadsheet", hint="Give `form` csv, too.")
    overview = opened(str(store))
    made = build_table(
        score_frame(overview.runs),
        metrics=metric or (),
        baseline=baseline,
        items=items_of(overview.runs),
    )
    theirs = published_beside(made, layouts(overview.runs)) if published else None
    if spreadsheet:
        typer.echo(harmless(tidy(made, theirs)).to_csv(index=False).rstrip("\n"))
    else:
        typer.echo(render(made, form, theirs))
    for broken in overview.broken:
        err.print(f"broken: {broken.run_id}: {broken.reason}", markup=False, soft_wrap=True)


@app.command()
def findings(
    store: StoreOption,
    as_json: JsonOption = False,
    pooling: Annotated[str, typer.Option(help="cls or mean.")] = "cls",
    preset: Annotated[
        str, typer.Option(help="default, or thesis: the conventions of the published curves.")
    ] = "default",
) -> None:
    """Test the thesis's claims on a store's runs, beside the thesis's published numbers."""
    from backend.jobs.sources import check_poolings
    from backend.measures.registry import PRESETS
    from backend.study import published_claims
    from backend.study.report import as_json as to_json
    from backend.study.report import as_text
    from backend.views.study import findings as find

    if preset not in PRESETS:
        raise InputError(
            f"{preset!r} is not a preset",
            field="preset",
            hint=f"Use one of {listed(PRESETS, 'or')}",
        )
    check_poolings([pooling])
    own, problems = find(str(store), pooling, preset=preset)
    typer.echo((to_json if as_json else as_text)(own, published_claims()))
    for line in problems:
        err.print(f"could not be read: {line}", markup=False, soft_wrap=True)
