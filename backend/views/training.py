"""The Training page's figures: the rows of one quantity, played and all steps at once."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from backend.figures import training_curves, training_heatmap
from backend.figures.dimensionality import Span
from backend.figures.pairing import Pair
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


def played(
    frame: pd.DataFrame,
    series: tuple[Series, ...],
    quantity: str,
    stream: str,
    *,
    pooling: str,
    pair: Pair | None,
    estimator: str,
    span: Span,
) -> go.Figure:
    """:func:`backend.figures.training_curves` of training measures."""
    rows = quantity_rows(frame, quantity, pooling, estimator)
    return training_curves(
        rows, series, quantity, stream, pair=pair, estimator=estimator, span=span
    )


def all_steps(
    frame: pd.DataFrame,
    one: Series,
    quantity: str,
    stream: str,
    *,
    pooling: str,
    pair: Pair | None,
    estimator: str,
    span: Span,
) -> go.Figure:
    """:func:`backend.figures.training_heatmap` of training measures."""
    rows = quantity_rows(frame, quantity, pooling, estimator)
    return training_heatmap(rows, one, quantity, stream, pair=pair, estimator=estimator, span=span)
