"""What a contrastive model is for, at every layer: search, zero-shot classes, and the gap.

``own`` is the model's space: what it would say if it stopped at a layer. ``fitted`` is the honest
one beside it: the layers' own vectors under an orthogonal map, fitted on half of the samples. Both
are told of the other half, and no group of samples is in both halves.

Of two streams the pairs of layers are those at the same relative depth, every layer of the one with
the last of the other, and the other way about.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from backend.measures.chance.bootstrap import interval_reason
from backend.measures.chance.clusters import exchanged, jackknife_interval, share_interval
from backend.measures.core.base import Float64, as_representation
from backend.measures.core.result import NAN, Result
from backend.measures.families.gap import alignment, modality_gap, uniformity
from backend.measures.families.leave_out import (
    alignments_without,
    gaps_without,
    uniformities_without,
)
from backend.measures.families.ranks import median_rank
from backend.measures.families.retrieval import NO_MAP, Held, held_half, recall, shared_map, unit
from backend.measures.families.zero_shot import METRICS, zero_shot
from backend.measures.suite.layers import place, site_name
from backend.measures.suite.parts import gallery_names
from backend.measures.suite.rows import COLUMNS, Row, explained, tidy_row
from backend.remarks import NOTHING, Remark, Remarks, remark
from backend.types import LayerRef, Pooling, StreamSpec, TaskSpec, matched_layers

if TYPE_CHECKING:
    import pandas as pd

KS = (1, 5, 10)
OWN, FITTED = "own", "fitted"
SPACES = (OWN, FITTED)
PARAMETERS = {"ks": KS, "seed": 0, "version": 1}
"""What the rows depend on besides the vectors: part of the key of what is stored."""

Array = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Embedded:
    """A stream's layers: {layer: (n, p)} in the model's space, {layer: (n, d)} as they are.

    The model cannot go on from a layer that is only in the second one.
    """

    spec: StreamSpec
    own: Mapping[LayerRef, Array]
    pooled: Mapping[LayerRef, Array]
    pooling: Pooling


@dataclass(frozen=True, eq=False)
class Prompts:
    """The class prompts of a task at the layers of the text stream, and the samples' labels.

    ``own`` and ``pooled`` are (classes, templates, width); ``labels`` as of
    :func:`~backend.measures.families.zero_shot.zero_shot`.
    """

    task: TaskSpec
    labels: NDArray[np.integer]
    own: Mapping[LayerRef, Array]
    pooled: Mapping[LayerRef, Array]


@dataclass(frozen=True, eq=False)
class Question:
    """Both streams of the same n samples, in their order; ``groups`` (n,) names their groups."""

    vision: Embedded
    text: Embedded
    groups: object = None
    prompts: Sequence[Prompts] = ()
    params: Mapping[str, object] = field(default_factory=dict)


def shared_space_rows(question: Question) -> pd.DataFrame:
    """The rows of :data:`backend.store.kinds.SHARED_SPACE`: see the module's docstring.

    Recall at 1, 5 and 10, median rank, modality gap, alignment and, for every task, ``zero_shot``
    of pairs of layers; uniformity of layers. ``estimator`` is the direction of a search and the
    task of ``zero_shot``. The fitted space has no gap: both sides are centred there.
    """
    import pandas as pd

    n = len(next(iter(question.vision.pooled.values())))
    held = held_half(question.groups, n, int(PARAMETERS["seed"]))  # type: ignore[call-overload]
    rows = [*chain(_of_pairs(question, held), _of_layers(question, held))]
    columns = COLUMNS | {"space": "str"}
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


def layer_pairs(vision: StreamSpec, text: StreamSpec) -> list[tuple[LayerRef, LayerRef]]:
    """The pairs of layers of the module's docstring, each once."""
    ends = vision.layers[-1], text.layers[-1]
    pairs = [
        *matched_layers(vision, text),
        *((ref, ends[1]) for ref in vision.layers),
        *((ends[0], ref) for ref in text.layers),
    ]
    return list(dict.fromkeys(pairs))


@dataclass(frozen=True, eq=False)
class _Space:
    """Two layers' held-out unit rows in one space, and the class prompts of each task there."""

    name: str
    x: Float64
    y: Float64
    prompts: Mapping[str, Float64]
    pooling: str
    warnings: Remarks = NOTHING
    reason: Remarks = NOTHING


def _of_pairs(question: Question, held: Held) -> Iterator[Row]:
    vision, text = question.vision, question.text
    for a, b in layer_pairs(vision.spec, text.spec):
        for space in (_own(question, held, a, b), _fitted(question, held, a, b)):
            for result in _results(question, held, space):
                yield _row(question, held, result, space, a, b)


def _of_layers(question: Question, held: Held) -> Iterator[Row]:
    """Uniformity in the model's space, of every layer from which it can go on."""
    for side in (question.vision, question.text):
        for ref, vectors in side.own.items():
            rows = unit(vectors[held.gallery])
            reason = held.reason or Remarks.of(_not_finite(ref, vectors))
            result = _nothing("uniformity", len(rows), reason)
            if not reason:
                result = uniformity(rows)
                result = _spread(result, uniformities_without(rows, held.own), held)
            yield _row(question, held, result, _Space(OWN, rows, rows, {}, side.pooling), ref)


def _own(question: Question, held: Held, a: LayerRef, b: LayerRef) -> _Space:
    x, y = question.vision.own.get(a), question.text.own.get(b)
    pooling = question.vision.pooling
    if x is None or y is None:
        lacking = a if x is None else b
        reason = Remarks.of(remark("other_width", site_name(lacking)))
        return _Space(OWN, NO_MAP.x, NO_MAP.y, {}, pooling, reason=reason)
    reason = Remarks.of(held.reason, _not_finite(a, x), _not_finite(b, y))
    prompts = {asked.task.name: _ensemble(asked.own[b]) for asked in question.prompts}
    x, y = unit(x[held.gallery]), unit(y[held.gallery])
    return _Space(OWN, x, y, prompts, pooling, reason=reason)


