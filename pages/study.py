"""Study: the table of placements, differences to a baseline, and the claims asked of the runs."""

from dataclasses import replace

import streamlit as st

from backend.figures.scores import metric_name
from backend.study import build_table, published_claims
from backend.views.groups import noun
from backend.views.study import MEASURES, datasets, groups_of, layouts, left_out, score_frame
from backend.views.words import listed, literal
from dashboard import cache, session
from dashboard.page import context, pick_pooling, pick_streams, problems, say_ignored
from dashboard.study_cards import no_measures, no_scores, show_claims, show_table

ALL = "all"
OWN = "own"

view = context()
runs = view.overview.runs
st.title("Study")
st.caption(
    f"Which {noun(view.overview.groups)} wins, by how much, and what these runs say of the "
    "thesis's claims. All runs of the dataset count, whatever is chosen in the sidebar."
)
names = datasets(runs)
dataset = view.state.dataset if view.state.dataset in names else names[0]
groups = groups_of(view.overview, dataset)
scores = score_frame(runs)
scores = scores[scores["dataset"].eq(dataset)]
tasks = list(dict.fromkeys(scores["task"]))
task = view.state.task if view.state.task in tasks else ALL
shown = scores if task == ALL else scores[scores["task"].eq(task)]
metrics = list(dict.fromkeys(shown["metric"]))
metric = view.state.metric if view.state.metric in metrics else OWN
placed = tuple(group for group in groups if group.placed)
placements = list(dict.fromkeys(group.name for group in placed))
asked = view.state.baseline
baseline = asked if asked in placements else next(iter(placements), None)
say_ignored(
    view,
    dataset=dataset,
    task=None if task == ALL else task,
    metric=None if metric == OWN else metric,
    baseline=baseline,
)

with st.container(horizontal=True, vertical_alignment="bottom"):
    if len(names) > 1:
        st.selectbox(
            "Dataset",
            names,
            width=220,
            **session.bind("dataset", dataset, task=None, metric=None),
        )
    if tasks:
        st.selectbox(
            "Task",
            [ALL, *tasks],
            format_func=lambda name: "all tasks" if name == ALL else name,
            width=180,
            **session.bind("task", task, lambda name: None if name == ALL else name, metric=None),
        )
        st.selectbox(
            "Metric",
            [OWN, *metrics],
            format_func=lambda name: "each task's own" if name == OWN else metric_name(name),
            width=180,
            **session.bind("metric", metric, lambda name: None if name == OWN else name),
        )
    if placements:
        st.selectbox(
            "Baseline",
            placements,
            width=180,
            help="The placement that the others are compared with, seed by seed.",
            **session.bind("baseline", baseline),
        )
        st.toggle(
            "Published numbers",
            help="The thesis's own scores, and its claims asked of them, beside yours.",
            **session.bind("published", view.state.published),
        )

st.header("Scores")
if shown["value"].notna().any():
    trained = shown.loc[~shown["released"], "placement"]
    held = baseline if baseline and trained.eq(baseline).any() else ""
    table = build_table(shown, metrics=[] if metric == OWN else [metric], baseline=held)
    show_table(view, table, layouts(runs))
elif placed:
    no_scores(placed)
else:
    st.info(
        "These models were released by others, and no scores were stored for them: "
        f"{literal(listed(group.label for group in groups))}.",
        icon=":material/info:",
    )

st.header("Findings")
if not placed:
    st.info(
        "The thesis's claims are about where fusion is trained in: they take runs of models that "
        "fusionscope train has made. Compare shows these models side by side.",
        icon=":material/info:",
    )
    st.stop()
st.caption(
    f"The thesis's claims as statistics, on {literal(dataset)}. “No clear difference” is not “no "
    "difference”: with few seeds only large effects show."
)
for note in left_out(runs, dataset):
    st.warning(literal(note), icon=":material/rule:")
if len(placed) < len(groups):
    others = listed(group.label for group in groups if not group.placed)
    st.caption(literal(f"Released models take no part in the claims: {others}."))
pair = pick_streams(view, placed)
loaded = cache.measures(view.store, placed, MEASURES)
problems(loaded)
pooling = "cls"
if loaded.frame.empty:
    no_measures(view, placed)
else:
    poolings = list(dict.fromkeys(loaded.frame["pooling"]))
    pooling = pick_pooling(view, poolings, placed, pair or ())
claims, points = cache.claims(view.store, dataset, pooling, "debiased", pair, loaded.frame)
if task != ALL:
    points = points[points["task"].eq(task)]
    claims = tuple(
        replace(
            one,
            findings=tuple(found for found in one.findings if found.task in ("", task)),
        )
        for one in claims
    )
published = published_claims() if view.state.published else ()
show_claims(view, claims, published, points, placed, pair)
