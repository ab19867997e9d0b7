"""A contrastive model's own space by layer: zero-shot classes, search and gap, as if it stopped."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from backend.figures.shared_space import SHARED_SCALES, Stop, shared_space_curves
from backend.measures.suite.parts import gallery_names
from backend.pairing import Pair
from backend.views import leads
from backend.views import shared_space as views
from backend.views.groups import RunGroup
from backend.views.shared_space import STOPS
from backend.words import listed, literal
from dashboard import cache
from dashboard.chart import panel
from dashboard.context import Context, series_of
from dashboard.downloads import Part
from dashboard.say import problems, say_commands


@st.fragment
def show_shared_space(view: Context, groups: tuple[RunGroup, ...], pair: Pair, part: Part) -> None:
    """The section; a command where a contrastive model was not asked, nothing for other models."""
    part.begin()
    keys = views.keys_held(view.store, groups)
    held = {
        key: cache.value(views.templates_of, views.shared_space(view.store, groups, key))
        for key in keys
    }
    if not held and not views.is_contrastive(groups):
        return
    st.header("If the model stopped here")
    st.caption(leads.SHARED_SPACE)
    if not held:
        command = views.shared_space_command(view.store.origin)
        what = "search and classes by layer in the model's own space"
        say_commands(what, view.store, [command])
        return
    key = keys[0]
    if len(keys) > 1:
        key = st.selectbox(
            "Class prompts",
            keys,
            format_func=lambda one: listed(held[one]) or one,
            key="shared-space-prompts",
        )
    ask = views.shared_space(view.store, groups, key)
    table = cache.answer(ask)
    problems(table)
    if table.frame.empty:
        return
    choices = cache.value(views.choices_of, ask)
    measure = str(
        st.segmented_control(
            "What is asked",
            choices.measures,
            default=choices.measures[0],
            format_func=lambda name: SHARED_SCALES[name].label,
            required=True,
            key="shared-space-measure",
        )
    )
    stop: Stop = st.segmented_control(
        "What stops at a layer",
        list(STOPS),
        default="vision",
        format_func=lambda name: STOPS[name],
        required=True,
        key="shared-space-stop",
    )
    scale = SHARED_SCALES[measure]
    prompts = f" Prompts: {literal(listed(held[key]))}" if measure == "zero_shot" else ""
    st.caption(scale.meaning + prompts)
    labels = listed(group.label for group in groups)
    with st.grid(2, min_column_width=420):
        for words, estimator in views.panels_of(measure, choices.tasks, gallery_names(*pair)):
            with st.container(border=True):
                if words:
                    st.markdown(f"**{literal(words)}**")
                title = f"{scale.label} {words}".strip()
                part.figures[title] = drawn = cache.figure(
                    shared_space_curves,
                    replace(ask, estimator=estimator),
                    series_of(groups),
                    measure,
                    stop,
                    words=words,
                    height=320,
                )
                panel(
                    drawn,
                    key=f"shared-space-{estimator}",
                    alt=f"{title} by the layer at which {STOPS[stop]} stops, for {labels}",
                    what=title,
                )
    part.rows["shared space"] = table.frame
