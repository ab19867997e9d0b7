"""Which sites of a model are compared with which.

Every two layers of a stream (each unordered pair once, the diagonal too), every layer of one stream
with every layer of another, each named site with its neighbours (k-1 with k.fusion, k.fusion with
k), and the named sites after a stream's last layer with those of the same name in another stream
(``projected`` with ``projected``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, combinations_with_replacement, pairwise, product, takewhile

from backend.types import BLOCK, LayerRef, StreamSpec

PROJECTED = "projected"
"""The name of the site in the space that a model brings its streams to."""


def pairs(refs: Sequence[LayerRef], modalities: Mapping[str, str]) -> list[tuple[int, int]]:
    """Indices of the pairs of sites that are compared, of the module's docstring, in its order."""
    streams = in_order((ref.stream for ref in refs), modalities)
    blocks = {
        name: sorted(
            (i for i, ref in enumerate(refs) if ref.stream == name and ref.site == BLOCK),
            key=lambda i: refs[i].layer,
        )
        for name in streams
    }
    compared = [p for name in streams for p in combinations_with_replacement(blocks[name], 2)]
    for a, b in combinations(streams, 2):
        compared += product(blocks[a], blocks[b])
    return [*compared, *named_pairs(refs, modalities)]


def in_order(streams: Iterable[str], modalities: Mapping[str, str]) -> list[str]:
    """Each stream once, vision first: of two streams the earlier one is ``stream_a``."""
    return sorted(dict.fromkeys(streams), key=lambda name: modalities.get(name, name) != "vision")


def named_pairs(refs: Sequence[LayerRef], modalities: Mapping[str, str]) -> list[tuple[int, int]]:
    """Indices of the pairs of named sites: with their neighbours, and with namesakes at the ends.

    Neighbours are beside each other among the ``refs`` of a stream and at most a layer apart: k-1
    with k.fusion, k.fusion with k. Namesakes are :func:`end_pairs`.
    """
    at = {ref: i for i, ref in enumerate(refs)}
    compared = []
    for stream in sorted({ref.stream for ref in refs}):
        own = [ref for ref in refs if ref.stream == stream]
        compared += [
            (at[a], at[b])
            for a, b in pairwise(own)
            if (a.site, b.site) != (BLOCK, BLOCK) and abs(b.layer - a.layer) <= 1
        ]
    return [*compared, *((at[a], at[b]) for a, b in end_pairs(refs, modalities))]


def end_pairs(
    refs: Sequence[LayerRef], modalities: Mapping[str, str]
) -> list[tuple[LayerRef, LayerRef]]:
    """The named sites after the last layers of two streams that have the same name.

    The model itself has brought them there to be compared: CLIP's ``projected`` of either stream.
    """
    streams = in_order((ref.stream for ref in refs), modalities)
    return [
        (a, b)
        for one, other in combinations(streams, 2)
        for a in ends(refs, one)
        for b in ends(refs, other)
        if a.site == b.site
    ]


def shared_spaces(streams: Iterable[StreamSpec]) -> dict[LayerRef, str]:
    """{site: a name for its space} of the sites that lie in one that several streams may share.

    That is where the training loss compares a stream with another one, and every site of a stream
    that declares a ``space``: its layers are in one, its named sites in one with their namesakes
    (what a norm gives has other axes than what it takes).
    """
    spaces: dict[LayerRef, str] = {}
    for spec in streams:
        compared = {meet.site for meet in spec.meets if meet.how == "loss"}
        for ref in spec.refs:
            if ref.label in compared:
                spaces[ref] = PROJECTED
            elif spec.space:
                spaces[ref] = f"{spec.space}.{ref.site}"
    return spaces


def in_shared_space(a: LayerRef, b: LayerRef, *, spaces: Mapping[LayerRef, str]) -> bool:
    """Whether two sites lie in one space, so that directions may be compared.

    The model projects both there, or ``spaces`` (:func:`shared_spaces`) has them in one. Equal
    widths do not make one space: two encoders' layers of 768 have axes of their own, and even a
    layer and its own rotation have a modality gap of about 0.9.
    """
    return a.site == b.site == PROJECTED or (a in spaces and spaces[a] == spaces.get(b))


def ends(refs: Sequence[LayerRef], stream: str) -> list[LayerRef]:
    """The named sites after a stream's last layer, such as ``12.norm`` and ``12.projected``."""
    own = [ref for ref in refs if ref.stream == stream]
    return list(takewhile(lambda ref: ref.site != BLOCK, reversed(own)))[::-1]
