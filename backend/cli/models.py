"""The commands that make models: train, pretrain, import-checkpoint, sweep."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from backend.cli.base import (
    FAMILY,
    FollowLinksOption,
    JsonOption,
    StrictOption,
    app,
    check_devices,
    cores,
    numbers,
    out,
    print_report,
    say,
    words,
)
from backend.cli.options import with_settings
from backend.errors import InputError
from backend.linear_adapter.plan import FAMILY as LINEAR_ADAPTER
from backend.linear_adapter.plan import AdapterPlan
from backend.progress import Bar, quiet_libraries
from backend.train.options import CacheOptions, MeasureOptions
from backend.train.recipe import PretrainPlan, TrainPlan
from backend.words import counted, listed

FUSION = "fusion"
FamilyOption = Annotated[
    str,
    typer.Option(FAMILY, help=f"{FUSION}, or {LINEAR_ADAPTER} (its own options: add --help)."),
]
OutOption = Annotated[Path, typer.Option("--out", help="Gets one checkpoint directory a seed.")]
SeedsOption = Annotated[str, typer.Option(help="Comma-separated.")]


@app.command()
@with_settings
def train(
    plan: TrainPlan,
    measured: MeasureOptions,
    cache: CacheOptions,
    out_dir: OutOption,
    family: FamilyOption = FUSION,
    seeds: SeedsOption = "0",
    strict: StrictOption = False,
    follow_links: FollowLinksOption = False,
) -> None:
    """Train one fusion placement, one checkpoint a seed; an interrupted training goes on."""
    from backend.data.registry import open_source
    from backend.jobs.training_measures import TrainingMeasures, require_measured
    from backend.train.loop import train_seed

    if family != FUSION:
        hint = f"There are {FUSION} and {LINEAR_ADAPTER}."
        raise InputError(f"no family {family!r} is trained", field="family", hint=hint)
    quiet_libraries()
    every = measured.measure_every
    observer = TrainingMeasures(every, measured.measure_samples) if every else None
    source = open_source(plan.data, strict=strict, follow_links=follow_links)
    for seed in numbers("seeds", seeds):
        with Bar(f"seed {seed}") as bar:
            checkpoint = train_seed(
                plan, source, seed, out_dir, bar, replace(cache, say=say), observer
            )
        if observer:
            require_measured(checkpoint, measured)
        scores = json.loads((checkpoint / "scores.json").read_text(encoding="utf-8"))
        shown = ", ".join(
            f"{s['split']} {s['task']} {s['metric']} {s['value']:.3f}"
            for s in scores
            if s["split"] != "train"
        )
        out.print(f"{checkpoint}: {shown}", soft_wrap=True, highlight=False)
    print_report(source)


@app.command(f"train {FAMILY} {LINEAR_ADAPTER}", hidden=True)
@with_settings
def train_linear_adapter(
    plan: AdapterPlan,
    out_dir: OutOption,
    family: FamilyOption = LINEAR_ADAPTER,
    seeds: SeedsOption = "0",
    strict: StrictOption = False,
    follow_links: FollowLinksOption = False,
) -> None:
    """Train one linear map from a frozen vision encoder into a frozen language model.

    One checkpoint a seed, of transformers' LLaVA class; an interrupted training goes on. At the
    end it is measured whether answers are likelier by their own image than by another's.
    """
    from backend.data.registry import open_source
    from backend.linear_adapter.seeing import Seeing
    from backend.linear_adapter.training import SEEING, train_adapter

    quiet_libraries()
    source = open_source(plan.data, strict=strict, follow_links=follow_links)
    for seed in numbers("seeds", seeds):
        with Bar(f"seed {seed}") as bar:
            checkpoint = train_adapter(plan, source, seed, out_dir, bar)
        told = json.loads((checkpoint / "training.json").read_text(encoding="utf-8"))
        for row in told["history"]:
            out.print(
                f"epoch {row['epoch']}: loss {row['loss']:.4f}, dev {row['dev_loss']:.4f}",
                highlight=False,
            )
        seeing = Seeing(**json.loads((checkpoint / SEEING).read_text(encoding="utf-8")))
        out.print(f"{checkpoint}: {seeing.sentence}", soft_wrap=True, highlight=False)
    print_report(source)


@app.command()
@with_settings
def pretrain(
    plan: PretrainPlan,
    out_dir: OutOption,
    seeds: SeedsOption = "0",
    strict: StrictOption = False,
    follow_links: FollowLinksOption = False,
) -> None:
    """Pretrain on image-text pairs, for `train --pretrained`; an interrupted one goes on."""
    from backend.data.registry import open_source
    from backend.train.pretrain import FILE, pretrain_seed

    quiet_libraries()
    source = open_source(plan.data, strict=strict, follow_links=follow_links)
    for seed in numbers("seeds", seeds):
        with Bar(f"seed {seed}") as bar:
            checkpoint = pretrain_seed(plan, source, seed, out_dir, bar)
        last = json.loads((checkpoint / FILE).read_text(encoding="utf-8"))["history"][-1]
        parts = [
            f"{row['objective']} loss {row['loss']:.3f}, right {row['accuracy']:.1%}"
            for row in last.get("dev", [])
            if row["n"]
        ]
        shown = f"dev {'; '.join(parts)}" if parts else f"loss {last['loss']:.3f}"
        out.print(f"{checkpoint}: {shown}", soft_wrap=True, highlight=False)
    print_report(source)


@app.command("import-checkpoint")
def import_checkpoint(
    file: Annotated[Path, typer.Argument(help="A checkpoint file of another program.")],
    out_dir: Annotated[Path, typer.Option("--out", help="Gets the checkpoint.")],
    form: Annotated[
        str, typer.Option("--format", help="thesis: torch.save of model_state_dict and config.")
    ] = "thesis",
    tokenizer: Annotated[
        str | None,
        typer.Option(help="bert-base-uncased's: a directory or a hub id. The file holds none."),
    ] = None,
) -> None:
    """Turn another program's checkpoint into ours; nothing that is in the file is run."""
    from backend.models.imports.registry import import_checkpoint as run_import

    quiet_libraries()
    made = run_import(file, form=form, out=out_dir, tokenizer=tokenizer)
    tasks = listed(f"{task.name} ({task.kind})" for task in made.tasks) or "none"
    out.print(f"{made.folder}: placement {made.placement}, tasks: {tasks}", soft_wrap=True)
    if made.left_out:
        out.print(
            f"left out, as nothing here reads them: {counted(len(made.left_out), 'tensor')}",
            soft_wrap=True,
            highlight=False,
        )


