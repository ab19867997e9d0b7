"""``fusionscope trace``: one image-text pair through a model's layers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.box import SIMPLE
from rich.table import Table

from backend.cli.base import DeviceOption, JsonOption, RevisionOption, app, existing, out, say
from backend.errors import InputError
from backend.progress import Bar, quiet_libraries
from backend.types import POOLINGS, LayerRef, Pooling
from backend.words import counted, listed

if TYPE_CHECKING:
    import pandas as pd

    from backend.inference.files import Traced
    from backend.inference.service import Done, Job, Models
    from backend.inference.values import Output, Picture, Trace
    from backend.models.adapter import Adapter
    from backend.store import Run, Store

_POLL_S = 0.05
_LIKELIEST = 3
_PERCENTILES = {"norm": "norm %", "step": "step %"}


@app.command()
def trace(
    model: Annotated[
        str, typer.Option("--model", help="A hub id, a checkpoint directory or a run of the store.")
    ],
    image: Annotated[Path, typer.Option("--image", help="PNG, JPEG, WebP, GIF or BMP.")],
    text: Annotated[str, typer.Option("--text", help="The caption.")],
    store: Annotated[
        Path | None,
        typer.Option("--store", help="With the run that is the model or the reference."),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option("--run", help="Say where the pair stands among the pairs of this run."),
    ] = None,
    pooling: Annotated[
        str | None, typer.Option("--pooling", help="cls or mean; default: mean, if the run has it.")
    ] = None,
    revision: RevisionOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Gets vectors, attention and curves as files.")
    ] = None,
) -> None:
    """Send one image-text pair through a model and say what each layer makes of it."""
    if run is not None and store is None:
        raise InputError("belongs to a store", field="run", hint="Give `store`, too.")
    if pooling is not None and pooling not in POOLINGS:
        raise InputError(f"{pooling!r} is not one of {listed(POOLINGS, 'or')}", field="pooling")
    if out_dir is not None and out_dir.exists():
        raise InputError("exists", where=str(out_dir), hint="Choose another folder for `out`.")
    from backend.inference.files import about, write_traced
    from backend.inference.service import picture_of

    picture = picture_of(image)
    opened = existing(store) if store is not None else None
    reference = opened.run(run) if opened is not None and run is not None else None
    traced = _traced(model, picture, text, opened, reference, pooling, revision, device)
    if out_dir is not None:
        write_traced(traced, out_dir)
    if as_json:
        typer.echo(json.dumps(about(traced), indent=2, allow_nan=False))
    else:
        _print(traced)
        if out_dir is not None:
            out.print(f"\n{out_dir}: {listed(sorted(p.name for p in out_dir.iterdir()))}")


class _OneModel:
    """A hub id or a directory, which the user of a command line may name; there is one key."""

    def __init__(self, name: str, revision: str | None) -> None:
        self._name = name
        self._revision = revision

    def where(self, key: str) -> str:
        """How messages name it."""
        return f"model {self._name}"

    def identity(self, key: str) -> str:
        """There is no other."""
        return self._name

    def weights_bytes(self, key: str) -> int:
        """Opening tells."""
        return 0

    def open(self, key: str, device: str) -> Adapter:
        """Load it."""
        from backend.models.registry import open_model

        return open_model(self._name, revision=self._revision, device=device)


def _model_of(name: str, store: Store | None, revision: str | None) -> tuple[Models, str]:
    """Where the model comes from, and its key there."""
    if store is None or name not in store.run_ids():
        return _OneModel(name, revision), ""
    from backend.inference.models import Catalogue

    if revision is not None:
        raise InputError("a run has no revisions", field="revision", hint="Leave it out.")
    catalogue = Catalogue(store)
    offer = catalogue.run(name)
    if offer.problem:
        problem = offer.problem.replace(", and no directory that was named holds it", "")
        hint = "Give the checkpoint's directory as `model`, and the run as `run`."
        raise InputError(problem, where=offer.where, hint=hint)
    return catalogue, offer.key


def _traced(
    model: str,
    picture: Picture,
    text: str,
    store: Store | None,
    reference: Run | None,
    pooling: str | None,
    revision: str | None,
    device: str,
) -> Traced:
    from backend.inference.files import Traced, sites_table
    from backend.inference.service import Pair, Placing, Request, Service, tracing
    from backend.models.devices import choose_device

    quiet_libraries()
    models, key = _model_of(model, store, revision)
    poolings = reference.manifest.poolings if reference is not None else POOLINGS
    shown = _pooling(pooling, poolings)

    def place(traces: tuple[Trace, ...]) -> tuple[pd.DataFrame, pd.DataFrame | None]:
        sites = sites_table(traces[0], shown)
        return sites, None if reference is None else _curves(traces[0], reference, shown)

    request = Request(key, (Pair(picture, text),), tracing(), Placing("trace", place))
    with Service(models, [str(choose_device(device))]) as service, Bar("trace") as bar:
        done = _followed(service.submit(request), bar)
    sites, curves = cast("tuple[pd.DataFrame, pd.DataFrame | None]", done.placed)
    return Traced(
        done.value[0],
        picture,
        sites,
        curves,
        reference.run_id if reference is not None else "",
        done.notes,
        done.device,
        done.seconds,
    )


def _followed(job: Job[Any], bar: Bar) -> Done[Any]:
    """The result, its stages shown meanwhile; what went wrong is raised."""
    from backend.inference.service import STAGES, Cancelled, Failed

    while not job.done:
        if job.stage is not None:
            bar.advance(STAGES.index(job.stage), len(STAGES), job.stage)
        try:
            job.result(_POLL_S)
        except TimeoutError:
            continue
    outcome = job.result()
    if isinstance(outcome, Cancelled):
        raise KeyboardInterrupt
    if isinstance(outcome, Failed):
        if outcome.fault:
            say(f"fusionscope: {outcome.error}")
            raise typer.Exit(1)
        raise outcome.error
    bar.advance(len(STAGES), len(STAGES), "")
    return outcome


def _pooling(wanted: str | None, available: Iterable[Pooling]) -> Pooling:
    for pooling in POOLINGS[::-1]:
        if wanted == pooling or (wanted is None and pooling in available):
            return pooling
    return POOLINGS[0]


def _curves(trace: Trace, run: Run, pooling: Pooling) -> pd.DataFrame:
    """The pair's curves on the bands of the run's pairs; similarity of the first two streams."""
    from backend.inference.reference import Reference
    from backend.inference.standing import standing
    from backend.measures.suite.pairs import in_order

    reference = Reference.of(run, pooling)
    held = {ref.stream for ref in reference.sites}
    names = in_order(
        (spec.name for spec in run.streams if spec.name in held),
        {spec.name: spec.modality for spec in run.streams},
    )
    return standing(reference, trace, (names[0], names[1]) if len(names) > 1 else None)


def _print(traced: Traced) -> None:
    trace = traced.trace
    width, height = traced.picture.image.size
    facts = [
        ("model", f"{trace.model} ({trace.family})"),
        ("digest", trace.digest),
        ("picture", f"{width} x {height}, {traced.picture.digest[:16]}"),
        ("reference", traced.reference),
        *((output.task, _likeliest(output)) for output in trace.outputs),
        ("next words", _next_words(trace)),
        ("cut", f"{counted(trace.cut, 'token')} of the caption did not fit" if trace.cut else ""),
    ]
    for name, value in facts:
        if value:
            out.print(f"{name:<11}{value}", markup=False, highlight=False, soft_wrap=True)
    for stream in traced.sites["stream"].unique():
        out.print(_table(traced, stream))
    for note in traced.notes:
        say(note)
    for name, reason in trace.unsupported.items():
        say(f"{name}: {reason}")


def _likeliest(output: Output) -> str:
    """``ironic 0.93, sincere 0.07``: the likeliest classes."""
    order = sorted(range(len(output.classes)), key=lambda at: -output.probabilities[at])
    return ", ".join(
        f"{output.classes[at]} {output.probabilities[at]:.2f}" for at in order[:_LIKELIEST]
    )


def _next_words(trace: Trace) -> str:
    """Those of the last layer."""
    words = trace.next_words
    if words is None:
        return ""
    pairs = zip(words.words[-1], words.probabilities[-1], strict=True)
    return ", ".join(f"{text!r} {value:.2f}" for text, value in list(pairs)[:_LIKELIEST])


def _table(traced: Traced, stream: str) -> Table:
    """A row a site; percentiles where there is a reference."""
    sites = traced.sites[traced.sites["stream"] == stream]
    table = Table(stream, "pooling", "norm", "step", box=SIMPLE, padding=(0, 1, 0, 0))
    for column in table.columns[2:]:
        column.justify = "right"
    ranks = _ranks(traced)
    for heading in _PERCENTILES.values() if ranks else ():
        table.add_column(heading, justify="right")
    rows: Iterable[Any] = sites.itertuples()
    for row in rows:
        place = (row.stream, row.layer, row.site)
        label = LayerRef(row.stream, row.layer, row.site).label
        ranked = [_rank(ranks.get((curve, *place), math.nan)) for curve in _PERCENTILES]
        table.add_row(
            label, row.pooling, _number(row.norm), _number(row.step), *(ranked if ranks else ())
        )
    return table


def _ranks(traced: Traced) -> dict[tuple[object, ...], float]:
    """{(curve, stream, layer, site): percentile}."""
    if traced.curves is None:
        return {}
    columns = ("curve", "stream", "layer", "site", "percentile")
    rows = zip(*(traced.curves[name] for name in columns), strict=True)
    return {tuple(place): rank for *place, rank in rows}


def _number(value: Any) -> str:
    return "–" if math.isnan(value) else f"{value:.3g}"


def _rank(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.0f}"
