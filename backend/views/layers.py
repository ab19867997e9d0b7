"""The projection page's questions: which layers, which colours, which points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from backend.figures.theme import CLASS_COLOURS, CLASS_MARKERS, styles_of
from backend.types import BLOCK, LayerRef, StreamSpec, TaskSpec
from backend.words import listed

MODALITY_COLOUR = "modality"
_FUSION = "fusion"


@dataclass(frozen=True)
class Colouring:
    """How points are coloured: a name in the menu, the classes, their colours and markers."""

    key: str
    title: str
    classes: tuple[str, ...]
    colours: tuple[str, ...] = CLASS_COLOURS
    markers: tuple[str, ...] = CLASS_MARKERS


def colourings(
    tasks: Sequence[TaskSpec], streams: Sequence[StreamSpec], among: Sequence[StreamSpec]
) -> dict[str, Colouring]:
    """One a task (one a class for a multi-label task), and that of ``streams`` among a model's."""
    out: dict[str, Colouring] = {}
    for task in tasks:
        if task.kind == "multilabel":
            for name in task.classes:
                key = f"{task.name}:{name}"
                out[key] = Colouring(key, f"{task.name}: {name}", (name, f"not {name}"))
        else:
            out[task.name] = Colouring(task.name, task.name, task.classes)
    styles = [styles_of(among)[spec.name] for spec in streams]
    out[MODALITY_COLOUR] = Colouring(
        MODALITY_COLOUR,
        f"stream ({listed(spec.name for spec in streams)})",
        tuple(spec.name for spec in streams),
        tuple(style.colour for style in styles),
        tuple(style.marker for style in styles),
    )
    return out


def refs_of(frame: pd.DataFrame, spec: StreamSpec) -> tuple[LayerRef, ...]:
    """The sites of a stream that have coordinates, in the order in which they are declared."""
    rows = frame[frame["stream"].eq(spec.name)][["layer", "site"]].drop_duplicates()
    held = set(rows.itertuples(index=False, name=None))
    return tuple(ref for ref in spec.refs if (ref.layer, ref.site) in held)


def nearest_ref(refs: Sequence[LayerRef], label: str | None) -> LayerRef:
    """The site of that label, else the last one before it, else the first one.

    None is the last layer. The output of a fusion lies before its layer, other named sites after.
    """
    if label is None:
        return last_layer(refs)
    wanted = LayerRef.parse(refs[0].stream, label)
    if wanted in refs:
        return wanted
    below = [ref for ref in refs if ref.layer < wanted.layer]
    if wanted.site != _FUSION:
        below += [ref for ref in refs if ref.layer == wanted.layer]
    return below[-1] if below else refs[0]


def last_layer(refs: Sequence[LayerRef]) -> LayerRef:
    """The last layer of the sites, not a named site after it, where there is any layer."""
    layers = [ref for ref in refs if ref.site == BLOCK]
    return (layers or list(refs))[-1]


def points_at(frame: pd.DataFrame, ref: LayerRef) -> pd.DataFrame:
    """Samples of one layer: sample_id, x, y, stream."""
    rows = frame[
        frame["stream"].eq(ref.stream) & frame["layer"].eq(ref.layer) & frame["site"].eq(ref.site)
    ]
    return rows[["sample_id", "stream", "x", "y"]]


def coloured(
    points: pd.DataFrame, samples: pd.DataFrame, tasks: Sequence[TaskSpec], colour: str
) -> pd.DataFrame:
    """``points`` with the column ``colour``: a class name, or "" where there is no label."""
    if colour == MODALITY_COLOUR:
        return points.assign(colour=points["stream"])
    name, _, chosen = colour.partition(":")
    task = next(task for task in tasks if task.name == name)
    labels = samples.set_index("sample_id")[f"label_{name}"].reindex(points["sample_id"])
    return points.assign(colour=[_class_of(value, task, chosen) for value in labels])


def _class_of(value: object, task: TaskSpec, chosen: str) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return ""
    if task.kind == "binary":
        return task.classes[int(value)]  # type: ignore[call-overload]
    if task.kind == "multilabel":
        return chosen if chosen in list(value) else f"not {chosen}"  # type: ignore[call-overload]
    return str(value)
