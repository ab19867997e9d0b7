"""Study: the table of placements, differences to a baseline, and the claims asked of the runs."""

from functools import partial

import streamlit as st

from backend.store.kinds import TRAINING_SCORES
from backend.study import published_claims
from backend.study.formats import tidy
from backend.views import questions
from backend.views.choices import poolings_in
from backend.views.claims import choice_of, of_task
from backend.views.groups import noun
from backend.views.interventions import interventions
from backend.views.kept import kept
from backend.views.needs import needs_of
from backend.views.study import MEASURES, claims_of, layouts, left_out
from backend.words import literal, metric_name
from dashboard import cache, session
from dashboard.context import context
from dashboard.downloads import downloads
from dashboard.partners_card import show_partners
from dashboard.pick import pick_pooling, pick_streams
from dashboard.say import problems, say_ignored
from dashboard.study_cards import (
    no_measures,
    no_scores,
    no_scores_of_others,
    say_left_out,
    show_claims,
    show_language,
    show_needs,
    show_table,
    typeset,
)

ALL = "all"
OWN = "own"

view = context()
runs = view.overview.runs
st.title("Study")
st.caption(
    f"Which {noun(view.overview.groups)} wins, by how much, and what these runs say of the "
    "thesis's claims. All runs of the dataset count, whatever the sidebar shows."
)
choice = cache.value(choice_of, view.state, view.overview)
dataset, groups, placed = choice.dataset, choice.groups, choice.placed
say_ignored(view, **choice.shown)

with st.container(horizontal=True, vertical_alignment="bottom"):
    if len(choice.datasets) > 1:
        st.selectbox(
            "Dataset",
            choice.datasets,
            width=220,
            **session.bind("dataset", dataset, task=None, metric=None),
        )
    if choice.tasks:
        st.selectbox(
            "Task",
            [ALL, *choice.tasks],
            format_func=lambda name: "all tasks" if name == ALL else name,
            width=180,
            **session.bind(
                "task", choice.task or ALL, lambda name: None if name == ALL else name, metric=None
            ),
        )
        st.selectbox(
            "Metric",
            [OWN, *choice.metrics],
            format_func=lambda name: "each task's own" if name == OWN else metric_name(name),
            width=180,
            **session.bind(
                "metric", choice.metric or OWN, lambda name: None if name == OWN else name
            ),
        )
    if choice.placements:
        st.selectbox(
            "Baseline",
            choice.placements,
            width=180,
            help="The placement that the others are compared with, seed by seed.",
            **session.bind("baseline", choice.baseline),
        )
        st.toggle(
            "Published numbers",
            help="The thesis's own scores, and its claims asked of them, beside yours.",
            **session.bind("published", view.state.published),
        )

st.header("Scores")
tables, texts = {}, {}
if choice.scores["value"].notna().any():
    table = choice.table
    tables["scores"], texts = tidy(table), typeset(table)
    show_table(view, table, layouts(runs))
elif placed:
    no_scores(placed)
else:
    no_scores_of_others(groups)

st.header("Findings")
tables |= show_language(view, groups)
if not placed:
    st.info(
        "The thesis's claims are about where fusion is trained in: they take runs of models that "
        "fusionscope train has made. Compare shows these models side by side.",
        icon=":material/info:",
    )
    downloads(view, "study", tables, {}, groups=groups, shown=choice.shown, texts=texts)
    st.stop()
st.caption(
    f"What the thesis claims, asked of the runs on {literal(dataset)}. “Supported” and "
    "“contradicted” are clear. “No clear difference”: an effect that would matter is ruled out. "
    "“Underpowered”: too few runs or test samples to tell. “Described”: a number, not a test."
)
say_left_out(left_out(runs, dataset), [group for group in groups if not group.placed])
show_needs(needs_of(view.store, placed))
pair = pick_streams(view, placed)
mine = tuple(run for group in placed for run in group.runs)
ask = questions.measures(view.store, placed, MEASURES)
partners = interventions(view.store, placed)
trained = kept(view.store, [run.run_id for run in mine], TRAINING_SCORES)
for question in (ask, partners, trained):
    problems(cache.answer(question))
loaded = cache.answer(ask)
pooling = "cls"
if loaded.frame.empty:
    no_measures(view, placed, loaded)
else:
    pooling = pick_pooling(view, poolings_in(loaded.frame), placed, pair or ())
asked = (ask, pooling, "debiased", pair, partners, trained)
claims, points = cache.value(claims_of, runs, dataset, *asked)
claims, points = of_task(claims, points, choice.task)
published = published_claims() if view.state.published else ()
drawn = partial(show_partners, view.store, mine, dataset, partners, pooling)
figures = show_claims(view, claims, published, points, placed, pair, drawn)
if len(points):
    tables["alignment and score"] = points
downloads(
    view,
    "study",
    tables,
    figures,
    groups=placed,
    shown=choice.shown | {"pooling": pooling, "pair": pair},
    texts=texts,
)
