"""Probes in a report: how much of each task's labels a linear classifier reads from each layer."""

from __future__ import annotations

from backend.figures import probe_curves
from backend.figures.probes import MEASURE
from backend.remarks import sentences
from backend.report.asked import Asked, Part, figure, labels_of, reading, series_of
from backend.report.document import Item, Points, Words
from backend.views import choices, leads, questions
from backend.words import listed, metric_name


def probes(asked: Asked) -> Part:
    """A figure a stream, and one of both compared streams together, for one task."""
    metrics = {task.name: task.metric for group in asked.groups for task in group.manifest.tasks}
    if not metrics:
        return Part((Words(leads.NO_LABELS),))
    rows = questions.measures(asked.store, asked.groups, (MEASURE,)).answer().frame
    if rows.empty or not rows["estimator"].isin(list(metrics)).any():
        return Part((Words(leads.PROBES), asked.missing("linear probes", "measure")))
    available = choices.poolings_in(rows)
    pooling = choices.pooling_of(asked.state, available, asked.groups, asked.streams)
    rows = rows[rows["pooling"].eq(pooling)]
    held = [name for name in metrics if rows["estimator"].eq(name).any()]
    task = asked.state.task if asked.state.task in held else held[0]
    rows = rows[rows["estimator"].eq(task)]
    groups = tuple(group for group in asked.groups if rows["series"].eq(group.key).any())
    pair, metric = asked.pair, metric_name(metrics[task])
    panels: dict[str, str | None] = {stream: stream for stream in asked.streams}
    if (rows["stream_a"].isin(pair or ()) & rows["stream_b"].isin(pair or ())).any():
        panels[f"{listed(pair or ())} together"] = None
    items: list[Item] = [
        Words(leads.PROBES),
        Words(f"Task {task}, scored by {metric}, of {pooling} vectors."),
    ]
    for title, stream in panels.items():
        alone = rows["stream_b"].eq("")
        mine = rows[alone & rows["stream_a"].eq(stream)] if stream else rows[~alone]
        drawn = probe_curves(rows, series_of(groups), stream, metric=metric, pair=pair, height=300)
        alt = f"Linear probe of {task} ({metric}) by layer of {title}, {labels_of(groups)}"
        items.append(figure(title, drawn, alt, reading(mine, groups, "fusion layers"), half=True))
    remarks = dict.fromkeys(line for text in rows["warnings"] for line in sentences(text))
    items += [Points(tuple(remarks)[:20])] if remarks else []
    shown = {"task": task, "pooling": pooling} | ({"pair": pair} if pair else {})
    return Part(tuple(items), shown, {"probes": rows})
