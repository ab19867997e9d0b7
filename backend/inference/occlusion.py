"""One part of a pair after another is hidden, and it runs again: see how far the output moves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from backend.capture.sinks import PooledSink
from backend.data.sample import Regions, Sample
from backend.errors import InputError
from backend.inference.attention import footprints
from backend.inference.effects import (
    BATCH,
    ClassProbability,
    Effects,
    Fill,
    Target,
    default_target,
)
from backend.inference.tracing import run, task_probabilities
from backend.inference.values import Floats, Trace
from backend.models.adapter import Adapter
from backend.models.edits import Cut, Edit
from backend.models.roles import grid_boxes

MOST_REGIONS = 100
"""More patches than that are hidden by a grid, more words in groups."""
MAX_PIXELS = 64_000_000
"""Of the pictures that are in memory at once: fewer run at once where these are large."""
MAX_SIDE_PX = 2_000
"""A picture with a longer side is shrunk before anything is hidden: models see less than that."""

_GREY = (128, 128, 128)  # as of a blank image
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"  # written without spaces
_WORD = re.compile(rf"[{_IDEOGRAPHS}]|[^\s{_IDEOGRAPHS}]+")


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
    boxes, shares = tokens[placed], _one_each(placed, len(tokens))
    hidden: Iterator[Sample]
    if sample.regions is not None:
        hidden = (_without_region(sample, sample.regions, int(at)) for at in placed)
    else:
        if len(placed) > most:
            boxes, shares = _grid(sample.images[0].size, tokens, most)
        sample, hidden = _without_boxes(sample, boxes, fill)
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
    sample = replace(sample, images=tuple(shrunk(image) for image in sample.images))
    hidden = (replace(sample, text=without_words(sample.text, span)) for span in words)
    whole, values = _effects(adapter, sample, hidden, target, batch_size, edits)
    texts = tuple(sample.text[int(start) : int(end)] for start, end in words)
    return Effects(target, stream, words, values, overlaps(words, spans), whole, texts)


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


def shrunk(picture: Image.Image) -> Image.Image:
    """``picture``, smaller where a side is longer than :data:`MAX_SIDE_PX`."""
    scale = MAX_SIDE_PX / max(picture.size)
    if scale >= 1:
        return picture
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.BICUBIC)


def _grid(size: tuple[int, int], tokens: Floats, most: int) -> tuple[Floats, Floats]:
    """(R, 4) cells of a square grid, at most ``most``, and the shares of the tokens in them."""
    side = int(most**0.5)
    boxes = grid_boxes((0.0, 0.0, float(size[0]), float(size[1])), side, side, size).astype(
        np.float32
    )
    shares = overlaps(boxes, tokens)
    seen = shares.sum(axis=1) > 0
    return boxes[seen], shares[seen]


def _without_boxes(sample: Sample, boxes: Floats, fill: Fill) -> tuple[Sample, Iterator[Sample]]:
    """The sample, its pictures shrunk, and it with each box of the original first one hidden."""
    width, height = sample.images[0].size
    picture, *others = (shrunk(image) for image in sample.images)
    under = _filled(picture, fill)
    x, y = picture.width / width, picture.height / height
    scaled = boxes * np.array([x, y, x, y], dtype=np.float32)
    hidden = (replace(sample, images=(covered(picture, under, box), *others)) for box in scaled)
    return replace(sample, images=(picture, *others)), hidden


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
