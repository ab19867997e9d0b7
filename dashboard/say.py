"""Lines that a page says around its figures: what is missing, what was ignored, what to know."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import TypeVar

import streamlit as st

from backend.errors import InputError
from backend.figures.sites import norm_in_words
from backend.pooling import of_stream
from backend.types import POOLINGS
from backend.views.groups import RunGroup
from backend.views.questions import Table
from backend.views.state import ignored_line
from backend.views.store_access import StoreView
from backend.words import counted, listed, literal
from dashboard import cache, session
from dashboard.context import Context

T = TypeVar("T")


def or_say(ask: Callable[[], T], instead: T) -> T:
    """What ``ask`` gives; where it cannot be read one line says so, and the page goes on."""
    try:
        return ask()
    except InputError as error:
        st.caption(f":material/warning: {literal(str(error))}")
        return instead


def problems(table: Table) -> None:
    """Name files that could not be read."""
    if table.problems:
        with st.container(border=True):
            st.markdown(
                f":material/warning: {counted(len(table.problems), 'run')} could not be read"
            )
            for line in table.problems:
                st.code(line, language=None, wrap_lines=True)


def nothing_yet(what: str, view: Context, command: str, table: Table | None = None) -> None:
    """Say that the chosen runs lack something and which command makes it; ends the page."""
    say_missing(what, view, command, table)
    st.stop()


def say_missing(what: str, view: Context, command: str, table: Table | None = None) -> None:
    """Say that the chosen runs lack something and which command makes it."""
    line = shlex.join(["fusionscope", command, "--store", view.store.origin])
    say_commands(what, view.store, [line], table)


def say_commands(
    what: str, store: StoreView, lines: Sequence[str], table: Table | None = None
) -> None:
    """Say that the chosen runs lack something and which command lines make it.

    Where the ``table`` that was asked for has problems, these are why, and they stand above.
    """
    if table is not None and table.problems:
        st.info(
            f"There is no {what} to show of the chosen runs but what could not be read. Other runs "
            "and pages work. This names every file that is damaged:",
            icon=":material/build:",
        )
        show_commands([shlex.join(["fusionscope", "verify", "--store", store.path])])
        return
    makes = store.adding("This makes them")
    st.info(f"The chosen runs have no {what} yet. {makes}", icon=":material/build:")
    show_commands(lines)


def offer(store: StoreView, lacking: str, makes: str, lines: Sequence[str]) -> None:
    """In small print: what is ``lacking``, and that these lines make it ("This makes them")."""
    st.caption(literal(f"{lacking} {store.adding(makes)}"))
    show_commands(lines)


def show_commands(lines: Sequence[str]) -> None:
    """Command lines to copy."""
    st.code("\n".join(lines), language="bash", wrap_lines=True)


def say_pooling(groups: Sequence[RunGroup], streams: Sequence[str], pooling: str) -> None:
    """Name the streams that have no vectors of this pooling, and offer one that they have."""
    specs = [(group, spec) for group in groups for spec in group.series.streams]
    lacking = [
        (group, spec)
        for group, spec in specs
        if spec.name in streams and of_stream(pooling, spec.name) not in spec.poolings
    ]
    names = list(dict.fromkeys(spec.name for _, spec in lacking))
    if not names:
        return
    several = len(lacking) < sum(spec.name in names for _, spec in specs)
    of = listed(dict.fromkeys(group.label for group, _ in lacking)) if several else ""
    why = ": no one token of it sums up the others" if pooling == "cls" else ""
    other = next(
        (name for name in POOLINGS if all(name in spec.poolings for _, spec in lacking)), ""
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(
            f":material/info: {literal(listed(names))}{f' of {literal(of)}' if of else ''} "
            f"{'has' if len(names) == 1 else 'have'} no {pooling} vectors{why}. What there is of "
            "the other streams is shown."
        )
        if other:
            st.button(
                f"Show {other} vectors",
                on_click=session.change,
                kwargs={"pooling": other},
                type="tertiary",
                key=f"pooling-{'-'.join(names)}",
            )


def say_together(view: Context, groups: Sequence[RunGroup]) -> None:
    """Which samples belong together, once for groups of runs that share their samples."""
    firsts = [group.runs[0] for group in reversed(groups)]
    runs = {(run.entry.dataset, run.entry.fingerprint): run for run in firsts}
    for run in reversed(runs.values()):
        of = f"{run.entry.dataset} ({run.entry.split}): " if len(runs) > 1 else ""
        try:
            said = cache.together(view.store, run.run_id)
        except InputError as error:
            st.caption(f":material/warning: {literal(error)}")
            continue
        if said.fact:
            st.caption(literal(of + said.fact))
        for warning in said.warnings:
            st.caption(f":material/warning: {literal(of + warning)}")


def say_notes(groups: Sequence[RunGroup], *streams: str) -> None:
    """What must be known of streams wherever they are plotted, under the chart."""
    notes: dict[str, list[str]] = {}
    for group in groups:
        for spec in group.series.streams:
            if spec.name not in streams:
                continue
            norm = norm_in_words(spec)
            for note in filter(None, (spec.note, f"Layer {spec.depth} is {norm}." if norm else "")):
                notes.setdefault(f"{spec.name}: {note}", []).append(group.label)
    for note, labels in notes.items():
        of = f"{listed(labels)}, " if len(groups) > 1 else ""
        st.caption(f":material/info: {literal(of + note)}")


def _written(value: object) -> str:
    """A setting as it stands in a link."""
    return "~".join(value) if isinstance(value, tuple) else str(value)


def say_ignored(view: Context, **shown: object) -> None:
    """One line for settings of the link that these runs do not have."""
    wanted = {key: getattr(view.state, key) for key in shown}
    line = ignored_line(
        [
            f"these runs have no {key} {_written(wanted[key])}"
            for key, value in shown.items()
            if wanted[key] is not None and wanted[key] != value
        ]
    )
    if line:
        st.caption(f":material/link_off: {literal(line)}")
