"""Linear probes of every layer, and of matching layers of two streams side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from backend.errors import InputError
from backend.measures.core.result import NAN, Result
from backend.measures.families.probes import fit_linear_probe, linear_probe
from backend.measures.registry import Arguments
from backend.measures.suite.layers import Layers, place, site_name
from backend.measures.suite.pairs import end_pairs, in_order
from backend.measures.suite.rows import Row, Table, explained, tidy_row
from backend.remarks import Remark, Remarks, remark
from backend.types import NO_LABEL, LayerRef, StreamSpec, TaskSpec, matched_layers


@dataclass(frozen=True, eq=False)
class Target:
    """What a task's probes predict: the rows of the samples that count, their labels, a remark.

    ``classes`` are the names of the outputs of a fitted probe, in the order of the fit.
    """

    task: TaskSpec
    rows: NDArray[np.intp]
    labels: NDArray[np.generic]
    classes: tuple[str, ...]
    remark: Remark | None = None


def probe_rows(layers: Layers, asked: Mapping[str, Arguments]) -> Table:
    """A tidy row a task and layer, and a task and pair of matching layers, one after the other.

    ``asked["linear_probe"]`` are the probe's arguments. ``estimator`` is the name of the task. A
    row of two layers is the probe of both vectors, one after the other; the vision stream's is
    first. Classes (labels, if there are several a sample) with fewer samples than folds cannot be
    cross-validated and are left out with a warning.

    Kept are the probes of single sites, named ones such as ``4.fusion`` among them, each fitted
    once on all samples of the same target; a site of which nothing can be learned has none.
    """
    arguments = asked["linear_probe"]
    folds = arguments["folds"]
    targets = [
        target_of(task, labels, folds) for task, labels in layers.labels.items() if task.classes
    ]
    single = [*layers.blocks, *layers.at_ends]
    places: list[tuple[LayerRef, ...]] = [*((ref,) for ref in single), *matching(layers)]
    return Table(
        _rows(layers, targets, places, arguments),
        probes=_fits(layers, targets, arguments),
    )


def matching(layers: Layers) -> list[tuple[LayerRef, LayerRef]]:
    """Matching layers of every two streams, of those that were captured; the vision stream first.

    Where depths differ, a layer of the shallower stream has several partners. Namesakes after the
    last layers (:func:`backend.measures.suite.pairs.end_pairs`) match, too.
    """
    blocks = layers.blocks
    specs = [
        StreamSpec.of(name, name, max(ref.layer for ref in blocks if ref.stream == name), 1)
        for name in in_order((ref.stream for ref in blocks), layers.modalities)
    ]
    matched = [pair for one, other in combinations(specs, 2) for pair in matched_layers(one, other)]
    captured = [(a, b) for a, b in matched if a in layers.arrays and b in layers.arrays]
    return [*captured, *end_pairs(layers.refs, layers.modalities)]


def target_of(task: TaskSpec, labels: NDArray[np.integer], folds: int) -> Target:
    """Samples and labels that a probe of ``task`` can be cross-validated on.

    ``labels`` (n,) class indices or (n, classes) of 0 and 1, -1 for samples that have none. Where
    nothing would be left, all stays and the probe says what is wrong.
    """
    if task.kind == "multilabel":
        rows = np.flatnonzero(labels[:, 0] != NO_LABEL)
        given = labels[rows]
        members = np.minimum(given.sum(axis=0), len(rows) - given.sum(axis=0))
        enough = members >= folds
        if enough.all() or not enough.any():
            return Target(task, rows, given, task.classes)
        left_out = remark(
            "labels_left_out", count=int((~enough).sum()), labels=len(enough), folds=folds
        )
        classes = tuple(name for name, has in zip(task.classes, enough, strict=True) if has)
        return Target(task, rows, given[:, enough], classes, left_out)
    rows = np.flatnonzero(labels != NO_LABEL)
    counts = np.bincount(labels[rows], minlength=len(task.classes))
    rare = (counts > 0) & (counts < folds)
    about = None
    if task.kind == "multiclass" and rare.any() and (counts >= folds).sum() > 1:
        rows = rows[~rare[labels[rows]]]
        about = remark(
            "classes_left_out", count=int(counts[rare].sum()), classes=int(rare.sum()), folds=folds
        )
    given = labels[rows]
    if task.kind == "binary":
        return Target(task, rows, given, task.classes)
    named = np.array(task.classes)[given]
    return Target(task, rows, named, tuple(np.unique(named).tolist()), about)


def _rows(
    layers: Layers,
    targets: list[Target],
    places: list[tuple[LayerRef, ...]],
    arguments: Arguments,
) -> Iterator[Row]:
    for target in targets:
        for refs in places:
            yield _row(layers, target, refs, arguments)


def _row(layers: Layers, target: Target, refs: tuple[LayerRef, ...], arguments: Arguments) -> Row:
    parts = [layers.arrays[ref][target.rows] for ref in refs]
    with _named(refs):
        groups = None if layers.groups is None else layers.groups[target.rows]
        result = _probe(np.concatenate(parts, axis=1), target, groups, arguments)
    together = {"x": tuple(map(place, refs))}
    reason = result.reason.at(together)
    result = replace(
        result,
        estimator=target.task.name,
        pooling=layers.pooling,
        params={**result.params, "task": target.task.name, "kind": target.task.kind},
        dims=tuple(int(part.shape[1]) for part in parts),
        reason=explained(reason, layers.pooling, {"": layers.modalities}),
        warnings=Remarks.of(result.warnings.at(together), target.remark, layers.note),
    )
    return tidy_row(result, *refs)


def _probe(
    x: NDArray[np.floating],
    target: Target,
    groups: NDArray[np.generic] | None,
    arguments: Arguments,
) -> Result:
    task = target.task
    if len(x) < 2:
        reason = Remarks.of(remark("unlabelled"))
        return Result("linear_probe", NAN, len(x), (), "", reason=reason)
    return linear_probe(x, target.labels, task=task.kind, groups=groups, **arguments)


def _fits(layers: Layers, targets: list[Target], arguments: Arguments) -> Iterator[Row]:
    """A row an output of the probe of every site that has one, classes in the task's order."""
    folds, penalty = arguments["folds"], arguments["penalty"]
    for target in targets:
        if len(target.rows) < 2:
            continue
        kind, order = target.task.kind, target.task.classes.index
        for ref in layers.refs:
            x = layers.arrays[ref][target.rows]
            with _named((ref,)):
                probe = fit_linear_probe(x, target.labels, task=kind, folds=folds, penalty=penalty)
            if probe is None:
                continue
            for at in sorted(range(len(target.classes)), key=lambda i: order(target.classes[i])):
                yield {
                    "stream": ref.stream,
                    "layer": ref.layer,
                    "site": ref.site,
                    "pooling": layers.pooling,
                    "task": target.task.name,
                    "kind": kind,
                    "class": target.classes[at],
                    "n": probe.n,
                    "converged": bool(probe.converged[at]),
                    "mean": probe.mean,
                    "scale": probe.scale,
                    "coefficients": probe.coefficients[at],
                    "intercept": float(probe.intercepts[at]),
                }


@contextmanager
def _named(refs: tuple[LayerRef, ...]) -> Iterator[None]:
    """Name the layers in an InputError of a probe, which calls its argument x."""
    try:
        yield
    except InputError as error:
        where = " and ".join(map(site_name, refs))
        raise InputError(error.problem, where=where, hint=error.hint) from error
