"""Which reference pairs are near a pair, layer by layer, and where that changes.

From site to site a share of a pair's k neighbours changes
(:func:`backend.projection.changed_share`). The neighbours of every pair change, so each change
stands beside those of the reference pairs. The **turn** is the site of the largest one. A largest
value is large by selection, so it is compared with the largest change of each reference pair, not
with what they do at that site.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from backend.inference.reference import (
    PLACE,
    Float64,
    Reference,
    Rows,
    band,
    percentile,
    place_columns,
)
from backend.inference.values import Trace
from backend.measures.suite.layers import site_name
from backend.projection.nearest import changed_share
from backend.types import LayerRef, StreamSpec

LISTED = (*PLACE, "rank", "sample_id", "distance")

_NAN = float("nan")


@dataclass(frozen=True, eq=False)
class Turn:
    """The site of a stream at which most neighbours change, and who they were and are.

    ``change`` (0..1), a share of the neighbours, has its ``percentile`` (0..100) among the largest
    changes of the reference pairs, wherever those have theirs; ``usual`` are the quantiles of those
    (``p05`` .. ``p95``).
    ``before_ids`` and ``ids`` (k,) are nearest first.
    """

    stream: str
    before: LayerRef
    ref: LayerRef
    change: float
    percentile: float
    usual: dict[str, float]
    before_ids: tuple[str, ...]
    ids: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Neighbourhoods:
    """The neighbours of a pair.

    ``lists``: stream, layer, site, position, pooling, ``rank`` (1 is the nearest), ``sample_id``,
    ``distance``. ``changes``: a row a site, ``change`` from the site before (0..1), its
    ``percentile`` among the reference pairs at that site and their quantiles ``p05`` .. ``p95``,
    of ``n``; NaN with a ``reason``. ``turns``: one a stream that has any change.
    """

    lists: pd.DataFrame
    changes: pd.DataFrame
    turns: tuple[Turn, ...]


def neighbours(
    reference: Reference, trace: Trace, k: int = 10, *, sample_id: str | None = None
) -> Neighbourhoods:
    """The ``k`` reference pairs nearest to a pair at every site, by Euclidean distance.

    ``sample_id`` as in :func:`backend.inference.standing.standing`: a reference pair is not its own
    neighbour, neither here nor in the band. A constant site has no neighbours, and no change to or
    from it is defined. Ties go in the order of the samples. InputError as there.
    """
    reference.check_k(k)
    vectors = reference.vectors_of(trace)
    own = reference.row_of(trace, sample_id)
    near: dict[LayerRef, Rows] = {}
    lists: list[tuple[object, ...]] = []
    for ref, vector in vectors.items():
        site = reference.sites[ref]
        if site.constant or not np.isfinite(vector).all():
            continue
        near[ref], distances = site.nearest(vector, k, own)
        place = place_columns(reference.stream(ref.stream), ref, reference.pooling).values()
        for at, (row, distance) in enumerate(zip(near[ref], distances, strict=True)):
            lists.append((*place, at + 1, reference.ids[row], float(distance)))
    rows: list[dict[str, object]] = []
    turns: list[Turn] = []
    for spec in reference.streams:
        moves = _moves(reference, near, [ref for ref in vectors if ref.stream == spec.name], k)
        rows += [_row(reference, spec, move, own, k) for move in moves]
        turns += _turn(reference, near, moves, own)
    return Neighbourhoods(
        pd.DataFrame(lists, columns=[*LISTED]),
        pd.DataFrame(rows),
        tuple(turns),
    )


@dataclass(frozen=True, eq=False)
class _Move:
    """From one site to the next: the change of the pair and those of the drawn pairs (m,)."""

    before: LayerRef | None
    ref: LayerRef
    change: float
    usual: Float64
    reason: str


def _moves(
    reference: Reference, near: Mapping[LayerRef, Rows], refs: Sequence[LayerRef], k: int
) -> list[_Move]:
    moves = []
    for before, ref in zip([None, *refs], refs, strict=False):
        reason = _no_change(reference, near, before, ref)
        usual = _usual(reference, before, ref, k)
        change = _NAN
        if before is not None and not reason:
            change = float(changed_share(near[before][None], near[ref][None])[0])
        moves.append(_Move(before, ref, change, usual, reason))
    return moves


def _usual(reference: Reference, before: LayerRef | None, ref: LayerRef, k: int) -> Float64:
    """The changes of the drawn pairs (m,); none where one of the sites has no neighbours."""
    if before is None or reference.sites[before].constant or reference.sites[ref].constant:
        return np.empty(0)
    left, right = reference.sites[before].near[:, :k], reference.sites[ref].near[:, :k]
    return reference.once(("change", before, ref, k), lambda: changed_share(left, right))


def _no_change(
    reference: Reference, near: Mapping[LayerRef, Rows], before: LayerRef | None, ref: LayerRef
) -> str:
    if before is None:
        return f"{site_name(ref)} is the first site"
    for each in (before, ref):
        if reference.sites[each].constant:
            return reference.constant(each)
        if each not in near:
            return f"{site_name(each)} of the pair is not finite"
    return ""


def _row(
    reference: Reference, spec: StreamSpec, move: _Move, own: int | None, k: int
) -> dict[str, object]:
    among = reference.drawn_row(own) if len(move.usual) else None
    return {
        **place_columns(spec, move.ref, reference.pooling),
        "change": move.change,
        "percentile": percentile(move.usual, move.change, among),
        **reference.band(("change", move.before, move.ref, k), move.usual),
        "n": len(move.usual),
        "reason": move.reason,
    }


def _turn(
    reference: Reference,
    near: Mapping[LayerRef, Rows],
    moves: Sequence[_Move],
    own: int | None,
) -> list[Turn]:
    """The turn of a stream; none where no change is defined."""
    defined = [(m.before, m) for m in moves if m.before is not None and not m.reason]
    if not defined:
        return []
    before, largest = max(defined, key=lambda item: item[1].change)
    usual = np.max([move.usual for _, move in defined], axis=0)
    return [
        Turn(
            stream=largest.ref.stream,
            before=before,
            ref=largest.ref,
            change=largest.change,
            percentile=percentile(usual, largest.change, reference.drawn_row(own)),
            usual=band(usual),
            before_ids=tuple(map(str, reference.ids[near[before]])),
            ids=tuple(map(str, reference.ids[near[largest.ref]])),
        )
    ]
