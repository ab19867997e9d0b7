"""What excites a feature of an autoencoder most: thumbnails with the patch, texts with the word."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import pandas as pd
import streamlit as st

from backend.errors import InputError
from backend.store.kinds import SAE_MATCHES
from backend.views import queries
from backend.views.kept import kept
from backend.views.questions import run_at
from backend.views.sae import (
    MATCHED,
    MATCHES,
    Chosen,
    cosine_figure,
    matched,
    matched_figure,
    outlined_thumbnail,
)
from backend.views.store_access import StoreView
from backend.words import literal
from dashboard import cache
from dashboard.chart import chart
from dashboard.say import problems

_MOST = 4
_LEAST_LAYERS = 2


def show_examples(store: StoreView, run_id: str, rows: pd.DataFrame) -> None:
    """The samples of one feature's rows, the strongest first."""
    shown = rows.sort_values("activation", ascending=False).head(_MOST)
    for column, row in zip(st.columns(_MOST), shown.to_dict("records"), strict=False):
        with column:
            try:
                sample = queries.sample(run_at(store, run_id), row["sample_id"])
            except InputError as error:
                st.caption(literal(str(error)))
                continue
            if sample.thumbnail is not None:
                st.image(
                    _outlined(sample.thumbnail, row), alt=f"Image of sample {row['sample_id']}"
                )
            word = f"**{literal(row['word'])}** · " if row["word"] else ""
            st.caption(f"{word}{row['activation']:.2f} · {literal(sample.text[:120])}")


def show_matches(store: StoreView, chosen: Chosen) -> None:
    """The feature over the layers: how strongly its matches are on, and how well they match."""
    ask = kept(store, [chosen.run_id], SAE_MATCHES)
    table = cache.answer(ask)
    problems(table)
    rows = matched(table.frame, chosen)
    if rows.empty or rows["other_layer"].nunique() < _LEAST_LAYERS:
        return
    st.subheader("Over the layers")
    st.caption(MATCHES)
    with st.grid(3, min_column_width=300):
        for column, (title, axis) in MATCHED.items():
            drawn = cache.figure(matched_figure, ask, chosen, column, axis)
            _panel(title, drawn, f"sae-matches-{column}", f"{title}, by layer and kind of token")
        drawn = cache.figure(cosine_figure, ask, chosen)
        alt = "Cosine of the feature's match at each layer, and what chance gives"
        _panel("How well it matches", drawn, "sae-matches-cosine", alt)


def _panel(title: str, drawn: cache.Drawn, key: str, alt: str) -> None:
    with st.container(border=True):
        st.markdown(f"**{title}**")
        chart(drawn, key=key, alt=alt)


def _outlined(thumbnail: bytes, row: dict[Hashable, Any]) -> bytes:
    """With the patch drawn around, where the token is one."""
    left, top, right, bottom = (float(row[name]) for name in ("left", "top", "right", "bottom"))
    if math.isnan(left):
        return thumbnail
    return outlined_thumbnail(thumbnail, (left, top, right, bottom))
