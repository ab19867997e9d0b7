"""SAE: layers read through sparse autoencoders, text against image, and their features."""

from functools import partial

import streamlit as st

from backend.store.commands import read_saes_command
from backend.store.kinds import SAE, SAE_FEATURES
from backend.study.mapping_reference import MEASURES as PUBLISHED
from backend.study.mapping_reference import SOURCE
from backend.views import leads
from backend.views.kept import kept
from backend.views.sae import (
    CURVES,
    NOT_READABLE,
    Chosen,
    curve_rows,
    curves_figure,
    feature_rows,
    is_readable,
    language_claim,
    published_figure,
)
from dashboard import cache
from dashboard.chart import panel
from dashboard.context import Context, context
from dashboard.downloads import Part, downloads
from dashboard.features import show_examples, show_matches
from dashboard.say import problems, say_commands
from dashboard.study_cards import show_described

view = context()
st.title("SAE")
st.caption(leads.SAE)
runs = tuple(run for group in view.groups for run in group.runs)
run_ids = tuple(run.run_id for run in runs)
ask = kept(view.store, run_ids, SAE)
table = cache.answer(ask)
problems(table)
if table.frame.empty:
    manifests = [run.manifest for run in runs]
    commands = [
        read_saes_command(one, view.store.origin)
        for one in manifests
        if is_readable(one.model.family, one.streams)
    ]
    if commands or table.problems:
        say_commands("readings through autoencoders", view.store, commands, table)
    else:
        st.info(NOT_READABLE, icon=":material/info:")
    st.stop()
held = list(dict.fromkeys(zip(table.frame["run_id"], table.frame["key"], strict=True)))
run_id, key = held[0]
if len(held) > 1:
    run_id, key = st.selectbox("Reading", held, format_func=" · ".join, key="sae-reading")
rows = table.frame[table.frame["run_id"].eq(run_id)]
show_described(language_claim(rows, runs))


@st.fragment
def show_curves(view: Context, part: Part) -> None:
    """A panel a measure, the published curves beside where there are such."""
    part.begin()
    left, right = st.columns(2)
    rest = left.toggle(
        "Without the top coordinate",
        help="A few coordinates of language models are so large that they are most of every "
        "error. The one that is largest in text alone is left out.",
        key="sae-rest",
    )
    controls = right.toggle(
        "Controls",
        help="A random adapter, captions of other samples, another layer's autoencoder.",
        key="sae-controls",
    )
    coordinates = "without the top one" if rest else "all"
    part.shown |= {"coordinates": coordinates, "controls": controls}
    for curve in CURVES:
        mine = curve_rows(rows, key, curve.measure, coordinates, controls)
        if not mine["value"].notna().any():
            continue
        st.subheader(curve.title)
        beside = curve.measure in PUBLISHED
        with st.grid(2 if beside else 1, min_column_width=420):
            with st.container(border=True):
                if beside:
                    st.markdown("**This run**")
                part.figures[curve.title] = drawn = cache.figure(
                    curves_figure, ask, key, curve.measure, coordinates, controls, curve.axis
                )
                alt = f"{curve.title} over the layers, text against image"
                panel(drawn, key=f"sae-{curve.measure}", alt=alt, what=curve.title)
            if beside:
                with st.container(border=True):
                    st.markdown("**Published**")
                    published = cache.figure(published_figure, curve.measure, curve.axis)
                    panel(
                        published,
                        key=f"sae-published-{curve.measure}",
                        alt=f"Published: {alt}",
                        what=curve.title,
                    )
                    st.caption(SOURCE)


@st.fragment
def show_features(view: Context) -> None:
    """The features that stand out at a layer; those of one with thumbnails and patches."""
    table = cache.answer(kept(view.store, run_ids, SAE_FEATURES))
    problems(table)
    features = table.frame
    if len(features):
        features = features[features["run_id"].eq(run_id) & features["key"].eq(key)]
    if features.empty:
        return
    st.header("Features")
    left, right = st.columns(2)
    layers = sorted(set(features["layer"]))
    layer = left.select_slider("Layer", layers, key="sae-layer") if len(layers) > 1 else layers[0]
    kinds = list(dict.fromkeys(features["tokens"]))
    tokens = str(right.segmented_control("Tokens", kinds, default=kinds[-1], required=True))
    found = feature_rows(features, key, int(layer), tokens)
    st.dataframe(found, hide_index=True, width="stretch", alt="Features that stand out")
    feature = st.selectbox("Feature", found["feature"].tolist(), key="sae-feature")
    if feature is not None:
        mine = features[features["layer"].eq(layer) & features["tokens"].eq(tokens)]
        show_examples(view.store, run_id, mine[mine["feature"].eq(feature) & mine["key"].eq(key)])
        show_matches(view.store, Chosen(run_id, key, int(layer), int(feature)))


part = Part()
show_curves(view, part)
show_features(view)
downloads(
    view,
    "sae",
    partial(rows.reset_index, drop=True),
    {},
    groups=view.groups,
    shown={"reading": key},
    parts=[part],
)
