"""The Training page's figures: the rows of one quantity, played and all steps at once."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import plotly.graph_objects as go

from backend.figures.theme import Series
from backend.figures.timeline import Lag, lags_of, moments_of
from backend.figures.training import ALIGNMENT, QUANTITIES, TRANSITIONS, shown_moments
from backend.measures.registry import one_layer
from backend.views import leads
from backend.views.groups import RunGroup
from backend.words import counted, listed


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


def remarks(
    frame: pd.DataFrame, groups: tuple[RunGroup, ...], quantity: str, pooling: str, estimator: str
) -> str:
    """What a reader must know of a quantity's rows, as plain text."""
    frame = quantity_rows(frame, quantity, pooling, estimator)
    counts = sorted({int(n) for n in frame["n"]})
    out = [f"Measured on {counted(counts[0], 'sample')} {leads.OF_DEV}"]
    if len(counts) > 1:
        out = [
            f"The runs were measured on different numbers of samples ({listed(counts)}): "
            "dimensions and biased CKA depend on it."
        ]
    moments, drawn = moments_of(frame), shown_moments(frame)
    if len(drawn) < len(moments):
        out.append(f"{len(drawn)} of {len(moments)} recorded steps are shown, evenly spaced.")
    lags = lags_of(frame, moments[-1:])
    held = [
        f"{group.label}: {lag.text}"
        for group in groups
        if (lag := lags.get((group.key, moments[-1].step), Lag())).brief
    ]
    if held:
        out.append(f"Where a training is over its last curve is held. {'; '.join(held)}.")
    out.append("The model that was kept is that of its best epoch, which may be an earlier one.")
    return " ".join(out)
