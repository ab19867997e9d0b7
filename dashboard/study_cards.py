"""The Study page's pieces: the table, and a card a claim."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import pandas as pd
import streamlit as st

from backend.pairing import Pair
from backend.store.commands import measure_command, train_command
from backend.store.kinds import SAE
from backend.study import ClaimResult, Finding, StudyTable, published_table, render
from backend.study.alignment import NAMES
from backend.study.findings import ALIGNMENT, Verdict
from backend.study.formats import difference_method
from backend.study.interventions import INTERVENTIONS
from backend.study.reference import SOURCE, published_points
from backend.views.claims import Placed, effects, placed_points
from backend.views.groups import RunGroup
from backend.views.kept import kept
from backend.views.needs import Need
from backend.views.questions import Table
from backend.views.sae import language_claim
from backend.views.study import effect_rows, markdown_differences, markdown_table
from backend.words import counted, listed, literal, metric_name
from dashboard import cache, session
from dashboard.cache import Drawn
from dashboard.chart import chart
from dashboard.context import Context
from dashboard.say import problems, say_commands

BadgeColour = Literal["green", "red", "gray", "orange", "yellow", "blue"]
_COLOURS: dict[Verdict, BadgeColour] = {
    "supported": "green",
    "contradicted": "red",
    "no clear difference": "gray",
    "underpowered": "orange",
    "not enough runs": "yellow",
    "described": "blue",
}
_LEAD = 4


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
    if published:
        theirs = published_table()
        with st.container(border=True):
            st.subheader("Published numbers", anchor=False)
            st.table(
                markdown_table(theirs, {}), border="horizontal", alt="The thesis's published scores"
            )
            st.caption(literal(SOURCE))


def typeset(table: StudyTable) -> dict[str, Callable[[], bytes]]:
    """{file name: what makes it} of the table for a paper."""
    forms = {"study.tex": "latex", "study.md": "markdown"}
    return {file: partial(_rendered, table, form) for file, form in forms.items()}


def _rendered(table: StudyTable, form: str) -> bytes:
    return f"{render(table, form)}\n".encode()


def show_needs(needs: Sequence[Need]) -> None:
    """What the runs lack for verdicts, and the commands that make it."""
    for need in needs:
        st.caption(f":material/build: {literal(need.sentence)}")
    commands = dict.fromkeys(line for need in needs for line in need.commands)
    if commands:
        with st.expander("Commands that make it", icon=":material/terminal:"):
            st.code("\n".join(commands), language="bash", wrap_lines=True)


def no_scores(groups: Sequence[RunGroup]) -> None:
    """Say that there are no scores, and the command that makes them."""
    st.info("The runs have no scores yet. Training makes them:", icon=":material/build:")
    commands = dict.fromkeys(
        train_command(run.manifest) for g in groups if g.placed for run in g.runs
    )
    st.code("\n".join(commands), language="bash", wrap_lines=True)


def no_scores_of_others(groups: Sequence[RunGroup]) -> None:
    """Say that released models have none of their own."""
    st.info(
        "These models were released by others, and no scores were stored for them: "
        f"{literal(listed(group.label for group in groups))}.",
        icon=":material/info:",
    )


def say_left_out(notes: Sequence[str], released: Sequence[RunGroup]) -> None:
    """Which runs no claim counts, and that released models take no part in claims."""
    for note in notes:
        st.warning(literal(note), icon=":material/rule:")
    if released:
        others = listed(group.label for group in released)
        st.caption(literal(f"Released models take no part in the claims: {others}."))


def no_measures(view: Context, groups: Sequence[RunGroup], table: Table) -> None:
    """Say that there are no measures, so that claims on layers cannot be asked, and why."""
    runs = [run.run_id for group in groups for run in group.runs if not run.has_measures]
    command = measure_command(view.store.origin, runs)
    say_commands("measures for the claims on layers", view.store, [command], table)


def show_claims(
    view: Context,
    own: Sequence[ClaimResult],
    published: Sequence[ClaimResult],
    points: pd.DataFrame,
    groups: Sequence[RunGroup],
    pair: Pair | None,
    partners: Callable[[], dict[str, Drawn]],
) -> dict[str, Drawn]:
    """One card a claim: what it says, its verdicts, its effects drawn and in words.

    ``partners`` draws what the claim on partners is about, in place of its effects. Returns the
    figures of these runs.
    """
    theirs = {result.claim.key: result for result in published}
    figures: dict[str, Drawn] = {}
    for result in own:
        with st.container(border=True):
            _head(result)
            other = theirs.get(result.claim.key)
            _lead(result)
            if result.claim.key == INTERVENTIONS.key:
                figures |= partners()
            else:
                figures |= _forests(result, other)
            if result.claim.key == ALIGNMENT.key:
                figures |= _scatter(view, points, groups, pair, published=other is not None)
            _words(result, "All in words, and how it was asked")
            if other is not None:
                _words(other, "Published numbers in words")
    return figures


def show_described(result: ClaimResult) -> None:
    """A card of a claim whose findings are sentences alone."""
    with st.container(border=True):
        _head(result)
        st.markdown("\n".join(f"- {literal(one.sentence)}" for one in result.findings))
        with st.expander("How it was asked", icon=":material/notes:"):
            st.caption(literal(result.claim.method))
            if result.claim.published:
                st.caption(literal(result.claim.published))


def show_language(view: Context, groups: Sequence[RunGroup]) -> dict[str, pd.DataFrame]:
    """The claim on vision that becomes language, where a run was read through autoencoders.

    Returns its findings as a table to download, or none.
    """
    ids = [run.run_id for group in groups for run in group.runs]
    read = cache.answer(kept(view.store, ids, SAE))
    problems(read)
    language = language_claim(read.frame, view.overview.runs)
    if not language.findings:
        return {}
    show_described(language)
    return {"language": effect_rows(language.findings)}


def _head(result: ClaimResult) -> None:
    st.subheader(result.claim.title, anchor=False)
    st.markdown(literal(result.claim.statement))
    with st.container(horizontal=True):
        for verdict, colour in _COLOURS.items():
            if count := result.count(verdict):
                words = f"{count} {verdict}" if len(result.findings) > 1 else verdict
                st.badge(words, color=colour)
        if not result.findings:
            st.badge("not asked", color="yellow")


def _lead(result: ClaimResult) -> None:
    """The sentences of what is clear; else the first that is judged, else the first."""
    clear = [one for one in result.findings if one.verdict in ("supported", "contradicted")]
    judged = [one for one in result.findings if one.verdict != "described"]
    shown = clear[:_LEAD] or (judged or list(result.findings))[:1]
    lines = [_sentence(one) for one in shown]
    st.markdown("\n".join(f"- {line}" for line in lines) or literal(" ".join(result.notes)))


def _forests(result: ClaimResult, other: ClaimResult | None) -> dict[str, Drawn]:
    """The effects of these runs and, beside them, of the published numbers."""
    key = result.claim.key
    figures: dict[str, Drawn] = {}
    with_numbers = other is not None and bool(other.findings)
    with st.grid(2 if with_numbers else 1, min_column_width=420):
        if result.findings:
            with st.container():
                if with_numbers:
                    st.markdown("**These runs**")
                figures[result.claim.title] = drawn = _forest(result)
                chart(drawn, key=f"effects-{key}", alt=_alt(result))
        if other is not None and with_numbers:
            with st.container():
                st.markdown("**Published numbers**")
                chart(
                    _forest(other),
                    key=f"published-{key}",
                    alt=f"Published: {_alt(other)}",
                )
    return figures


def _forest(result: ClaimResult) -> Drawn:
    return cache.figure(effects, result.claim.key, result.findings)


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
) -> dict[str, Drawn]:
    """Alignment of the last layers against the score of one task, under a measure of choice."""
    figures: dict[str, Drawn] = {}
    if pair:
        st.caption(f"Alignment of {literal(listed(pair))}, at their last layers.")
    theirs = published_points() if published else points.iloc[:0]
    held = [
        name
        for name in NAMES
        if points["measure"].eq(name).any() or theirs["measure"].eq(name).any()
    ]
    if not held:
        return figures
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
                figures[f"{NAMES[measure]}, {name}"] = drawn = cache.figure(
                    placed_points,
                    tuple(
                        Placed(
                            row["placement"],
                            row["alignment"],
                            row["score"],
                            row["seeds"],
                            colours.get(row["placement"], ""),
                        )
                        for row in rows.to_dict("records")
                    ),
                    f"{NAMES[measure]}, last layers",
                    score,
                    280,
                )
                chart(
                    drawn,
                    key=f"scatter-{at}",
                    alt=f"{NAMES[measure]} of the last layers against {name}, "
                    f"{counted(len(rows), 'placement')}",
                )
    return figures
