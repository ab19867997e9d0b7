"""The ``fusionscope`` command. Thin: it reads options, calls a job, prints what came of it."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Column, Table

from backend import __version__
from backend.errors import InputError
from backend.progress import SampleBar, TrainingBar, WorkBar, quiet_libraries
from backend.view.words import counted, listed

if TYPE_CHECKING:
    from collections.abc import Callable

    from backend.data.base import PairSource
    from backend.store import Manifest, Run, Store
    from backend.store.reader import Listing
    from backend.types import Pooling

app = typer.Typer(
    help="See, layer by layer, how vision and language meet in a multimodal transformer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = Console()
err = Console(stderr=True)

StoreOption = Annotated[Path, typer.Option("--store", help="Directory of the store.")]
DataOption = Annotated[
    str, typer.Option("--data", help="LAYOUT:PATH, or macros for the generated set.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
PortOption = Annotated[int, typer.Option("--port", min=1, max=65535)]
AddressOption = Annotated[
    str, typer.Option("--address", help="Where to listen; 0.0.0.0 lets other machines in.")
]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Stop at the first bad row instead of skipping it.")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cuda, mps or cpu.")]


@app.command()
def demo(
    store: Annotated[
        Path | None, typer.Option("--store", help="Default: the demo that is shipped.")
    ] = None,
    no_serve: Annotated[
        bool, typer.Option("--no-serve", help="Make the store, do not open the dashboard.")
    ] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Train what the store lacks instead of copying it.")
    ] = False,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes for --rebuild, one thread each.")
    ] = 2,
    port: PortOption = 8501,
    address: AddressOption = "localhost",
) -> None:
    """Open the dashboard on the demo: five placements x three seeds on the generated set."""
    from backend.jobs.demo import build_demo, cells, ensure_demo, missing_cells
    from backend.paths import shipped_demo

    path = store or shipped_demo()
    missing = missing_cells(path)
    partial = 0 < len(missing) < len(list(cells()))
    if partial and not rebuild:
        out.print(f"{counted(len(missing), 'demo run')} not made yet; --rebuild makes them")
    elif rebuild or not ensure_demo(path):
        with SampleBar("demo runs", len(list(cells()))) as bar:
            work = path.parent / f"{path.name}-work"
            build_demo(path, work, workers, lambda _, done, __: bar.update(done))
    if no_serve:
        out.print(f"The demo store is at {path}", soft_wrap=True)
        return
    _serve(path, port, address)


@app.command()
def serve(
    store: StoreOption, port: PortOption = 8501, address: AddressOption = "localhost"
) -> None:
    """Open the dashboard on a store."""
    from backend.store import Store

    _serve(Store(store).path, port, address)


def _serve(store: Path, port: int, address: str) -> None:
    from backend.serve import serve as run_server

    code = run_server(
        store, port, address, lambda url: out.print(f"Fusionscope is at {url} (Ctrl-C stops it)")
    )
    raise typer.Exit(code)


@app.command()
def train(
    data: DataOption,
    placement: Annotated[
        str, typer.Option(help="none, full, early, middle, late, ... or 'text=7,8;vision=4,6'.")
    ],
    out_dir: Annotated[Path, typer.Option("--out", help="Gets one checkpoint directory a seed.")],
    seeds: Annotated[str, typer.Option(help="Comma-separated.")] = "0",
    task: Annotated[
        str, typer.Option(help="Comma-separated tasks of the dataset; default: all.")
    ] = "",
    text_encoder: Annotated[
        str, typer.Option(help="small (from scratch), a directory, or a hub id.")
    ] = "small",
    vision_encoder: Annotated[
        str, typer.Option(help="small (from scratch), or TIMM_NAME[:WEIGHTS.safetensors].")
    ] = "small",
    image_size: Annotated[
        int | None, typer.Option(min=8, help="Pixels; default 48 (small) or 224.")
    ] = None,
    max_text_length: Annotated[int, typer.Option(min=4, help="Tokens.")] = 64,
    epochs: Annotated[int, typer.Option(min=1)] = 15,
    batch_size: Annotated[int, typer.Option(min=1)] = 64,
    learning_rate: Annotated[
        float | None, typer.Option(min=0, help="Default 1e-3 (small) or 4e-5.")
    ] = None,
    weight_decay: Annotated[float, typer.Option(min=0)] = 0.01,
    patience: Annotated[int, typer.Option(min=1, help="Epochs without a better dev score.")] = 3,
    dropout: Annotated[float, typer.Option(min=0, max=0.9)] = 0.1,
    class_weights: Annotated[str, typer.Option(help="balanced or none.")] = "balanced",
    freeze: Annotated[
        str, typer.Option(help="none, encoders, or layers up to: 'text=4;vision=6'.")
    ] = "none",
    cka_loss: Annotated[
        float, typer.Option(min=0, help="Weight of 1 - CKA of the streams in the loss.")
    ] = 0.0,
    cka_layers: Annotated[
        str, typer.Option(help="Where: like a placement; default: the fusion layers.")
    ] = "",
    measure_every: Annotated[
        str, typer.Option(help="Measure while training: 'epoch', or a number of steps.")
    ] = "",
    measure_samples: Annotated[int, typer.Option(min=4, help="Of the dev split.")] = 256,
    limit: Annotated[int | None, typer.Option(min=1, help="Training samples.")] = None,
    precision: Annotated[str, typer.Option(help="auto, no, bf16 or fp16.")] = "auto",
    saved_precision: Annotated[
        str, typer.Option(help="Of the checkpoint's weights: float32 or float16.")
    ] = "float32",
    frozen_cache: Annotated[
        str, typer.Option(help="Keep frozen layers' outputs: auto, off, float32 or float16.")
    ] = "auto",
    cache_dir: Annotated[
        Path | None, typer.Option(help="Where; shared by trainings. Default: scratch, deleted.")
    ] = None,
    cache_gib: Annotated[float, typer.Option(min=0, help="Most that may lie there.")] = 16.0,
    device: DeviceOption = "auto",
    strict: StrictOption = False,
) -> None:
    """Train one fusion placement, one checkpoint a seed; an interrupted training goes on."""
    from backend.data.registry import open_source
    from backend.jobs.training_measures import TrainingMeasures, require_measured
    from backend.train.frozen import GIB, CacheOptions
    from backend.train.loop import train_seed
    from backend.train.plan import TrainPlan

    quiet_libraries()
    plan = TrainPlan(
        data=data,
        placement=placement,
        tasks=tuple(_words(task)),
        text_encoder=text_encoder,
        vision_encoder=vision_encoder,
        image_size=image_size,
        max_text_length=max_text_length,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        patience=patience,
        dropout=dropout,
        class_weights=class_weights,
        freeze=freeze,
        cka_loss=cka_loss,
        cka_layers=cka_layers,
        limit=limit,
        precision=precision,
        saved_precision=saved_precision,
        device=device,
    )
    cache = CacheOptions(frozen_cache, cache_dir, int(cache_gib * GIB), _say)
    observer = TrainingMeasures(measure_every, measure_samples) if measure_every else None
    source = open_source(data, strict=strict)
    for seed in _numbers("seeds", seeds):
        with TrainingBar() as bar:
            checkpoint = train_seed(plan, source, seed, out_dir, bar.update, cache, observer)
        if observer:
            require_measured(checkpoint)
        scores = json.loads((checkpoint / "scores.json").read_text(encoding="utf-8"))
        shown = ", ".join(
            f"{s['split']} {s['task']} {s['metric']} {s['value']:.3f}"
            for s in scores
            if s["split"] != "train"
        )
        out.print(f"{checkpoint}: {shown}", soft_wrap=True, highlight=False)
    _print_report(source)


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
) -> None:
    """Train, capture and measure datasets x placements x seeds; an interrupted sweep goes on."""
    from backend.sweep.run import run_sweep
    from backend.sweep.study import read_study, study_of
    from backend.sweep.table import SweepTable, table_of

    if devices and workers:
        raise InputError("cannot be given with --workers", where="--devices")
    flags: dict[str, object] = {
        **({"datasets": [{"data": one} for one in data]} if data else {}),
        **({"placements": placement} if placement else {}),
        **({"seeds": _numbers("seeds", seeds)} if seeds else {}),
        **({"store": str(store)} if store else {}),
    }
    if study and flags:
        hint = "Use --set for what differs from the file."
        raise InputError(f"cannot be given with {study}", where=f"--{next(iter(flags))}", hint=hint)
    quiet_libraries()
    _, cells = read_study(study, change or []) if study else study_of(flags, change or [])
    slots = _words(devices) or ["cpu"] * min(workers or _cores(), len(cells))
    _check_devices(slots)
    with SweepTable(len(slots)) as table:
        states = run_sweep(cells, slots, table.update)
    failed = [one for one in states if one.state == "failed"]
    if as_json:
        kept = [(one.cell, one.state, one.reason, one.seconds) for one in states]
        typer.echo(
            json.dumps(
                [
                    {
                        "run_id": cell.run_id,
                        "dataset": cell.dataset,
                        "placement": cell.placement,
                        "seed": cell.seed,
                        "state": state,
                        "reason": reason,
                        "seconds": round(seconds, 1),
                    }
                    for cell, state, reason, seconds in kept
                ],
                indent=2,
            )
        )
    else:
        out.print(table_of(states))
        for one in failed:
            out.print(f"{one.cell.run_id}: {one.reason}", markup=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)


def _check_devices(names: list[str]) -> None:
    from backend.models.devices import choose_device

    for name in names:
        choose_device(name)


def _cores() -> int:
    return len(os.sched_getaffinity(0))


@app.command()
def capture(
    model: Annotated[str, typer.Option(help="A save_pretrained directory.")],
    data: DataOption,
    store: StoreOption,
    split: Annotated[
        str, typer.Option(help="train, dev, test or the dataset's own name.")
    ] = "test",
    pooling: Annotated[str, typer.Option(help="cls, mean or both.")] = "cls,mean",
    limit: Annotated[int | None, typer.Option(min=1, help="Samples.")] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    dtype: Annotated[str, typer.Option(help="float32 or float16.")] = "float32",
    run_id: Annotated[str | None, typer.Option(help="Default: dataset-placement-seed.")] = None,
    with_checkpoint: Annotated[
        bool, typer.Option("--with-checkpoint", help="Copy the checkpoint into the run.")
    ] = False,
    no_activations: Annotated[
        bool, typer.Option("--no-activations", help="Keep measures and projections only.")
    ] = False,
    streaming: Annotated[
        bool,
        typer.Option(
            "--streaming",
            help="Keep no vectors: consecutive-layer and cross-modal CKA and dimensions are summed "
            "while the model runs.",
        ),
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a run of the same id once this one is whole.")
    ] = False,
    device: DeviceOption = "auto",
    strict: StrictOption = False,
) -> None:
    """Run a checkpoint over a split and store every layer; an interrupted capture goes on."""
    from backend.capture.run import CaptureOptions
    from backend.jobs.capture import CaptureRequest, measure_and_project, open_request, run_capture

    if streaming and no_activations:
        raise InputError(
            "a streaming capture keeps no vectors, neither to write nor to project",
            where="--no-activations",
            hint="Leave out one of --no-activations and --streaming.",
        )
    quiet_libraries()
    request = CaptureRequest(
        model=model,
        data=data,
        store=str(store),
        split=split,
        poolings=tuple(_words(pooling)),
        dtype=dtype,
        run_id=run_id,
        keep_checkpoint=with_checkpoint,
        streaming=streaming,
        strict=strict,
        replace=replace,
        options=CaptureOptions(limit=limit, batch_size=batch_size, device=device),
    )
    opened = open_request(request)
    if streaming:
        _print_plan(opened.manifest)
    with SampleBar(f"capture {opened.manifest.run_id}", opened.expected) as bar:
        manifest = run_capture(
            request,
            opened,
            keep_activations=not no_activations,
            before_commit=measure_and_project if no_activations else None,
            progress=bar.update,
        )
    _print_report(opened.source)
    out.print(
        f"run {manifest.run_id}: {counted(manifest.dataset.n, 'sample')} in {store}",
        soft_wrap=True,
        highlight=False,
    )


@app.command()
def measure(
    store: StoreOption,
    run: Annotated[list[str] | None, typer.Option("--run", help="Default: all runs.")] = None,
    preset: Annotated[
        str,
        typer.Option(help="default, or thesis: the conventions of the published curves."),
    ] = "default",
    pooling: Annotated[str, typer.Option(help="cls, mean; default: all captured.")] = "",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes for several runs; default: one a core.")
    ] = None,
) -> None:
    """Compute the measures that the store's runs lack; an interrupted one goes on."""
    from backend.jobs.measure import Task, missing_in_store, perform_all

    opened = _existing(store)
    poolings = cast("list[Pooling] | None", _words(pooling) or None)
    done = missing_in_store(opened, run, preset=preset, poolings=poolings)
    with WorkBar("measure", sum(task.weight for task in done)) as bar:
        perform_all(
            opened,
            done,
            workers=workers,
            report=lambda task: bar.advance(
                task.weight, f"{task.run_id}: {task.part} of {task.pooling}"
            ),
        )
    counts: dict[str, list[Task]] = {run_id: [] for run_id in run or opened.run_ids()}
    for task in done:
        counts[task.run_id].append(task)
    for run_id, tasks in counts.items():
        parts = ", ".join(dict.fromkeys(task.part for task in tasks)) or "nothing to add"
        out.print(f"{run_id}: {parts}", soft_wrap=True, highlight=False)


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN_A RUN_B [RUN...]", help="Run ids.")],
    store: StoreOption,
    pooling: Annotated[str, typer.Option(help="cls, mean; default: what both runs have.")] = "",
) -> None:
    """Compute the CKA of every layer of each run with every layer of the others."""
    from backend.jobs.compare import compare_runs, missing_comparisons
    from backend.store import Store

    opened = Store(store)
    poolings = cast("list[Pooling] | None", _words(pooling) or None)
    missing = missing_comparisons(opened, runs, poolings=poolings)
    with WorkBar("compare", len(missing)) as bar:
        done = compare_runs(
            opened,
            runs,
            poolings=poolings,
            report=lambda task: bar.advance(1, f"{task.run_a} ~ {task.run_b}: {task.pooling}"),
        )
    for task in done:
        out.print(f"{task.run_a} ~ {task.run_b}: {task.pooling}", soft_wrap=True, highlight=False)
    if not done:
        out.print("nothing to add")


