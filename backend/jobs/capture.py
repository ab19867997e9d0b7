"""`fusionscope capture`: one checkpoint over one split becomes one run of a store."""

from __future__ import annotations

import importlib.metadata
import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from backend import __version__
from backend.capture.options import CaptureOptions
from backend.capture.run import capture, read_scores
from backend.data.base import PairSource
from backend.data.registry import open_source
from backend.errors import InputError
from backend.jobs.streaming import StreamBuffer
from backend.jobs.training_measures import read_training_measures
from backend.measures.streaming.stream_suite import LEAST_SAMPLES
from backend.models.adapter import Adapter
from backend.models.registry import open_model
from backend.models.weights import PIPELINE, card_of
from backend.progress import SILENT, Progress
from backend.settings import check_settings
from backend.store import Manifest, RunWriter, Store, kinds
from backend.store.identity import default_run_id, distinct_run_id
from backend.store.manifest import (
    DatasetInfo,
    Dtype,
    ModelInfo,
    OriginInfo,
    PlacementInfo,
    TaskInfo,
    utc_now,
)
from backend.store.paths import check_id
from backend.store.streams import StreamInfo
from backend.train.epochs import read_training_scores
from backend.train.predictions import read_predictions
from backend.types import POOLINGS, Pooling

_PACKAGES = ("torch", "transformers", "timm", "numpy", "pyarrow")


@dataclass(frozen=True)
class CaptureRequest:
    """What to capture, from what, into which run. ``run_id`` defaults to what it is made of.

    ``model`` is a checkpoint directory, encoders by name (:mod:`backend.models.encoders`) or, with
    an optional ``revision``, a model of the hub. ``follow_links``: files behind links that lead out
    of the data's folder are read. ``allow_partial_weights``, ``timesteps``: see
    :func:`backend.models.registry.open_model`.

    ``streaming``: the layers are summed while the model runs and none is kept; see
    :mod:`backend.jobs.streaming`.
    """

    model: str
    data: str
    store: str
    revision: str | None = None
    run_id: str | None = None
    streaming: bool = False
    strict: bool = False
    replace: bool = False
    follow_links: bool = False
    allow_partial_weights: bool = False
    timesteps: tuple[int, ...] = ()
    options: CaptureOptions = field(default_factory=CaptureOptions)


@dataclass(frozen=True)
class Opened:
    """A request whose model and data are loaded and whose manifest is known."""

    adapter: Adapter
    source: PairSource
    manifest: Manifest
    expected: int  # samples, if every image can be read


BeforeCommit = Callable[[RunWriter], None]


def open_request(request: CaptureRequest, source: PairSource | None = None) -> Opened:
    """Load the model, open the data (``source`` where it is open), and work out their run."""
    options = request.options
    check_settings(options)
    if not options.pooling:
        raise InputError("must be at least one", field="pooling")
    if request.run_id is not None:
        check_id(request.run_id)
    if request.streaming and options.dtype != "float32":
        raise InputError(
            f"{options.dtype} is how vectors are kept, and a streaming capture keeps none",
            field="dtype",
            hint="Leave out one of `dtype` and `streaming`.",
        )
    source = source or open_source(
        request.data, strict=request.strict, follow_links=request.follow_links
    )
    split = source.canonical(options.split)
    adapter = open_model(
        request.model,
        revision=request.revision,
        allow_partial_weights=request.allow_partial_weights,
        timesteps=request.timesteps,
    )
    if options.with_checkpoint and adapter.folder and card_of(adapter.folder).name == PIPELINE:
        raise InputError(
            "a pipeline of several parts is not copied into a run",
            where=f"model {adapter.name}",
            field="with_checkpoint",
            hint="Leave it out: `fusionscope serve --models DIR` finds it where it lies.",
        )
    source.read_as(adapter.tasks)
    expected = sum(1 for _ in source.records(split, options.limit))
    if request.streaming and expected < LEAST_SAMPLES:
        raise InputError(
            f"a streaming capture needs at least {LEAST_SAMPLES} samples, got {expected}",
            where=f"data {source.name}, split {split}",
        )
    return Opened(adapter, source, _manifest(request, adapter, source, split), expected)


def measure_and_project(writer: RunWriter, *, keep_probes: bool = False) -> None:
    """What a run must have before its activations are dropped; probes only if they stay."""
    from backend.jobs.measure import measure_source
    from backend.jobs.project import project_source

    measure_source(writer, keep_probes=keep_probes)
    project_source(writer)


