"""Where a traced pair stands: its curves over the layers on the bands of the reference pairs."""

from __future__ import annotations

import streamlit as st

from backend.figures.theme import styles_of
from backend.figures.trace import standing_curve
from backend.views import trace as views
from backend.words import listed, literal
from dashboard.trace.draw import draw
from dashboard.trace.side import Side


def show_standing(side: Side) -> None:
    """Every curve of the strip's stream, on the band of the reference pairs where there are any."""
    spec = side.spec
    curves = side.among.curves if side.among else views.curves_alone(side.traces, side.pooling)
    side.part.rows[side.titled("standing")] = curves
    colour = styles_of(side.trace.streams)[spec.name].colour
    positions = [spec.position(ref) for ref in side.refs]
    with st.grid(2, min_column_width=340):
        for name, (title, meaning) in views.WORDS.items():
            rows = curves[curves["curve"].eq(name)]
            of = spec.name
            if name == "similarity":
                of = listed(dict.fromkeys((*rows["stream"], *rows["stream_b"])))
            else:
                rows = rows[rows["stream"].eq(spec.name)]
            if rows.empty:
                continue
            with st.container(border=True):
                st.markdown(f"**{literal(title)}**", help=meaning)
                draw(
                    side,
                    f"{spec.name} {name}",
                    standing_curve(
                        rows, spec, y_title=title, colour=colour,
                        within=(min(positions), max(positions)),
                    ),
                    alt=f"{title} of {of} by layer"
                    + (", on the band of the reference pairs" if side.among else ""),
                    steps=side.marks(),
                )  # fmt: skip