@app.command()
def project(
    store: StoreOption,
    run: Annotated[list[str] | None, typer.Option("--run", help="Default: all runs.")] = None,
    method: Annotated[str, typer.Option(help="umap or pca.")] = "umap",
) -> None:
    """Compute the two-dimensional coordinates that the store's runs lack."""
    from backend.jobs.project import project_run

    _each_run(store, run, "project", lambda one: project_run(one, method=method))


@app.command()
def runs(store: StoreOption, as_json: JsonOption = False) -> None:
    """List the runs of a store."""

    listing = _existing(store).listing()
    if as_json:
        typer.echo(json.dumps([_run_json(row) for row in listing.rows], indent=2))
    else:
        _print_runs(listing)
    for broken in listing.broken:
        err.print(f"broken: {broken.run_id}: {broken.reason}", markup=False, soft_wrap=True)


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
) -> None:
    """Placements x tasks: mean ± sd over seeds, the best marked; differences to a baseline."""
    from backend.study import build_table, render
    from backend.view.study import opened, score_frame

    overview = opened(str(store))
    made = build_table(score_frame(overview.runs), metrics=metric or (), baseline=baseline)
    typer.echo(render(made, form))
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
    from backend.measures.parts import PRESETS
    from backend.study import published_claims
    from backend.study.report import as_json as to_json
    from backend.study.report import as_text
    from backend.view.study import findings as find

    if preset not in PRESETS:
        raise InputError(
            f"{preset!r} is not a preset",
            where="--preset",
            hint=f"Use one of {listed(PRESETS, 'or')}",
        )
    own, problems = find(str(store), pooling, preset=preset)
    typer.echo((to_json if as_json else as_text)(own, published_claims()))
    for line in problems:
        err.print(f"could not be read: {line}", markup=False, soft_wrap=True)


