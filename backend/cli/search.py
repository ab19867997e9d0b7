"""The command that looks for placements: search."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backend.cli.base import (
    FollowLinksOption,
    JsonOption,
    app,
    check_devices,
    cores,
    out,
    say,
    words,
)
from backend.errors import InputError
from backend.settings import LARGEST_SEED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backend.search.plan import SearchPlan
    from backend.search.trial import Trial

_MOST_WORKERS = 4  # what is tried at once is suggested without each other's scores


@app.command()
def search(
    study: Annotated[Path, typer.Argument(help="A TOML file, as for sweep.")],
    trials: Annotated[
        int | None, typer.Option(min=1, help="How many in all; default: the file's, or 20.")
    ] = None,
    max_fusions: Annotated[
        int | None, typer.Option(min=1, help="Default: the file's, or 4.")
    ] = None,
    min_fusions: Annotated[
        int | None, typer.Option(min=0, help="Default: the file's, or 1.")
    ] = None,
    sampler: Annotated[str, typer.Option(help="tpe or random.")] = "",
    pruner: Annotated[str, typer.Option(help="median, halving or none.")] = "",
    seed: Annotated[
        int | None, typer.Option(min=0, max=LARGEST_SEED, help="Of the search itself.")
    ] = None,
    dataset: Annotated[str, typer.Option(help="Only the one of this name.")] = "",
    change: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE, e.g. search.symmetric=true.")
    ] = None,
    devices: Annotated[
        str, typer.Option(help="One training at a time on each: cpu,cuda:0,cuda:1.")
    ] = "",
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Trainings at a time on the CPU; default: one a core, up to 4."),
    ] = None,
    follow_links: FollowLinksOption = False,
    as_json: JsonOption = False,
) -> None:
    """Look for the fusion placement with the best dev score; an interrupted search goes on."""
    from backend.search.plan import read_search
    from backend.search.report import as_json as to_json
    from backend.sweep.run import drop_frozen

    if devices and workers:
        raise InputError("cannot be given with `workers`", field="devices")
    flags = {
        "trials": trials,
        "max_fusions": max_fusions,
        "min_fusions": min_fusions,
        "sampler": sampler or None,
        "pruner": pruner or None,
        "seed": seed,
    }
    given = [f"search.{key}={value}" for key, value in flags.items() if value is not None]
    found = read_search(study, [*(change or []), *given], dataset)
    plans = [replace(plan, follow_links=follow_links) for plan in found]
    slots = words(devices) or ["cpu"] * (workers or min(cores(), _MOST_WORKERS))
    check_devices(slots)
    results = [(plan, _search(plan, slots)) for plan in plans]
    if as_json:
        typer.echo(
            json.dumps([to_json(plan, made, str(study)) for plan, made in results], indent=2)
        )
    else:
        for plan, made in results:
            _print(plan, made, str(study))
    if any(_lost(made) for _, made in results):
        raise typer.Exit(1)
    drop_frozen(plans[0].cells.study.folder)


def _lost(trials: Sequence[Trial]) -> list[Trial]:
    """Those that failed and were not made again since."""
    answered = [one.placement for one in trials if one.finished]
    return [one for one in trials if one.state == "failed" and one.placement not in answered]


def _search(plan: SearchPlan, slots: Sequence[str]) -> list[Trial]:
    from backend.search.objective import CellObjective
    from backend.search.record import open_record
    from backend.search.run import run_search
    from backend.search.table import SearchTable
    from backend.search.trial import SearchState

    wanted = plan.options.trials
    state = SearchState(wanted)
    with (
        open_record(plan.folder) as record,
        SearchTable(plan.dataset, state, len(slots)) as table,
    ):
        record.describe(plan.settings)
        objective = CellObjective(
            plan.cell,
            plan.seeds,
            plan.options.pruner,
            slots,
            plan.folder / "epochs",
            state,
            table,
        )
        return run_search(
            record,
            plan.space,
            plan.depths,
            objective,
            trials=wanted,
            sampler=plan.options.sampler,
            seed=plan.options.seed,
            at_once=len(slots),
            state=state,
            progress=table,
        )


def _print(plan: SearchPlan, trials: Sequence[Trial], study: str) -> None:
    from backend.search.report import cautions
    from backend.search.table import best_table, counts

    out.print(
        f"{plan.dataset}: {counts(trials)}; {plan.space.size:,} are possible",
        markup=False,
        soft_wrap=True,
        highlight=False,
    )
    out.print(best_table(trials))
    for line in cautions(plan, trials, study):
        out.print(line, markup=False, soft_wrap=True, highlight=False)
    for one in _lost(trials):
        if one.outcome:
            say(f"{plan.dataset}: trial {one.number} failed: {one.outcome.reason}")
