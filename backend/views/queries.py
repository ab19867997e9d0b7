"""What the pages ask of the store, each answer a plain value. No Streamlit here."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from PIL import Image

from backend.errors import InputError
from backend.measures.suite.parts import may_hold, measures_of, preset_of
from backend.store import Run, Store, assert_comparable
from backend.types import LayerRef, TaskSpec

COLUMNS_FOR_PEOPLE = [
    "label",
    "run_id",
    "seed",
    "epoch",
    "step",
    "measure",
    "stream_a",
    "layer_a",
    "site_a",
    "stream_b",
    "layer_b",
    "site_b",
    "pooling",
    "estimator",
    "value",
    "ci_low",
    "ci_high",
    "null_mean",
    "null_sd",
    "p_value",
    "p_corrected",
    "n",
    "reason",
    "warnings",
]


@dataclass(frozen=True)
class Table:
    """Rows, and one line for everything that could not be read."""

    frame: pd.DataFrame
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparable:
    """The runs that share their samples with the first one, and why the others do not count."""

    run_ids: tuple[str, ...]
    message: str = ""


def one_key(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Rows of one key for every value of ``by``, so that nothing is counted twice.

    A run may hold the same measure under several keys: presets, or the keys of two versions. The
    default preset comes first, then the key's name decides, the same way in every run.
    """
    keys = frame[[*by, "key"]].drop_duplicates()
    if len(keys) == len(keys.drop_duplicates(list(by))):
        return frame
    order = keys.assign(late=~keys["key"].str.startswith("default")).sort_values(["late", "key"])
    kept = order.drop_duplicates(list(by))[[*by, "key"]]
    return frame.merge(kept, on=[*by, "key"])


def run_measures(path: str, run_id: str, names: Sequence[str], preset: str = "default") -> Table:
    """The named measures of one run under one preset; only files that may hold them are read."""
    try:
        run = Store(path).run(run_id)
        keys = [
            key for key in run.measure_keys() if preset_of(key) == preset and may_hold(key, names)
        ]
        frame = one_key(run.measures(names, keys), ["measure", "pooling", "estimator"])
        return Table(frame.assign(run_id=run_id))
    except InputError as error:
        return Table(pd.DataFrame(), (str(error),))


def run_training(path: str, run_id: str) -> Table:
    """What was measured while one run's model was trained; no rows where nothing was."""
    try:
        return Table(Store(path).run(run_id).training_measures().assign(run_id=run_id))
    except InputError as error:
        return Table(pd.DataFrame(), (str(error),))


def measure_names(path: str, run_id: str) -> dict[str, tuple[str, ...]]:
    """{preset: names of the measures that a run holds under it}, mostly without reading files."""
    run = Store(path).run(run_id)
    found: dict[str, dict[str, None]] = {}
    for key in run.measure_keys():
        held = measures_of(key)
        names = run.measure_names([key]) if held is None else held
        found.setdefault(preset_of(key), {}).update(dict.fromkeys(names))
    return {preset: tuple(names) for preset, names in found.items()}


@dataclass(frozen=True)
class Driver:
    """A sample that drives a pair of layers; ``rank`` 1, 2, ... from the largest ``share`` down,
    -1, -2, ... from the smallest up.
    """

    sample_id: str
    rank: int
    share: float


def drivers(
    path: str, run_id: str, cell: tuple[LayerRef, LayerRef], pooling: str
) -> tuple[Driver, ...]:
    """The samples that drive a pair of layers, in either order, by rank; none where not stored."""
    run = Store(path).run(run_id)
    for a, b in (cell, cell[::-1]):
        frame = run.drivers(a, b, pooling)  # type: ignore[arg-type]
        if len(frame):
            frame = one_key(frame, ["pooling"])
            rows = zip(frame["sample_id"], frame["rank"], frame["share"], strict=True)
            return tuple(sorted((Driver(*row) for row in rows), key=lambda one: one.rank))
    return ()


@dataclass(frozen=True)
class Cross:
    """CKA between the layers of two runs; ``replaced`` names a run that made it out of date."""

    frame: pd.DataFrame
    problems: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()


def cross(path: str, run_a: str, run_b: str) -> Cross:
    """What is stored between two runs, ``stream_a`` of the first; no rows where nothing is."""
    try:
        pair = Store(path).pair(run_a, run_b)
        frame = one_key(pair.measures(), ["measure", "pooling", "estimator"])
        stale = dict.fromkeys(run_id for item in pair.stale() for run_id in item.replaced)
        return Cross(frame, replaced=() if len(frame) else tuple(stale))
    except InputError as error:
        return Cross(pd.DataFrame(), (str(error),))


def run_projections(path: str, run_id: str) -> Table:
    """All layer coordinates of one run."""
    try:
        return Table(one_key(Store(path).run(run_id).projections(), ["method", "pooling"]))
    except InputError as error:
        return Table(pd.DataFrame(), (str(error),))


def run_samples(path: str, run_id: str) -> Table:
    """Ids, splits and labels of one run's samples; no texts and no pictures."""
    try:
        run = Store(path).run(run_id)
        labels = [f"label_{task.name}" for task in run.manifest.tasks]
        return Table(run.samples(columns=["sample_id", "split", *labels]))
    except InputError as error:
        return Table(pd.DataFrame(), (str(error),))


@dataclass(frozen=True)
class Sample:
    """One sample as the detail card shows it.

    ``thumbnail`` is a WebP that can be decoded, or None; ``picture_note`` says why there is none.
    """

    sample_id: str
    split: str
    text: str
    labels: tuple[tuple[str, str], ...]
    thumbnail: bytes | None
    picture_note: str = ""


def one_sample(path: str, run_id: str, sample_id: str) -> Sample:
    """One sample with its text, labels in words and thumbnail; InputError if it is not there."""
    run = Store(path).run(run_id)
    row = run.sample(sample_id)
    labels = tuple(
        (task.name, label_in_words(row[f"label_{task.name}"], task)) for task in run.manifest.tasks
    )
    picture, note = _picture(row["thumbnail"])
    return Sample(str(row["sample_id"]), str(row["split"]), str(row["text"]), labels, picture, note)


def _picture(stored: object) -> tuple[bytes | None, str]:
    """A stored thumbnail if it is a WebP that decodes, else why not: stores are outside data."""
    if not isinstance(stored, bytes | bytearray | memoryview):
        return None, "No picture was stored for this sample."
    raw = bytes(stored)
    try:
        with Image.open(io.BytesIO(raw), formats=["WEBP"]) as image:
            image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None, "The stored picture cannot be read."
    return raw, ""


def label_in_words(value: object, task: TaskSpec) -> str:
    """A stored label as people read it: class names, "none of them" or "no label"."""
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return "no label"
    if task.kind == "binary":
        at = int(value)  # type: ignore[call-overload]
        return task.classes[at] if at < len(task.classes) else str(at)
    if task.kind == "multilabel":
        return ", ".join(map(str, value)) or "none of them"  # type: ignore[call-overload]
    return str(value)


def comparable(path: str, run_ids: Sequence[str]) -> Comparable:
    """Which of the runs may be averaged and overlaid with the first one."""
    store = Store(path)
    kept: list[Run] = []
    message = ""
    for run_id in run_ids:
        try:
            run = store.run(run_id)
            assert_comparable([*kept[:1], run])
        except InputError as error:
            message = message or str(error)
            continue
        kept.append(run)
    return Comparable(tuple(run.run_id for run in kept), message)
