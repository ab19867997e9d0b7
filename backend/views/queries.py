"""What the pages ask of the store besides whole tables, each answer a plain value."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import lru_cache

import pandas as pd
from PIL import Image

from backend.data.images import is_thumbnail
from backend.errors import InputError
from backend.measures.suite.parts import measures_of, preset_of
from backend.store import assert_comparable, query
from backend.store.source import Part
from backend.types import LayerRef, TaskSpec
from backend.views.questions import RunAt, entry_in
from backend.views.store_access import opened


@dataclass(frozen=True)
class Comparable:
    """The runs that share their samples with the first one, and why the others do not count."""

    run_ids: tuple[str, ...]
    message: str = ""


@dataclass(frozen=True)
class Driver:
    """A sample that drives a pair of layers; ``rank`` 1, 2, ... from the largest ``share`` down,
    -1, -2, ... from the smallest up.
    """

    sample_id: str
    rank: int
    share: float


@dataclass(frozen=True)
class Sample:
    """One sample as the detail card shows it.

    ``thumbnail`` is a WebP that can be decoded, or None; ``picture_note`` says why there is none.
    ``group`` is the one that the data set gives it, "" where it gives none.
    """

    sample_id: str
    split: str
    text: str
    labels: tuple[tuple[str, str], ...]
    thumbnail: bytes | None
    picture_note: str = ""
    group: str = ""


def held_measures(run: RunAt, keys: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """{preset: names of the measures under some keys of a run}, mostly without reading tables."""
    names: dict[str, dict[str, None]] = {}
    unnamed = []
    for key in keys:
        held = measures_of(key)
        if held is None:
            unnamed.append(Part(run.run_id, key))
        else:
            names.setdefault(preset_of(key), {}).update(dict.fromkeys(held))
    if unnamed:
        answer = query.measure_names(opened(run.store).source, unnamed)
        # What cannot be read is named where the measures themselves are asked for.
        for row in answer.table.select(["key", "measure"]).to_pylist():
            names.setdefault(preset_of(row["key"]), {})[row["measure"]] = None
    return {preset: tuple(held) for preset, held in names.items()}


def drivers(
    run: RunAt, keys: tuple[str, ...], cell: tuple[LayerRef, LayerRef], pooling: str
) -> tuple[Driver, ...]:
    """The samples that drive a pair of layers, in either order, by rank; none where not stored.

    ``keys`` are those of the run's tables of them.
    """
    parts = [Part(run.run_id, key) for key in keys]
    answer = query.drivers(opened(run.store).source, parts, *cell, pooling)
    if answer.problems:
        raise InputError(answer.problems[0])
    rows = answer.table.to_pylist()
    # Of several keys (two versions of the program) the first.
    return tuple(
        Driver(row["sample_id"], row["rank"], row["share"])
        for row in rows
        if row["key"] == rows[0]["key"]
    )


def sample(run: RunAt, sample_id: str) -> Sample:
    """One sample with its text, labels in words and thumbnail; InputError if it is not there."""
    source = opened(run.store).source
    entry = entry_in(source, run.run_id)
    try:
        row = query.sample(source, entry, sample_id)
    except InputError:  # if it is but the picture, the rest is shown, and the card says so
        row = query.sample(source, entry, sample_id, picture=False) | {"thumbnail": b""}
    labels = tuple(
        (task.name, label_in_words(row[f"label_{task.name}"], task))
        for task in entry.manifest.tasks
    )
    picture, note = _picture(row["thumbnail"])
    return Sample(
        str(row["sample_id"]),
        str(row["split"]),
        str(row["text"]),
        labels,
        picture,
        note,
        str(row["group"] or ""),
    )


def _picture(stored: object) -> tuple[bytes | None, str]:
    """A stored thumbnail if it is a WebP that decodes, else why not: stores are outside data.

    What is larger than a thumbnail is not decoded: 34 bytes can hold 13,000 x 13,000 pixels.
    """
    if not isinstance(stored, bytes | bytearray | memoryview):
        return None, "No picture was stored for this sample."
    raw = bytes(stored)
    unusable = "The stored picture cannot be read, or is larger than a thumbnail."
    if not is_thumbnail(raw):
        return None, unusable
    try:
        with Image.open(io.BytesIO(raw), formats=["WEBP"]) as image:
            image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None, unusable
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


def comparable(runs: tuple[RunAt, ...]) -> Comparable:
    """Which of the runs may be averaged and overlaid with the first one."""
    sharing: list[RunAt] = []
    message = ""
    for run in runs:
        try:
            digest = _samples_digest(run)  # one that cannot be read stands for nobody's samples
            if not sharing or digest == _samples_digest(sharing[0]):
                sharing.append(run)
            else:
                first, other = (opened(at.store).run(at.run_id) for at in (sharing[0], run))
                assert_comparable([first, other])  # says which samples differ
        except InputError as error:
            message = message or str(error)
    return Comparable(tuple(run.run_id for run in sharing or runs[:1]), message)


@lru_cache(maxsize=4096)
def _samples_digest(run: RunAt) -> str:
    """The same for runs that have the same samples in the same order."""
    digest = hashlib.blake2b(digest_size=16)
    for sample_id in opened(run.store).run(run.run_id).ids.to_pylist():
        digest.update(f"{len(sample_id)} {sample_id}".encode())
    return digest.hexdigest()
