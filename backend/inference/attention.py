"""Reading attention maps: from a word to patches and back, and onto the picture itself.

A map is (heads, T, S): row t is how token t of one stream spreads its attention over the S tokens
of the stream that it reads. Where both streams share a sequence the rows sum to less than 1: the
rest stays among the stream's own tokens. Attention is not explanation (Jain & Wallace 2019); how
far it is from one, :mod:`backend.inference.effects` measures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from backend.errors import InputError
from backend.inference.values import Floats, MapKey, Tokens, Trace
from backend.models.roles import Role


def of_heads(weights: Floats, head: int | None = None) -> Floats:
    """(heads, T, S) -> (T, S): the average of all heads, or ``head`` (from 0) alone.

    InputError for a head that the map does not have.
    """
    if head is None:
        averaged: Floats = weights.mean(axis=0)
        return averaged
    if not 0 <= head < len(weights):
        raise InputError(f"there is no head {head}: this map has {len(weights)}", field="head")
    own: Floats = weights[head]
    return own


def reading(weights: Floats, token: int, *, of: Literal["query", "key"]) -> Floats:
    """One token's part of a map (T, S) of :func:`of_heads`.

    ``of="query"``: (S,), what token ``token`` of the reading stream attends to. ``of="key"``: (T,),
    how much each token of the reading stream attends to token ``token`` of the one that is read.
    For a map of text reading vision these are word to patches and patch to words; for one of vision
    reading text the other way round. InputError for a token that the map does not have.
    """
    count = weights.shape[0 if of == "query" else 1]
    if not 0 <= token < count:
        raise InputError(f"there is no token {token}: the map has {count}", field="token")
    part: Floats = weights[token] if of == "query" else weights[:, token]
    return part


def is_content(tokens: Tokens) -> NDArray[np.bool_]:
    """(T,) which tokens are words or patches; the last word of a causal text is, too."""
    content: NDArray[np.bool_] = (tokens.roles & int(Role.CONTENT)) != 0
    return content


def without_special(weights: Floats, keys: Tokens) -> Floats:
    """A map (..., S) whose rows sum to 1 over the content tokens that are read.

    CLS, BOS, separators, registers and other tokens that are no word and no patch get 0. A row that
    has no content to attend to is NaN.
    """
    content = np.where(is_content(keys), weights, np.float32(0.0))
    sums = content.sum(axis=-1, keepdims=True)
    shared: Floats = np.divide(content, sums, out=np.full_like(content, np.nan), where=sums > 0)
    return shared


@dataclass(frozen=True)
class Shares:
    """Where a stream's attention goes at a meet, in shares that sum to 1.

    ``content``: words or patches of the stream that is read; ``summary`` (CLS, EOS) and ``special``
    (BOS, separators, registers, words of a prompt) its other tokens, and the stream's own such
    tokens where its attention to itself is in the trace; ``own``: the rest, which stays in the
    stream. NaN where none of the stream's content attends to anything.
    """

    content: float
    summary: float
    special: float
    own: float


def shares(trace: Trace, key: MapKey, head: int | None = None) -> Shares:
    """The meter of one map: averaged over the content tokens that attend.

    A row of zeros, of a word before the first image in a model that then reads nothing, is left
    out. KeyError for a map that the trace does not have.
    """
    read = of_heads(trace.attention[key], head)
    stream = trace.tokens[key.ref.stream]
    rows = is_content(stream) & (read.sum(axis=1) > 0)
    if not rows.any():
        return Shares(*[float("nan")] * 4)
    content, summary, special = _by_role(read[rows], trace.tokens[key.reads])
    itself = trace.attention.get(MapKey(key.ref, key.ref.stream))
    if itself is not None:
        _, own_summary, own_special = _by_role(of_heads(itself, head)[rows], stream)
        summary, special = summary + own_summary, special + own_special
    return Shares(content, summary, special, own=max(0.0, 1.0 - content - summary - special))


def _by_role(rows: Floats, keys: Tokens) -> tuple[float, float, float]:
    """The mean attention of ``rows`` (n, S) to content, summary and special tokens."""
    content = is_content(keys)
    summary = ((keys.roles & int(Role.SUMMARY)) != 0) & ~content
    each = rows.mean(axis=0, dtype=np.float64)
    other = ~content & ~summary
    return float(each[content].sum()), float(each[summary].sum()), float(each[other].sum())


def footprints(trace: Trace, stream: str) -> Floats:
    """(T, 4) left, top, right, bottom of each token in pixels of the picture, NaN without any.

    InputError for a stream whose tokens have no place in the picture: words, or the tokens of a
    resampler, each of which is made of the whole of it.
    """
    tokens = trace.tokens[stream]
    if tokens.kind != "box" or np.isnan(tokens.origins).all():
        raise InputError(
            f"the tokens of stream {stream} have no place in the picture",
            where=f"model {trace.model}",
            hint=trace.unsupported.get("origins"),
        )
    return tokens.origins


def in_picture(boxes: Floats, size: tuple[int, int]) -> tuple[NDArray[np.int64], Floats]:
    """(n,) the tokens whose footprints (T, 4) lie in a picture of ``size`` (width, height).

    Beside them their footprints (n, 4), clipped to it. Tokens without one (CLS, letterbox) are left
    out.
    """
    width, height = size
    clipped = np.clip(boxes, 0.0, [width, height, width, height])
    inside = (clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])  # NaN is not
    at = np.flatnonzero(inside)
    return at, clipped[at].astype(np.float32)
