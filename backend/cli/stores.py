"""The commands that fill a store and look into it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.box import SIMPLE
from rich.table import Column, Table

from backend.capture.options import CaptureOptions
from backend.cli.base import (
    DataOption,
    FollowLinksOption,
    JsonOption,
    PartialOption,
    RevisionOption,
    StoreOption,
    StrictOption,
    TimestepsOption,
    app,
    err,
    existing,
    out,
    print_report,
    say_failed,
    steps_of_noise,
    words,
    writable,
)
from backend.cli.options import with_settings
from backend.errors import InputError
from backend.models.encoders import Encoders, model_or
from backend.progress import Bar, quiet_libraries
from backend.words import counted, listed

if TYPE_CHECKING:
    from collections.abc import Callable

    from backend.store import Manifest, Run
    from backend.store.index import Entry
    from backend.store.source import Listing
    from backend.types import Pooling

_JSON_FIELDS = ("run_id", "model", "placement", "seed", "dataset", "n")


@app.command()
@with_settings
def capture(
    options: CaptureOptions,
    encoders: Encoders,
    data: DataOption,
    store: StoreOption,
    model: Annotated[str, typer.Option(help="A checkpoint directory or a hub id.")] = "",
    revision: RevisionOption = None,
    run_id: Annotated[
        str | None,
        typer.Option(help="Default: the dataset with placement and seed, or with the model."),
    ] = None,
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
    strict: StrictOption = False,
    follow_links: FollowLinksOption = False,
    allow_partial_weights: PartialOption = False,
    timesteps: TimestepsOption = "",
) -> None:
    """Run a checkpoint, or encoders side by side, over a split and store every layer.

    An interrupted capture goes on.
    """
    from backend.jobs.capture import CaptureRequest, measure_and_project, open_request, run_capture

    if streaming and no_activations:
        raise InputError(
            "a streaming capture keeps no vectors, neither to write nor to project",
            field="no_activations",
            hint="Leave out one of `no_activations` and `streaming`.",
        )
    quiet_libraries()
    request = CaptureRequest(
        model=model_or(encoders, model),
        revision=revision,
        data=data,
        store=str(store),
        run_id=run_id,
        streaming=streaming,
        strict=strict,
        follow_links=follow_links,
        allow_partial_weights=allow_partial_weights,
        timesteps=steps_of_noise(timesteps),
        replace=replace,
        options=options,
    )
    opened = open_request(request)
    if streaming:
        _print_plan(opened.manifest)
    with Bar(f"capture {opened.manifest.run_id}") as bar:
        manifest = run_capture(
            request,
            opened,
            keep_activations=not no_activations,
            before_commit=measure_and_project if no_activations else None,
            progress=bar,
        )
    print_report(opened.source)
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
    pooling: Annotated[
        str,
        typer.Option(
            help="cls, mean; default: all captured. Or two streams against each other: "
            "'vision=cls;text=mean'."
        ),
    ] = "",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes for several runs; default: one a core.")
    ] = None,
) -> None:
    """Compute the measures that the store's runs lack; an interrupted one goes on."""
    from backend.jobs.measure import Task, checked_poolings, missing_in_store, perform_all

    opened = writable(store)
    poolings = checked_poolings(preset, words(pooling) or None)
    lacking: dict[str, list[Task]] = {}
    failed: dict[str, InputError] = {}
    wanted = tuple(dict.fromkeys(run or opened.run_ids()))
    for run_id in wanted:
        try:
            lacking[run_id] = missing_in_store(opened, [run_id], preset=preset, poolings=poolings)
        except InputError as error:
            failed[run_id] = error
    with Bar("measure") as bar:
        tasks = [task for own in lacking.values() for task in own]
        failed |= perform_all(opened, tasks, workers=workers, progress=bar)
    for run_id, own in lacking.items():
        if run_id not in failed:
            parts = ", ".join(dict.fromkeys(task.part for task in own)) or "nothing to add"
            out.print(f"{run_id}: {parts}", soft_wrap=True)
    say_failed(failed, len(wanted))


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN_A RUN_B [RUN...]", help="Run ids.")],
    store: StoreOption,
    pooling: Annotated[str, typer.Option(help="cls, mean; default: what both runs have.")] = "",
) -> None:
    """Compute the CKA of every layer of each run with every layer of the others."""
    from backend.jobs.compare import compare_all

    opened = writable(store)
    poolings = cast("list[Pooling] | None", words(pooling) or None)
    with Bar("compare") as bar:
        done, failed = compare_all(opened, runs, poolings=poolings, progress=bar)
    for task in done:
        out.print(str(task), soft_wrap=True)
    if not done and not failed:
        out.print("nothing to add")
    count = len(set(runs))
    say_failed(failed, count * (count - 1) // 2)


@app.command()
def project(
    store: StoreOption,
    run: Annotated[list[str] | None, typer.Option("--run", help="Default: all runs.")] = None,
    method: Annotated[str, typer.Option(help="umap or pca.")] = "umap",
) -> None:
    """Compute the maps, neighbours and movements of a second fit that the store's runs lack."""
    from backend.jobs.project import checked_method, project_run

    checked_method(method)
    _each_run(store, run, "project", lambda one: project_run(one, method=method))


@app.command()
def runs(store: StoreOption, as_json: JsonOption = False) -> None:
    """List the runs of a store."""

    opened = existing(store)
    listing = opened.listing()
    if as_json:
        rows = [_run_json(entry, opened.run(entry.run_id)) for entry in listing.entries]
        typer.echo(json.dumps(rows, indent=2))
    else:
        _print_runs(listing)
    for broken in listing.broken:
        err.print(f"broken: {broken.run_id}: {broken.reason}", soft_wrap=True)


def _each_run(
    store: Path, wanted: list[str] | None, what: str, work: Callable[[Run], list[str]]
) -> None:
    opened = writable(store)
    chosen = tuple(dict.fromkeys(wanted or opened.run_ids()))
    failed: dict[str, InputError] = {}
    with Bar(what, len(chosen)) as bar:
        for done, run_id in enumerate(chosen, start=1):
            try:
                keys = work(opened.run(run_id))
                out.print(f"{run_id}: {', '.join(keys) or 'nothing to add'}", soft_wrap=True)
            except InputError as error:
                failed[run_id] = error
            bar.advance(done, len(chosen), run_id)
    say_failed(failed, len(chosen))


def _print_runs(listing: Listing) -> None:
    """One line a run, a column a task: the metric by which it is judged (--json has all).

    A released model has its name where others have their placement, and no seed.
    """
    # Runs on the same samples have the same tasks: of thousands only a few run.json are parsed.
    examples = {_data(entry): entry for entry in listing.entries}
    tasks_of = {data: entry.manifest.tasks for data, entry in examples.items()}
    tasks = {task.name: task for own in tasks_of.values() for task in own}
    placed = all(entry.placement is not None for entry in listing.entries)
    columns = [f"{task.name}\n{task.metric}" for task in tasks.values()]
    table = Table(
        *(Column(name, no_wrap=True) for name in ("run", "placement" if placed else "model")),
        *("seed", "n", "dataset", *columns),
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    for entry in listing.entries:
        scores = entry.score_summary
        own = {task.name for task in tasks_of[_data(entry)]}
        values = [
            # A run of one task has its metrics without the task's name.
            scores.get(f"{task.name}.{task.metric}", scores.get(task.metric))
            if task.name in own
            else None
            for task in tasks.values()
        ]
        shown = ["–" if value is None else f"{value:.3f}" for value in values]
        seed = "–" if entry.seed is None else entry.seed
        cells = [entry.run_id, entry.label, seed, entry.n, entry.dataset]
        table.add_row(*map(str, cells), *shown)
    out.print(table)


def _data(entry: Entry) -> tuple[str, ...]:
    return (entry.dataset, entry.layout, entry.split, entry.fingerprint)


def _run_json(entry: Entry, run: Run) -> dict[str, object]:
    from backend.store.token_counts import token_counts

    return {
        **{name: getattr(entry, name) for name in _JSON_FIELDS},
        "streams": json.loads(entry.streams),
        "poolings": list(entry.poolings),
        "tokens": {count.stream: count.summary for count in token_counts(run)},
        "scores": entry.score_summary,
    }


def _print_plan(manifest: Manifest) -> None:
    """What a streaming capture sums, and the memory that takes."""
    from backend.jobs.streaming import StreamPlan

    plan = StreamPlan.of(manifest)
    summed: dict[str, list[str]] = {}
    for pooling, part in plan.poolings.items():
        what = f"{counted(len(part.refs), 'layer')} and {counted(len(part.pairs), 'pair')}"
        summed.setdefault(what, []).append(pooling)
    parts = listed([f"{what} of {listed(names)} vectors" for what, names in summed.items()])
    out.print(
        f"streaming {parts}: {plan.nbytes / 2**20:,.1f} MiB of sums, however many samples",
        soft_wrap=True,
        highlight=False,
    )
