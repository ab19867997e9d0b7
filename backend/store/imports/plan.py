"""From what the user gave to a checked plan: which rows, which layers, which manifest.

Nothing is written here, so that bad input leaves nothing behind.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from backend.data.rooted import Rooted
from backend.data.rows import Bad, RowError
from backend.data.tables import table_rows
from backend.errors import InputError
from backend.store.imports.arrays import Contents
from backend.store.imports.describe import either, manifest_of
from backend.store.imports.ids import row_order
from backend.store.imports.mapping import MappingForm, read_mapping
from backend.store.imports.options import ImportOptions
from backend.store.imports.pattern import Pattern
from backend.store.imports.places import Assignment, Naming, Place, find_places
from backend.store.imports.sources import (
    MAPPING,
    Settings,
    Sources,
    digest_of,
    files_of,
    open_arrays,
    open_files,
)
from backend.store.imports.streams import streams_of
from backend.store.imports.table import RowNumbers, SampleTable
from backend.store.manifest import Manifest
from backend.types import POOLINGS, How, TaskSpec

_MODALITY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,79}")


@dataclass(frozen=True)
class Plan:
    """An import that can be carried out.

    ``orders``: for contents with ids in another order than the run's, where each of the run's rows
    stands in them. ``notes``: what the user should know was assumed.
    """

    manifest: Manifest
    places: tuple[Place, ...]
    samples: SampleTable | RowNumbers
    orders: Mapping[int, np.ndarray]
    contents: tuple[Contents, ...]
    scores: pd.DataFrame | None
    allow_nan: bool
    notes: tuple[str, ...]


def plan_import(sources: Sources, options: ImportOptions) -> Plan:
    """Open everything and check it against each other; InputError for whatever does not fit."""
    _check_words(options)
    form, folder = _mapping(sources, options)
    samples_file = _beside(form.samples, folder) if options.samples is None else options.samples
    scores_file = _beside(form.scores, folder) if options.scores is None else options.scores
    settings = Settings(_binary(options.binary_dtype), options.table)
    if isinstance(sources, Mapping):
        files, contents = open_arrays(sources, settings)
    else:
        tables = [Path(f) for f in (samples_file, scores_file) if isinstance(f, str | Path)]
        files = files_of(sources, tables)
        contents = open_files(files, settings)
    assigned = find_places(contents, _naming(form, options))
    used = tuple(part for part in contents if any(p.contents is part for p in assigned.places))
    streams = streams_of(
        assigned.places, form.streams, options.modalities, options.fusion, options.how
    )
    samples, orders, notes = _rows(assigned.places, used, samples_file, form, options)
    allow_nan = bool(either(options.allow_nan, form.allow_nan))
    # Another mapping of the same files is another import: one that stopped does not go on with it.
    placed = [
        f"{one.ref} {one.pooling} {one.contents.full_name(one.array)} {one.plane} {one.axis}"
        for one in assigned.places
    ]
    digest = digest_of(files, used, [*placed, str(allow_nan)])
    manifest = manifest_of(form, options, assigned.places, streams, samples, digest, files)
    return Plan(
        manifest,
        assigned.places,
        samples,
        orders,
        used,
        _scores(scores_file),
        allow_nan,
        (*_assumed(assigned), *notes),
    )


def _mapping(sources: Sources, options: ImportOptions) -> tuple[MappingForm, Path]:
    """The mapping that was named, else that of the one folder that was, else an empty one."""
    if options.mapping is not None:
        path = Path(options.mapping)
    else:
        given = [sources] if isinstance(sources, str | Path) else sources
        folders = [] if isinstance(given, Mapping) else [Path(p) for p in given if Path(p).is_dir()]
        named = [folder / MAPPING for folder in folders if (folder / MAPPING).is_file()]
        if not named:
            return MappingForm(), Path()
        if len(named) > 1:
            raise InputError(f"{len(named)} folders have a {MAPPING}", hint="Import them singly")
        path = named[0]
    return read_mapping(path), path.parent


def _beside(name: str | None, folder: Path) -> Path | None:
    """A file that a mapping names: below its folder, whoever wrote it."""
    if name is None:
        return None
    try:
        return Rooted(folder.resolve()).locate(name, "table")
    except RowError as error:
        raise InputError(error.reason, where=MAPPING) from error


def _binary(name: str) -> np.dtype:
    if name not in ("float32", "float16"):
        raise InputError(f"{name!r} is no type", field="binary_dtype", hint="float32 or float16")
    return np.dtype(name).newbyteorder("<")


def _naming(form: MappingForm, options: ImportOptions) -> Naming:
    text = either(options.pattern, form.pattern)
    pooling = either(options.pooling, form.pooling)
    if pooling is not None and pooling not in POOLINGS:
        raise InputError(f"{pooling!r} is unknown", field="pooling", hint=", ".join(POOLINGS))
    axis = either(options.layer_axis, form.layer_axis)
    if axis not in (None, 0, 1):
        raise InputError(f"{axis} is no axis of layers", field="layer_axis", hint="Use 0 or 1")
    first = either(options.first_layer, form.first_layer) or 0
    if first < 0:
        raise InputError(f"{first} is no layer", field="first_layer", hint="Use 0 or more")
    return Naming(
        None if text is None else Pattern(text),
        either(options.stream, form.stream),
        pooling,
        first,
        1 if axis is None else axis,
        form.streams,
    )


def _check_words(options: ImportOptions) -> None:
    if options.how not in (None, *get_args(How)):
        raise InputError(f"{options.how!r} is unknown", field="how", hint=", ".join(get_args(How)))
    for stream, word in options.modalities.items():
        if not _MODALITY.fullmatch(word):
            raise InputError(f"{word!r} is no word", field="modalities", where=f"stream {stream}")


def _rows(
    places: Sequence[Place],
    contents: Sequence[Contents],
    table: str | Path | pd.DataFrame | None,
    form: MappingForm,
    options: ImportOptions,
) -> tuple[SampleTable | RowNumbers, dict[int, np.ndarray], list[str]]:
    """The run's samples, and how the rows of contents follow from them.

    The samples table's order is the run's; without one that of the first contents with ids.
    """
    n, split = places[0].n, either(options.split, form.split)
    for part in contents:
        if part.ids is not None and len(part.ids) != n:
            raise InputError(f"{len(part.ids):,} ids for {n:,} rows", where=part.where)
    with_ids = [part for part in contents if part.ids is not None]
    notes: list[str] = []
    samples: SampleTable | RowNumbers
    if table is not None:
        tasks = tuple(TaskSpec(t.name, t.kind, t.classes) for t in form.tasks)
        path = table if isinstance(table, pd.DataFrame) else Path(table)
        images = None if options.images is None else Path(options.images)
        samples = SampleTable(path, split=split, images=images, tasks=tasks)
        name = samples.where
        notes += samples.notes
    elif with_ids:
        ids, name = with_ids[0].ids or (), with_ids[0].where
        samples = RowNumbers(ids, split or "all")
    else:
        samples = RowNumbers([str(row) for row in range(n)], split or "all")
        name = "row numbers"
        notes.append("the ids are row numbers: there is no samples table and no array of ids")
    orders: dict[int, np.ndarray] = {}
    for at, part in enumerate(contents):
        if part.ids is None:
            if len(samples.ids) != n:
                raise InputError(
                    f"{len(samples.ids):,} samples, the arrays have {n:,} rows and no ids",
                    where=name,
                    hint="Give as many samples as rows, in the same order, or arrays with ids",
                )
            if table is not None or with_ids:
                notes.append(f"{part.where}: has no ids, so rows are matched by position")
            continue
        order = row_order(samples.ids, part.ids, (name, part.where))
        if order is not None:
            orders[at] = order
            notes.append(f"{part.where}: rows are put into the order of {name}")
    return samples, orders, notes


def _assumed(assigned: Assignment) -> list[str]:
    notes = []
    if assigned.assumed_pooling:
        notes.append("nothing says how vectors were pooled: they are called cls (`pooling`)")
    if assigned.passed_over:
        first = ", ".join(assigned.passed_over[:3])
        more = f" and {len(assigned.passed_over) - 3} more" if len(assigned.passed_over) > 3 else ""
        notes.append(f"passed over, since no pattern matches: {first}{more}")
    return notes


def _scores(table: str | Path | pd.DataFrame | None) -> pd.DataFrame | None:
    """Task, metric, split, value; InputError for a table without them."""
    if table is None:
        return None
    columns = ["task", "metric", "split", "value"]
    where = "the scores" if isinstance(table, pd.DataFrame) else Path(table).name
    if isinstance(table, pd.DataFrame):
        frame = table
    else:
        if not Path(table).is_file():
            raise InputError("no such file", where=str(table))
        rows: list[dict[str, Any]] = []
        for item in table_rows(Path(table)):
            if isinstance(item, Bad):
                raise InputError(item.reason, where=f"{where} row {item.row}")
            rows.append(item[1])
        frame = pd.DataFrame(rows)
    lacking = [name for name in columns if name not in frame.columns]
    if lacking:
        raise InputError(f"no column {', '.join(map(repr, lacking))}", where=where)
    try:
        values = frame["value"].astype("float64")
    except (TypeError, ValueError) as error:
        raise InputError(f"column 'value' is not all numbers ({error})", where=where) from error
    texts = frame[columns[:3]]
    if texts.isna().any().any() or not texts.map(lambda text: isinstance(text, str)).all().all():
        raise InputError("task, metric and split must be texts", where=where)
    return texts.assign(value=values)
