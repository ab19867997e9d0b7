"""Which partner a stream takes in: its own, another sample's, or the same one for all samples."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from backend.capture.sinks import PooledSink, TokenSink, Vectors
from backend.capture.tap import Tap
from backend.data.sample import Sample
from backend.errors import InputError
from backend.interventions.table import Partner
from backend.models.adapter import Adapter
from backend.models.edits import Edit, patch
from backend.types import LayerRef, Pooling

VISION, TEXT = "vision", "text"
_SEPARATE = ("co", "cross", "gated")
"""Meets at which the streams stay apart, so that each has a partner that can be exchanged."""


@dataclass(frozen=True, eq=False)
class Passes:
    """What a model makes of n samples under one kind of partner, rows in the samples' order.

    ``vectors`` {(site, pooling): (n, d)} of both streams. ``outputs`` {stream: {task: (n, outputs)
    logits}} of the pass in which that stream had its own sample and the other one the partner.
    """

    vectors: Vectors
    outputs: dict[str, dict[str, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Draw:
    """Who is given whom: ``partners`` (n,) when shuffled, the sample ``constant`` when constant."""

    partners: np.ndarray
    constant: int


def draw(
    n: int, shuffle_seed: int, model_seed: int | None, groups: Sequence[Hashable] | None = None
) -> Draw:
    """Partners of n samples, drawn anew for each seed of a model.

    One draw for all would be the same chance in every model, which a spread between seeds does not
    show. Placements of one seed share theirs. InputError as :func:`derangement` raises.
    """
    seed = (shuffle_seed, model_seed or 0)
    constant = int(np.random.default_rng((*seed, 1)).integers(n))
    return Draw(derangement(n, seed, groups), constant)


def derangement(
    n: int, seed: int | Sequence[int], groups: Sequence[Hashable] | None = None
) -> np.ndarray:
    """(n,) a random permutation in which no sample is given itself, or one of its own group.

    Samples are laid out in a random order, each group in one piece, and each takes the one that
    lies as far on as the largest group is long (without groups: a random cycle through all).
    InputError where a group, or a single sample, is more than half of all.
    """
    rng = np.random.default_rng(seed)
    members: dict[Hashable, list[int]] = {}
    for row in rng.permutation(n).tolist():
        members.setdefault(row if groups is None else groups[row], []).append(row)
    largest = max(map(len, members.values()), default=0)
    if n < 2 or 2 * largest > n:
        raise InputError(
            f"{n} samples cannot exchange their partners: {largest} of them belong together",
            hint="Use more samples.",
        )
    order = np.array([row for group in members.values() for row in group])
    partners = np.empty(n, dtype=np.int64)
    partners[order] = np.roll(order, -largest)
    return partners


def check_partners(adapter: Adapter) -> None:
    """InputError for a model without fusion, or without two streams that stay apart."""
    where = f"model {adapter.name}"
    if not any(spec.fusion_layers for spec in adapter.streams):
        raise InputError("has no fusion: there is no partner to exchange", where=where)
    hows = {meet.how for spec in adapter.streams for meet in spec.meets if meet.how != "loss"}
    apart = {spec.name for spec in adapter.streams} == {VISION, TEXT}
    if not apart or not hows <= set(_SEPARATE):
        raise InputError(
            "its image and text share one sequence, so neither has a partner to exchange",
            where=where,
            hint="Use a model with a stream each that meet by cross-attention.",
        )


def passes(
    adapter: Adapter,
    samples: Sequence[Sample],
    partner: Partner,
    *,
    poolings: Sequence[Pooling],
    drawn: Draw,
    batch_size: int = 32,
) -> Passes:
    """Run the model over the samples with this kind of partner; on the device where it is.

    ``true``: each image with its own text. ``shuffled``: image i with text ``drawn.partners[i]``;
    each stream is then read in its own order, so that every sample's stream had a wrong partner all
    the way. ``constant``: each image with the text of the sample ``drawn.constant``, whose stream
    is held at every site where it takes in the image (:func:`backend.models.edits.patch`) at what
    it is in that sample's own pass: nothing of what the image stream reads depends on the image;
    then the texts with that sample's image in the same way.
    """
    own = np.arange(len(samples))
    if partner == "true":
        vectors, logits = _run(adapter, samples, own, own, (), poolings, batch_size)
        return Passes(vectors, {VISION: logits, TEXT: logits})
    if partner == "shuffled":
        vectors, logits = _run(adapter, samples, own, drawn.partners, (), poolings, batch_size)
        back = np.argsort(drawn.partners)
        return Passes(
            {at: v[back] if at[0].stream == TEXT else v for at, v in vectors.items()},
            {VISION: logits, TEXT: {task: values[back] for task, values in logits.items()}},
        )
    same = np.full(len(samples), drawn.constant)
    merged: Vectors = {}
    outputs = {}
    for stream, other, images, texts in ((VISION, TEXT, own, same), (TEXT, VISION, same, own)):
        edits = held(adapter, samples[drawn.constant], other)
        vectors, outputs[stream] = _run(
            adapter, samples, images, texts, edits, poolings, batch_size
        )
        merged |= {at: v for at, v in vectors.items() if at[0].stream == stream}
    return Passes(merged, outputs)


def held(adapter: Adapter, sample: Sample, stream: str) -> tuple[Edit, ...]:
    """Edits that hold ``stream``, wherever it takes in another one, at what ``sample`` makes it."""
    meets = adapter.stream(stream).meets
    sites = dict.fromkeys(meet.site for meet in meets if meet.how != "loss")
    refs = [LayerRef.parse(stream, site) for site in sites]
    if not refs:
        return ()
    sink = TokenSink(refs)
    with Tap(adapter, sink) as tap:
        tap(adapter.encode([sample]).to(_device(adapter)))
    return tuple(patch(ref, sink.tokens[ref]) for ref in refs)


def paired(samples: Sequence[Sample], images: np.ndarray, texts: np.ndarray) -> list[Sample]:
    """The image of one sample with the text of another, pair by pair."""
    return [
        replace(samples[image], text=samples[text].text)
        for image, text in zip(images.tolist(), texts.tolist(), strict=True)
    ]


def _run(
    adapter: Adapter,
    samples: Sequence[Sample],
    images: np.ndarray,
    texts: np.ndarray,
    edits: Sequence[Edit],
    poolings: Sequence[Pooling],
    batch_size: int,
) -> tuple[Vectors, dict[str, np.ndarray]]:
    sink = PooledSink(poolings)
    read: list[Vectors] = []
    given: list[dict[str, Tensor]] = []
    with Tap(adapter, sink, edits) as tap:
        for start in range(0, len(images), batch_size):
            rows = slice(start, start + batch_size)
            batch = adapter.encode(paired(samples, images[rows], texts[rows]))
            outputs = tap(batch.to(_device(adapter)))
            read.append(sink.vectors())
            given.append({task.name: outputs[task.name].float().cpu() for task in adapter.tasks})
    vectors = {at: np.concatenate([part[at] for part in read]) for at in read[0]}
    logits = {
        task.name: np.concatenate([part[task.name].numpy() for part in given])
        for task in adapter.tasks
    }
    return vectors, logits


def _device(adapter: Adapter) -> torch.device:
    return next(adapter.module.parameters()).device
