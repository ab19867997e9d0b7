"""The whole trace as one HTML file, with the picture and the text in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backend.report.files import file_name
from backend.report.trace import GivenPair, trace_html
from backend.views import strip
from backend.views import trace as views
from backend.views.provenance import Provenance
from backend.words import listed
from dashboard.trace.side import Side


def whole(sides: Sequence[Side]) -> dict[str, Callable[[Provenance], bytes]]:
    """{file name: what makes the file} of what the sides show at the moment that it is made.

    The name is that of the model: nothing of a visitor's own is in it.
    """
    name = file_name(f"trace-{_traced_last(sides).traced.offer.label}", "html")
    return {name: lambda provenance: _file(sides, provenance)}


def remarks(side: Side) -> tuple[str, ...]:
    """Sentences on a side as a whole: what was left out, and where its counterfactuals part."""
    out = list(side.traced.outcome.notes)
    if side.trace.cut:
        out.append(
            f"{side.trace.cut:,} tokens of the text did not fit into the model and were left out."
        )
    for name, parts in views.partings(side.traces).items():
        at = [f"{stream} at layer {ref.label}" for stream, ref in parts.items() if ref is not None]
        out.append(f"{name} parts from the pair: {listed(at) if at else 'nowhere'}.")
    if lacks := views.unsupported_in_words(side.trace):
        out.append(lacks)
    return tuple(out)


def _file(sides: Sequence[Side], provenance: Provenance) -> bytes:
    pairs = [
        GivenPair(
            side.name or ("traced last" if len(sides) > 1 else ""),
            side.traced.shown.webp,
            side.traced.asked.caption,
            side.traced.offer.label,
            side.trace.digest,
            remarks(side),
        )
        for side in sides
    ]
    side = _traced_last(sides)
    panels = {title: panel for one in sides for title, panel in one.part.panels.items()}
    sites = strip.sites(side.spec, side.refs)
    at = str(side.part.shown["layer"])
    return trace_html(pairs, sites, at, list(panels.values()), provenance)


def _traced_last(sides: Sequence[Side]) -> Side:
    """The side whose sites the strip has: the other one is pinned."""
    return next(side for side in sides if not side.name)
