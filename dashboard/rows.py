"""A short table on a page, whose cells are text, as an element of our own: ``element/rows.js``."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import assets

_rows = st.components.v2.component(
    "fusionscope_rows", js=assets.loader("rows.js"), isolate_styles=False
)


def rows(table: pd.DataFrame, *, key: str, alt: str) -> None:
    """The values of a table as text, named for screen readers; its first column names the rows."""
    text = table.astype(str)
    _rows(key=key, data={"head": list(text.columns), "rows": text.to_numpy().tolist(), "alt": alt})
