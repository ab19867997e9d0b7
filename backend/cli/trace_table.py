"""What ``fusionscope trace`` prints of a pair."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.table import Table

from backend.cli.base import out, say
from backend.inference.difference import parting
from backend.types import LayerRef
from backend.words import counted, listed

if TYPE_CHECKING:
    from backend.inference.files import Traced
    from backend.inference.values import Output, Trace

_LIKELIEST = 3
_PERCENTILES = {"norm": "norm %", "step": "step %"}


def show(traced: Traced) -> None:
    """Facts, a table a stream, what if, and what is missing and why."""
    trace = traced.trace
    width, height = traced.picture.image.size
    facts = [
        ("model", f"{trace.model} ({trace.family})"),
        ("digest", trace.digest),
        ("picture", f"{width} x {height}, {traced.picture.digest[:16]}"),
        ("reference", traced.reference),
        *((output.task, _likeliest(output)) for output in trace.outputs),
        ("next words", _next_words(trace)),
        ("cut", f"{counted(trace.cut, 'token')} of the caption did not fit" if trace.cut else ""),
    ]
    for name, value in facts:
        if value:
            out.print(f"{name:<11}{value}", markup=False, highlight=False, soft_wrap=True)
    for stream in traced.sites["stream"].unique():
        out.print(_table(traced, stream))
    for name, other in traced.others.items():
        line = f"{name} parts from the pair {_parts(trace, other)}"
        outputs = [f"{output.task}: {_likeliest(output)}" for output in other.outputs]
        out.print("; ".join([line, *outputs]), markup=False, highlight=False, soft_wrap=True)
    for note in traced.notes:
        say(note)
    for name, reason in trace.unsupported.items():
        say(f"{name}: {reason}")


def _parts(pair: Trace, other: Trace) -> str:
    """``at vision 10.fusion and text 0``, or ``nowhere``."""
    refs = [ref for ref in parting(pair, other).values() if ref is not None]
    places = listed(f"{ref.stream} {ref.label}" for ref in refs)
    return f"at {places}" if places else "nowhere"


def _likeliest(output: Output) -> str:
    """``ironic 0.93, sincere 0.07``: the likeliest classes."""
    order = sorted(range(len(output.classes)), key=lambda at: -output.probabilities[at])
    return ", ".join(
        f"{output.classes[at]} {output.probabilities[at]:.2f}" for at in order[:_LIKELIEST]
    )


def _next_words(trace: Trace) -> str:
    """Those of the last layer."""
    words = trace.next_words
    if words is None:
        return ""
    pairs = zip(words.words[-1], words.probabilities[-1], strict=True)
    return ", ".join(f"{text!r} {value:.2f}" for text, value in list(pairs)[:_LIKELIEST])


def _table(traced: Traced, stream: str) -> Table:
    """A row a site; percentiles where there is a reference."""
    sites = traced.sites[traced.sites["stream"] == stream]
    table = Table(stream, "pooling", "norm", "step", box=SIMPLE, padding=(0, 1, 0, 0))
    for column in table.columns[2:]:
        column.justify = "right"
    ranks = _ranks(traced)
    for heading in _PERCENTILES.values() if ranks else ():
        table.add_column(heading, justify="right")
    rows: Iterable[Any] = sites.itertuples()
    for row in rows:
        place = (row.stream, row.layer, row.site)
        label = LayerRef(row.stream, row.layer, row.site).label
        ranked = [_rank(ranks.get((curve, *place), math.nan)) for curve in _PERCENTILES]
        table.add_row(
            label, row.pooling, _number(row.norm), _number(row.step), *(ranked if ranks else ())
        )
    return table


def _ranks(traced: Traced) -> dict[tuple[object, ...], float]:
    """{(curve, stream, layer, site): percentile}."""
    if traced.curves is None:
        return {}
    columns = ("curve", "stream", "layer", "site", "percentile")
    rows = zip(*(traced.curves[name] for name in columns), strict=True)
    return {tuple(place): rank for *place, rank in rows}


def _number(value: Any) -> str:
    return "–" if math.isnan(value) else f"{value:.3g}"


def _rank(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.0f}"