@app.command()
def verify(store: StoreOption) -> None:
    """Read a whole store and report what is wrong with it."""
    from backend.store import Store
    from backend.store.verify import verify as examine

    findings = examine(_existing(store))
    for finding in findings:
        out.print(str(finding), markup=False, soft_wrap=True, highlight=False)
    faults = [finding for finding in findings if finding.kind == "problem"]
    if faults:
        raise InputError(f"{counted(len(faults), 'fault')} found", where=f"store {store}")
    out.print(f"{counted(len(Store(store).run_ids()), 'run')} checked, no faults")


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
    _print_report(source)
    if report.count:
        raise typer.Exit(2)


def _existing(path: Path) -> Store:
    """A store that has runs; InputError for any other folder."""
    from backend.store import Store

    store = Store(path)
    if not store.paths.runs.is_dir():
        raise InputError(
            "is not a store (it has no folder runs)",
            where=str(path),
            hint="fusionscope capture --store DIR makes one.",
        )
    return store


def _each_run(
    store: Path, wanted: list[str] | None, what: str, work: Callable[[Run], list[str]]
) -> None:
    opened = _existing(store)
    chosen = [opened.run(run_id) for run_id in wanted or opened.run_ids()]
    with SampleBar(what, len(chosen)) as bar:
        for done, run in enumerate(chosen, start=1):
            keys = work(run)
            bar.update(done)
            out.print(
                f"{run.run_id}: {', '.join(keys) if keys else 'nothing to add'}",
                soft_wrap=True,
                highlight=False,
            )


