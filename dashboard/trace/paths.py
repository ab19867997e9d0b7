"""The way of a traced pair over the map of every layer."""

from __future__ import annotations

import streamlit as st

from backend.figures.trace import path_map
from backend.store.commands import project_command
from backend.words import listed, literal
from dashboard.say import offer
from dashboard.trace.draw import draw
from dashboard.trace.side import Side, Steps


def show_paths(side: Side) -> None:
    """The pair's way, a map a stream, at the strip's layer."""
    if side.among is None:
        return
    if not side.among.paths:
        command = project_command(side.store.origin, [side.traced.offer.run_id])
        offer(side.store, "The run has no maps of its layers.", "This makes them", [command])
        return
    with st.grid(2, min_column_width=340):
        for name, whole in side.among.paths.items():
            other = side.trace.stream(name)
            steps: Steps = {}
            for label in side.at:
                steps[label] = {"frame": side.beside(label, other, whole.refs).label}
            shown = {str(step["frame"]) for step in steps.values()}
            path = whole.of([ref for ref in whole.refs if ref.label in shown])
            with st.container(border=True):
                st.markdown(f"**{literal(name)}**")
                figure = path_map(
                    [ref.label for ref in path.refs],
                    path.reference,
                    path.samples,
                    path.paths,
                    title=f"{name}, {path.method.upper()}",
                )
                draw(
                    side,
                    f"{name} path",
                    figure,
                    alt=f"The way of {listed(side.traces)} over the {name} maps of "
                    f"{side.among.n:,} reference pairs",
                    steps=steps,
                )
    absent = [spec.name for spec in side.trace.streams if spec.name not in side.among.paths]
    if absent:
        st.caption(
            f"Not drawn: {listed([literal(name) for name in absent])}. The run keeps no maps of "
            f"{'it' if len(absent) == 1 else 'them'} by the pooling that is shown ({side.pooling})."
        )
