"""Trace: one image-text pair on its way through the layers of a model."""

import streamlit as st

from backend.inference.what_if import GIVEN
from backend.views import trace as views
from backend.views.choices import pair_of
from backend.words import listed, literal
from dashboard import live, session
from dashboard.context import Context, context
from dashboard.downloads import Part, downloads
from dashboard.strip import layer_strip
from dashboard.trace_form import show_form
from dashboard.trace_panels import (
    GROUP,
    show_attention,
    show_beliefs,
    show_neighbours,
    show_paths,
    show_standing,
)

view = context()
st.title("Trace")
st.caption(
    "Drop in an image with its text and watch the pair move through the layers, among the pairs "
    "of the store. What you upload is not stored and not in the link."
)
offers = live.usable(live.catalogue(view.store).offers())
if not offers:
    st.stop()
live.prepare()


@st.fragment
def results(view: Context, part: Part) -> None:
    """What came of it: the strip, and the panels that follow it."""
    view = view.now()
    part.begin()
    traced = live.shown()
    if traced is None:
        return
    traces = traced.outcome.value
    trace = traces[GIVEN]
    pooling = "cls"
    reference = live.reference_or_say(view.store, traced.offer, pooling)
    streams = trace.streams
    names = [spec.name for spec in streams]
    stream = view.state.stream if view.state.stream in names else names[0]
    spec = trace.stream(stream)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.image(traced.shown.webp, width=72, alt="The picture that was traced")
        st.text(traced.caption or "(no text)")
    seconds = ", ".join(f"{name} {spent:.2f} s" for name, spent in traced.outcome.seconds.items())
    st.caption(f"{literal(traced.offer.label)}; {seconds or 'from the cache'}")
    for note in traced.outcome.notes:
        st.caption(literal(note))
    if trace.cut:
        st.caption(
            f"{trace.cut:,} tokens of the text did not fit into the model and were left out."
        )
    for name, parts in views.partings(traces).items():
        at = [f"{one} at layer {ref.label}" for one, ref in parts.items() if ref is not None]
        where = listed(at) if at else "nowhere"
        st.caption(f"**{literal(name)}** parts from the pair: {literal(where)}.")
    if len(names) > 1:
        st.segmented_control(
            "Stream", names, format_func=literal, required=True, **session.bind("stream", stream)
        )
    refs = [ref for ref in spec.refs if (ref, pooling) in trace.vectors] or list(spec.refs)
    ref = views.start_of(refs, view.state.layer)
    part.shown.update(model=traced.offer.key, stream=stream, layer=ref.label)
    layer_strip(
        spec, refs, ref, group=GROUP, key="trace-strip",
        on_move=lambda label: session.change(layer=label),
    )  # fmt: skip
    if reference is not None:
        st.header("Path")
        show_paths(reference, traces, spec, refs, part, traced.sample_id)
    show_attention(traced, spec, refs)
    if reference is not None:
        st.header("Neighbours")
        near = views.near(reference, trace, traced.sample_id)
        show_neighbours(view.store, traced.offer.run_id, near, spec, refs, streams, part)
        st.header("Where it stands")
        choice = pair_of(view.state, view.groups)
        pair = choice.pair if choice and set(choice.pair) <= set(names) else None
        curves = views.curves(reference, traces, pair, traced.sample_id)
        show_standing(curves, spec, pair, refs, part)
        st.header("What the model believes")
        show_beliefs(view.store, traced.offer.run_id, traces, spec, part)


run = show_form(view, offers)
live.wait()
part = Part()
results(view, part)
if live.shown() is not None:
    downloads(
        view,
        "trace",
        {},
        {},
        groups=[group for group in view.overview.groups if run in group.runs],
        shown={},
        parts=[part],
    )
    st.button("Forget my picture", on_click=live.forget, icon=":material/delete:")
