"""Probes: how much of a task's labels a linear classifier reads from each layer."""

from functools import partial

import streamlit as st

from backend.figures import probe_curves
from backend.figures.probes import MEASURE
from backend.remarks import merged, sentences
from backend.store.commands import measure_command
from backend.views import leads, questions
from backend.views.choices import poolings_in
from backend.views.tables import taken_away
from backend.words import listed, literal, metric_name
from dashboard import cache, session
from dashboard.chart import panel
from dashboard.context import averaged, context, series_of
from dashboard.downloads import downloads
from dashboard.pick import pick_pooling, pick_streams
from dashboard.say import (
    nothing_yet,
    offer,
    problems,
    say_ignored,
    say_notes,
    say_pooling,
    say_together,
)

view = context()
st.title("Probes")
st.caption(leads.PROBES)
groups = averaged(view)
metrics = {task.name: task.metric for group in groups for task in group.manifest.tasks}
if not metrics:
    st.info(leads.NO_LABELS, icon=":material/info:")
    st.stop()
table = cache.measures(view.store, groups, (MEASURE,))
problems(table)
if table.frame.empty or not table.frame["estimator"].isin(list(metrics)).any():
    nothing_yet("linear probes", view, "measure", table)
poolings = poolings_in(table.frame)
pooling = pick_pooling(view, poolings, groups, view.stream_names)
rows = table.frame[table.frame["pooling"].eq(pooling)]
held = [name for name in metrics if rows["estimator"].eq(name).any()]
task = view.state.task if view.state.task in held else held[0]
say_ignored(view, task=task)
if len(held) > 1:
    st.segmented_control(
        "Task", held, format_func=literal, required=True, **session.bind("task", task)
    )
rows = rows[rows["estimator"].eq(task)]
probed = tuple(group for group in groups if rows["series"].eq(group.key).any())
lacking = [group for group in groups if group not in probed]
if lacking and not table.problems:  # else what is damaged is named above
    names = listed(group.label for group in lacking)
    makes = "This makes them, for runs that keep their activations"
    runs = [run.run_id for group in lacking for run in group.runs]
    command = measure_command(view.store.origin, runs)
    offer(view.store, f"Without probes of this task: {names}.", makes, [command])

metric = metric_name(metrics[task])
ask = questions.measures(view.store, probed, (MEASURE,), pooling=pooling, estimator=task)
names = listed(group.label for group in probed)
panels = {stream: stream for stream in view.stream_names}
pair = pick_streams(view, probed)
joint = rows[rows["stream_a"].isin(pair or ()) & rows["stream_b"].isin(pair or ())]
if len(joint):
    panels |= {f"{listed(pair or ())} together": None}
say_together(view, probed)
say_pooling(probed, view.stream_names, pooling)
figures = {}
with st.grid(2, min_column_width=420):
    for title, stream in panels.items():
        with st.container(border=True):
            st.markdown(f"**{literal(title)}**" + ("" if stream else ", matching layers"))
            figures[title] = drawn = cache.figure(
                probe_curves, ask, series_of(probed), stream, metric=metric, pair=pair, height=300
            )
            panel(
                drawn,
                key=f"probe-{title.replace(' ', '-')}",
                alt=f"Linear probe of {task} ({metric}) by layer of {title} for {names}",
                what=title,
            )
            say_notes(probed, *((stream,) if stream else pair or ()))
remarks = sentences(merged(*rows["warnings"]))
if remarks:
    with st.expander("Remarks", icon=":material/info:"):
        for text in remarks[:20]:
            st.text(text)
downloads(
    view,
    f"probes-{task}",
    partial(cache.value, taken_away, (ask,), probed),
    figures,
    groups=probed,
    shown={"pooling": pooling, "task": task, "pair": pair},
)
