"""The Study page's pieces: the table with its downloads, and a card a claim."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from backend.figures import alignment_scatter, effect_forest
from backend.figures.pairing import Pair
from backend.figures.scores import metric_name
from backend.store.commands import measure_command, train_command
from backend.study import ClaimResult, Finding, StudyTable, published_table, render
from backend.study.alignment import NAMES
from backend.study.findings import ALIGNMENT, DIMENSION, SCORES, TRANSITIONS, Verdict
from backend.study.formats import difference_method
from backend.study.reference import SOURCE, published_points
from backend.views.groups import RunGroup
from backend.views.study import effect_rows, markdown_differences, markdown_table
from backend.views.words import counted, listed, literal
from dashboard import cache, session
from dashboard.page import Context, chart

BadgeColour = Literal["green", "red", "gray", "yellow"]
_X_TITLES = {
    TRANSITIONS.key: "CKA at fusion transitions, minus others",
    DIMENSION.key: "effective dimension, relative to no fusion",
    SCORES.key: "score of late, minus the other's",
    ALIGNMENT.key: "Pearson's r over placements",
}
_COLOURS: dict[Verdict, BadgeColour] = {
    "supported": "green",
    "contradicted": "red",
    "no clear difference": "gray",
    "not enough runs": "yellow",
}
_LEAD = 4
_FILES = {"csv": "text/csv", "latex": "text/plain", "markdown": "text/markdown"}
_ENDINGS = {"csv": "csv", "latex": "tex", "markdown": "md"}
_SHOWN = {"csv": "CSV", "latex": "LaTeX", "markdown": "Markdown"}


def show_table(view: Context, table: StudyTable, layouts: dict[str, str]) -> None:
    """Scores, differences to the baseline and, if asked for, the thesis's table beside them."""
    published = view.state.published
    st.caption("Mean ± sd over seeds, on each run's own split; the best of a column in bold.")
    st.table(
        markdown_table(table, layouts, published=published),
        border="horizontal",
        alt=f"Scores of every {table.heading}",
    )
    if table.baseline and len(table.rows) > 1:
        st.subheader(f"Difference to {literal(table.baseline)}", anchor=False)
        st.table(
            markdown_differences(table),
            border="horizontal",
            alt=f"Differences to {table.baseline}, paired by seed",
        )
        st.caption(literal(difference_method(table)))
    for note in table.notes:
        st.caption(f":material/info: {literal(note)}")
    _downloads(table)
    if published:
        theirs = published_table()
        with st.container(border=True):
            st.subheader("Published numbers", anchor=False)
            st.table(
                markdown_table(theirs, {}), border="horizontal", alt="The thesis's published scores"
            )
            st.caption(literal(SOURCE))


def _downloads(table: StudyTable) -> None:
    with st.popover("Download table", icon=":material/download:"):
        for form, kind in _FILES.items():
            st.download_button(
                _SHOWN[form],
                partial(_rendered, table, form),
                f"study.{_ENDINGS[form]}",
                kind,
                key=f"study-{form}",
                on_click="ignore",
                icon=":material/table:",
                width="stretch",
            )


def _rendered(table: StudyTable, form: str) -> bytes:
    return f"{render(table, form)}\n".encode()


def no_scores(groups: Sequence[RunGroup]) -> None:
    """Say that there are no scores, and the command that makes them."""
    st.info("The runs have no scores yet. Training makes them:", icon=":material/build:")
    commands = dict.fromkeys(
        train_command(run.manifest) for g in groups if g.placed for run in g.runs
    )
    st.code("\n".join(commands), language="bash", wrap_lines=True)


def no_measures(view: Context, groups: Sequence[RunGroup]) -> None:
    """Say that there are no measures, and the command that makes them."""
    st.info(
        "The runs have no measures yet, so claims on layers cannot be asked. This makes them:",
        icon=":material/build:",
    )
    runs = [run.run_id for group in groups for run in group.runs if not run.has_measures]
    command = measure_command(view.store.path, runs)
    st.code(command, language="bash", wrap_lines=True)


def show_claims(
    view: Context,
    own: Sequence[ClaimResult],
    published: Sequence[ClaimResult],
    points: pd.DataFrame,
    groups: Sequence[RunGroup],
    pair: Pair | None,
) -> None:
    """One card a claim: what it says, its verdicts, its effects drawn and in words."""
    theirs = {result.claim.key: result for result in published}
    for result in own:
        with st.container(border=True):
            _head(result)
            other = theirs.get(result.claim.key)
            _lead(result)
            _forests(view, result, other)
            if result.claim.key == ALIGNMENT.key:
                _scatter(view, points, groups, pair, published=other is not None)
            _words(result, "All in words, and how it was asked")
            if other is not None:
                _words(other, "Published numbers in words")


