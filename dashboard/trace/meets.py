"""Which meet of a traced pair a panel shows where the layer strip stands."""

from __future__ import annotations

from collections.abc import Sequence

from backend.figures.looks import meet_mark
from backend.inference.values import MapKey
from backend.views.attention import meet_at
from dashboard import session
from dashboard.trace.side import Side, Steps


def meets_of(side: Side, keys: Sequence[MapKey]) -> dict[str, MapKey | None]:
    """At each label of the strip that of ``keys``, all of one stream; None before the first."""
    spec = side.trace.stream(keys[0].ref.stream)
    return {label: meet_at(spec, keys, side.beside(label, spec, spec.refs)) for label in side.at}


def meet_now(side: Side, keys: Sequence[MapKey]) -> MapKey | None:
    """That of ``keys`` at which the strip stands, as far as the server knows."""
    label = session.current().layer
    meets = meets_of(side, keys)
    return meets[label] if label in meets else meets[list(meets)[-1]]


def outlines(side: Side, columns: Sequence[MapKey], *groups: Sequence[MapKey]) -> Steps:
    """Outlines of the meet of each of ``groups`` in a figure that has one of ``columns`` a meet."""
    at: dict[str, list[int]] = {label: [] for label in side.at}
    for keys in dict.fromkeys(map(tuple, groups)):
        for label, key in meets_of(side, keys).items():
            if key is not None:
                at[label].append(columns.index(key))
    return {label: {"marks": meet_mark(places)} for label, places in at.items()}


def place_of(key: MapKey) -> str:
    """``text layer 10.fusion``."""
    return f"{key.ref.stream} layer {key.ref.label}"
