"""Projection in a report: the samples of one run in one layer of each compared stream."""

from __future__ import annotations

from backend.figures.marks import marked
from backend.figures.projection import RASTER_ABOVE, projection_ranges, sample_mark
from backend.report.asked import Asked, Part, figure
from backend.report.document import Item, Words
from backend.views import choices, questions
from backend.views.layers import colourings, nearest_ref, refs_of
from backend.views.maps import Shown, best_method, map_points, of_kind, sample_map

LEAD = "The samples of one layer on the plane. Compare which lie together, not positions."


def projection(asked: Asked) -> Part:
    """A map a stream of the chosen group's run: the view's layer, else the last one."""
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
    colour = colours.get(asked.state.colour or "") or next(iter(colours.values()))
    items: list[Item] = [Words(f"{LEAD} {run.run_id}, {method.upper()} of {pooling} vectors.")]
    labels = []
    for spec in drawn:
        ref = nearest_ref(refs_of(frame, spec), asked.state.layer)
        labels.append(ref.label)
        where = f"{spec.name} layer {ref.label}"
        shown_points = Shown((ref,), pooling, method, colour, tasks)
        points = sample_map(
            coordinates.frame,
            samples.frame,
            shown_points,
            projection_ranges(frame[frame["stream"].eq(spec.name)]),
            x_title=f"{where}, {method.upper()} 1",
            y_title=f"{method.upper()} 2",
            height=460,
        )
        if asked.state.sample is not None:
            held = map_points(coordinates.frame, samples.frame, shown_points)
            points = marked(points, sample_mark(held, asked.state.sample))
        alt = f"{method.upper()} of {where} of {run.run_id}, coloured by {colour.title}"
        how = f"n = {run.n:,}; colour: {colour.title}."
        if run.n > RASTER_ABOVE:
            how = f"n = {run.n:,}; above {RASTER_ABOVE:,} samples their density is drawn."
        items.append(figure(f"{run.run_id}, {where}", points, alt, how, half=True))
    shown = {"focus": group.key, "seed": run.seed, "stream": drawn[0].name, "layer": labels[0]}
    return Part(
        tuple(items),
        shown | {"pooling": pooling, "colour": colour.key},
        {"projection": frame[frame["stream"].isin([spec.name for spec in drawn])]},
    )
