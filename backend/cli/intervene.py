"""``fusionscope intervene``: what a fusion needs, and what training does to it."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE
from rich.table import Table

from backend.cli.base import (
    DataOption,
    DeviceOption,
    FollowLinksOption,
    JsonOption,
    app,
    numbers,
    out,
    print_report,
    say,
)
from backend.cli.results import require_new, tell
from backend.errors import InputError
from backend.progress import Bar, quiet_libraries
from backend.settings import LARGEST_SEED
from backend.types import POOLINGS
from backend.words import counted, listed

if TYPE_CHECKING:
    from backend.interventions.run import Interventions
    from backend.study.findings import ClaimResult


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
        int,
        typer.Option("--shuffle-seed", min=0, max=LARGEST_SEED, help="Of who gets whose partner."),
    ] = 0,
    folders: Annotated[
        list[Path] | None,
        typer.Option("--models", help="Look here for checkpoints that a store lacks; repeatable."),
    ] = None,
    device: DeviceOption = "auto",
    follow_links: FollowLinksOption = False,
    as_json: JsonOption = False,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Gets the table, contrasts and findings as files.")
    ] = None,
) -> None:
    """Give each stream its own, another sample's, or one constant partner, trained and untrained.

    Says whether a change at a fusion needs a partner that varies, the right partner, or training.
    What a store's runs are asked is kept in the store, for its Study page, and not asked again.
    Exit code 2 where one could not be asked, such as for a checkpoint that is gone.
    """
    if pooling not in POOLINGS:
        raise InputError(f"{pooling!r} is not one of {listed(POOLINGS, 'or')}", field="pooling")
    require_new(out_dir)
    wanted = tuple(numbers("seeds", seeds)) if seeds else ()
    from backend.data.registry import open_source
    from backend.interventions.files import values_of, write_interventions
    from backend.interventions.question import Options
    from backend.interventions.run import intervene as run
    from backend.interventions.run import subjects_of
    from backend.study.report import as_json as as_json_text
    from backend.views.interventions import findings_of_table

    quiet_libraries()
    source = open_source(data, follow_links=follow_links)
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
    for line in (*made.facts, *made.failures):
        say(line)
    result = findings_of_table(made.table)
    (claim,) = json.loads(as_json_text([result]))["claims"]
    if out_dir is not None:
        write_interventions(made, claim, out_dir)
    tell(
        lambda: values_of(made, claim),
        lambda: _show(made, result),
        as_json=as_json,
        folder=out_dir,
    )
    if made.failures:
        what = counted(len(made.failures), "model")
        raise InputError(f"{what} of {len(subjects)} could not be asked or kept; the others are")


def _show(made: Interventions, result: ClaimResult) -> None:
    """CKA at fusions beside CKA elsewhere, a row a state; then the claim in sentences."""
    from backend.interventions.summary import contrasts, over_seeds
    from backend.study.report import as_text
    from backend.study.runs import placement_order

    rows = over_seeds(contrasts(made.table))
    placements = sorted(set(rows["placement"]), key=placement_order)
    table = Table("stream", "weights", "partner", *placements, box=SIMPLE, padding=(0, 1, 0, 0))
    for (stream, weights, partner), own in rows.groupby(
        ["stream", "weights", "partner"], sort=False
    ):
        by_placement = {row["placement"]: row for row in own.to_dict("records")}
        values = [_cell(by_placement[p]) if p in by_placement else "–" for p in placements]
        table.add_row(str(stream), str(weights), str(partner), *values)
    out.print("CKA at transitions that cross a fusion minus that at the others", highlight=False)
    out.print(table, markup=False)
    out.print(as_text([result]), markup=False, highlight=False, soft_wrap=True)


def _cell(row: Mapping[Hashable, Any]) -> str:
    """``-0.103 (-0.140 to -0.066)``: a mean over seeds with its interval, where it has one."""
    low, high = row["low"], row["high"]
    spread = "" if low != low else f" ({low:+.3f} to {high:+.3f})"
    return f"{row['value']:+.3f}{spread}"