def run_capture(
    request: CaptureRequest,
    opened: Opened,
    *,
    keep_activations: bool = True,
    before_commit: BeforeCommit | None = None,
    progress: Progress = SILENT,
) -> Manifest:
    """Capture and commit; an interrupted capture of the same request goes on where it stopped.

    ``before_commit`` may add measures and projections to the run from the captured layers, which
    is the only chance when the activations are not kept. A streaming request measures by itself,
    keeps no activations and has none to offer to ``before_commit``.
    """
    adapter, source = opened.adapter, opened.source
    folder = adapter.folder
    store = Store.create(request.store)
    with store.writer(opened.manifest, replace=request.replace) as writer:
        sums = StreamBuffer(writer, request.options.batch_size) if request.streaming else None
        capture(adapter, source, writer, request.options, progress, sums, opened.expected)
        if folder is not None and adapter.trained_on == source.name:
            scores = read_scores(folder)
            if scores is not None:
                writer.add(kinds.SCORES, scores)
            predicted = read_predictions(folder)
            if predicted is not None:
                writer.add(kinds.PREDICTIONS, predicted)
            measured = read_training_measures(folder)
            if measured is not None:
                writer.add(kinds.TRAINING_MEASURES, measured)
            by_epoch = read_training_scores(folder)
            if by_epoch is not None:
                writer.add(kinds.TRAINING_SCORES, by_epoch)
        if folder is not None and request.options.with_checkpoint:
            writer.add_checkpoint(folder)
        if sums:
            sums.add_measures()
        if before_commit:
            before_commit(writer)
        return writer.commit(keep_activations=keep_activations and not request.streaming)


def _manifest(
    request: CaptureRequest, adapter: Adapter, source: PairSource, split: str
) -> Manifest:
    placement = adapter.placement
    return Manifest(
        run_id=request.run_id or _free_id(request, adapter, source.name),
        model=ModelInfo(
            name=adapter.name,
            family=adapter.family,
            digest=adapter.digest,
            revision=adapter.revision,
            streams=tuple(StreamInfo.of(spec) for spec in adapter.streams),
        ),
        placement=PlacementInfo(name=placement.name, text=placement.text, vision=placement.vision)
        if placement
        else None,
        seed=adapter.seed,
        dataset=DatasetInfo(
            name=source.name,
            layout=source.layout,
            split=split,
            fingerprint=source.fingerprint(split, request.options.limit),
            n=0,
            tasks=tuple(
                TaskInfo(name=t.name, kind=t.kind, classes=t.classes) for t in source.tasks.values()
            ),
        ),
        poolings=_poolings(request, adapter),
        dtype=cast(Dtype, request.options.dtype),
        streaming=request.streaming,
        timesteps=adapter.timesteps if request.timesteps else (),
        versions={
            "fusionscope": __version__,
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
        created=utc_now(),
        origin=OriginInfo(
            model=request.model,
            data=request.data,
            train=train_command(adapter.folder) if adapter.folder else "",
        ),
    )


def _poolings(request: CaptureRequest, adapter: Adapter) -> tuple[Pooling, ...]:
    """Those that were asked for and that any stream has; InputError where that is none."""
    has = {p for spec in adapter.streams for ref in spec.refs for p in spec.poolings_of(ref)}
    poolings = tuple(pooling for pooling in POOLINGS if pooling in {*request.options.pooling} & has)
    if not poolings:
        raise InputError(
            f"none of its streams has a summary token, so there is no {request.options.pooling[0]}",
            where=f"model {adapter.name}",
            field="pooling",
            hint=f"Use {','.join(sorted(has))}.",
        )
    return poolings


def _free_id(request: CaptureRequest, adapter: Adapter, dataset: str) -> str:
    """What model and data are called; where another model's run is called so, with the digest."""
    placed = adapter.placement.name if adapter.placement else None
    steps = adapter.timesteps if request.timesteps else ()
    called = "-".join([adapter.name, *(f"t{step}" for step in steps)])
    run_id = default_run_id(dataset, placed, adapter.seed, called, adapter.digest)
    holder = Store(request.store).holder(run_id) if Path(request.store).exists() else None
    if holder in (None, adapter.digest) or request.replace:
        return run_id
    return distinct_run_id(run_id, adapter.digest)


def train_command(checkpoint: Path) -> str:
    """The command line that trained a checkpoint, if its directory remembers one."""
    path = checkpoint / "training.json"
    if not path.is_file():
        return ""
    try:
        words = shlex.split(json.loads(path.read_text(encoding="utf-8"))["command"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError("training.json is broken", where=str(checkpoint)) from error
    return shlex.join([*words, "--out", str(checkpoint.parent)])
