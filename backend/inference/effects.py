"""What each part of a pair does to the output: one after another is hidden, and it runs again.

Occlusion of the picture as in Zeiler & Fergus 2014, words left out as in Li et al. 2016 (erasure).
Beside an attention map the rank correlation of the two says how far attention explains the output.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy.stats import spearmanr

from backend.capture.sinks import PooledSink
from backend.data.sample import Regions, Sample
from backend.errors import InputError
from backend.inference.attention import footprints
from backend.inference.tracing import run, task_probabilities
from backend.inference.values import Floats, Trace
from backend.models.adapter import Adapter
from backend.models.edits import Cut, Edit
from backend.models.roles import grid_boxes
from backend.types import LayerRef, Pooling

Fill = Literal["grey", "blur"]

MOST_REGIONS = 100
"""More patches than that are hidden by a grid, more words in groups."""
BATCH = 32
"""Pairs that run at once."""
MAX_PIXELS = 64_000_000
"""Of the pictures that are in memory at once: fewer run at once where these are large."""
LEAST_REGIONS = 3
"""Fewer have no rank correlation worth the name."""

_GREY = (128, 128, 128)  # as of a blank image
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"  # written without spaces
_WORD = re.compile(rf"[{_IDEOGRAPHS}]|[^\s{_IDEOGRAPHS}]+")


@dataclass(frozen=True)
class ClassProbability:
    """The output that is watched: the probability of a class of a task."""

    task: str
    label: str


@dataclass(frozen=True)
class VectorShift:
    """What is watched where there is no task: a vector, by the size of its move over its norm."""

    ref: LayerRef
    pooling: Pooling


Target = ClassProbability | VectorShift


@dataclass(frozen=True, eq=False)
class Effects:
    """How much the output moves when each of R parts of a pair is hidden.

    ``regions`` (R, 4) are left, top, right, bottom in pixels of the picture, or (R, 2) start and
    end in characters of the caption. ``values`` (R,): of a :class:`ClassProbability` what hiding
    takes from it (negative: it rises), in -1..1; of a :class:`VectorShift` ||hidden - whole|| /
    ||whole||, NaN where that is undefined. ``shares`` (R, T) is which share of each token of
    ``stream`` lies in each region. ``whole`` is the probability without anything hidden, NaN for a
    vector.
    """

    target: Target
    stream: str
    regions: Floats
    values: Floats
    shares: Floats
    whole: float

    def attention(self, weights: Floats) -> Floats:
        """(R,) of weights (T,) of the stream's tokens: what falls on each region."""
        summed: Floats = self.shares @ weights
        return summed


@dataclass(frozen=True)
class Agreement:
    """Spearman's rank correlation, -1..1, over ``n`` regions; NaN with a ``reason``."""

    value: float
    n: int
    reason: str = ""


def agreement(effects: Effects, weights: Floats) -> Agreement:
    """Whether the regions with more attention (``weights``, (T,)) are those with more effect.

    Effects count by their size, whichever way the output moves. Regions without a finite number on
    both sides are left out. Ties get their mean rank.
    """
    sizes, attention = np.abs(effects.values), effects.attention(weights)
    finite = np.isfinite(sizes) & np.isfinite(attention)
    sizes, attention, n = sizes[finite], attention[finite], int(finite.sum())
    if n < LEAST_REGIONS:
        return Agreement(float("nan"), n, f"{n} regions are too few: it takes {LEAST_REGIONS}")
    for name, side in (("effect", sizes), ("attention", attention)):
        if np.ptp(side) == 0:
            return Agreement(float("nan"), n, f"the {name} is the same in every region")
    return Agreement(float(spearmanr(sizes, attention).statistic), n)


def default_target(trace: Trace, modality: str) -> Target:
    """The likeliest class of the first task; without a task, the vector that says most.

    That is the last site of a stream that takes another one in, if there is any with a summary
    token and of another modality than the hidden one; where nothing meets, the last site of the
    hidden modality itself. Pooling is ``cls`` where there is one.
    """
    if trace.outputs:
        output = trace.outputs[0]
        return ClassProbability(output.task, output.classes[int(output.probabilities.argmax())])
    fused = [spec for spec in trace.streams if spec.fusion_layers]
    specs = fused or [spec for spec in trace.streams if spec.modality == modality]
    spec = max(
        specs or trace.streams,
        key=lambda spec: ("cls" in spec.poolings_of(spec.refs[-1]), spec.modality != modality),
    )
    poolings = spec.poolings_of(spec.refs[-1])
    return VectorShift(spec.refs[-1], "cls" if "cls" in poolings else "mean")


