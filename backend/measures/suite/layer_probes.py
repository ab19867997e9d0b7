"""Linear probes of every layer, and of matching layers of two streams side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from backend.errors import InputError
from backend.measures.core.base import constant_reason
from backend.measures.core.result import Result
from backend.measures.families.probes import linear_probe
from backend.measures.suite.suite import (
    constant_layer_reason,
    end_pairs,
    in_order,
    site_name,
    tidy_row,
)
from backend.types import NO_LABEL, LayerRef, StreamSpec, TaskSpec, matched_layers

if TYPE_CHECKING:
    from backend.measures.suite.presets import Layers

FOLDS = 5


@dataclass(frozen=True, eq=False)
class Target:
    """What a task's probes predict: the rows of the samples that count, their labels, a remark."""

    task: TaskSpec
    rows: NDArray[np.intp]
    labels: NDArray[np.generic]
    remark: str = ""


def probe_rows(layers: Layers) -> Iterator[dict[str, object]]:
    """A tidy row a task and layer, and a task and pair of matching layers, one after the other.

    ``estimator`` is the name of the task. A row of two layers is the probe of both vectors, one
    after the other; the vision stream's is first. Classes (labels, if there are several a sample)
    with fewer than ``FOLDS`` samples cannot be cross-validated and are left out with a warning.
    """
    targets = [target_of(task, labels) for task, labels in layers.labels.items() if task.classes]
    places: list[tuple[LayerRef, ...]] = [(ref,) for ref in [*layers.blocks, *layers.at_ends]]
    places += matching(layers)
    for target in targets:
        for place in places:
            yield _row(layers, target, place)


def matching(layers: Layers) -> list[tuple[LayerRef, LayerRef]]:
    """Matching layers of every two streams, of those that were captured; the vision stream first.

    Where depths differ, a layer of the shallower stream has several partners. Namesakes after the
    last layers (:func:`backend.measures.suite.suite.end_pairs`) match, too.
    """
    blocks = layers.blocks
    specs = [
        StreamSpec.of(name, name, max(ref.layer for ref in blocks if ref.stream == name), 1)
        for name in in_order((ref.stream for ref in blocks), layers.modalities)
    ]
    matched = [pair for one, other in combinations(specs, 2) for pair in matched_layers(one, other)]
    captured = [(a, b) for a, b in matched if a in layers.arrays and b in layers.arrays]
    return [*captured, *end_pairs(layers.refs, layers.modalities)]


def target_of(task: TaskSpec, labels: NDArray[np.integer]) -> Target:
    """Samples and labels that a probe of ``task`` can be cross-validated on.

    ``labels`` (n,) class indices or (n, classes) of 0 and 1, -1 for samples that have none. Where
    nothing would be left, all is kept and the probe says what is wrong.
    """
    if task.kind == "multilabel":
        rows = np.flatnonzero(labels[:, 0] != NO_LABEL)
        found = labels[rows]
        held = np.minimum(found.sum(axis=0), len(rows) - found.sum(axis=0))
        kept = held >= FOLDS
        if kept.all() or not kept.any():
            return Target(task, rows, found)
        return Target(
            task,
            rows,
            found[:, kept],
            f"{int((~kept).sum())} of {len(kept)} labels left out: with or without them are fewer "
            f"than {FOLDS} samples",
        )
    rows = np.flatnonzero(labels != NO_LABEL)
    counts = np.bincount(labels[rows], minlength=len(task.classes))
    rare = (counts > 0) & (counts < FOLDS)
    remark = ""
    if task.kind == "multiclass" and rare.any() and (counts >= FOLDS).sum() > 1:
        rows = rows[~rare[labels[rows]]]
        remark = (
            f"{int(counts[rare].sum())} samples left out: their {int(rare.sum())} classes have "
            f"fewer than {FOLDS} samples"
        )
    found = labels[rows]
    named = np.array(task.classes)[found] if task.kind == "multiclass" else found
    return Target(task, rows, named, remark)


def _row(layers: Layers, target: Target, place: tuple[LayerRef, ...]) -> dict[str, object]:
    parts = [layers.arrays[ref][target.rows] for ref in place]
    try:
        result = _probe(np.concatenate(parts, axis=1), target)
    except InputError as error:  # it calls its argument x: name the layers
        where = " and ".join(map(site_name, place))
        raise InputError(error.problem, where=where, hint=error.hint) from error
    if result.reason == constant_reason("x"):
        reasons = [constant_layer_reason(ref, layers.pooling, layers.modalities) for ref in place]
        result = replace(result, reason="; ".join(reasons))
    remarks = [remark for remark in (target.remark, layers.note) if remark]
    result = replace(
        result,
        estimator=target.task.name,
        pooling=layers.pooling,
        params={**result.params, "task": target.task.name, "kind": target.task.kind},
        dims=tuple(int(part.shape[1]) for part in parts),
        warnings=(*result.warnings, *remarks),
    )
    return tidy_row(result, *place)


def _probe(x: NDArray[np.floating], target: Target) -> Result:
    task = target.task
    if len(x) < 2:
        reason = "fewer than 2 samples have a label"
        return Result("linear_probe", float("nan"), len(x), (), "", reason=reason)
    return linear_probe(x, target.labels, task=task.kind, folds=FOLDS)
