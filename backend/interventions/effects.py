"""What of a model's passes is measured: transitions, dimensions, alignment of the ends, scores."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence

import numpy as np

from backend.interventions.partners import Passes
from backend.interventions.table import (
    ALIGNMENT,
    BLOCK,
    CKA,
    DIMENSION,
    END,
    ENTRY,
    SCORE,
    WHOLE,
    Effect,
)
from backend.measures import cka, effective_dimension
from backend.measures.core.result import NAN
from backend.train.examples import MISSING
from backend.train.metrics import scores
from backend.types import LayerRef, Pooling, StreamSpec, TaskSpec


def effects(
    passes: Passes,
    streams: Sequence[StreamSpec],
    pooling: Pooling,
    groups: Sequence[Hashable] | None = None,
) -> Iterator[Effect]:
    """CKA and change of dimension at every transition of both streams, alignment of their ends.

    ``groups`` (n) say which samples belong together: CKA counts no pair inside one.
    ``k-1 to k.fusion`` and ``k.fusion to k`` exist where a fusion lies, ``k-1 to k`` everywhere. A
    stream that lacks ``pooling`` is read by what it has. (Kornblith et al. 2019; Nguyen et al.
    2021; effective dimension: components for 95 % of the variance, Jolliffe 2002.)
    """
    for spec in streams:
        own = _pooling(spec, pooling)
        dimensions = {}
        for ref in spec.refs:
            if (ref, own) in passes.vectors:
                dimensions[ref] = effective_dimension(passes.vectors[ref, own])
        for layer, transition, a, b in transitions(spec):
            at = (spec.name, layer, transition, layer in spec.fusion_layers, own)
            alike = cka(passes.vectors[a, own], passes.vectors[b, own], groups=groups)
            yield Effect(*at, CKA, alike.estimator, alike.value, alike.n, str(alike.reason))
            before, after = dimensions[a], dimensions[b]
            change = math.log(after.value / before.value) if before.value > 0 else NAN
            reason = "" if math.isfinite(change) else str(before.reason or after.reason)
            yield Effect(*at, DIMENSION, "sample", change, before.n, reason)
    first, second = streams
    ends = [(LayerRef(spec.name, spec.depth), _pooling(spec, pooling)) for spec in streams]
    alike = cka(*(passes.vectors[end] for end in ends), groups=groups)
    for spec, (_, own) in zip((first, second), ends, strict=True):
        at = (spec.name, spec.depth, END, False, own)
        yield Effect(*at, ALIGNMENT, alike.estimator, alike.value, alike.n, str(alike.reason))


def score_effects(
    passes: Passes,
    streams: Sequence[StreamSpec],
    tasks: Sequence[TaskSpec],
    labels: Mapping[str, np.ndarray],
) -> Iterator[Effect]:
    """Each task's own metric, stream by stream: its samples' labels, the partner as it was.

    ``labels`` {task: (n,) class indices or (n, classes) of 0 and 1}, MISSING where there is none;
    a task without labels has no value.
    """
    for spec in streams:
        for task in tasks:
            if task.name not in labels:
                continue
            own = labels[task.name]
            there = (own if own.ndim == 1 else own[:, 0]) != MISSING
            logits = passes.outputs[spec.name][task.name][there]
            value = NAN
            if there.any():
                measured = scores(task, logits, own[there], "")
                value = next(s.value for s in measured if s.metric == task.metric)
            reason = "" if value == value else "the labels do not allow the metric"
            at = (spec.name, spec.depth, END, False, "")
            yield Effect(*at, f"{SCORE}{task.name}", task.metric, value, int(there.sum()), reason)


def transitions(spec: StreamSpec) -> Iterator[tuple[int, str, LayerRef, LayerRef]]:
    """(k, which, from, to) of every transition of a stream, in order."""
    for k in range(1, spec.depth + 1):
        before, after = LayerRef(spec.name, k - 1), LayerRef(spec.name, k)
        inside = spec.refs[spec.refs.index(before) + 1 : spec.refs.index(after)]
        if k in spec.fusion_layers and inside:
            yield k, ENTRY, before, inside[-1]
            yield k, BLOCK, inside[-1], after
        yield k, WHOLE, before, after


def _pooling(spec: StreamSpec, wanted: Pooling) -> Pooling:
    return wanted if wanted in spec.poolings else spec.poolings[0]