def patch_effects(
    adapter: Adapter,
    sample: Sample,
    trace: Trace,
    *,
    target: Target | None = None,
    fill: Fill = "grey",
    most: int = MOST_REGIONS,
    batch_size: int = BATCH,
    edits: Sequence[Edit | Cut] = (),
) -> Effects:
    """Hide each patch of the first picture of ``sample``, whose ``trace`` says where they are.

    ``fill``: mid-grey, or the picture so blurred that only its colours remain. The edge of a patch
    is rounded to pixels. More patches than ``most`` are hidden by the cells of a square grid, as
    many as fit. Of a model that is given detected regions instead of pixels, a region's features
    become 0. ``edits`` are those that the trace was made with. InputError where no token has a
    place in the picture, or the target is none of the model's.
    """
    stream = _picture_stream(trace)
    tokens = footprints(trace, stream)
    placed = np.flatnonzero(~np.isnan(tokens).any(axis=1))
    if sample.regions is not None:
        hidden = (_without_region(sample, sample.regions, int(at)) for at in placed)
        boxes, shares = tokens[placed], _one_each(placed, len(tokens))
    else:
        picture = sample.images[0]
        boxes, shares = tokens[placed], _one_each(placed, len(tokens))
        if len(placed) > most:
            side = int(most**0.5)
            frame = (0.0, 0.0, float(picture.width), float(picture.height))
            boxes = grid_boxes(frame, side, side, picture.size).astype(np.float32)
            shares = overlaps(boxes, tokens)
            seen = shares.sum(axis=1) > 0
            boxes, shares = boxes[seen], shares[seen]
        under = _filled(picture, fill)
        hidden = (
            replace(sample, images=(covered(picture, under, box), *sample.images[1:]))
            for box in boxes
        )
    target = target or default_target(trace, "vision")
    whole, values = _effects(adapter, sample, hidden, target, batch_size, edits)
    return Effects(target, stream, boxes, values, shares, whole)


def word_effects(
    adapter: Adapter,
    sample: Sample,
    trace: Trace,
    *,
    target: Target | None = None,
    most: int = MOST_REGIONS,
    batch_size: int = BATCH,
    edits: Sequence[Edit | Cut] = (),
) -> Effects:
    """Leave out each word of the caption of ``sample``, whose ``trace`` says which were read.

    A word is what stands between spaces, or an ideograph. More words than ``most`` are left out in
    ``most`` groups of neighbours. Words that the model cut off are none. InputError where the
    tokenizer does not say where its tokens come from, or the target is none of the model's.
    """
    stream = next((s.name for s in trace.streams if trace.tokens[s.name].kind == "span"), None)
    if stream is None:
        raise InputError(
            "no token of it has a place in the caption",
            where=f"model {trace.model}",
            hint=trace.unsupported.get("origins of text"),
        )
    spans = trace.tokens[stream].origins
    words = word_spans(sample.text)
    words = words[overlaps(words, spans).sum(axis=1) > 0]
    if len(words) > most:
        groups = np.array_split(words, most)
        words = np.array([(group[0, 0], group[-1, 1]) for group in groups], dtype=np.float32)
    target = target or default_target(trace, "text")
    hidden = (replace(sample, text=without_words(sample.text, span)) for span in words)
    whole, values = _effects(adapter, sample, hidden, target, batch_size, edits)
    return Effects(target, stream, words, values, overlaps(words, spans), whole)


def word_spans(text: str) -> Floats:
    """(n, 2) start and end of every word of a text."""
    spans = [match.span() for match in _WORD.finditer(text)]
    return np.array(spans, dtype=np.float32).reshape(-1, 2)


def without_words(text: str, span: Floats) -> str:
    """``text`` without the characters ``span`` (2,) and the space that they leave behind."""
    start, end = (int(edge) for edge in span)
    before, after = text[:start], text[end:]
    if not before or before[-1].isspace():
        after = after.lstrip()
    return before + after if after else before.rstrip()


def covered(picture: Image.Image, under: Image.Image, box: Floats) -> Image.Image:
    """``picture`` with ``box`` (4,) cut out, so that ``under`` (of its size) shows; 1 px at least.

    The given picture stays as it is.
    """
    left, top = (
        min(round(float(edge)), side - 1) for edge, side in zip(box[:2], picture.size, strict=True)
    )
    right, bottom = max(round(float(box[2])), left + 1), max(round(float(box[3])), top + 1)
    shown = picture.copy()
    shown.paste(under.crop((left, top, right, bottom)), (left, top))
    return shown


