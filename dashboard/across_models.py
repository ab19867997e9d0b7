"""Compare's part on many models at once, and on what moves from one model to another."""

from __future__ import annotations

import streamlit as st

from backend.pairing import Pair
from backend.store.commands import project_command
from backend.types import LayerRef, StreamSpec, matched_layers
from backend.views import growth, neighbourhoods, questions
from backend.views.compare import run_pairs
from backend.views.groups import RunGroup
from backend.words import listed, literal
from dashboard import cache
from dashboard.chart import chart
from dashboard.context import Context
from dashboard.downloads import Part
from dashboard.pick import Picked
from dashboard.rows import rows
from dashboard.say import offer, problems


def show_growth(view: Context, picked: Picked, pair: Pair, part: Part) -> None:
    """The chosen measure of matching layers by the size of the model, over the store's groups."""
    groups = tuple(
        group
        for group in view.overview.groups
        if group.runs[0].entry.fingerprint == picked.groups[0].runs[0].entry.fingerprint
    )
    ask = picked.ask(view, groups)
    points = cache.value(growth.growth_points, ask, groups, pair)
    if points["size"].nunique() < 2:
        return
    st.header("Does it grow with size?")
    st.caption(
        "Every model of the store on the same samples, not only the chosen ones: the measure of "
        "matching layers of its two streams, averaged over the layers, by the parameters of its "
        "blocks. Chance is a dash at each model; whether it grows is asked of what lies beyond it, "
        "as some measures grow with the widths by chance alone."
    )
    st.markdown(literal(growth.trend_in_words(points)))
    with st.container(border=True):
        part.figures["growth"] = drawn = cache.figure(
            growth.growth_drawing, ask, groups, pair, picked.scale, picked.estimator
        )
        chart(drawn, key="growth", alt=f"{picked.scale.label} of {listed(pair)} by size")
    part.rows["growth"] = points


@st.fragment
def show_moved(view: Context, a: RunGroup, b: RunGroup, pooling: str, part: Part) -> None:
    """Which samples have other neighbours in one model than in another, and in which layers."""
    part.begin()
    st.header("What moved from one model to the other")
    both = run_pairs(a, b)
    if not both:
        st.caption("Both are the same run.")
        return
    one, other = both[0]
    streams = {spec.name: spec for spec in one.manifest.streams}
    others = {spec.name: spec for spec in other.manifest.streams}
    shared = [name for name in streams if name in others]
    lacking = [
        run.run_id
        for run in (one, other)
        if not neighbourhoods.keeps_neighbours(view.store, run.run_id)
    ]
    if lacking:
        command = project_command(view.store.origin, lacking)
        words = "The neighbours of samples are not stored for these runs."
        offer(view.store, words, "This adds them", [command])
        return
    if not shared:
        st.caption("The two models have no stream of the same name.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        stream = str(st.selectbox("Stream", shared, key="moved-stream", width=200))
        pairs = _matching(streams[stream], others[stream])
        if not pairs:
            st.caption(f"The two models' {literal(stream)} streams have no layers to compare.")
            return
        labels = {f"{x.label} and {y.label}": (x, y) for x, y in pairs}
        chosen = st.select_slider(
            f"Layers of {literal(a.label)} and {literal(b.label)}",
            list(labels),
            value=[*labels][-1],
            key=f"moved-layers-{stream}",
        )
    x, y = labels[str(chosen)]
    asked = (
        questions.neighbours(view.store, one.run_id, pooling, x),
        questions.neighbours(view.store, other.run_id, pooling, y),
    )
    damaged = [table for one in asked if (table := cache.answer(one)).problems]
    for table in damaged:
        problems(table)
    if damaged:
        return
    found = cache.value(neighbourhoods.changes, *asked)
    first, second = f"layer {x.label} of {a.label}", f"layer {y.label} of {b.label}"
    if found is None:
        st.caption(
            f"{literal(first)} and {literal(second)} cannot be compared: in one of them all "
            "samples have the same vector, its neighbours are not stored, or the samples differ."
        )
        return
    st.markdown(literal(neighbourhoods.between_models_in_words(found, first, second)))
    names = [
        str(name)
        for name in neighbourhoods.most_changed(found, neighbourhoods.MOST_LISTED)["sample_id"]
    ]
    texts = {name: cache.sample(view.store, one.run_id, name).text for name in names}
    rows(
        neighbourhoods.moved_table(found, texts, first, second),
        key="moved",
        alt=f"The samples whose neighbours differ most between {first} and {second}",
    )
    part.rows["moved between models"] = found.frame


def _matching(a: StreamSpec, b: StreamSpec) -> tuple[tuple[LayerRef, LayerRef], ...]:
    """The layers of both at the same relative depth, without layer 0."""
    return tuple((x, y) for x, y in matched_layers(a, b) if x.layer and y.layer)
