"""The same samples in the maps of several runs: one layer stepper, one selection, one card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from backend.errors import InputError
from backend.figures.projection import projection_ranges, sample_mark
from backend.pairing import Pair
from backend.store.commands import project_command
from backend.types import LayerRef, StreamSpec
from backend.views import questions
from backend.views.compare import layer_for
from backend.views.groups import RunGroup, RunInfo
from backend.views.layers import MODALITY_COLOUR, Colouring, colourings, nearest_ref, refs_of
from backend.views.maps import (
    Ranges,
    Shown,
    best_method,
    change_map,
    clicked_sample,
    map_points,
    of_kind,
    sample_map,
)
from backend.views.neighbourhoods import (
    CHANGED,
    NEIGHBOUR_COLOUR,
    keeps_neighbours,
    sides,
    site_before,
)
from backend.words import literal
from dashboard import cache, session
from dashboard.cache import Drawn
from dashboard.chart import Point, chart
from dashboard.context import Context
from dashboard.details import show_sample
from dashboard.downloads import Part
from dashboard.neighbourhoods import say_changes
from dashboard.pick import step_layers
from dashboard.say import offer, problems
from dashboard.side_by_side import MIN_COLUMN_PX

MAP_PX = 360


@dataclass(frozen=True)
class Map:
    """One run's coordinates of one pooling and method ("": all that are stored)."""

    group: RunGroup
    run: RunInfo
    frame: pd.DataFrame
    pooling: str = ""
    method: str = ""


def maps_of(view: Context, groups: Sequence[RunGroup]) -> list[Map]:
    """A run with coordinates of every group that has one: the chosen seed's, else the first.

    Names files that cannot be read, and the command for groups without coordinates.
    """
    out = []
    lacking: list[RunGroup] = []
    for group in groups:
        having = [run for run in group.runs if run.has_projections]
        if not having:
            lacking.append(group)
            continue
        run = next((run for run in having if run.seed == view.state.seed), having[0])
        table = cache.projections(view.store, run.run_id)
        problems(table)
        if not table.frame.empty:
            out.append(Map(group, run, table.frame))
    for group in lacking:
        command = project_command(view.store.origin, [run.run_id for run in group.runs])
        offer(view.store, f"{group.label} has no projections yet.", "This makes them", [command])
    return out


def of_pooling(maps: Sequence[Map], pooling: str) -> list[Map]:
    """Each map's coordinates of one pooling, UMAP where there is UMAP; a map without is left out
    and named.
    """
    out = []
    for item in maps:
        frame = item.frame[item.frame["pooling"].eq(pooling)]
        if frame.empty:
            st.caption(f"{literal(item.run.run_id)} has no projection of {pooling} vectors.")
            continue
        method = best_method(frame)
        mine = of_kind(frame, pooling, method)
        out.append(Map(item.group, item.run, mine, pooling, method))
    return out


@st.fragment
def show_maps(view: Context, maps: Sequence[Map], pair: Pair | None, part: Part) -> None:
    """The stepper, a map a run, and the chosen sample.

    The stream is the state's, else the first one of ``pair``.
    """
    view = view.now()
    part.begin()
    labels = cache.samples(view.store, maps[0].run.run_id)
    problems(labels)
    if labels.frame.empty:
        return
    names = list(dict.fromkeys(spec.name for item in maps for spec in _streams(item)))
    first = next((name for name in pair or () if name in names), names[0])
    stream = view.state.stream if view.state.stream in names else first
    maps = [item for item in maps if any(spec.name == stream for spec in _streams(item))]
    colours = _colours(maps, labels.frame)
    if any(keeps_neighbours(view.store, item.run.run_id) for item in maps):
        colours[CHANGED.key] = CHANGED
    colour = colours.get(view.state.colour or "") or next(iter(colours.values()))
    specs = {item.run.run_id: _spec(item, stream) for item in maps}
    deepest = max(specs.values(), key=lambda spec: spec.depth)
    refs = _refs(maps, specs, deepest)
    ref = nearest_ref(refs, view.state.layer)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        pick_what(names, stream, colours, colour)
    step_layers(refs, ref, deepest)
    ids = labels.frame["sample_id"]
    chosen = view.state.sample is not None and bool(ids.eq(view.state.sample).any())
    sample_id = str(view.state.sample if chosen else ids.iloc[0])
    ranges = projection_ranges(
        pd.concat([item.frame.loc[item.frame["stream"].eq(stream), ["x", "y"]] for item in maps])
    )
    with st.grid(len(maps), min_column_width=MIN_COLUMN_PX):
        for at, item in enumerate(maps):
            spec = specs[item.run.run_id]
            held = refs_of(item.frame, spec)
            own = layer_for(ref, deepest, spec, held)
            with st.container(border=True):
                part.figures[f"{item.run.run_id} {stream} layer {own.label}"] = _show_map(
                    view, item, maps[0].run, own, held, ranges, colour, sample_id, f"map-{at}"
                )
                if colour.key == NEIGHBOUR_COLOUR:
                    say_changes(view, item.run, item.pooling, held, own)
    with st.container(border=True, width=520):
        try:
            sample = cache.sample(view.store, maps[0].run.run_id, sample_id)
            show_sample(sample, chosen=chosen)
        except InputError as error:
            st.text(str(error))
    part.shown.update(stream=stream, layer=ref.label, colour=colour.key, sample=sample_id)