@app.command()
def sweep(
    study: Annotated[Path | None, typer.Argument(help="A TOML file; or give flags.")] = None,
    data: Annotated[list[str] | None, typer.Option("--data", help="As for train.")] = None,
    placement: Annotated[list[str] | None, typer.Option(help="As for train.")] = None,
    seeds: Annotated[str, typer.Option(help="Comma-separated; default 0.")] = "",
    store: Annotated[Path | None, typer.Option(help="Directory of the store.")] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE, e.g. train.epochs=2.")
    ] = None,
    devices: Annotated[
        str, typer.Option(help="One cell at a time on each: cpu,cuda:0,cuda:1.")
    ] = "",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Cells at a time on the CPU; default: one a core.")
    ] = None,
    as_json: JsonOption = False,
    follow_links: FollowLinksOption = False,
) -> None:
    """Train, capture and measure datasets x placements x seeds; an interrupted sweep goes on."""
    from backend.sweep.run import CellState, run_sweep
    from backend.sweep.study import read_study, study_of
    from backend.sweep.table import SweepTable, table_of

    if devices and workers:
        raise InputError("cannot be given with `workers`", field="devices")
    flags: dict[str, object] = {
        **({"datasets": [{"data": each} for each in data]} if data else {}),
        **({"placements": placement} if placement else {}),
        **({"seeds": numbers("seeds", seeds)} if seeds else {}),
        **({"store": str(store)} if store else {}),
    }
    if study and flags:
        given = {"data": data, "placement": placement, "seeds": seeds, "store": store}
        first = next(name for name, value in given.items() if value)
        hint = "Use `set` for what differs from the file."
        raise InputError(f"cannot be given with {study}", field=first, hint=hint)
    quiet_libraries()
    _, cells = read_study(study, change or []) if study else study_of(flags, change or [])
    slots = words(devices) or ["cpu"] * min(workers or cores(), len(cells))
    check_devices(slots)
    states = [CellState(replace(cell, follow_links=follow_links)) for cell in cells]
    with SweepTable(states, len(slots)) as table:
        run_sweep(states, slots, table)
    failed = [state for state in states if state.state == "failed"]
    if as_json:
        typer.echo(
            json.dumps(
                [
                    {
                        "run_id": state.cell.run_id,
                        "dataset": state.cell.dataset,
                        "placement": state.cell.placement,
                        "seed": state.cell.seed,
                        "state": state.state,
                        "reason": state.reason,
                        "seconds": round(state.seconds, 1),
                    }
                    for state in states
                ],
                indent=2,
            )
        )
    else:
        out.print(table_of(states))
        for state in failed:
            out.print(f"{state.cell.run_id}: {state.reason}", markup=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)