def overlaps(regions: Floats, tokens: Floats) -> Floats:
    """(R, T) the share of each token's extent that lies in each region, 0 for tokens without any.

    Of boxes (R, 4) and (T, 4) by area, of spans (R, 2) and (T, 2) by characters.
    """
    axes = regions.shape[1] // 2
    shares = np.ones((len(regions), len(tokens)))
    for axis in range(axes):
        low, high = tokens[:, axis], tokens[:, axes + axis]
        inside = np.minimum(regions[:, [axes + axis]], high) - np.maximum(regions[:, [axis]], low)
        length = np.where(high > low, high - low, np.nan)
        shares *= inside.clip(min=0) / length
    known: Floats = np.nan_to_num(shares, nan=0.0).astype(np.float32)
    return known


def _picture_stream(trace: Trace) -> str:
    """The first stream whose tokens have boxes; InputError where none has."""
    boxed = [spec.name for spec in trace.streams if trace.tokens[spec.name].kind == "box"]
    if not boxed:
        raise InputError(
            "no token of it has a place in a picture",
            where=f"model {trace.model}",
            hint=trace.unsupported.get("origins"),
        )
    return boxed[0]


def _filled(picture: Image.Image, fill: Fill) -> Image.Image:
    if fill == "grey":
        return Image.new(picture.mode, picture.size, _GREY)
    return picture.filter(ImageFilter.GaussianBlur(max(picture.size) / 8))


def _without_region(sample: Sample, regions: Regions, at: int) -> Sample:
    features = regions.features.copy()
    features[at] = 0.0
    return replace(sample, regions=replace(regions, features=features))


def _one_each(tokens: NDArray[np.int64], length: int) -> Floats:
    """(R, T): each region is one token, whole."""
    shares = np.zeros((len(tokens), length), dtype=np.float32)
    shares[np.arange(len(tokens)), tokens] = 1.0
    return shares


def _effects(
    adapter: Adapter,
    sample: Sample,
    hidden: Iterator[Sample],
    target: Target,
    batch_size: int,
    edits: Sequence[Edit | Cut],
) -> tuple[float, Floats]:
    """The whole pair's probability (NaN for a vector), and the effect of each hidden part."""
    _require(adapter, target)
    pixels = max([image.width * image.height for image in sample.images], default=1)
    batch_size = max(1, min(batch_size, MAX_PIXELS // pixels))
    batches = list(_watched(adapter, chain([sample], hidden), target, batch_size, edits))
    watched = np.concatenate(batches).astype(np.float64)
    whole, rest = watched[0], watched[1:]
    if isinstance(target, ClassProbability):
        return float(whole), (whole - rest).astype(np.float32)
    norm = float(np.linalg.norm(whole))
    moved = np.linalg.norm(rest - whole, axis=1)
    shift = moved / norm if norm > 0 else np.full(len(rest), np.nan)
    return float("nan"), shift.astype(np.float32)


def _require(adapter: Adapter, target: Target) -> None:
    """InputError where the model does not have what is to be watched."""
    where = f"model {adapter.name}"
    if isinstance(target, ClassProbability):
        classes = {task.name: task.classes for task in adapter.tasks}
        if target.label not in classes.get(target.task, ()):
            raise InputError(
                f"it does not predict {target.label!r} of a task {target.task!r}",
                where=where,
                hint=f"Its tasks: {', '.join(classes) or 'none'}.",
            )
        return
    spec = adapter.stream(target.ref.stream)
    if target.ref not in spec.refs or target.pooling not in spec.poolings_of(target.ref):
        raise InputError(
            f"stream {spec.name} has no vector {target.pooling} at {target.ref.label}", where=where
        )


def _watched(
    adapter: Adapter,
    samples: Iterator[Sample],
    target: Target,
    batch_size: int,
    edits: Sequence[Edit | Cut],
) -> Iterator[Floats]:
    """Of each batch the probabilities (B,) of the target, or its vectors (B, d)."""
    while batch := list(islice(samples, batch_size)):
        inputs = adapter.encode(batch)
        if isinstance(target, ClassProbability):
            by_task = task_probabilities(adapter, run(adapter, inputs, (), edits))
            for task, values in by_task.items():
                if task.name == target.task:
                    yield values[:, task.classes.index(target.label)]
        else:
            sink = PooledSink((target.pooling,))
            run(adapter, inputs, [sink], edits)
            yield sink.vectors()[target.ref, target.pooling]
