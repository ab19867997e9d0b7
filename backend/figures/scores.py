"""Scores of runs: one row a placement or model, a dot a seed, a diamond for the mean."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from backend.figures.theme import Series, axis, base_figure, escape, rgba
from backend.words import metric_name


def score_strip(
    scores: pd.DataFrame,
    series: Sequence[Series],
    *,
    task: str,
    metric: str,
    height: int | None = None,
) -> go.Figure:
    """Every run's score as an open dot and the mean over seeds as a filled diamond.

    ``scores``: ``series``, ``seed``, ``task``, ``metric``, ``value``. The axis spans the data, and
    at least 0.1, so that noise does not look like a difference.
    """
    rows = scores[scores["task"].eq(task) & scores["metric"].eq(metric)]
    figure = base_figure(height=height or 64 + 28 * len(series), legend=False)
    labels = [one.label for one in series]
    for one in series:
        mine = rows[rows["series"].eq(one.key)]
        label = escape(one.label)
        if mine.empty:
            continue
        mean, sd = float(mine["value"].mean()), float(mine["value"].std())
        figure.add_trace(
            go.Scatter(
                x=mine["value"].to_numpy(),
                y=[label] * len(mine),
                mode="markers",
                marker={
                    "symbol": "circle-open",
                    "size": 9,
                    "color": rgba(one.colour, 0.9),
                    "line": {"width": 1.5},
                },
                hovertext=[
                    f"<b>{label}</b>{'' if pd.isna(seed) else f', seed {seed}'}<br>{value:.4f}"
                    for seed, value in zip(mine["seed"], mine["value"], strict=True)
                ],
                hoverinfo="text",
            )
        )
        spread = f" ± {sd:.3f} (sd of {len(mine)} seeds)" if len(mine) > 1 else " (one run)"
        figure.add_trace(
            go.Scatter(
                x=[mean],
                y=[label],
                mode="markers",
                marker={"symbol": "diamond", "size": 12, "color": one.colour},
                hovertext=[f"<b>{label}</b>, mean<br>{mean:.3f}{spread}"],
                hoverinfo="text",
            )
        )
    figure.update_xaxes(
        **axis(
            f"{task}: {metric_name(metric)}",
            range=_range(rows["value"]),
            fixedrange=True,
            nticks=6,
            tickformat=".2f",
        )
    )
    figure.update_yaxes(
        categoryorder="array",
        categoryarray=[escape(label) for label in reversed(labels)],
        automargin=True,
        ticklabelstandoff=6,
        showgrid=True,
        gridcolor="rgba(128,128,128,0.12)",
        fixedrange=True,
        range=[-0.6, len(labels) - 0.4],
    )
    figure.update_layout(hovermode="closest", margin={"l": 10})
    return figure


def _range(values: pd.Series) -> list[float]:
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    pad = max(0.06 * (high - low), (0.1 - (high - low)) / 2)
    bottom, top = low - pad, high + pad
    # Scores end at 1: what would lie above it is given to the other end.
    over = max(0.0, top - 1.0 - 0.03 * (top - bottom)) if high <= 1 else 0.0
    return [bottom - over, top - over]
