"""Two captions by two images of a side: where the pair becomes more than picture plus text."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from backend.figures.interaction import Cell, effect_curves, path_grid
from backend.figures.theme import styles_of
from backend.figures.trace import layer_mark
from backend.views import trace_grid as views
from backend.words import literal
from dashboard.trace.draw import draw, say, tabulate
from dashboard.trace.side import Side, Steps


def show_grid(side: Side) -> None:
    """The four paths, the interaction by layer, and what the model predicts of each pair.

    For a side that :func:`backend.views.trace_grid.has_grid` of.
    """
    effects = views.effects(side.traces, side.pooling)
    side.part.rows[side.titled("interaction")] = effects
    say(side, "picture plus text", views.effects_in_words(effects, side.trace))
    _paths(side)
    st.caption(
        "How much captions alone, images alone and their interaction change, each as a part of the "
        "length of all that changes over the four pairs; the squares of the three sum to 1."
    )
    _curves(side, effects)
    _outputs(side)


def _curves(side: Side, effects: pd.DataFrame) -> None:
    styles = styles_of(side.trace.streams)
    with st.grid(2, min_column_width=340):
        for spec in side.trace.streams:
            rows = effects[effects["stream"].eq(spec.name)]
            if rows.empty:
                continue
            refs = tuple(ref for ref in spec.refs if (ref, side.pooling) in side.trace.vectors)
            at = {label: spec.position(side.beside(label, spec, refs)) for label in side.at}
            steps: Steps = {label: {"marks": layer_mark(x)} for label, x in at.items()}
            with st.container(border=True):
                st.markdown(f"**{literal(spec.name)}**")
                draw(
                    side,
                    f"{spec.name} interaction",
                    effect_curves(
                        rows, spec, views.PARTS, colour=styles[spec.name].colour,
                        within=(min(at.values()), max(at.values())),
                    ),
                    alt=f"What caption, image and pair each change in {spec.name} by layer",
                    steps=steps,
                )  # fmt: skip


def _paths(side: Side) -> None:
    """The grid over the maps of the strip's stream, where it has maps."""
    whole = side.among.paths.get(side.spec.name) if side.among else None
    if whole is None:
        return
    steps: Steps = {
        label: {"frame": side.beside(label, side.spec, whole.refs).label} for label in side.at
    }
    shown = {step["frame"] for step in steps.values()}
    path = whole.of([ref for ref in whole.refs if ref.label in shown])
    cells = [
        Cell(name, words, views.predictions(side.traces[name]))
        for name, words in views.CELLS.items()
    ]
    labels = [ref.label for ref in path.refs]
    with st.container(border=True):
        st.markdown(f"**{literal(side.spec.name)}, {path.method.upper()}**")
        draw(
            side,
            f"{side.spec.name} grid",
            path_grid(labels, path.reference, path.samples, path.paths, cells),
            alt=f"The ways of four pairs over the {side.spec.name} maps of the reference pairs: "
            "captions in rows, images in columns",
            steps=steps,
        )


def _outputs(side: Side) -> None:
    table = views.outputs(side.traces)
    if table.empty:
        return
    side.part.rows[side.titled("interaction of outputs")] = table
    if sentence := views.outputs_in_words(table):
        say(side, "picture plus text in the outputs", sentence)
    tabulate(side, "Outputs of four pairs", views.for_people(table))
