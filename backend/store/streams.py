"""How run.json writes a model's streams: sites as a few words, meets and poolings beside them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from backend.store.paths import ID_PATTERN
from backend.types import BLOCK, How, LayerRef, Meet, Pooling, Site, StreamSpec

Id = Annotated[str, Field(pattern=f"^{ID_PATTERN}$")]
Name = Annotated[str, Field(max_length=1_000)]
Words = Annotated[str, Field(max_length=100_000)]

MAX_STREAMS = 64
MAX_SITES = 1_024
"""Of all streams of a model together; the deepest of today have a few hundred."""

_SITES = re.compile(
    r"(?P<first>0|[1-9]\d{0,3})(-(?P<last>[1-9]\d{0,3})|\.(?P<name>[a-z][a-z0-9_]{0,31}))?"
    r":(?P<width>[1-9]\d{0,7})(?P<pooled> pooled)?"
)


class Form(BaseModel):
    """A part of run.json: strict, frozen, without unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class MeetInfo(Form):
    """See :class:`backend.types.Meet`."""

    layer: int = Field(ge=1)
    how: How
    reads: Name
    site: Name


class StreamInfo(Form):
    """One stream of the model; see :class:`backend.types.StreamSpec`.

    ``sites`` in order, each ``LABEL:WIDTH``: ``"4:768"``, ``"4.fusion:768"``, with the word
    ``pooled`` where the model has made one vector of the tokens (``"12.projected:512 pooled"``).
    Layers that follow each other at one width are one entry: ``"0-3:768"``. ``space`` is written
    only where there is one.
    """

    name: Id
    modality: Id
    sites: Annotated[tuple[str, ...], Field(strict=False)]
    meets: Annotated[tuple[MeetInfo, ...], Field(strict=False)] = ()
    poolings: Annotated[tuple[Pooling, ...], Field(strict=False)]
    note: Words = ""
    space: Id | Literal[""] = ""

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        written: dict[str, object] = write(self)
        if not self.space:
            del written["space"]
        return written

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.poolings)) != len(self.poolings):
            raise ValueError(f"poolings holds a name twice: {list(self.poolings)}")
        _ = self.spec
        return self

    @classmethod
    def of(cls, spec: StreamSpec) -> StreamInfo:
        """A stream as it is written."""
        meets = tuple(
            MeetInfo(layer=meet.layer, how=meet.how, reads=meet.reads, site=meet.site)
            for meet in spec.meets
        )
        return cls(
            name=spec.name,
            modality=spec.modality,
            sites=tuple(written_sites(spec.sites)),
            meets=meets,
            poolings=spec.poolings,
            note=spec.note,
            space=spec.space,
        )

    @property
    def spec(self) -> StreamSpec:
        """The same as the value that the rest of the program uses."""
        return _spec_of(self)


@lru_cache(maxsize=512)
def _spec_of(info: StreamInfo) -> StreamSpec:
    meets = tuple(Meet(meet.layer, meet.how, meet.reads, meet.site) for meet in info.meets)
    sites = parsed_sites(info.sites)
    return StreamSpec(info.name, info.modality, sites, meets, info.poolings, info.note, info.space)


def stream_summary(spec: StreamSpec) -> dict[str, object]:
    """A stream as listings of runs show it, which other programs read."""
    return {
        "name": spec.name,
        "modality": spec.modality,
        "depth": spec.depth,
        "width": spec.width,
        "fusion_layers": list(spec.fusion_layers),
    }


def captures(
    streams: Iterable[StreamSpec], poolings: Sequence[Pooling]
) -> tuple[tuple[LayerRef, Pooling], ...]:
    """Every site with each of ``poolings`` that it has: by stream, pooling and position."""
    return tuple(
        (ref, pooling)
        for spec in streams
        for pooling in sorted(poolings)
        for ref in spec.refs
        if pooling in spec.poolings_of(ref)
    )


def written_sites(sites: Sequence[Site]) -> list[str]:
    """``["0-3:768", "4.fusion:768", "4-12:768"]``."""
    written: list[str] = []
    first = 0
    for at, site in enumerate(sites):
        following = sites[at + 1] if at + 1 < len(sites) else None
        if following is not None and _continues(site, following):
            continue
        label = site.label if first == at else f"{sites[first].layer}-{site.layer}"
        written.append(f"{label}:{site.width}{' pooled' if site.pooled else ''}")
        first = at + 1
    return written


def parsed_sites(written: Sequence[str]) -> tuple[Site, ...]:
    """Inverse of :func:`written_sites`; ValueError names an entry that is none or too many."""
    sites: list[Site] = []
    for entry in written:
        match = _SITES.fullmatch(entry)
        if match is None:
            raise ValueError(f"{entry!r} is not a site; expected e.g. '0-12:768'")
        first, width, pooled = int(match["first"]), int(match["width"]), match["pooled"] is not None
        last = int(match["last"] or first)
        if len(sites) + last - first >= MAX_SITES:
            raise ValueError(f"more than {MAX_SITES} sites")
        for layer in range(first, last + 1):
            sites.append(Site(layer, width, match["name"] or BLOCK, pooled))
    return tuple(sites)


def _continues(site: Site, following: Site) -> bool:
    """Whether two sites that follow each other can stand in one entry."""
    return (
        site.name == following.name == BLOCK
        and following.layer == site.layer + 1
        and (site.width, site.pooled) == (following.width, following.pooled)
    )
