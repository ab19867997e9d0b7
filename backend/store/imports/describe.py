"""What an import's run.json says: names, streams, samples, and what nobody gave."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar, cast, get_args

from backend import __version__
from backend.data.base import fingerprint_of
from backend.errors import InputError
from backend.store.identity import default_run_id
from backend.store.imports.mapping import MappingForm
from backend.store.imports.options import ImportOptions
from backend.store.imports.places import Place
from backend.store.imports.streams import absent_of
from backend.store.imports.table import RowNumbers, SampleTable
from backend.store.manifest import (
    DatasetInfo,
    Dtype,
    Manifest,
    ModelInfo,
    OriginInfo,
    PlacementInfo,
    TaskInfo,
    utc_now,
)
from backend.store.paths import check_id, layer_name
from backend.store.streams import StreamInfo
from backend.types import POOLINGS, StreamSpec

LAYOUT = "import"
_PACKAGES = ("numpy", "pyarrow")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")
Value = TypeVar("Value")


def either(first: Value | None, second: Value | None) -> Value | None:
    """What a call says, else what the mapping says."""
    return second if first is None else first


def manifest_of(
    form: MappingForm,
    options: ImportOptions,
    places: Sequence[Place],
    streams: Sequence[StreamSpec],
    samples: SampleTable | RowNumbers,
    digest: str,
    files: Sequence[Path],
) -> Manifest:
    """The manifest of an import, its number of samples still 0."""
    name = either(options.name, form.model.name) or _name_of(files)
    dataset = either(options.dataset, form.dataset) or samples.dataset
    seed = either(options.seed, form.seed)
    placement = _placement(either(options.placement, form.placement), streams)
    run_id = either(options.run_id, form.run_id) or default_run_id(
        dataset, placement.name if placement else None, seed, name, digest
    )
    absent = absent_of(streams, places)
    return Manifest(
        run_id=check_id(run_id),
        model=ModelInfo(
            name=name,
            family=either(options.family, form.model.family) or "imported",
            digest=digest,
            revision=either(options.revision, form.model.revision) or "",
            streams=tuple(StreamInfo.of(spec) for spec in streams),
        ),
        placement=placement,
        seed=seed,
        dataset=DatasetInfo(
            name=dataset,
            layout=LAYOUT,
            split=_split_of(samples, either(options.split, form.split)),
            fingerprint=fingerprint_of(samples.records(), samples.tasks),
            n=0,
            tasks=tuple(
                TaskInfo(name=t.name, kind=t.kind, classes=t.classes)
                for t in samples.tasks.values()
            ),
        ),
        poolings=tuple(p for p in POOLINGS if any(place.pooling == p for place in places)),
        dtype=_dtype(either(options.dtype, form.dtype), places),
        absent=tuple(layer_name(ref, pooling) for ref, pooling in absent),
        versions={
            "fusionscope": __version__,
            **{package: importlib.metadata.version(package) for package in _PACKAGES},
        },
        created=utc_now(),
        origin=OriginInfo(
            kind="import",
            model=_files_in_words(files),
            data=samples.where,
            command=options.command,
        ),
    )


def _placement(name: str | None, streams: Sequence[StreamSpec]) -> PlacementInfo | None:
    if name is None:
        return None
    layers = {spec.name: spec.fusion_layers for spec in streams}
    return PlacementInfo(name=name, text=layers.get("text", ()), vision=layers.get("vision", ()))


def _dtype(asked: str | None, places: Sequence[Place]) -> Dtype:
    if asked is not None and asked not in get_args(Dtype):
        raise InputError(f"{asked!r} is unknown", field="dtype", hint=" or ".join(get_args(Dtype)))
    half = all(place.array.dtype.itemsize == 2 for place in places)
    return cast(Dtype, asked or ("float16" if half else "float32"))


def _split_of(samples: SampleTable | RowNumbers, given: str | None) -> str:
    """The one split of the table, else what was given, else ``all``."""
    splits = list(samples.splits) if isinstance(samples, SampleTable) else []
    return splits[0] if len(splits) == 1 else given or "all"


def _name_of(files: Sequence[Path]) -> str:
    """The name of the one file, or of the folder that all files are in."""
    if not files:
        return "arrays"
    if len(files) == 1:
        return _NOT_IN_A_NAME.sub("_", files[0].stem)
    folders = {path.resolve().parent for path in files}
    top = min(folders, key=lambda folder: len(folder.parts))
    return _NOT_IN_A_NAME.sub("_", top.name) or "arrays"


def _files_in_words(files: Sequence[Path]) -> str:
    names = ", ".join(path.name for path in files[:3]) or "arrays of a notebook"
    return names + (f" and {len(files) - 3} more" if len(files) > 3 else "")
