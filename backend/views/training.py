"""The Training page's figures: the rows of one quantity, played and all steps at once."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import plotly.graph_objects as go

from backend.figures.theme import Series
from backend.figures.training import ALIGNMENT, QUANTITIES, TRANSITIONS
from backend.measures.registry import one_layer


def held_quantities(frame: pd.DataFrame) -> tuple[str, ...]:
    """What training measures hold, in the order of the page."""
    cka = frame["measure"].eq("cka")
    across = frame["stream_b"].ne("") & frame["stream_a"].ne(frame["stream_b"])
    holds = {
        TRANSITIONS: bool((cka & ~across).any()),
        ALIGNMENT: bool((cka & across).any()),
        **{name: bool(frame["measure"].eq(name).any()) for name in one_layer()},
    }
    return tuple(name for name in QUANTITIES if holds[name])


def quantity_rows(
    frame: pd.DataFrame, quantity: str, pooling: str, estimator: str = ""
) -> pd.DataFrame:
    """The rows of a quantity under a pooling and, if it is of CKA, an estimator ("": every)."""
    rows = frame[frame["pooling"].eq(pooling)]
    if quantity in one_layer():
        return rows[rows["measure"].eq(quantity)]
    rows = rows[rows["measure"].eq("cka")]
    return rows[rows["estimator"].eq(estimator)] if estimator else rows


def quantity_figure(
    build: Callable[..., go.Figure],
    frame: pd.DataFrame,
    series: Series | tuple[Series, ...],
    quantity: str,
    stream: str,
    *,
    pooling: str,
    estimator: str,
    **shown: object,
) -> go.Figure:
    """What ``build``, ``training_curves`` or ``training_heatmap``, draws of a quantity."""
    rows = quantity_rows(frame, quantity, pooling, estimator)
    return build(rows, series, quantity, stream, estimator=estimator, **shown)
