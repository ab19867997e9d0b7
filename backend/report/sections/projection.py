"""Projection in a report: the samples of one run in one layer of each compared stream."""

from __future__ import annotations

from typing import Any

import pandas as pd

from backend.figures.marks import marked
from backend.figures.projection import RASTER_ABOVE, projection_ranges, sample_mark
from backend.report.asked import Asked, Part, figure
from backend.report.document import Heading, Item, Missing, Table, Words
from backend.store.commands import project_command
from backend.types import LayerRef
from backend.views import choices, questions
from backend.views.groups import RunInfo
from backend.views.layers import colourings, nearest_ref, refs_of
from backend.views.maps import Shown, best_method, change_map, map_points, of_kind, sample_map
from backend.views.neighbourhoods import (
    CHANGED,
    NEIGHBOUR_COLOUR,
    changes,
    changes_in_words,
    keeps_neighbours,
    map_movement,
    most_changed_table,
    movement_in_words,
    no_changes_in_words,
    sides,
    site_before,
)

LEAD = "The samples of one layer on the plane. Compare which lie together, not positions."


def projection(asked: Asked) -> Part:
    """A map a stream of the chosen group's run, of the view's layer, else the last one; below it
    what changed from the layer before.
    """
    having = [g for g in asked.groups if any(run.has_projections for run in g.runs)]
    if not having:
        return Part((Words(LEAD), asked.missing("projections", "project")))
    group = choices.focus_of(asked.state, having)
    mapped = [run for run in group.runs if run.has_projections]
    run = next((run for run in mapped if run.seed == asked.state.seed), mapped[0])
    coordinates = questions.projections(asked.store, run.run_id).answer()
    samples = questions.samples(asked.store, run.run_id).answer()
    problems = (*coordinates.problems, *samples.problems)
    if problems:
        return Part((Words(LEAD), *map(Words, problems)))
    frame, tasks = coordinates.frame, run.manifest.tasks
    poolings = choices.poolings_in(frame)
    pooling = choices.pooling_of(asked.state, poolings, [group], asked.streams)
    method = best_method(frame[frame["pooling"].eq(pooling)])
    frame = of_kind(frame, pooling, method)
    specs = [spec for spec in group.series.streams if frame["stream"].eq(spec.name).any()]
    wanted = {asked.state.stream, *(asked.pair or ())}
    drawn = [spec for spec in specs if spec.name in wanted] or specs[:1]
    colours = colourings(tasks, drawn, group.series.streams)
    if keeps_neighbours(asked.store, run.run_id):
        colours[CHANGED.key] = CHANGED
    colour = colours.get(asked.state.colour or "") or next(iter(colours.values()))
    items: list[Item] = [Words(f"{LEAD} {run.run_id}, {method.upper()} of {pooling} vectors.")]
    labels, changed = [], list[Item]()
    for spec in drawn:
        refs = refs_of(frame, spec)
        ref = nearest_ref(refs, asked.state.layer)
        labels.append(ref.label)
        before = site_before(refs, ref)
        where = f"{spec.name} layer {ref.label}"
        shown_points = Shown((ref,), pooling, method, colour, tasks)
        tables = coordinates.frame, samples.frame
        ranges = projection_ranges(frame[frame["stream"].eq(spec.name)])
        looks: dict[str, Any] = {
            "x_title": f"{where}, {method.upper()} 1",
            "y_title": f"{method.upper()} 2",
            "height": 460,
        }
        if colour.key == NEIGHBOUR_COLOUR:
            near = _near(asked, run, pooling, before, ref)
            points = change_map(*tables, shown_points, ranges, *near, **looks)
        else:
            points = sample_map(*tables, shown_points, ranges, **looks)
        if before:
            changed += _changed(asked, run, frame, before, ref)
        if asked.state.sample is not None:
            held = map_points(*tables, shown_points)
            points = marked(points, sample_mark(held, asked.state.sample))
        alt = f"{method.upper()} of {where} of {run.run_id}, coloured by {colour.title}"
        how = f"n = {run.n:,}; colour: {colour.title}."
        if run.n > RASTER_ABOVE and colour.key != NEIGHBOUR_COLOUR:
            how = f"n = {run.n:,}; above {RASTER_ABOVE:,} samples their density is drawn."
        items.append(figure(f"{run.run_id}, {where}", points, alt, how, half=True))
    shown = {"focus": group.key, "seed": run.seed, "stream": drawn[0].name, "layer": labels[0]}
    return Part(
        (*items, *changed),
        shown | {"pooling": pooling, "colour": colour.key},
        {"projection": frame[frame["stream"].isin([spec.name for spec in drawn])]},
    )


def _near(
    asked: Asked, run: RunInfo, pooling: str, before: LayerRef | None, ref: LayerRef
) -> tuple[pd.DataFrame | None, pd.DataFrame]:
    """The neighbours of the run's samples at the site before, if there is one, and at ``ref``."""
    old, new = sides(asked.store, run.run_id, pooling, before, ref)
    return old.answer().frame if old else None, new.answer().frame


def _changed(
    asked: Asked, run: RunInfo, frame: pd.DataFrame, before: LayerRef, ref: LayerRef
) -> list[Item]:
    """How far the map moves and whose neighbours change; ``frame`` is of one pooling and method."""
    pooling, method = str(frame["pooling"].iloc[0]), str(frame["method"].iloc[0])
    refits = questions.refits(asked.store, run.run_id).answer().frame
    if len(refits):
        refits = refits[refits["pooling"].eq(pooling) & refits["method"].eq(method)]
    way = f"from layer {before.label} to {ref.label}"
    items: list[Item] = [Heading(f"{ref.stream}: what changed {way}")]
    if moved := map_movement(frame, refits, before, ref):
        items.append(Words(movement_in_words(moved, before, ref)))
    if not keeps_neighbours(asked.store, run.run_id):
        command = project_command(asked.store.origin, [run.run_id])
        words = "Whose neighbours changed is not stored for this run."
        return [*items, Missing(f"{words} {asked.store.adding('This adds it')}", (command,))]
    old, new = _near(asked, run, pooling, before, ref)
    found = None if old is None else changes(old, new)
    if found is None:
        return [*items, Words(no_changes_in_words(before, ref))]
    table = most_changed_table(found, {}, before, ref).drop(columns="text")
    title = "The samples whose neighbours changed most"
    return [*items, Words(changes_in_words(found, before, ref)), Table(title, table)]
