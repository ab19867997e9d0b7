"""Dimensionality in a report: measures of one layer over the layers of every stream."""

from __future__ import annotations

from backend.figures import dimension_curves
from backend.figures.dimensionality import shared_span
from backend.measures.registry import one_layer
from backend.report.asked import Asked, Part, figure, labels_of, reading, series_of
from backend.report.document import Heading, Item, Table, Words
from backend.views import choices, leads, questions
from backend.views.tables import by_layer

SHOWN_FIRST = 2
"""So many of the measures are shown where the view names none."""


def dimensionality(asked: Asked) -> Part:
    """The curves of the chosen measures, and their means by layer."""
    measures = one_layer()
    choice = choices.measure_of(asked.state, asked.held(asked.groups), tuple(measures))
    ask = questions.measures(asked.store, asked.groups, tuple(measures), choice.preset)
    rows = ask.answer().frame
    if rows.empty:
        lacking = asked.missing("measures of dimension", "measure")
        return Part((Words(leads.DIMENSIONALITY), lacking))
    available = choices.poolings_in(rows)
    pooling = choices.pooling_of(asked.state, available, asked.groups, asked.streams)
    rows = rows[rows["pooling"].eq(pooling)]
    held = [name for name in measures if rows["measure"].eq(name).any()]
    wanted = [name for name in asked.state.dims if name in held]
    dims = tuple(wanted or held[:SHOWN_FIRST])
    rows = rows[rows["measure"].isin(dims)]
    items: list[Item] = [Words(f"{leads.DIMENSIONALITY} Of {pooling} vectors.")]
    for name in dims:
        items += [Heading(measures[name].label), Words(measures[name].meaning)]
        span = shared_span(rows, asked.streams, name)
        for stream in asked.streams:
            mine = rows[rows["measure"].eq(name) & rows["stream_a"].eq(stream)]
            drawn = dimension_curves(
                rows, series_of(asked.groups), stream, name, span=span, height=300
            )
            title = f"{measures[name].label}, {stream}"
            alt = f"{title} over its layers, {labels_of(asked.groups)}"
            how = reading(mine, asked.groups, "fusion layers")
            items.append(figure(title, drawn, alt, how, half=True))
    items.append(Table("Means over seeds by layer", by_layer(rows, asked.groups), digits=2))
    shown = {"dims": dims, "pooling": pooling, "preset": choice.preset}
    return Part(tuple(items), shown, {"dimensionality": rows})
