"""Compare in a report: up to four groups side by side, and one minus the other."""

from __future__ import annotations

import pandas as pd

from backend.figures import (
    alignment_differences,
    alignment_panels,
    cross_heatmap,
    difference_heatmap,
    differences,
    dimension_panels,
    transition_differences,
    transition_panels,
)
from backend.figures.dimensionality import shared_span
from backend.measures.registry import one_layer
from backend.pairing import paired
from backend.report.asked import Asked, Part, Picked, figure, labels_of, pick, reading, series_of
from backend.report.document import Heading, Item, Missing, Words
from backend.views import questions
from backend.views.compare import (
    chosen_pair,
    columns_of,
    commands_for,
    cross_blocks,
    run_pairs,
    shown_streams,
    stream_names,
    subtractable,
)
from backend.views.groups import RunGroup
from backend.words import counted, listed

LEAD = "The same scales in every panel of a figure, so that heights can be compared."


def compare(asked: Asked) -> Part:
    """Panels of transitions, alignment and dimension; differences; layers of one by the other."""
    columns = columns_of(asked.groups)
    groups = columns.groups
    if len(groups) < 2:
        return Part((Words("It takes two placements or models to compare."),))
    streams = stream_names(groups, asked.pair)
    picked = pick(asked, groups, streams)
    if isinstance(picked, Missing):
        return Part((Words(LEAD), picked))
    a, b = chosen_pair(groups, asked.state.focus, asked.state.against)
    items: list[Item] = [Words(f"{LEAD} {picked.words}. {picked.scale.meaning}")]
    if columns.left_out:
        left = labels_of(columns.left_out)
        items.append(Words(f"Four stand side by side at most; left out: {left}."))
    items += _panels(asked, groups, picked, streams)
    items += [Heading(f"Minus {b.label}"), *_differences(asked, groups, picked, a, b)]
    items += [Heading(f"Layers of {a.label} with layers of {b.label}")]
    items += _cross(asked, groups, picked, a, b)
    shown = picked.shown | {"focus": a.key, "against": b.key}
    return Part(tuple(items), shown, {"compare": picked.rows})


def _panels(
    asked: Asked, groups: tuple[RunGroup, ...], picked: Picked, streams: tuple[str, ...]
) -> list[Item]:
    """A figure a stream with a panel a group, of transitions and of dimension; one of alignment."""
    series, names = series_of(groups), labels_of(groups)
    rows, scale, estimator = picked.rows, picked.scale, picked.estimator
    items: list[Item] = []
    for stream in streams:
        own = rows[rows["stream_a"].eq(stream) & rows["stream_b"].eq(stream)]
        drawn = transition_panels(rows, series, stream, scale=scale, estimator=estimator)
        title = f"{stream} transitions"
        how = reading(own, groups, "transitions into a fusion layer", panels=True)
        items.append(figure(title, drawn, f"{scale.label} of {title}, {names}", how))
    if asked.pair:
        drawn = alignment_panels(rows, series, pair=asked.pair, scale=scale, estimator=estimator)
        title = f"Matching layers of {listed(asked.pair)}"
        across = rows[rows["stream_a"].ne(rows["stream_b"])]
        how = reading(across, groups, "fusion layers", panels=True)
        items.append(figure(title, drawn, f"{scale.label}: {title}, {names}", how))
    measures = one_layer()
    ask = questions.measures(
        asked.store, groups, tuple(measures), picked.preset, pooling=picked.pooling
    )
    dims = ask.answer().frame
    held = [name for name in measures if len(dims) and dims["measure"].eq(name).any()]
    measure = next((name for name in asked.state.dims if name in held), next(iter(held), ""))
    if not measure:
        return items
    span = shared_span(dims, streams, measure)
    for stream in streams:
        drawn = dimension_panels(dims, series, stream, measure, span=span)
        title = f"{measures[measure].label}, {stream}"
        items.append(figure(title, drawn, f"{title}, {names}", measures[measure].meaning))
    return items


def _differences(
    asked: Asked, groups: tuple[RunGroup, ...], picked: Picked, a: RunGroup, b: RunGroup
) -> list[Item]:
    """Every group minus ``b`` as curves, and ``a`` minus ``b`` layer by layer."""
    series, scale, estimator = series_of(groups), picked.scale, picked.estimator
    minus = differences(picked.rows, b.key)
    how = "Seeds are paired where they are shared; the band is the 95 % t interval of the mean."
    items: list[Item] = []
    for spec in shown_streams(b.series, asked.pair):
        drawn = transition_differences(
            minus, series, b.series, spec.name, scale=scale, estimator=estimator
        )
        if drawn.data:
            title = f"{spec.name} transitions, minus {b.label}"
            items.append(figure(title, drawn, title, how, half=True))
    if paired(b.series.streams, asked.pair):
        drawn = alignment_differences(
            minus, series, b.series, pair=asked.pair, scale=scale, estimator=estimator
        )
        title = f"Matching layers, minus {b.label}"
        items.append(figure(title, drawn, title, how, half=True))
    block = next(iter(cross_blocks(a.series, b.series, asked.pair).values()))
    if subtractable(block, a.series, b.series):
        drawn = difference_heatmap(
            minus[minus["series"].eq(a.key)],
            *(a.series, b.series, block.rows, block.columns),
            scale=scale,
            show_text=asked.state.numbers,
        )
        title = f"{a.label} minus {b.label}, layer by layer"
        how = f"Blue: higher in {a.label}; red: higher in {b.label}; white: the same."
        items.append(figure(title, drawn, title, how))
    return items


def _cross(
    asked: Asked, groups: tuple[RunGroup, ...], picked: Picked, a: RunGroup, b: RunGroup
) -> list[Item]:
    """CKA of every layer of ``a`` with every layer of ``b``, or the command that computes it."""
    pairs = run_pairs(a, b)
    if not pairs:
        return []
    frames = []
    for one, other in pairs:
        frame = questions.cross(asked.store, one.run_id, other.run_id).answer().frame
        seed = pd.array([one.seed] * len(frame), dtype="Int64")
        frames.append(frame.assign(seed=seed))
    rows = pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
    if len(rows):
        estimator = asked.state.estimator
        rows = rows[rows["pooling"].eq(picked.pooling) & rows["estimator"].eq(estimator)]
    if rows.empty:
        return [
            Missing(
                "The two were not compared yet. This does it:",
                commands_for(asked.store, groups, pairs),
            )
        ]
    block = next(iter(cross_blocks(a.series, b.series, asked.pair).values()))
    drawn = cross_heatmap(
        rows, a.series, b.series, block.rows, block.columns, show_text=asked.state.numbers
    )
    title = f"CKA of {a.label} (rows) and {b.label} (columns)"
    how = f"{counted(len(frames), 'pair of runs', 'pairs of runs')}; {reading(rows, [])}"
    return [figure(title, drawn, title, how)]
