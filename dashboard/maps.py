"""The same samples in the maps of several runs: one layer stepper, one selection, one card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from backend.errors import InputError
from backend.figures import projection_map
from backend.figures.pairing import Pair
from backend.figures.projection import projection_ranges
from backend.store.commands import project_command
from backend.types import LayerRef, StreamSpec
from backend.views.compare import layer_for
from backend.views.groups import RunGroup, RunInfo
from backend.views.layers import (
    MODALITY_COLOUR,
    Colouring,
    coloured,
    colourings,
    nearest_ref,
    points_at,
    refs_of,
)
from backend.views.words import literal
from dashboard import cache, session
from dashboard.details import show_sample
from dashboard.page import Context, chart, problems, step_layers
from dashboard.side_by_side import MIN_COLUMN_PX

MAP_PX = 360


@dataclass(frozen=True)
class Map:
    """One run's coordinates of one pooling and method."""

    group: RunGroup
    run: RunInfo
    frame: pd.DataFrame
    method: str


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
            out.append(Map(group, run, table.frame, ""))
    for group in lacking:
        st.caption(f"{literal(group.label)} has no projections yet. This makes them:")
        command = project_command(view.store.path, [run.run_id for run in group.runs])
        st.code(command, language="bash", wrap_lines=True)
    return out


def of_pooling(maps: Sequence[Map], pooling: str) -> list[Map]:
    """Each map's coordinates of one pooling, UMAP where there is UMAP; a map without is left out
    and named.
    """
    out = []
    for one in maps:
        frame = one.frame[one.frame["pooling"].eq(pooling)]
        if frame.empty:
            st.caption(f"{literal(one.run.run_id)} has no projection of {pooling} vectors.")
            continue
        method = "umap" if frame["method"].eq("umap").any() else str(frame["method"].iloc[0])
        out.append(Map(one.group, one.run, frame[frame["method"].eq(method)], method))
    return out


def show_maps(
    view: Context, maps: Sequence[Map], pair: Pair | None
) -> tuple[dict[str, go.Figure], dict[str, object]]:
    """The stepper, a map a run, and the chosen sample; the figures and the settings shown.

    The stream is the state's, else the first one of ``pair``.
    """
    labels = cache.samples(view.store, maps[0].run.run_id)
    problems(labels)
    if labels.frame.empty:
        return {}, {}
    names = list(dict.fromkeys(spec.name for one in maps for spec in _streams(one)))
    first = next((name for name in pair or () if name in names), names[0])
    stream = view.state.stream if view.state.stream in names else first
    maps = [one for one in maps if any(spec.name == stream for spec in _streams(one))]
    colours = _colours(maps, labels.frame)
    colour = colours.get(view.state.colour or "") or next(iter(colours.values()))
    specs = {one.run.run_id: _spec(one, stream) for one in maps}
    deepest = max(specs.values(), key=lambda spec: spec.depth)
    refs = _refs(maps, specs, deepest)
    ref = nearest_ref(refs, view.state.layer)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        pick_what(names, stream, colours, colour)
    step_layers(refs, ref, deepest)
    ids = labels.frame["sample_id"]
    known = view.state.sample is not None and bool(ids.eq(view.state.sample).any())
    sample_id = str(view.state.sample if known else ids.iloc[0])
    ranges = projection_ranges(
        pd.concat([one.frame.loc[one.frame["stream"].eq(stream), ["x", "y"]] for one in maps])
    )
    figures = {}
    with st.grid(len(maps), min_column_width=MIN_COLUMN_PX):
        for at, one in enumerate(maps):
            own = layer_for(
                ref, deepest, specs[one.run.run_id], refs_of(one.frame, specs[one.run.run_id])
            )
            points = coloured(
                points_at(one.frame, own), labels.frame, one.run.manifest.tasks, colour.key
            )
            with st.container(border=True):
                figures[f"{one.run.run_id} {stream} layer {own.label}"] = _show_map(
                    view, one, own, points, ranges, colour, sample_id, f"map-{at}"
                )
    with st.container(border=True, width=520):
        try:
            sample = cache.sample(view.store, maps[0].run.run_id, sample_id)
            show_sample(sample, chosen=known)
        except InputError as error:
            st.text(str(error))
    return figures, {
        "stream": stream,
        "layer": ref.label,
        "colour": colour.key,
        "sample": sample_id,
    }


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


def _show_map(
    view: Context,
    one: Map,
    ref: LayerRef,
    points: pd.DataFrame,
    ranges: tuple[tuple[float, float], tuple[float, float]],
    colour: Colouring,
    sample_id: str,
    key: str,
) -> go.Figure:
    method = one.method.upper()
    figure = cache.figure(
        view.store,
        "compare-map",
        (one.run.run_id, one.group.label, ref, ranges, colour.key, sample_id, *_kind(one)),
        partial(
            projection_map,
            points,
            ranges,
            classes=colour.classes,
            colours=colour.colours,
            markers=colour.markers,
            selected=sample_id,
            x_title=f"{one.group.label}: {ref.stream} layer {ref.label}, {method} 1",
            y_title=f"{method} 2",
            height=MAP_PX,
        ),
    )

    def clicked() -> None:
        """A click on a point of this map marks its sample in all of them."""
        found = st.session_state[key]["selection"]["points"]
        if found and "customdata" in found[0]:
            data = found[0]["customdata"]
            row = int(data[0] if isinstance(data, list) else data)
            session.change(sample=str(points["sample_id"].iloc[row]))

    chart(
        figure,
        key=key,
        alt=f"{method} of {ref.stream} layer {ref.label} of {one.run.run_id}, coloured by "
        f"{colour.title}, sample {sample_id} marked",
        on_click=clicked,
    )
    return figure


def _kind(one: Map) -> tuple[str, str]:
    return str(one.frame["pooling"].iloc[0]), one.method


def _streams(one: Map) -> list[StreamSpec]:
    held = set(one.frame["stream"].unique())
    return [spec for spec in one.group.series.streams if spec.name in held]


def _spec(one: Map, stream: str) -> StreamSpec:
    return next(spec for spec in one.group.series.streams if spec.name == stream)


def _refs(
    maps: Sequence[Map], specs: dict[str, StreamSpec], deepest: StreamSpec
) -> tuple[LayerRef, ...]:
    """Every site that the stepper stops at: those of all runs that are as deep as the deepest."""
    places: dict[LayerRef, float] = {}
    for one in maps:
        spec = specs[one.run.run_id]
        if spec.depth == deepest.depth:
            places |= {ref: spec.position(ref) for ref in refs_of(one.frame, spec)}
    return tuple(sorted(places, key=lambda ref: places[ref]))


def _colours(maps: Sequence[Map], labels: pd.DataFrame) -> dict[str, Colouring]:
    """Tasks that all runs share; one colour for all where there is none."""
    first, *others = (one.run.manifest.tasks for one in maps)
    shared = [task for task in first if all(task in tasks for tasks in others)]
    shared = [task for task in shared if f"label_{task.name}" in labels.columns]
    found = colourings(shared, _streams(maps[0]), maps[0].group.series.streams)
    return {key: item for key, item in found.items() if key != MODALITY_COLOUR} or found
