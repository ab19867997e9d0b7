"""What is chosen in a figure, drawn around it as shapes: the figure itself stays the same."""

from __future__ import annotations

import plotly.graph_objects as go

Marks = tuple[dict[str, object], ...]
"""Shapes as Plotly's layout takes them."""


def outlined(shape: dict[str, object]) -> Marks:
    """A shape's outline, visible on light and dark."""
    lines = ({"color": "#FFFFFF", "width": 5}, {"color": "#E11D48", "width": 2.5})
    return tuple({**shape, "name": "selected", "line": line} for line in lines)


def marked(figure: go.Figure, marks: Marks) -> go.Figure:
    """The figure with marks in it, for a file."""
    return figure.update_layout(shapes=[*figure.layout.shapes, *marks])
