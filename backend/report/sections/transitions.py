"""Transitions in a report: a measure of consecutive layers, and of every layer with every other."""

from __future__ import annotations

from backend.figures import transition_curves
from backend.figures.transitions import transition_points
from backend.report.asked import Asked, Part, figure, labels_of, pick, reading, series_of
from backend.report.document import Item, Missing, Words
from backend.report.sections.matrix import matrix, means_table
from backend.views import leads
from backend.views.cells import blocks_of
from backend.views.choices import focus_of


def transitions(asked: Asked) -> Part:
    """The curves of every stream, their means, and the matrix of one group."""
    picked = pick(asked, asked.groups, asked.streams)
    if isinstance(picked, Missing):
        return Part((Words(leads.TRANSITIONS), picked))
    items: list[Item] = [Words(leads.TRANSITIONS), Words(f"{picked.words}. {picked.scale.meaning}")]
    directed = picked.scale.directed("layer k-1", "layer k")
    for stream in asked.streams:
        drawn = transition_curves(
            picked.rows,
            series_of(asked.groups),
            stream,
            scale=picked.scale,
            split_fusion=asked.state.split,
            estimator=picked.estimator,
        )
        own = picked.rows[picked.rows["stream_a"].eq(stream) & picked.rows["stream_b"].eq(stream)]
        how = reading(own, asked.groups, "transitions into a fusion layer")
        alt = f"{picked.scale.label} of consecutive {stream} layers, {labels_of(asked.groups)}"
        caption = f"{directed}; {how}" if directed else how
        items.append(figure(f"{stream}, consecutive layers", drawn, alt, caption, half=True))
    for stream in asked.streams:
        points = transition_points(picked.rows, stream, picked.scale.measure)
        items.append(
            means_table(
                f"{picked.scale.label} of {stream} transitions, mean over seeds",
                points,
                asked.groups,
            )
        )
    focus = focus_of(asked.state, asked.groups)
    drawn_matrix, shown = matrix(asked, picked, blocks_of(focus, asked.pair), focus)
    return Part((*items, *drawn_matrix), picked.shown | shown, {"transitions": picked.rows})
