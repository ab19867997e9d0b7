"""Poolings of two streams that differ: ``text=mean;vision=cls``.

A measure of two streams may set the summary of one beside the mean of the other. Such a pooling
stands wherever one of :data:`backend.types.POOLINGS` does (the pooling of rows, of a view, of
``measure --pooling``), its streams in the order of their names.
"""

from __future__ import annotations

import re
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from backend.types import POOLINGS, Pooling

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PART = re.compile(rf"\s*([A-Za-z0-9._-]{{1,80}})\s*=\s*({'|'.join(POOLINGS)})\s*")
_IN_KEY = re.compile(rf"(.+)\.({'|'.join(POOLINGS)})\.\.(.+)\.({'|'.join(POOLINGS)})")


@lru_cache(maxsize=1_024)
def by_stream(pooling: str) -> Mapping[str, Pooling]:
    """``{"text": "mean", "vision": "cls"}``; nothing for a pooling that is of every stream."""
    if pooling in POOLINGS:
        return {}
    return MappingProxyType({s: cast(Pooling, p) for s, p in _parts(pooling)})


def of_stream(pooling: str, stream: str) -> Pooling | None:
    """How a stream's vectors are pooled; None for a stream that a pooling of two does not name."""
    return pooling if pooling in POOLINGS else by_stream(pooling).get(stream)


def read_pooling(text: str) -> str:
    """A pooling as it is written everywhere; ValueError says what is wrong with the text."""
    if text.strip() in POOLINGS:
        return text.strip()
    parts = _parts(text)
    if len({pooling for _, pooling in parts}) == 1:
        raise ValueError(f"both are {parts[0][1]}: say {parts[0][1]}")
    return ";".join(f"{stream}={pooling}" for stream, pooling in parts)


def in_key(pooling: str) -> str:
    """A pooling as a part of a file's name: ``text.mean..vision.cls``."""
    return "..".join(f"{s}.{p}" for s, p in by_stream(pooling).items()) or pooling


def from_key(text: str) -> str:
    """Inverse of :func:`in_key`."""
    match = _IN_KEY.fullmatch(text)
    return f"{match[1]}={match[2]};{match[3]}={match[4]}" if match else text


def in_words(pooling: str, streams: Iterable[str] = ()) -> str:
    """``vision cls, text mean``, in the order of the streams."""
    own = by_stream(pooling)
    order = [*(stream for stream in streams if stream in own), *own]
    return ", ".join(f"{stream} {own[stream]}" for stream in dict.fromkeys(order)) or pooling


def _parts(text: str) -> list[tuple[str, str]]:
    matches = [_PART.fullmatch(part) for part in text.split(";")]
    found = sorted((match[1], match[2]) for match in matches if match)
    if len(found) != 2 or None in matches or found[0][0] == found[1][0]:
        raise ValueError(f"{text!r} is not a pooling of two streams")
    return found
