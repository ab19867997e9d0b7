"""``fusionscope trace``: one image-text pair through a model's layers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from backend.cli.base import DeviceOption, JsonOption, RevisionOption, app, existing, say
from backend.cli.results import require_new, tell
from backend.errors import InputError
from backend.progress import Bar, quiet_libraries
from backend.types import POOLINGS, Pooling
from backend.words import listed

if TYPE_CHECKING:
    import pandas as pd

    from backend.inference.files import Traced
    from backend.inference.jobs import Job
    from backend.inference.requests import Done, Models
    from backend.inference.values import Picture, Trace
    from backend.inference.what_if import CutWhere
    from backend.models.adapter import Adapter
    from backend.store import Run, Store

_POLL_S = 0.05


@app.command()
def trace(
    model: Annotated[
        str, typer.Option("--model", help="A hub id, a checkpoint directory or a run of the store.")
    ],
    image: Annotated[Path, typer.Option("--image", help="PNG, JPEG, WebP, GIF or BMP.")],
    text: Annotated[str, typer.Option("--text", help="The caption.")],
    other_text: Annotated[
        str, typer.Option("--other-text", help="What if: another caption for the image.")
    ] = "",
    other_image: Annotated[
        Path | None, typer.Option("--other-image", help="What if: another image for the caption.")
    ] = None,
    blank: Annotated[
        bool, typer.Option("--blank", help="What if: nothing to see, nothing to read.")
    ] = False,
    cut: Annotated[
        str | None, typer.Option("--cut", help="What if: no fusion at this layer, or at `all`.")
    ] = None,
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
    """Send one image-text pair through a model and say what each layer makes of it.

    With a what if, its counterfactuals, too, and where each of them parts from the pair.
    """
    if run is not None and store is None:
        raise InputError("belongs to a store", field="run", hint="Give `store`, too.")
    if pooling is not None and pooling not in POOLINGS:
        raise InputError(f"{pooling!r} is not one of {listed(POOLINGS, 'or')}", field="pooling")
    require_new(out_dir)
    from backend.cli.trace_table import show
    from backend.inference.files import about, write_traced
    from backend.inference.notebook import picture_of

    picture = picture_of(image)
    what = _what_if(other_text, other_image, blank, cut)
    opened = existing(store) if store is not None else None
    reference = opened.run(run) if opened is not None and run is not None else None
    traced = _traced(model, picture, text, what, opened, reference, pooling, revision, device)
    if out_dir is not None:
        write_traced(traced, out_dir)
    tell(lambda: about(traced), lambda: show(traced), as_json=as_json, folder=out_dir)


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


@dataclass(frozen=True)
class _WhatIf:
    """What is traced beside the pair, and what was changed in the own files for it."""

    caption: str
    image: Picture | None
    blanks: bool
    cut: CutWhere | None
    notes: tuple[str, ...]


def _what_if(text: str, image: Path | None, blanks: bool, cut: str | None) -> _WhatIf:
    from backend.inference.notebook import picture_of
    from backend.inference.uploads import read_caption
    from backend.inference.what_if import CAPTION, IMAGE

    caption = read_caption(text) if text else None
    picture = picture_of(image) if image is not None else None
    read = {CAPTION: caption, IMAGE: picture}
    notes = tuple(f"{name}: {note}" for name, one in read.items() if one for note in one.notes)
    return _WhatIf(caption.text if caption else "", picture, blanks, _cut_at(cut), notes)


def _cut_at(cut: str | None) -> CutWhere | None:
    if cut is None:
        return None
    if cut == "all":
        return "all"
    if not cut.isdecimal():
        raise InputError(f"{cut!r} is no layer", field="cut", hint="Give a number, or all.")
    return int(cut)


def _traced(
    model: str,
    picture: Picture,
    text: str,
    what: _WhatIf,
    store: Store | None,
    reference: Run | None,
    pooling: str | None,
    revision: str | None,
    device: str,
) -> Traced:
    from backend.inference.files import Traced, sites_table
    from backend.inference.requests import Pair, Placing, Request
    from backend.inference.service import Service
    from backend.inference.what_if import GIVEN, what_if
    from backend.models.devices import choose_device

    quiet_libraries()
    models, key = _model_of(model, store, revision)
    poolings = reference.manifest.poolings if reference is not None else POOLINGS
    shown = _pooling(pooling, poolings)

    def place(traces: dict[str, Trace]) -> tuple[pd.DataFrame, pd.DataFrame | None]:
        trace = traces[GIVEN]
        sites = sites_table(trace, shown)
        return sites, None if reference is None else _curves(trace, reference, shown)

    work = what_if(caption=what.caption, image=what.image, blanks=what.blanks, cut=what.cut)
    request = Request(key, (Pair(picture, text),), work, Placing("trace", place))
    with Service(models, [str(choose_device(device))]) as service, Bar("trace") as bar:
        done = _followed(service.submit(request), bar)
    sites, curves = cast("tuple[pd.DataFrame, pd.DataFrame | None]", done.placed)
    others = {name: trace for name, trace in done.value.items() if name != GIVEN}
    return Traced(
        done.value[GIVEN],
        picture,
        sites,
        curves,
        reference.run_id if reference is not None else "",
        (*done.notes, *what.notes),
        done.device,
        done.seconds,
        others,
    )


def _followed(job: Job[Any], bar: Bar) -> Done[Any]:
    """The result, its stages shown meanwhile; what went wrong is raised."""
    from backend.inference.requests import STAGES, Cancelled, Failed

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
