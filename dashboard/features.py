"""What excites a feature of an autoencoder most: thumbnails with the patch, texts with the word."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import pandas as pd
import streamlit as st

from backend.errors import InputError
from backend.views import queries
from backend.views.questions import run_at
from backend.views.sae import outlined_thumbnail
from backend.views.store_access import StoreView
from backend.words import literal

_MOST = 4


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
                st.image(_outlined(sample.thumbnail, row))
            word = f"**{literal(row['word'])}** · " if row["word"] else ""
            st.caption(f"{word}{row['activation']:.2f} · {literal(sample.text[:120])}")


def _outlined(thumbnail: bytes, row: dict[Hashable, Any]) -> bytes:
    """With the patch drawn around, where the token is one."""
    left, top, right, bottom = (float(row[name]) for name in ("left", "top", "right", "bottom"))
    if math.isnan(left):
        return thumbnail
    return outlined_thumbnail(thumbnail, (left, top, right, bottom))
