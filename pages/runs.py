"""Runs: every placement and model with its drawing, its scores, and what is missing."""

from functools import partial

import pandas as pd
import streamlit as st

from backend.figures import placement_drawing
from backend.figures.placement import describe
from backend.views.groups import RunGroup, counted_groups, noun, nouns
from backend.views.missing import missing_of, present_in_words
from backend.views.scores import (
    best_of,
    headline_metrics,
    score_figure,
    score_rows,
    scores_for_people,
)
from backend.views.token_counts import tokens_in_words
from backend.words import counted, listed, literal, mean_sd, metric_name
from dashboard import cache
from dashboard.chart import chart
from dashboard.context import context
from dashboard.downloads import downloads
from dashboard.empty import list_broken
from dashboard.say import offer, or_say, say_notes, say_together

CARDS_A_PAGE = 8

view = context()
groups = view.overview.groups
datasets = {(g.manifest.dataset.name, g.manifest.dataset.split) for g in groups}

st.title("Runs")
placed = any(group.placed for group in groups)
st.caption(
    f"{counted(len(view.overview.runs), 'run')}: {counted_groups(groups)} on "
    + literal(listed(sorted(f"{name} ({split})" for name, split in datasets)))
    + "."
    + (
        " Runs that differ only in their seed are one card; scores are mean ± sd over seeds."
        if placed
        else ""
    )
)
list_broken(view.overview)

scores = cache.value(score_rows, groups)
metrics = headline_metrics(scores, groups)
figures = {}
if metrics:
    st.subheader("Scores")
    with st.grid(3, min_column_width=300):
        for task, metric in metrics:
            with st.container(border=True):
                drawn = cache.figure(score_figure, groups, task, metric)
                figures[f"{task} {metric}"] = drawn
                best = best_of(scores, groups, task, metric)
                chart(
                    drawn,
                    key=f"score-{task}-{metric}",
                    alt=f"{task} {metric} of every {noun(groups)}. {best}",
                )
                st.caption(literal(best))
    with st.container(horizontal=True, vertical_alignment="center"):
        table = cache.value(scores_for_people, groups)
        named = scores.rename(columns={"label": noun(groups)})
        downloads(view, "scores", named, figures, groups=groups, shown={}, label="Download scores")
    with st.expander("Table of all scores", icon=":material/table:"):
        st.dataframe(table, hide_index=True, width="stretch", alt=f"Scores of every {noun(groups)}")


def card(group: RunGroup) -> None:
    """One placement or model."""
    manifest = group.manifest
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(literal(group.label), anchor=False)
        if group.seeds:
            st.badge(group.seeds_in_words, color="gray")
    chart(
        cache.figure(placement_drawing, group.series.streams),
        key=f"placement-{group.key}",
        alt=f"{noun([group]).capitalize()} {group.label}: {describe(group.series.streams)}",
    )
    say_notes([group], *(spec.name for spec in group.series.streams))
    mine = scores[scores["series"].eq(group.key)]
    if len(mine) and metrics:
        with st.container(horizontal=True):
            for task, metric in metrics:
                values = mine[mine["task"].eq(task) & mine["metric"].eq(metric)]["value"].tolist()
                st.metric(
                    f"{literal(task)}, {literal(metric_name(metric))}",
                    mean_sd(values),
                    help=literal(f"mean ± sd over {counted(len(values), 'seed')}"),
                )
    elif group.placed:
        st.caption("No scores were stored for these runs.")
    st.caption(
        f"{literal(manifest.model.name)} · {literal(manifest.dataset.name)} "
        f"({literal(manifest.dataset.split)}), n = {manifest.dataset.n:,}  \n"
        f"Stored: {literal(present_in_words(group))}"
    )
    tokens = or_say(partial(cache.value, tokens_in_words, group), "")
    if tokens:
        st.caption(literal(tokens))
    with st.expander("Every run", icon=":material/format_list_numbered:"):
        per_run = pd.DataFrame(
            [
                {"run": run.run_id, **({"seed": run.seed} if group.seeds else {}), "n": run.n}
                | {f"{s.task} {metric_name(s.metric)}": s.value for s in run.own_scores()}
                for run in group.runs
            ]
        )
        st.dataframe(per_run, hide_index=True, width="stretch", alt=f"Runs of {group.label}")
    lacking = missing_of(group, view.store)
    if lacking:
        what = listed(dict.fromkeys(item.what for item in lacking))
        with st.expander(f"Missing: {what}", icon=":material/build:"):
            for item in lacking:
                lines = item.command.splitlines()
                offer(view.store, f"{item.sentence}.", "This makes what is missing", lines)


st.subheader(nouns(groups).capitalize())
st.caption(
    "Filled boxes take another stream in, on entry or inside; point at one to see how. Lines join "
    "layers of two streams that read each other."
)
pages = -(-len(groups) // CARDS_A_PAGE)
number = st.pagination(pages, key="runs-page") if pages > 1 else 1
shown = groups[(number - 1) * CARDS_A_PAGE : number * CARDS_A_PAGE]
say_together(view, shown)
with st.grid(2, min_column_width=400, gap="medium"):
    for group in shown:
        with st.container(border=True, height="stretch"):
            card(group)
