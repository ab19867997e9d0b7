"""From places to streams: every site in order, its width, and where other streams come in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from backend.errors import InputError
from backend.store.imports.mapping import StreamForm
from backend.store.imports.places import Place
from backend.store.streams import MAX_SITES
from backend.types import BLOCK, POOLINGS, How, LayerRef, Meet, Pooling, Site, StreamSpec

NOT_GIVEN = "Its fusion layers were not given."

_ON_ENTRY = ("fusion", "cross")
"""Named sites that lie before the layer of their number; all others lie after it."""

_SITES = re.compile(
    r"(?P<first>0|[1-9]\d{0,3})(-(?P<last>[1-9]\d{0,3})|\.(?P<name>[a-z][a-z0-9_]{0,31}))?"
    r"(:(?P<width>[1-9]\d{0,8}))?(?P<pooled> pooled)?"
)


def streams_of(
    places: Sequence[Place],
    forms: Mapping[str, StreamForm],
    modalities: Mapping[str, str],
    fusion: Mapping[str, Sequence[int]],
    how: How | None,
) -> tuple[StreamSpec, ...]:
    """The streams of some places: those of the mapping in its order, then the others by name."""
    present = {place.ref.stream for place in places}
    for what, given_for in (
        ("streams", tuple(forms)),
        ("modalities", tuple(modalities)),
        ("fusion", tuple(fusion)),
    ):
        for name in given_for:
            if name not in present:
                raise InputError(
                    f"no array is of stream {name!r}",
                    field=what,
                    hint=f"The streams are {', '.join(sorted(present))}",
                )
    names = [*forms, *sorted(present - set(forms))]
    given = bool(fusion) or any(f.fusion is not None or f.meets is not None for f in forms.values())
    out = []
    for name in names:
        form = forms.get(name, StreamForm())
        own = [place for place in places if place.ref.stream == name]
        sites = _sites(name, form, own)
        others = [other for other in names if other != name]
        meets = _meets(form, fusion.get(name), how, others, sites)
        note = form.note or ("" if given else NOT_GIVEN)
        modality = modalities.get(name) or form.modality or name
        poolings: tuple[Pooling, ...] = tuple(
            p for p in POOLINGS if any(place.pooling == p for place in own)
        )
        try:
            out.append(StreamSpec(name, modality, sites, meets, poolings, note, form.space or ""))
        except ValueError as error:
            raise InputError(str(error), where=f"stream {name}") from error
    return tuple(out)


def absent_of(
    streams: Sequence[StreamSpec], places: Sequence[Place]
) -> tuple[tuple[LayerRef, Pooling], ...]:
    """Sites and poolings that the streams declare and nobody gave."""
    given = {(place.ref, place.pooling) for place in places}
    return tuple(
        (ref, pooling)
        for spec in streams
        for ref in spec.refs
        for pooling in spec.poolings_of(ref)
        if (ref, pooling) not in given
    )


def _sites(stream: str, form: StreamForm, places: Sequence[Place]) -> tuple[Site, ...]:
    widths = {place.ref: place.width for place in places}
    if form.sites is not None:
        return _declared(stream, form.sites, widths)
    depth = max(max(ref.layer for ref in widths), form.depth or 0)
    if depth >= MAX_SITES:
        raise InputError(f"has layer {depth:,}, of {MAX_SITES:,} at most", where=f"stream {stream}")
    sites: list[Site] = []
    for layer in range(depth + 1):
        named = sorted(ref.site for ref in widths if ref.layer == layer and ref.site != BLOCK)
        before = [name for name in named if name in _ON_ENTRY]
        for name in (*before, BLOCK, *(name for name in named if name not in before)):
            sites.append(Site(layer, _width(LayerRef(stream, layer, name), widths), name))
    return tuple(sites)


def _declared(
    stream: str, written: Sequence[str], widths: Mapping[LayerRef, int]
) -> tuple[Site, ...]:
    sites: list[Site] = []
    where = f"stream {stream}, sites"
    for entry in written:
        match = _SITES.fullmatch(entry)
        if match is None:
            raise InputError(
                f"{entry!r} is no site", where=where, hint="Such as '0-12' or '4.norm'"
            )
        first = int(match["first"])
        for layer in range(first, int(match["last"] or first) + 1):
            ref = LayerRef(stream, layer, match["name"] or BLOCK)
            width = int(match["width"] or 0) or _width(ref, widths)
            if widths.get(ref, width) != width:
                raise InputError(f"{entry!r}: the array is {widths[ref]} wide", where=where)
            sites.append(Site(layer, width, ref.site, match["pooled"] is not None))
    declared = {LayerRef(stream, site.layer, site.name) for site in sites}
    lacking = [ref.label for ref in widths if ref not in declared]
    if lacking:
        raise InputError(f"{lacking[0]} has an array and is not among them", where=where)
    return tuple(sites)


def _width(ref: LayerRef, widths: Mapping[LayerRef, int]) -> int:
    """Of the site's array; where it has none, of the nearest that has."""
    if ref in widths:
        return widths[ref]
    nearest = min(widths, key=lambda other: (other.site != BLOCK, abs(other.layer - ref.layer)))
    return widths[nearest]


def _meets(
    form: StreamForm,
    fusion: Sequence[int] | None,
    how: How | None,
    others: Sequence[str],
    sites: Sequence[Site],
) -> tuple[Meet, ...]:
    if fusion is None and form.meets is not None:
        return tuple(Meet(meet.layer, meet.how, meet.reads, meet.site) for meet in form.meets)
    layers = form.fusion if fusion is None else fusion
    reads = form.reads or (others[0] if len(others) == 1 else "")
    labels = {site.label for site in sites}
    meets = []
    for layer in sorted(set(layers or ())):
        entries = [f"{layer}.{name}" for name in _ON_ENTRY if f"{layer}.{name}" in labels]
        at = entries[0] if entries else str(layer)
        meets.append(Meet(layer, how or form.how or "cross", reads, at))
    return tuple(meets)
