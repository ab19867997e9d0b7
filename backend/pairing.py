"""Which two streams of a model are compared."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from backend.types import StreamSpec

Pair = tuple[str, str]
"""Names of two streams, in the order in which they are shown."""

VISION_LIKE = ("vision", "image", "query")
TEXT_LIKE = ("text", "text_decoder")
"""Modalities, the closest to what a reader expects first."""
TEXT = "text"
"""The stream of a language model's own words, wherever other tokens stand among them."""


def stream_pairs(streams: Sequence[StreamSpec]) -> tuple[Pair, ...]:
    """Every pair of different streams, in the model's order."""
    return tuple(combinations([spec.name for spec in streams], 2))


def default_pair(streams: Sequence[StreamSpec]) -> Pair | None:
    """The first vision-like and the first text-like stream, else the first two; None for one."""
    if len(streams) < 2:
        return None
    vision, text = _first(streams, VISION_LIKE), _first(streams, TEXT_LIKE)
    if vision is None or text is None:
        return streams[0].name, streams[1].name
    return vision.name, text.name


def paired(
    streams: Sequence[StreamSpec], pair: Pair | None
) -> tuple[StreamSpec, StreamSpec] | None:
    """The pair's two streams, None where a model lacks one. Without a pair, the default one's."""
    by_name = {spec.name: spec for spec in streams}
    names = pair or default_pair(streams)
    if names is None or not set(names) <= set(by_name):
        return None
    first, second = names
    return by_name[first], by_name[second]


def image_among_words(streams: Sequence[StreamSpec]) -> StreamSpec | None:
    """The stream of an image's tokens that the blocks of stream ``text`` write, too; or none."""
    text = next((spec for spec in streams if spec.name == TEXT and spec.space), None)
    if text is None:
        return None
    return next((s for s in streams if s.modality == "image" and s.space == text.space), None)


def _first(streams: Sequence[StreamSpec], modalities: Sequence[str]) -> StreamSpec | None:
    """The first stream of the first modality that any stream has."""
    return next(
        (spec for modality in modalities for spec in streams if spec.modality == modality), None
    )
