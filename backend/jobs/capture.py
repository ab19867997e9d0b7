"""`fusionscope capture`: one checkpoint over one split becomes one run of a store."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast, get_args

from backend import __version__
from backend.capture.run import CaptureOptions, capture, read_scores
from backend.data.base import PairSource
from backend.data.registry import open_source
from backend.errors import InputError
from backend.jobs.streaming import StreamBuffer
from backend.jobs.training_measures import read_training_measures
from backend.measures.stream_suite import LEAST_SAMPLES
from backend.models.adapter import Adapter
from backend.models.registry import load_model
from backend.store import Manifest, RunWriter, Store
from backend.store.manifest import (
    DatasetInfo,
    Dtype,
    ModelInfo,
    OriginInfo,
    PlacementInfo,
    StreamInfo,
    TaskInfo,
    utc_now,
)
from backend.types import POOLINGS, Pooling

_PACKAGES = ("torch", "transformers", "timm", "numpy", "pyarrow")


@dataclass(frozen=True)
class CaptureRequest:
    """What to capture, from what, into which run. ``run_id`` defaults to what it is made of.

    ``streaming``: the layers are summed while the model runs and none is kept; see
    :mod:`backend.jobs.streaming`.
    """

    model: str
    data: str
    store: str
    split: str = "test"
    poolings: tuple[str, ...] = POOLINGS
    dtype: str = "float32"
    run_id: str | None = None
    keep_checkpoint: bool = False
    streaming: bool = False
    strict: bool = False
    replace: bool = False
    options: CaptureOptions = field(default_factory=CaptureOptions)


@dataclass(frozen=True)
class Opened:
    """A request whose model and data are loaded and whose manifest is known."""

    adapter: Adapter
    source: PairSource
    manifest: Manifest
    expected: int  # samples, if every image can be read


Progress = Callable[[int], None]
BeforeCommit = Callable[[RunWriter], None]


def open_request(request: CaptureRequest) -> Opened:
    """Load the model, open the data, and work out the run that they will make."""
    unknown = [p for p in request.poolings if p not in POOLINGS]
    if unknown or not request.poolings:
        raise InputError(
            f"unknown pooling {', '.join(unknown) or '(none given)'}",
            hint=f"Use one or more of {', '.join(POOLINGS)}.",
        )
    if request.dtype not in get_args(Dtype):
        raise InputError(
            f"unknown dtype {request.dtype!r}", hint=f"Use {' or '.join(get_args(Dtype))}."
        )
    if request.streaming and request.dtype != "float32":
        raise InputError(
            f"dtype {request.dtype} is how vectors are kept, and a streaming capture keeps none",
            where="--dtype",
            hint="Leave out one of --dtype and --streaming.",
        )
    source = open_source(request.data, strict=request.strict)
    split = source.canonical(request.split)
    adapter = load_model(request.model)
    expected = sum(1 for _ in source.records(split, request.options.limit))
    if request.streaming and expected < LEAST_SAMPLES:
        raise InputError(
            f"a streaming capture needs at least {LEAST_SAMPLES} samples, got {expected}",
            where=f"data {source.name}, split {split}",
        )
    return Opened(adapter, source, _manifest(request, adapter, source, split), expected)


def measure_and_project(writer: RunWriter) -> None:
    """What a run must have before its activations are dropped."""
    from backend.jobs.measure import measure_source
    from backend.jobs.project import project_source

    measure_source(writer)
    project_source(writer)


def run_capture(
    request: CaptureRequest,
    opened: Opened,
    *,
    keep_activations: bool = True,
    before_commit: BeforeCommit | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Capture and commit; an interrupted capture of the same request goes on where it stopped.

    ``before_commit`` may add measures and projections to the run from the captured layers, which
    is the only chance when the activations are not kept. A streaming request measures by itself,
    keeps no activations and has none to offer to ``before_commit``.
    """
    adapter, source = opened.adapter, opened.source
    folder = Path(request.model)
    store = Store.create(request.store)
    with store.writer(opened.manifest, replace=request.replace) as writer:
        sums = StreamBuffer(writer, request.options.batch_size) if request.streaming else None
        capture(adapter, source, writer, request.options, progress, sums)
        trained_here = adapter.trained_on == source.name
        found = read_scores(folder) if trained_here else None
        if found is not None:
            writer.add_scores(found)
        measured = read_training_measures(folder) if trained_here else None
        if measured is not None:
            writer.add_training_measures(measured)
        if request.keep_checkpoint:
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
    seed = adapter.seed or 0
    placed = placement.name if placement else "none"
    return Manifest(
        run_id=request.run_id or _id(source.name, placed, f"s{seed}"),
        model=ModelInfo(
            name=adapter.name,
            family=adapter.family,
            digest=adapter.digest,
            streams=tuple(
                StreamInfo(
                    name=s.name,
                    modality=s.modality,
                    depth=s.depth,
                    width=s.width,
                    fusion_layers=s.fusion_layers,
                )
                for s in adapter.streams
            ),
        ),
        placement=PlacementInfo(
            name=placed,
            text=placement.text if placement else (),
            vision=placement.vision if placement else (),
        ),
        seed=seed,
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
        poolings=cast(tuple[Pooling, ...], request.poolings),
        dtype=cast(Dtype, request.dtype),
        streaming=request.streaming,
        versions={
            "fusionscope": __version__,
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
        created=utc_now(),
        origin=OriginInfo(
            model=request.model, data=request.data, train=train_command(Path(request.model))
        ),
    )


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


def _id(*parts: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join(parts)).lstrip(".")[:80]
