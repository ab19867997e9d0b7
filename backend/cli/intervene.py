"""``fusionscope intervene``: what a fusion needs, and what training does to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.table import Table

from backend.cli.base import (
    DataOption,
    DeviceOption,
    JsonOption,
    app,
    numbers,
    out,
    print_report,
    say,
)
from backend.errors import InputError
from backend.progress import Bar, quiet_libraries
from backend.types import POOLINGS
from backend.words import listed

if TYPE_CHECKING:
    from backend.interventions.run import Interventions


@app.command()
def intervene(
    models: Annotated[
        list[Path], typer.Argument(help="Stores (each run with a checkpoint), or checkpoints.")
    ],
    data: DataOption,
    samples: Annotated[int, typer.Option("--samples", min=4, help="How many are run.")] = 256,
    split: Annotated[str, typer.Option("--split", help="Of the data.")] = "test",
    seeds: Annotated[
        str, typer.Option("--seeds", help="Only runs of these seeds, such as 0,1,2; default: all.")
    ] = "",
    pooling: Annotated[str, typer.Option("--pooling", help="cls or mean.")] = "cls",
    shuffle_seed: Annotated[
        int, typer.Option("--shuffle-seed", min=0, help="Of who gets whose partner.")
    ] = 0,
    folders: Annotated[
        list[Path] | None,
        typer.Option("--models", help="Look here for checkpoints that a store lacks; repeatable."),
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Gets the table, contrasts and answers as files.")
    ] = None,
) -> None:
    """Give each stream its own, another sample's, or one constant partner, trained and untrained.

    Says whether a change at a fusion needs a partner that varies, the right partner, or training.
    """
    if pooling not in POOLINGS:
        raise InputError(f"{pooling!r} is not one of {listed(POOLINGS, 'or')}", field="pooling")
    if out_dir is not None and out_dir.exists():
        raise InputError("exists", where=str(out_dir), hint="Choose another folder for `out`.")
    wanted = tuple(numbers("seeds", seeds)) if seeds else ()
    from backend.data.registry import open_source
    from backend.interventions.files import values_of, write_interventions
    from backend.interventions.run import Options, subjects_of
    from backend.interventions.run import intervene as run

    quiet_libraries()
    source = open_source(data)
    options = Options(
        split=split,
        samples=samples,
        pooling=pooling,
        shuffle_seed=shuffle_seed,
        seeds=wanted,
        device=device,
    )
    subjects = list(subjects_of(models, folders or ()))
    with Bar("intervene") as bar:
        made = run(subjects, source, options, bar)
    print_report(source)
    for line in made.problems:
        say(line)
    if out_dir is not None:
        write_interventions(made, out_dir)
    if as_json:
        typer.echo(json.dumps(values_of(made), indent=2, allow_nan=False))
    else:
        _show(made)
        if out_dir is not None:
            out.print(f"\n{out_dir}: {listed(sorted(p.name for p in out_dir.iterdir()))}")


def _show(made: Interventions) -> None:
    from backend.figures.causal import cell
    from backend.interventions.summary import answers, contrasts, over_seeds, sentences

    rows = over_seeds(contrasts(made.table))
    placements = list(dict.fromkeys(rows["placement"]))
    table = Table("stream", "weights", "partner", *placements, box=SIMPLE, padding=(0, 1, 0, 0))
    for (stream, weights, partner), own in rows.groupby(
        ["stream", "weights", "partner"], sort=False
    ):
        by_placement = {row["placement"]: row for row in own.to_dict("records")}
        values = [cell(by_placement[p]) if p in by_placement else "–" for p in placements]
        table.add_row(str(stream), str(weights), str(partner), *values)
    out.print("CKA at transitions that cross a fusion minus that at the others", highlight=False)
    out.print(table, markup=False)
    for sentence in sentences(answers(made.table)):
        out.print(f"- {sentence}", markup=False, highlight=False)
