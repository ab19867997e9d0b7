"""The view's state in a browser session: read from the URL, written back to it.

The URL is what counts. A widget is given its value from the state before it is made, and its
callback writes the changed state to the URL, so a link, the back button and a click on a chart all
take the same way. Streamlit empties the URL when the page changes; then, and only then, the
session's copy refills it. An empty URL without a change of page is a step back in the browser's
history: it means the defaults, and writing to it would add a step that the back button could
never leave.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from backend.views.state import Parsed, ViewState
from dashboard import door

_KEY = "fusionscope_view"
_PAGE = "fusionscope_page"


def load(page: str) -> Parsed:
    """The state of this run of ``page``; notes say what of the URL could not be used."""
    moved = st.session_state.get(_PAGE) != page
    st.session_state[_PAGE] = page
    door.enter(page)
    query = st.query_params.to_dict()
    ours = {key: value for key, value in query.items() if not key.startswith("embed")}
    if ours:
        parsed = ViewState.from_query(ours)
    else:
        parsed = Parsed(current() if moved else ViewState())
        _write(parsed.state)
    st.session_state[_KEY] = parsed.state
    return parsed


def current() -> ViewState:
    """The state as it was last loaded or changed."""
    state: ViewState = st.session_state.get(_KEY, ViewState())
    return state


def change(**changes: Any) -> None:
    """Change fields of the state, in the URL and in the session. For callbacks."""
    state = current().but(**changes)
    st.session_state[_KEY] = state
    _write(state)


def bind(
    field: str,
    value: Any,
    read: Callable[[Any], Any] | None = None,
    *,
    key: str = "",
    **also: Any,
) -> dict[str, Any]:
    """``key`` and ``on_change`` of a widget that shows ``value`` and edits ``field``.

    ``read`` turns the widget's value into the field's; ``also`` are fields that are set with it.
    """
    key = key or f"view_{field}"
    st.session_state[key] = value

    def changed() -> None:
        new = st.session_state[key]
        change(**also, **{field: read(new) if read else new})

    return {"key": key, "on_change": changed}


def _write(state: ViewState) -> None:
    query = state.to_query()
    present = st.query_params.to_dict()
    embedding = {key: value for key, value in present.items() if key.startswith("embed")}
    if present != {**embedding, **query}:
        st.query_params.from_dict({**embedding, **query})
