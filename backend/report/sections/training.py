"""Training in a report: one quantity, played over the steps, and all steps of one group at once."""

from __future__ import annotations

from typing import Any

from backend.figures import training_curves, training_heatmap
from backend.figures.dimensionality import shared_span
from backend.figures.training import ALIGNMENT, TRANSITIONS
from backend.measures.registry import one_layer
from backend.report.asked import Asked, Part, figure, labels_of, reading, series_of
from backend.report.document import Item, Missing, Words
from backend.store.commands import measured_commands
from backend.views import choices, leads, questions
from backend.views.training import held_quantities, quantity_figure, quantity_rows

_LABELS = {TRANSITIONS: "CKA of consecutive layers", ALIGNMENT: "CKA of matching layers"}


def training(asked: Asked) -> Part:
    """The quantity that the view asks for, else the first that was measured."""
    frame = questions.training(asked.store, asked.groups).answer().frame
    if frame.empty:
        return Part((Words(leads.TRAINING), _nothing(asked)))
    pooling = choices.pooling_of(asked.state, choices.poolings_in(frame))
    held = held_quantities(frame[frame["pooling"].eq(pooling)])
    quantity = asked.state.played if asked.state.played in held else held[0]
    rows = quantity_rows(frame, quantity, pooling)
    estimator = ""
    if quantity in _LABELS:
        estimator = choices.estimator_of(asked.state, choices.estimators_in(rows))
        rows = quantity_rows(frame, quantity, pooling, estimator)
    groups = tuple(group for group in asked.groups if rows["series"].eq(group.key).any())
    streams = asked.streams
    stream = asked.state.stream if asked.state.stream in streams else streams[0]
    if quantity == ALIGNMENT:
        stream = ""
    label = _LABELS.get(quantity) or one_layer()[quantity].label
    title = f"{label}, {stream}" if stream else label
    focus = choices.focus_of(asked.state, groups)
    how: dict[str, Any] = {
        "pooling": pooling,
        "pair": asked.pair if quantity == ALIGNMENT else None,
        "estimator": estimator,
        "span": shared_span(rows, streams, quantity),
    }
    curves = quantity_figure(training_curves, frame, series_of(groups), quantity, stream, **how)
    steps = quantity_figure(training_heatmap, frame, focus.series, quantity, stream, **how)
    items: tuple[Item, ...] = (
        Words(f"{leads.TRAINING} Of {pooling} vectors {leads.OF_DEV}"),
        figure(
            f"{title}, played",
            curves,
            f"{title} by layer at the last step for {labels_of(groups)}",
            reading(rows, groups, "fusion layers") + " Dotted: the untrained models.",
        ),
        figure(f"{title}, all steps of {focus.label}", steps, f"{title} of {focus.label}"),
    )
    shown = {"played": quantity, "pooling": pooling, "focus": focus.key}
    shown |= {"stream": stream} if stream else {}
    return Part(items, shown, {"training": rows})


def _nothing(asked: Asked) -> Item:
    trained = [run for group in asked.groups if group.placed for run in group.runs]
    if not trained:
        return Words("These models were released, not trained here.")
    run = next((run for run in trained if run.manifest.origin.train), trained[0])
    commands = measured_commands(run.manifest, asked.store.path)
    return Missing(
        "The chosen runs were not measured while they were trained. These make the first one anew:",
        commands,
    )