def _print_runs(listing: Listing) -> None:
    """One line a run, a column a task: the metric by which it is judged (--json has all)."""
    tasks = {task.name: task for run in listing.runs for task in run.manifest.tasks}
    columns = [f"{task.name}\n{task.metric}" for task in tasks.values()]
    table = Table(
        *(Column(name, no_wrap=True) for name in ("run", "placement")),
        *("seed", "n", "dataset", *columns),
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    for run, row in zip(listing.runs, map(dict[str, Any], listing.rows), strict=True):
        found = row["scores"]
        own = {task.name for task in run.manifest.tasks}
        values = [
            # A run of one task has its metrics without the task's name.
            found.get(f"{task.name}.{task.metric}", found.get(task.metric))
            if task.name in own
            else None
            for task in tasks.values()
        ]
        shown = ["–" if value is None else f"{value:.3f}" for value in values]
        cells = [row[key] for key in ("run_id", "placement", "seed", "n", "dataset")]
        table.add_row(*map(str, cells), *shown)
    out.print(table)


def _run_json(row: dict[str, Any]) -> dict[str, Any]:
    kept = ("run_id", "model", "placement", "seed", "dataset", "n")
    return {
        **{key: row[key] for key in kept},
        "streams": [
            {
                "name": s.name,
                "modality": s.modality,
                "depth": s.depth,
                "width": s.width,
                "fusion_layers": list(s.fusion_layers),
            }
            for s in row["streams"]
        ],
        "poolings": list(row["poolings"]),
        "scores": row["scores"],
    }


def _print_plan(manifest: Manifest) -> None:
    """What a streaming capture sums, and the memory that takes."""
    from backend.jobs.streaming import StreamPlan

    plan = StreamPlan.of(manifest)
    out.print(
        f"streaming {counted(len(plan.refs), 'layer')} and {counted(len(plan.pairs), 'pair')} of "
        f"{listed(manifest.poolings)} vectors: {plan.nbytes / 2**20:,.1f} MiB of sums, however "
        "many samples",
        soft_wrap=True,
        highlight=False,
    )


def _print_report(source: PairSource) -> None:
    if source.report.count or source.report.notes:
        err.print(source.report.summary(), markup=False, soft_wrap=True, highlight=False)


def _say(line: str) -> None:
    err.print(line, markup=False, soft_wrap=True, highlight=False)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _numbers(option: str, text: str) -> list[int]:
    words = _words(text)
    if not words or not all(word.isdecimal() for word in words):
        raise InputError(f"{text!r} is not a list of whole numbers", where=f"--{option}")
    return [int(word) for word in words]


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
