"""Projection: the samples of one layer on the plane, layer by layer on fixed axes."""

import streamlit as st

from backend.errors import InputError
from backend.figures.projection import RASTER_ABOVE, projection_ranges, sample_mark
from backend.views import questions
from backend.views.choices import only, poolings_in
from backend.views.layers import MODALITY_COLOUR, colourings, nearest_ref, refs_of
from backend.views.maps import Shown, best_method, clicked_sample, map_points, of_kind
from backend.views.neighbourhoods import CHANGED, NEIGHBOUR_COLOUR, keeps_neighbours
from backend.words import listed, literal
from dashboard import cache, session
from dashboard.chart import Point, chart
from dashboard.context import Context, context
from dashboard.details import show_sample
from dashboard.downloads import Part, downloads
from dashboard.maps import draw_map, pick_what
from dashboard.neighbourhoods import show_changes
from dashboard.pick import pick_focus, pick_pooling, pick_streams, step_layers
from dashboard.say import nothing_yet, problems, say_ignored, say_notes, say_pooling

view = context()
st.title("Projection")
having = [group for group in view.groups if any(run.has_projections for run in group.runs)]
if not having:
    nothing_yet("projections", view, "project")
group = view.focus(having)
runs = {run.seed: run for run in group.runs if run.has_projections}
run = runs.get(view.state.seed) or next(iter(runs.values()))
with st.container(horizontal=True, vertical_alignment="bottom"):
    pick_focus(having, group)
    if len(runs) > 1:
        st.segmented_control("Seed", list(runs), required=True, **session.bind("seed", run.seed))
asked = questions.projections(view.store, run.run_id), questions.samples(view.store, run.run_id)
table, labels = map(cache.answer, asked)
problems(table)
problems(labels)
if table.frame.empty or labels.frame.empty:
    st.stop()
poolings = poolings_in(table.frame)
pooling = pick_pooling(view, poolings, [group], view.stream_names)
method = best_method(table.frame[table.frame["pooling"].eq(pooling)])
frame = of_kind(table.frame, pooling, method)
streams = [spec for spec in group.series.streams if frame["stream"].eq(spec.name).any()]
tasks = tuple(run.manifest.tasks)
pair = pick_streams(view, [group])
by_name = {spec.name: spec for spec in streams}
st.caption(
    f"{literal(method.upper())} of {literal(run.run_id)}, n = {run.n:,}. The axes hold still from "
    "layer to layer"
    + (
        ", and every map is turned onto the one before it. Whether a point moves does not say "
        "whether its neighbours change: the colour “neighbours changed” does."
        if method == "umap"
        else "."
    )
)
say_pooling([group], [spec.name for spec in group.series.streams], pooling)


@st.fragment
def show(view: Context, part: Part) -> None:
    """The stream and its layers to step through, the map, and the chosen sample."""
    view = view.now()
    part.begin()
    first = next((name for name in pair or () if name in by_name), streams[0].name)
    stream = view.state.stream if view.state.stream in by_name else first
    together = [spec for spec in streams if spec.name in {stream, *(pair or ())}]
    colours = colourings(tasks, together, group.series.streams)
    if keeps_neighbours(view.store, run.run_id):
        colours[CHANGED.key] = CHANGED
    colour = colours.get(view.state.colour or "") or next(iter(colours.values()))
    refs = refs_of(frame, by_name[stream])
    ref = nearest_ref(refs, view.state.layer)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        pick_what(list(by_name), stream, colours, colour)
    step_layers(refs, ref, by_name[stream])

    places = [ref]
    if colour.key == MODALITY_COLOUR:
        others = [spec for spec in together if spec.name != stream]
        places += [nearest_ref(refs_of(frame, spec), ref.label) for spec in others]
    shown = Shown(tuple(places), pooling, method, colour, tasks)
    points = cache.value(map_points, *asked, shown)
    shown_streams = [spec.name for spec in together] if len(places) > 1 else [stream]
    ranges = projection_ranges(frame[frame["stream"].isin(shown_streams)])
    held = bool(labels.frame["sample_id"].eq(view.state.sample).any())
    sample_id = str(view.state.sample if held else points["sample_id"].iloc[0])
    part.shown.update(stream=stream, layer=ref.label, colour=colour.key, sample=sample_id)

    def clicked(point: Point) -> None:
        """A click on a point."""
        if sample := clicked_sample(points, point["customdata"]):
            session.change(sample=sample)

    grid = st.grid(5, min_column_width=170)
    with grid.cell(column_span=3), st.container(border=True):
        where = f"{listed(shown_streams)} layer {ref.label}"
        drawn = draw_map(
            view,
            run,
            run,
            shown,
            refs,
            ranges,
            x_title=f"{where}, {method.upper()} 1",
            y_title=f"{method.upper()} 2",
            height=600,
        )
        chart(
            drawn,
            key="map",
            alt=f"{method.upper()} of {where} of {run.run_id}, coloured by {colour.title}",
            marks=sample_mark(points, sample_id),
            on_click=clicked,
        )
        say_notes([group], *shown_streams)
        if len(points) > RASTER_ABOVE and colour.key != NEIGHBOUR_COLOUR:
            st.caption(f"Above {RASTER_ABOVE:,} samples their density is drawn, without classes.")
        if len(places) > 1:
            st.caption(
                "Each stream is fitted on its own: compare shapes, not distances between streams."
            )
    with grid.cell(column_span=2), st.container(border=True):
        try:
            show_sample(cache.sample(view.store, run.run_id, sample_id), chosen=held)
        except InputError as error:
            st.text(str(error))
    show_changes(view, run, frame, refs, ref, part)
    part.rows["projection"] = points
    part.figures[f"{run.run_id} {where}"] = drawn


part = Part()
show(view, part)
settings = {"focus": group.key, "seed": run.seed}
say_ignored(view, **settings, **part.shown)
downloads(
    view,
    "projection",
    {},
    {},
    groups=only([group], [run.run_id]),
    shown={**settings, "pooling": pooling},
    parts=[part],
)