def _ensemble(vectors: Array) -> Float64:
    """(classes, templates, p) -> (classes, p): the mean of the templates' directions."""
    classes, templates, width = vectors.shape
    rows = unit(vectors.reshape(-1, width)).reshape(classes, templates, width)
    return unit(rows.mean(axis=1))


def _fitted(question: Question, held: Held, a: LayerRef, b: LayerRef) -> _Space:
    x, y = question.vision.pooled[a], question.text.pooled[b]
    pooling = question.vision.pooling
    reason = Remarks.of(held.reason, _not_finite(a, x), _not_finite(b, y))
    if reason:
        return _Space(FITTED, NO_MAP.x, NO_MAP.y, {}, pooling, reason=reason)
    names = (site_name(a), site_name(b))
    arrays = [as_representation(rows, name) for rows, name in zip((x, y), names, strict=True)]
    shared = shared_map(arrays, names, held)
    prompts = {}
    if not shared.reason:
        prompts = {
            asked.task.name: shared.place_y(asked.pooled[b].mean(axis=1))
            for asked in question.prompts
        }
    return _Space(FITTED, shared.x, shared.y, prompts, pooling, shared.warnings, shared.reason)


def _results(question: Question, held: Held, space: _Space) -> Iterator[Result]:
    yield from _searches(question, held, space)
    yield from _distances(held, space)
    for asked in question.prompts:
        told = {"metric": METRICS[asked.task.kind]}
        if space.reason:
            result = _nothing("zero_shot", len(held.gallery), space.reason)
        else:
            labels = asked.labels[held.gallery]
            prompts = space.prompts[asked.task.name]
            result = zero_shot(space.x, prompts, labels, asked.task.kind, held.own)
        yield replace(result, estimator=asked.task.name, params=told)


def _searches(question: Question, held: Held, space: _Space) -> Iterator[Result]:
    """Recall and median rank in both directions."""
    one, other = gallery_names(question.vision.spec.name, question.text.spec.name)
    m, sizes = len(held.gallery), np.bincount(held.own, minlength=1).astype(np.float64)
    dims = (space.x.shape[1], space.y.shape[1])
    possible = [k for k in KS if k < m]
    for direction, queries, targets in (
        (f"{one}_to_{other}", space.x, space.y),
        (f"{other}_to_{one}", space.y, space.x),
    ):
        found = {} if space.reason else recall(queries, targets, held.own, possible)
        for k in KS:
            small = None if k < m else remark("small_gallery", n=m, k=k)
            result = _nothing(f"recall_at_{k}", m, Remarks.of(space.reason, small))
            if k in found:
                low, high = share_interval(found[k].found, sizes)
                result = Result(
                    f"recall_at_{k}", found[k].value, m, dims, direction,
                    ci_low=low, ci_high=high,
                    null_mean=found[k].null_mean, null_sd=found[k].null_sd,
                )  # fmt: skip
            yield replace(result, estimator=direction)
        ranked = (
            _nothing("median_rank", m, space.reason)
            if space.reason
            else median_rank(queries, targets, held.own)
        )
        yield replace(ranked, estimator=direction)


def _distances(held: Held, space: _Space) -> Iterator[Result]:
    """The gap, where there can be one, and alignment."""
    m, x, y = len(held.gallery), space.x, space.y
    if space.name == OWN:
        result = _nothing("modality_gap", m, space.reason)
        if not space.reason:
            result = _spread(modality_gap(x, y), gaps_without(x, y, held.own), held)
        yield result
    result = _nothing("alignment", m, space.reason)
    if not space.reason:
        mean, sd, few = exchanged(
            lambda order: 2 - 2 * float((x * y[order]).sum(axis=1).mean()), held.own
        )
        result = replace(alignment(x, y), null_mean=mean, null_sd=sd, warnings=Remarks.of(few))
        result = _spread(result, alignments_without(x, y, held.own), held)
    yield result


def _spread(result: Result, without: Float64, held: Held) -> Result:
    low, high = jackknife_interval(result.value, without)
    return replace(result, ci_low=low, ci_high=high)


def _nothing(measure: str, n: int, reason: Remarks) -> Result:
    return Result(measure, NAN, n, (), "sample", reason=reason)


def _not_finite(ref: LayerRef, rows: Array) -> Remark | None:
    bad = ~np.isfinite(rows).all(axis=1)
    if not bad.any():
        return None
    return remark("not_finite", place(ref), rows=int(bad.sum()), n=len(rows))


def _row(question: Question, held: Held, result: Result, space: _Space, *refs: LayerRef) -> Row:
    """The row of a result, with the layers named as places and constant ones explained."""
    places = {site_name(ref): (place(ref),) for ref in refs}
    places |= {name: (place(ref),) for name, ref in zip(("x", "y"), refs, strict=False)}
    few = None if result.reason else interval_reason(held.own)
    modalities = {side.spec.name: side.spec.modality for side in (question.vision, question.text)}
    named = replace(
        result,
        pooling=space.pooling,
        params={**PARAMETERS, **question.params, **result.params},
        reason=explained(result.reason.at(places), question.vision.pooling, {"": modalities}),
        warnings=Remarks.of(result.warnings.at(places), space.warnings.at(places), few),
    )
    return tidy_row(named, *refs) | {"space": space.name}
