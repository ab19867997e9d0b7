"""Which features of sparse autoencoders a traced pair lights, by layer, and what each is."""

from __future__ import annotations

import shlex

import numpy as np
import pandas as pd
import streamlit as st

from backend.figures.looks import word_bars
from backend.figures.picture import headline, heat_marks, picture_figure
from backend.figures.sae import feature_grid, grid_mark
from backend.figures.words import grid_px
from backend.inference.requests import lighting
from backend.inference.values import Floats
from backend.pairing import TEXT
from backend.store.commands import read_saes_command
from backend.store.kinds import SAE, SAE_FEATURES
from backend.views import lit as views
from backend.views.kept import kept
from backend.views.sae import is_readable
from backend.views.store_access import opened
from backend.words import listed, literal
from dashboard import cache
from dashboard.chart import Point
from dashboard.features import show_examples
from dashboard.say import offer, problems, show_commands
from dashboard.trace import jobs, live
from dashboard.trace.draw import draw, let_go
from dashboard.trace.live import Lit
from dashboard.trace.side import Side

MOST_WORDS = 30


def has_features(side: Side) -> bool:
    """Whether autoencoders can read the model, and there is a run to know them from."""
    known = bool(side.traced.offer.run_id)
    return known and is_readable(side.trace.family, side.trace.streams)


@st.fragment
def show_features(side: Side) -> None:
    """The strongest features by layer; of the chosen one patches, words, and what excites it.

    For a side that :func:`has_features` of.
    """
    run_id = side.traced.offer.run_id
    table = cache.answer(kept(side.store, [run_id], SAE))
    rows = table.frame
    if table.problems:
        problems(table)
        return
    by_reading = views.digests_of(rows) if len(rows) else {}
    shelf = jobs.catalogue(side.store).saes
    if not by_reading:
        manifest = opened(side.store.path).run(run_id).manifest
        command = read_saes_command(manifest, side.store.origin)
        lacking = "No sparse autoencoders have read this run's layers."
        offer(side.store, lacking, "This lets them", [command])
        return
    if not shelf.folders:
        st.caption("To see which features this pair lights, name the autoencoders of the run:")
        words = ("fusionscope", "serve", "--store", side.store.path, "--saes", "DIR")
        show_commands([shlex.join(words)])
        return
    keys = list(by_reading)
    key = keys[0]
    if len(keys) > 1:
        key = st.selectbox("Reading", keys, key=side.key("reading"))
    lit = side.traced.features.get(key)
    if lit is None:
        layers = listed(map(str, sorted(by_reading[key])))
        st.caption(
            f"Autoencoders of layers {layers} tell which features this picture and this text "
            "light. The pair goes through the model once more."
        )
        work = lighting(by_reading[key], shelf)
        if st.button(
            "Read its features",
            key=side.key("read features"),
            on_click=live.ask_features,
            args=(side.store, side.traced, key, work),
        ):
            st.rerun()  # the page waits for the model outside of this fragment
        return
    known = cache.answer(kept(side.store, [run_id], SAE_FEATURES))
    if known.problems:
        problems(known)
        return
    _show(side, lit, known.frame[known.frame["key"].eq(key)])


def _show(side: Side, lit: Lit, known: pd.DataFrame) -> None:
    shown = str(
        st.segmented_control(
            "Strongest in",
            list(views.KIND_OF),
            default=views.IMAGE,
            format_func=lambda name: f"{name} tokens",
            required=True,
            key=side.key("lit tokens"),
        )
    )
    table = views.cells(lit, known, shown)
    side.part.rows[side.titled(f"features of the {shown}")] = table.drop(columns="said")
    if table.empty:
        let_go(side, "features")
        st.caption(f"No feature is on in the {shown} tokens.")
        return
    row = _pick(side, table, shown)
    values = lit[row["layer"]].of(row["feature"])
    st.caption(literal(f"In the {shown} tokens: {'; '.join(row['said'])}."))
    with st.grid(2, min_column_width=340):
        with st.container(border=True):
            _patches(side, values[views.IMAGE])
        with st.container(border=True):
            _words(side, values[TEXT])
    rows = views.examples(known, row["layer"], row["feature"])
    if rows.empty:
        st.caption("The run keeps no samples for it: it keeps those of each layer's strongest.")
        return
    st.markdown("**Samples of the run that excite it most**")
    show_examples(side.store, side.traced.offer.run_id, rows)


def _pick(side: Side, table: pd.DataFrame, shown: str) -> views.Row:
    """The grid, and the row that is chosen: by a click on its cell, or by name."""
    rows = table.to_dict("records")
    names = [views.feature_name(row) for row in rows]
    key = side.key(f"{shown} feature")
    layers = list(dict.fromkeys(table["layer"]))
    last = next(at for at, row in enumerate(rows) if row["layer"] == layers[-1])
    if st.session_state.get(key) not in names:
        st.session_state[key] = names[last]

    def clicked(point: Point) -> None:
        place = layers[int(point["x"])], int(point["y"])
        for name, row in zip(names, rows, strict=True):
            if (row["layer"], row["rank"]) == place:
                st.session_state[key] = name

    row = rows[names.index(st.session_state[key])]
    mark = grid_mark(layers.index(row["layer"]), row["rank"])
    draw(
        side, "features", feature_grid(table),
        alt=f"The strongest features of the {shown} tokens by layer; a click chooses one. "
        f"Chosen: {views.feature_name(row)}.",
        steps={label: {"marks": mark} for label in side.at},
        on_click=clicked,
        least_px=grid_px(len(layers)),
    )  # fmt: skip
    st.caption(
        "Ranked by the mean activation over the tokens. Each layer has an autoencoder of its own: "
        "numbers and activations of one layer say nothing of another's."
    )
    st.selectbox("Feature", names, key=key)
    return row


def _patches(side: Side, values: Floats) -> None:
    """The picture: the redder a patch, the stronger the feature in its token."""
    st.markdown("**In the picture**")
    shown = side.traced.shown
    patches, own = views.lit_patches(side.trace, values, shown.size)
    if not patches.tokens:
        let_go(side, "feature in the picture")
        st.caption("An image token of this model is of the whole image, not of one place.")
        return
    most = float(np.nan_to_num(own).max(initial=0.0))
    said = f"reddest: {most:.3g}" if most > 0 else "not on in any patch"
    draw(
        side, "feature in the picture",
        picture_figure(
            shown.webp, shown.size, patches,
            marks=(*heat_marks(patches.boxes, own), *headline(said)),
        ),
        alt=f"The picture with the feature's activation over it; {said}.",
    )  # fmt: skip


def _words(side: Side, values: Floats) -> None:
    st.markdown("**In the text**")
    words, own = views.lit_words(side.trace.tokens[TEXT], values, MOST_WORDS)
    if not any(own):
        let_go(side, "feature in the text")
        st.caption("It is not on in any word of the text.")
        return
    best = int(np.argmax(own))
    draw(
        side, "feature in the text", word_bars(words, own, title="activation"),
        alt=f"The feature's activation in each word. Strongest: {words[best]}, {own[best]:.3g}.",
    )  # fmt: skip
