"""The Trace page's panels; all of them follow one layer strip."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from backend.errors import InputError
from backend.figures.pairing import Pair
from backend.figures.picture import footprint_marks, picture_figure
from backend.figures.theme import styles_of
from backend.figures.trace import layer_mark, path_map, standing_curve
from backend.inference.beliefs import beliefs
from backend.inference.neighbours import Neighbourhoods
from backend.inference.reference import Reference
from backend.inference.values import Trace
from backend.types import LayerRef, StreamSpec
from backend.views import trace as views
from backend.views.store_access import StoreView, opened
from backend.words import listed, literal
from dashboard import cache, live
from dashboard.chart import Step, chart
from dashboard.downloads import Part
from dashboard.strip import CardRow, sample_cards

GROUP = "trace"
Steps = dict[str, Step]
Rows = Mapping[tuple[str, int, str], pd.DataFrame]
"""Neighbours by stream, layer and site."""


def marks_of(spec: StreamSpec, refs: Sequence[LayerRef]) -> Steps:
    """The line at each site of a stream, over a curve of that stream."""
    return {ref.label: {"marks": layer_mark(spec.position(ref))} for ref in refs}


def show_paths(
    reference: Reference,
    traces: Mapping[str, Trace],
    spec: StreamSpec,
    refs: Sequence[LayerRef],
    part: Part,
    sample_id: str | None,
) -> None:
    """The pair's way over the map of every layer, a map a stream, at the strip's layer."""
    with st.grid(2, min_column_width=340):
        for other in reference.streams:
            path = views.path(reference, traces, other, sample_id)
            if path is None:
                continue
            with st.container(border=True):
                st.markdown(f"**{literal(other.name)}**")
                figure = path_map(
                    [ref.label for ref in path.refs],
                    path.reference,
                    path.samples,
                    path.paths,
                    title=f"{other.name}, {path.method.upper()}",
                )
                steps: Steps = {
                    ref.label: {"frame": views.beside(spec, ref, path.refs, other)} for ref in refs
                }
                part.figures[f"{other.name} path"] = drawn = cache.drawn(figure)
                chart(
                    drawn,
                    key=f"path-{other.name}",
                    alt=f"The way of {listed(traces)} over the {other.name} maps of "
                    f"{reference.n} reference pairs",
                    steps=steps,
                    group=GROUP,
                )


@st.fragment
def show_attention(traced: live.Traced, spec: StreamSpec, refs: Sequence[LayerRef]) -> None:
    """What the words look at in the picture, at the last meet before the strip's layer."""
    from backend.views import attention  # reads roles, which need torch: it has run by now

    trace: Trace = next(iter(traced.outcome.value.values()))
    looks = attention.looking(trace)
    st.header("What the words look at")
    if looks is None:
        st.caption("No stream of words reads the picture patch by patch in this model.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = dict(looks.words)
        word = st.selectbox(
            "Word",
            [None, *words],
            format_func=lambda at: "all words, averaged" if at is None else words[at],
            key="trace-word",
            width=220,
        )
        head = st.selectbox(
            "Head",
            [None, *range(looks.heads)],
            format_func=lambda at: "all heads, averaged" if at is None else str(at + 1),
            key="trace-head",
            width=200,
        )
        content = st.toggle("Leave out CLS, separators and registers", True, key="trace-content")
    other = trace.stream(looks.stream)
    steps: Steps = {}
    for ref in refs:
        here = LayerRef.parse(other.name, views.beside(spec, ref, other.refs, other))
        key = attention.meet_at(other, looks.keys, here)
        if key is None:
            steps[ref.label] = {"marks": ()}
            continue
        boxes = attention.patches(
            trace, key, traced.shown.size, word=word, head=head, content_only=content
        )
        steps[ref.label] = {"marks": footprint_marks(boxes.boxes.tolist(), boxes.weights.tolist())}
    with st.container(border=True, width=520):
        drawn = cache.drawn(picture_figure(traced.shown.webp, traced.shown.size))
        said = "all words" if word is None else words[word]
        chart(
            drawn,
            key="attention",
            alt=f"The picture; redder patches get more of the attention of {said} at the strip's "
            "layer",
            steps=steps,
            group=GROUP,
        )
        for key in looks.keys:
            st.caption(literal(attention.meter(trace, key, head)))
        st.caption(
            "Before the first of these layers nothing is looked at. Attention is not explanation: "
            "what is looked at need not be what counts."
        )


def show_standing(
    curves: pd.DataFrame, spec: StreamSpec, pair: Pair | None, refs: Sequence[LayerRef], part: Part
) -> None:
    """Every curve of the stream on the band of the reference pairs."""
    colour = styles_of([spec])[spec.name].colour
    part.rows["standing"] = curves
    with st.grid(2, min_column_width=340):
        for name, (title, meaning) in views.WORDS.items():
            rows = curves[curves["curve"].eq(name)]
            if name != "similarity":
                rows = rows[rows["stream"].eq(spec.name)]
            if rows.empty:
                continue
            with st.container(border=True):
                st.markdown(f"**{literal(title)}**", help=meaning)
                figure = standing_curve(rows, spec, y_title=title, colour=colour)
                part.figures[f"{spec.name} {name}"] = drawn = cache.drawn(figure)
                of = listed(pair) if name == "similarity" and pair else spec.name
                chart(
                    drawn,
                    key=f"standing-{name}",
                    alt=f"{title} of {of} by layer, on the band of the reference pairs",
                    steps=marks_of(spec, refs),
                    group=GROUP,
                )


def show_neighbours(
    store: StoreView,
    run_id: str,
    near: Neighbourhoods,
    spec: StreamSpec,
    refs: Sequence[LayerRef],
    streams: Sequence[StreamSpec],
    part: Part,
) -> None:
    """The nearest reference pairs at the strip's layer, a row a stream, and where they change."""
    for turn in near.turns:
        st.caption(literal(views.turn_in_words(turn)))
    lists = near.lists
    part.rows["neighbours"] = lists
    ids = {str(name) for name in lists["sample_id"].unique()}
    samples = {name: cache.sample(store, run_id, name) for name in sorted(ids)}
    steps: dict[str, list[CardRow]] = {}
    rows = _by_site(lists)
    for ref in refs:
        steps[ref.label] = [
            row for other in streams if (row := _card_row(rows, spec, ref, other, near)) is not None
        ]
    sample_cards(samples, steps, group=GROUP, key="trace-neighbours")


def _by_site(lists: pd.DataFrame) -> Rows:
    ordered = lists.sort_values("rank", kind="stable")
    places = zip(ordered["stream"], ordered["layer"], ordered["site"], strict=True)
    keys = [(str(stream), int(layer), str(site)) for stream, layer, site in places]
    return {key: ordered[[one == key for one in keys]] for key in dict.fromkeys(keys)}


def _card_row(
    rows: Rows,
    spec: StreamSpec,
    ref: LayerRef,
    other: StreamSpec,
    near: Neighbourhoods,
) -> CardRow | None:
    held = [one for one in other.refs if (one.stream, one.layer, one.site) in rows]
    if not held:
        return None
    here = LayerRef.parse(other.name, views.beside(spec, ref, held, other))
    at = held.index(here)
    mine = rows[here.stream, here.layer, here.site]
    before = held[at - 1] if at else None
    old = (
        set(rows[before.stream, before.layer, before.site]["sample_id"])
        if before is not None
        else set(mine["sample_id"])
    )
    return {
        "title": f"{other.name}, layer {here.label}",
        "cards": [
            {"id": str(name), "note": f"{distance:.3g}", "fresh": name not in old}
            for name, distance in zip(mine["sample_id"], mine["distance"], strict=True)
        ],
    }


def show_beliefs(
    store: StoreView, run_id: str, traces: Mapping[str, Trace], spec: StreamSpec, part: Part
) -> None:
    """What the model itself predicts, and what each layer's kept probe reads."""
    name, trace = next(iter(traces.items()))
    for output in trace.outputs:
        order = output.probabilities.argsort()[::-1][:3]
        words = ", ".join(
            f"{output.classes[at]} {100 * float(output.probabilities[at]):.0f} %" for at in order
        )
        st.markdown(f"**{literal(output.task)}**: {literal(words)}")
    if trace.next_words is not None:
        lens = trace.next_words
        table = pd.DataFrame(
            [
                {"layer": ref.label, **{str(k + 1): literal(w) for k, w in enumerate(words)}}
                for ref, words in zip(lens.refs, lens.words, strict=True)
            ]
        )
        st.table(table, alt="Logit lens: the likeliest next words by layer")
    try:
        rows = beliefs(opened(store.path).run(run_id), trace.vectors)
    except InputError as error:
        st.caption(literal(str(error)))
        return
    if rows.empty:
        st.caption("This run keeps no fitted probes. This makes them:")
        command = ["fusionscope", "measure", "--store", store.path, "--run", run_id]
        st.code(shlex.join(command), language="bash", wrap_lines=True)
        return
    part.rows["beliefs"] = rows
    mine = rows[rows["stream"].eq(spec.name) & rows["pooling"].eq(rows["pooling"].iloc[0])]
    for task, table in mine.groupby("task", sort=False):
        top = table.groupby("class")["probability"].max().nlargest(4).index
        wide = table[table["class"].isin(list(top))].pivot_table(
            index="position", columns="class", values="probability", sort=False
        )
        labels = [
            LayerRef(spec.name, int(layer), str(site)).label
            for layer, site in table.drop_duplicates("position")[["layer", "site"]].itertuples(
                index=False
            )
        ]
        shown = wide.map(lambda value: f"{100 * value:.0f} %")
        shown.insert(0, "layer", labels)
        shown.columns = [literal(column) for column in shown.columns]
        with st.expander(f"Probes of {literal(task)} by layer of {literal(spec.name)}"):
            st.table(shown.reset_index(drop=True), alt=f"Probes of {task}, {name}, by layer")
