"""Projection: the samples of one layer on the plane, layer by layer on fixed axes."""

import pandas as pd
import streamlit as st

from backend.errors import InputError
from backend.figures import projection_map
from backend.figures.projection import RASTER_ABOVE, projection_ranges
from backend.views.layers import (
    MODALITY_COLOUR,
    coloured,
    colourings,
    nearest_ref,
    points_at,
    refs_of,
)
from backend.views.words import listed, literal
from dashboard import cache, session
from dashboard.details import show_sample
from dashboard.maps import pick_what
from dashboard.page import (
    chart,
    context,
    downloads,
    nothing_yet,
    pick_focus,
    pick_pooling,
    pick_streams,
    problems,
    say_ignored,
    say_notes,
    say_pooling,
    step_layers,
)

view = context()
st.title("Projection")
having = [group for group in view.groups if any(run.has_projections for run in group.runs)]
if not having:
    nothing_yet("projections", view, "project")
group = view.focus(having)
runs = {run.seed: run for run in group.runs if run.has_projections}
run = runs.get(view.state.seed) or next(iter(runs.values()))
table, labels = cache.projections(view.store, run.run_id), cache.samples(view.store, run.run_id)
problems(table)
problems(labels)
if table.frame.empty or labels.frame.empty:
    st.stop()
poolings = list(dict.fromkeys(table.frame["pooling"]))
pooling = pick_pooling(view, poolings, [group], view.stream_names)
frame = table.frame[table.frame["pooling"].eq(pooling)]
method = "umap" if frame["method"].eq("umap").any() else str(frame["method"].iloc[0])
frame = frame[frame["method"].eq(method)]
streams = [spec for spec in group.series.streams if frame["stream"].eq(spec.name).any()]
tasks = run.manifest.tasks
pair = pick_streams(view, [group])
by_name = {spec.name: spec for spec in streams}
first = next((name for name in pair or () if name in by_name), streams[0].name)
stream = view.state.stream if view.state.stream in by_name else first
together = [spec for spec in streams if spec.name in {stream, *(pair or ())}]
colours = colourings(tasks, together, group.series.streams)
colour = colours.get(view.state.colour or "") or next(iter(colours.values()))
refs = refs_of(frame, by_name[stream])
ref = nearest_ref(refs, view.state.layer)

st.caption(
    f"{literal(method.upper())} of {literal(run.run_id)}, n = {run.n:,}. The axes hold still from "
    "layer to layer"
    + (
        ", and every layer's fit starts from the one before it: a point that moves has changed its "
        "neighbours."
        if method == "umap"
        else "."
    )
)
with st.container(horizontal=True, vertical_alignment="bottom"):
    pick_focus(having, group)
    if len(runs) > 1:
        st.segmented_control("Seed", list(runs), required=True, **session.bind("seed", run.seed))
    pick_what(list(by_name), stream, colours, colour)
step_layers(refs, ref, by_name[stream])
say_pooling([group], [spec.name for spec in group.series.streams], pooling)

parts = [points_at(frame, ref)]
if colour.key == MODALITY_COLOUR:
    others = [spec for spec in together if spec.name != stream]
    parts += [points_at(frame, nearest_ref(refs_of(frame, spec), ref.label)) for spec in others]
points = coloured(pd.concat(parts, ignore_index=True), labels.frame, tasks, colour.key)
shown_streams = [spec.name for spec in together] if len(parts) > 1 else [stream]
ranges = projection_ranges(frame[frame["stream"].isin(shown_streams)])
known = bool(labels.frame["sample_id"].eq(view.state.sample).any())
sample_id = view.state.sample if known else str(points["sample_id"].iloc[0])
say_ignored(
    view,
    focus=group.key,
    seed=run.seed,
    stream=stream,
    layer=ref.label,
    colour=colour.key,
    sample=sample_id,
)


def clicked() -> None:
    """A click on a point."""
    found = st.session_state["map"]["selection"]["points"]
    if found and "customdata" in found[0]:
        data = found[0]["customdata"]
        row = int(data[0] if isinstance(data, list) else data)
        session.change(sample=str(points["sample_id"].iloc[row]))


grid = st.grid(5, min_column_width=170)
with grid.cell(column_span=3), st.container(border=True):
    where = f"{listed(shown_streams)} layer {ref.label}"
    figure = projection_map(
        points,
        ranges,
        classes=colour.classes,
        colours=colour.colours,
        markers=colour.markers,
        selected=sample_id,
        x_title=f"{where}, {method.upper()} 1",
        y_title=f"{method.upper()} 2",
    )
    chart(
        figure,
        key="map",
        alt=f"{method.upper()} of {where} of {run.run_id}, coloured by {colour.title}",
        on_click=clicked,
    )
    say_notes([group], *shown_streams)
    if len(points) > RASTER_ABOVE:
        st.caption(f"Above {RASTER_ABOVE:,} samples their density is drawn, without classes.")
    if len(parts) > 1:
        st.caption(
            "Each stream is fitted on its own: compare shapes, not distances between streams."
        )
with grid.cell(column_span=2), st.container(border=True):
    try:
        show_sample(cache.sample(view.store, run.run_id, sample_id), chosen=known)
    except InputError as error:
        st.text(str(error))
downloads("projection", points, {f"{run.run_id} {where}": figure})
