"""Older run.json files, read as the present version. Files on disk stay as they are.

One function a version: each makes the manifest of its version one of the next.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from backend.store.streams import MAX_SITES, MAX_STREAMS, Form, Id, StreamInfo
from backend.types import StreamSpec

_PLACED_FAMILY = "fusionscope-fusion"
"""The one family of version 1 whose placements are placements; others say ``none`` for want of."""


class _Stream(Form):
    """A stream as version 1 wrote it."""

    name: Id
    modality: Id
    depth: int = Field(ge=0, lt=MAX_SITES)
    width: int = Field(ge=1, lt=10**8)
    fusion_layers: Annotated[tuple[int, ...], Field(strict=False)] = ()


_STREAMS = TypeAdapter(Annotated[list[_Stream], Field(max_length=MAX_STREAMS)])


def from_version_1(raw: dict[str, Any]) -> dict[str, Any]:
    """The manifest of version 1 as one of version 2.

    Version 1 knew layers of one width with co-attention between two streams, and gave every model
    a placement and a seed. pydantic's ValidationError for streams that are not version 1's.
    """
    model = raw.get("model")
    if not isinstance(model, dict) or "streams" not in model:
        return {**raw, "schema_version": 2}
    streams = _STREAMS.validate_python(model["streams"])
    names = [stream.name for stream in streams]
    written = []
    for stream in streams:
        others = [name for name in names if name != stream.name]
        spec = StreamSpec.of(
            stream.name,
            stream.modality,
            stream.depth,
            stream.width,
            stream.fusion_layers,
            reads=others[0] if len(others) == 1 else "",
        )
        written.append(StreamInfo.of(spec).model_dump(mode="json"))
    upgraded = {**raw, "schema_version": 2, "model": {**model, "streams": written}}
    if _is_released(raw):
        upgraded |= {"placement": None, "seed": None}
    return upgraded


def from_version_2(raw: dict[str, Any]) -> dict[str, Any]:
    """The manifest of version 2 as one of version 3, which keeps samples and layers in parts."""
    return {**raw, "schema_version": 3, "parts": False}


def from_version_3(raw: dict[str, Any]) -> dict[str, Any]:
    """The manifest of version 3 as one of version 4, whose samples say what belongs together."""
    return {**raw, "schema_version": 4, "grouped": False}


_STEPS = {1: from_version_1, 2: from_version_2, 3: from_version_3}


def upgraded(raw: dict[str, Any], version: int) -> dict[str, Any]:
    """The manifest of ``version`` as one of the present version.

    pydantic's ValidationError for streams that are not those of the version.
    """
    for step in range(version, max(_STEPS) + 1):
        raw = _STEPS[step](raw)
    return raw


def _is_released(raw: dict[str, Any]) -> bool:
    """Whether placement and seed only say what version 1 wrote for a model that has neither."""
    placement = raw.get("placement")
    return (
        raw["model"].get("family") != _PLACED_FAMILY
        and isinstance(placement, dict)
        and placement.get("name") in ("", "none")
        and not placement.get("text")
        and not placement.get("vision")
        and raw.get("seed") == 0
    )
