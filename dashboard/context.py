"""What every page gets: the store, the chosen runs and the state."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import streamlit as st

from backend.figures.theme import Series
from backend.views.choices import focus_of, only
from backend.views.groups import Overview, RunGroup
from backend.views.state import ViewState, ignored_line
from backend.views.store_access import StoreView, look, named_store
from backend.words import counted, literal
from dashboard import cache, session
from dashboard.brand import ICON
from dashboard.navigation import pages

_CONTEXT = "fusionscope_context"


@dataclass(frozen=True)
class Context:
    """The store, its runs, the state and the groups that the state chose."""

    page: str
    store: StoreView
    overview: Overview
    state: ViewState
    groups: tuple[RunGroup, ...]
    note: str = ""

    @property
    def stream_names(self) -> tuple[str, ...]:
        """Names of all streams of the chosen groups, in the models' order."""
        return tuple(
            dict.fromkeys(spec.name for group in self.groups for spec in group.series.streams)
        )

    def now(self) -> Self:
        """This with the state of now, for a part of a page that runs again by itself."""
        return replace(self, state=session.current())

    def focus(self, groups: Sequence[RunGroup]) -> RunGroup:
        """The one of ``groups`` to show where only one can be: the chosen, else one that fuses."""
        return focus_of(self.state, groups)


def prepare(page: str) -> Context:
    """Look at the store and the URL of ``page``. Called once a run of the script, by app.py."""
    store = look(named_store())
    parsed = session.load(page)
    overview = cache.overview(store) if store.status == "fine" else Overview((), ())
    if store.status == "fine" and not overview.groups:
        store = replace(store, status="broken", message=store.path)
    groups, unknown = overview.chosen(parsed.state.runs)
    notes = [*parsed.notes, *map(overview.why_none, unknown)]
    return Context(page or "runs", store, overview, parsed.state, groups, ignored_line(notes))


def configure() -> None:
    """Title, icon and width of the page; the icon is our own, so that nothing is downloaded."""
    st.set_page_config(page_title="Fusionscope", page_icon=ICON, layout="wide")


def provide(view: Context) -> None:
    """Hand the context to the page that runs next."""
    st.session_state[_CONTEXT] = view


def context() -> Context:
    """What :func:`prepare` found in this run of the script. A page calls it once.

    A server whose first visitor opens a page by its address runs the page without app.py, because
    Streamlit takes a folder named ``pages`` for its older kind of app until ``st.navigation`` was
    called. Then it is called here, and the script starts over.
    """
    view: Context | None = st.session_state.pop(_CONTEXT, None)
    if view is None:
        caller = sys._getframe(1).f_code.co_filename
        configure()
        st.navigation(pages(Path(caller).parent))
        st.rerun()
    return view


def averaged(view: Context) -> tuple[RunGroup, ...]:
    """The chosen groups without runs whose samples differ from the first run's; says which."""
    run_ids = tuple(run.run_id for group in view.groups for run in group.runs)
    same = cache.comparable(view.store, run_ids)
    if same.message:
        st.warning(
            f"{literal(same.message)}  \n{counted(len(run_ids) - len(same.run_ids), 'run')} left "
            f"out of this page.",
            title="Runs with different samples are not averaged",
            icon=":material/rule:",
        )
    return only(view.groups, same.run_ids)


def series_of(groups: Sequence[RunGroup]) -> tuple[Series, ...]:
    """The curves of groups, as figures take them."""
    return tuple(group.series for group in groups)