def _head(result: ClaimResult) -> None:
    st.subheader(result.claim.title, anchor=False)
    st.markdown(literal(result.claim.statement))
    with st.container(horizontal=True):
        for verdict, colour in _COLOURS.items():
            if count := result.count(verdict):
                words = f"{count} {verdict}" if len(result.findings) > 1 else verdict
                st.badge(words, color=colour)
        if not result.findings:
            st.badge("not enough runs", color="yellow")


def _lead(result: ClaimResult) -> None:
    """The sentences of what is clear; else the first one."""
    clear = [one for one in result.findings if one.verdict in ("supported", "contradicted")]
    lines = [_sentence(one) for one in (clear or result.findings)[: _LEAD if clear else 1]]
    st.markdown("\n".join(f"- {line}" for line in lines) or literal(" ".join(result.notes)))


def _forests(view: Context, result: ClaimResult, other: ClaimResult | None) -> None:
    """The effects of these runs and, beside them, of the published numbers."""
    key = result.claim.key
    with_numbers = other is not None and bool(other.findings)
    with st.grid(2 if with_numbers else 1, min_column_width=420):
        if result.findings:
            with st.container():
                if with_numbers:
                    st.markdown("**These runs**")
                chart(_forest(view, result), key=f"effects-{key}", alt=_alt(result))
        if other is not None and with_numbers:
            with st.container():
                st.markdown("**Published numbers**")
                chart(
                    _forest(view, other),
                    key=f"published-{key}",
                    alt=f"Published: {_alt(other)}",
                )


def _forest(view: Context, result: ClaimResult) -> go.Figure:
    key, rows = result.claim.key, effect_rows(result.findings)
    return cache.figure(
        view.store,
        "effects",
        (key, *rows.itertuples(index=False, name=None)),
        lambda: effect_forest(
            rows,
            x_title=_X_TITLES[key],
            x_range=(-1.05, 1.05) if key == ALIGNMENT.key else None,
            percent=key == DIMENSION.key,
        ),
    )


def _alt(result: ClaimResult) -> str:
    return f"{result.claim.title}: {result.summary}"


def _words(result: ClaimResult, title: str) -> None:
    """Every finding as a sentence with its verdict, then how it was asked and what was left out."""
    with st.expander(title, icon=":material/notes:"):
        st.markdown("\n".join(f"- {_sentence(one)}" for one in result.findings) or "Not asked.")
        notes = [result.claim.method, result.multiplicity] if result.findings else []
        for note in [*notes, *result.notes]:
            st.caption(literal(note))


def _sentence(one: Finding) -> str:
    return f"**{one.verdict}**: {literal(' '.join([one.sentence, *one.notes]))}"


def _scatter(
    view: Context,
    points: pd.DataFrame,
    groups: Sequence[RunGroup],
    pair: Pair | None,
    *,
    published: bool,
) -> None:
    """Alignment of the last layers against the score of one task, under a measure of choice."""
    if pair:
        st.caption(f"Alignment of {literal(listed(pair))}, at their last layers.")
    theirs = published_points() if published else points.iloc[:0]
    held = [
        name
        for name in NAMES
        if points["measure"].eq(name).any() or theirs["measure"].eq(name).any()
    ]
    if not held:
        return
    measure = view.state.measure if view.state.measure in held else held[0]
    st.segmented_control(
        "Measure",
        held,
        format_func=lambda name: NAMES[name],
        required=True,
        **session.bind("measure", measure, key="view_study_measure"),
    )
    colours = {g.name: g.series.colour for g in groups if g.placed}
    panels = [
        (where, rows)
        for source in (points, theirs)
        for where, rows in source[source["measure"].eq(measure)].groupby(
            ["dataset", "setting", "task", "metric"], sort=False
        )
    ]
    with st.grid(3, min_column_width=280):
        for at, ((dataset, setting, task, metric), rows) in enumerate(panels):
            with st.container():
                score = f"{task} {metric_name(str(metric))}".strip()
                name = f"{dataset}, {score}" + (f" ({setting})" if setting else "")
                st.markdown(f"**{literal(name)}**")
                figure = cache.figure(
                    view.store,
                    "alignment-score",
                    (measure, score, colours, *rows.itertuples(index=False, name=None)),
                    partial(
                        alignment_scatter,
                        rows,
                        x_title=f"{NAMES[measure]}, last layers",
                        y_title=score,
                        colours=colours,
                        height=280,
                    ),
                )
                chart(
                    figure,
                    key=f"scatter-{at}",
                    alt=f"{NAMES[measure]} of the last layers against {name}, "
                    f"{counted(len(rows), 'placement')}",
                )