def pick_what(
    streams: Sequence[str], stream: str, colours: dict[str, Colouring], colour: Colouring
) -> None:
    """The choice of the stream that is mapped, and of what colours its points."""
    st.segmented_control(
        "Stream",
        list(streams),
        format_func=literal,
        required=True,
        **session.bind("stream", stream),
    )
    st.selectbox(
        "Colour",
        list(colours),
        format_func=lambda key: colours[key].title,
        width=240,
        **session.bind("colour", colour.key),
    )


def draw_map(
    view: Context,
    run: RunInfo,
    labelled: RunInfo,
    shown: Shown,
    refs: Sequence[LayerRef],
    ranges: Ranges,
    *,
    x_title: str,
    y_title: str,
    height: int = MAP_PX,
) -> Drawn:
    """The map of the sites ``shown``, of all ``refs`` of their stream; labels are ``labelled``'s.

    Coloured by class, or by the neighbours that changed from the site before.
    """
    asked = _asked(view, run, labelled)
    titles = {"x_title": x_title, "y_title": y_title, "height": height}
    if shown.colour.key != NEIGHBOUR_COLOUR:
        return cache.figure(sample_map, *asked, shown, ranges, **titles)
    (ref,) = shown.refs
    near = sides(view.store, run.run_id, shown.pooling, site_before(refs, ref), ref)
    return cache.figure(change_map, *asked, shown, ranges, *near, **titles)


def _asked(
    view: Context, run: RunInfo, labelled: RunInfo
) -> tuple[questions.Projections, questions.Samples]:
    return (
        questions.projections(view.store, run.run_id),
        questions.samples(view.store, labelled.run_id),
    )


def _show_map(
    view: Context,
    item: Map,
    labelled: RunInfo,
    ref: LayerRef,
    refs: Sequence[LayerRef],
    ranges: Ranges,
    colour: Colouring,
    sample_id: str,
    key: str,
) -> Drawn:
    """One run's map; the labels are those of the run ``labelled``, which all of them share."""
    method = item.method.upper()
    tasks = tuple(item.run.manifest.tasks)
    shown = Shown((ref,), item.pooling, item.method, colour, tasks)
    drawn = draw_map(
        view,
        item.run,
        labelled,
        shown,
        refs,
        ranges,
        x_title=f"{item.group.label}: {ref.stream} layer {ref.label}, {method} 1",
        y_title=f"{method} 2",
    )
    points = cache.value(map_points, *_asked(view, item.run, labelled), shown)

    def clicked(point: Point) -> None:
        """A click on a point of this map marks its sample in all of them."""
        if sample := clicked_sample(points, point["customdata"]):
            session.change(sample=sample)

    chart(
        drawn,
        key=key,
        alt=f"{method} of {ref.stream} layer {ref.label} of {item.run.run_id}, coloured by "
        f"{colour.title}, sample {sample_id} marked",
        marks=sample_mark(points, sample_id),
        on_click=clicked,
    )
    return drawn


def _streams(item: Map) -> list[StreamSpec]:
    held = set(item.frame["stream"].unique())
    return [spec for spec in item.group.series.streams if spec.name in held]


def _spec(item: Map, stream: str) -> StreamSpec:
    return next(spec for spec in item.group.series.streams if spec.name == stream)


def _refs(
    maps: Sequence[Map], specs: dict[str, StreamSpec], deepest: StreamSpec
) -> tuple[LayerRef, ...]:
    """Every site that the stepper stops at: those of all runs that are as deep as the deepest."""
    places: dict[LayerRef, float] = {}
    for item in maps:
        spec = specs[item.run.run_id]
        if spec.depth == deepest.depth:
            places |= {ref: spec.position(ref) for ref in refs_of(item.frame, spec)}
    return tuple(sorted(places, key=lambda ref: places[ref]))


def _colours(maps: Sequence[Map], labels: pd.DataFrame) -> dict[str, Colouring]:
    """Tasks that all runs share; one colour for all where there is none."""
    first, *others = (item.run.manifest.tasks for item in maps)
    shared = [task for task in first if all(task in tasks for tasks in others)]
    shared = [task for task in shared if f"label_{task.name}" in labels.columns]
    every = colourings(shared, _streams(maps[0]), maps[0].group.series.streams)
    return {key: item for key, item in every.items() if key != MODALITY_COLOUR} or every
