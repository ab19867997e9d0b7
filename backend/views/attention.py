"""What the words of a traced pair look at: a stream's attention to the picture, meet by meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backend.errors import InputError
from backend.inference.attention import (
    Boxes,
    Shares,
    footprints,
    is_content,
    of_heads,
    shares,
    weighted_boxes,
    without_special,
)
from backend.inference.values import MapKey, Trace
from backend.types import LayerRef, StreamSpec


@dataclass(frozen=True)
class Looking:
    """A stream that looks at the picture of another: its meets in order, words, and heads.

    ``words`` are (number of the token, what it reads) of its content tokens.
    """

    stream: str
    reads: str
    keys: tuple[MapKey, ...]
    words: tuple[tuple[int, str], ...]
    heads: int


def looking(trace: Trace) -> Looking | None:
    """The first stream of words that reads tokens with a place in the picture; None without one."""
    for spec in trace.streams:
        keys = tuple(
            MapKey(ref, reads)
            for ref in spec.refs
            for reads in trace.tokens
            if reads != spec.name and MapKey(ref, reads) in trace.attention
        )
        if not keys or trace.tokens[spec.name].kind == "box":
            continue
        try:
            footprints(trace, keys[0].reads)
        except InputError:
            continue
        tokens = trace.tokens[spec.name]
        content = np.flatnonzero(is_content(tokens))
        words = tuple((int(at), tokens.texts[at].strip()) for at in content)
        same = tuple(key for key in keys if key.reads == keys[0].reads)
        heads = min(len(trace.attention[key]) for key in same)
        return Looking(spec.name, keys[0].reads, same, words, heads)
    return None


def patches(
    trace: Trace,
    key: MapKey,
    size: tuple[int, int],
    *,
    word: int | None = None,
    head: int | None = None,
    content_only: bool = True,
) -> Boxes:
    """The footprints of what is looked at, with their shares of one word's attention.

    ``word`` is a token's number, None the mean over all words; ``head`` one head, None their mean.
    ``content_only`` leaves out CLS, separators and registers, so that the patches share all.
    """
    weights = of_heads(trace.attention[key], head)
    if content_only:
        weights = without_special(weights, trace.tokens[key.reads])
    words = is_content(trace.tokens[key.ref.stream]) if word is None else [word]
    mean = np.nanmean(weights[words], axis=0)
    return weighted_boxes(mean, footprints(trace, key.reads), size)


def meet_at(spec: StreamSpec, keys: Sequence[MapKey], ref: LayerRef) -> MapKey | None:
    """The last meet at or before a site; None before the first one."""
    before = [key for key in keys if spec.position(key.ref) <= spec.position(ref)]
    return before[-1] if before else None


def meter(trace: Trace, key: MapKey, head: int | None = None) -> str:
    """Where the attention goes at a meet, in words."""
    parts: Shares = shares(trace, key, head)
    return (
        f"layer {key.ref.label}: {100 * parts.content:.0f} % to patches, "
        f"{100 * (parts.summary + parts.special):.0f} % to CLS, separators and registers"
        + (f", {100 * parts.own:.0f} % to itself" if parts.own > 0.005 else "")
    )
