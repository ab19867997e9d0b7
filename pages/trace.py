"""Trace: one image-text pair on its way through the layers of a model."""

import io

import streamlit as st

from backend.data.images import thumbnail
from backend.data.macros.draw import draw
from backend.data.macros.grammar import OBJECTS, TOPICS, compose
from backend.errors import InputError
from backend.inference.originals import original
from backend.inference.service import Pair, Request
from backend.inference.uploads import read_caption, read_picture
from backend.inference.values import Picture
from backend.inference.what_if import GIVEN, what_if
from backend.views import trace as views
from backend.views.choices import pair_of
from backend.views.store_access import opened
from backend.words import listed, literal
from dashboard import cache, live, session
from dashboard.context import Context, context
from dashboard.downloads import Part, downloads
from dashboard.strip import layer_strip
from dashboard.trace_panels import (
    GROUP,
    show_attention,
    show_beliefs,
    show_neighbours,
    show_paths,
    show_standing,
)

SHOWN_PX = 640
UPLOAD, CAMERA, STORED, DRAWN = "Upload", "Camera", "From the store", "Draw one"

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
keys = [offer.key for offer in offers]
labels = {offer.key: offer.label for offer in offers}
shown = {run.run_id for run in view.focus(view.overview.groups).runs}
first = next((one.key for one in offers if one.run_id in shown), keys[0])
chosen = view.state.model if view.state.model in keys else first
offer = next(one for one in offers if one.key == chosen)
run = next((one for one in view.overview.runs if one.run_id == offer.run_id), None)
generated = run is not None and run.manifest.dataset.layout == "macros"


def picture_from(source: str) -> tuple[Picture | bytes | None, str, str | None]:
    """The picture, a caption to begin with, and the stored sample that it is of."""
    if source == UPLOAD:
        file = st.file_uploader("Image", ["png", "jpg", "jpeg", "webp"], key="trace-file")
        return (file.getvalue() if file else None), "", None
    if source == CAMERA:
        shot = st.camera_input("Picture", key="trace-shot")
        return (shot.getvalue() if shot else None), "", None
    if source == DRAWN:
        with st.container(horizontal=True):
            face = st.segmented_control(
                "Face", ["happy", "sad"], default="happy", required=True, key="trace-face"
            )
            mood = st.segmented_control(
                "Caption", ["cheerful", "gloomy"], default="gloomy", required=True, key="trace-mood"
            )
            thing = st.selectbox("Object", OBJECTS, key="trace-object", width=160)
            topic = st.selectbox("Background", ["plain", *TOPICS], key="trace-topic", width=160)
            look = st.number_input("Look", 0, 999, 0, key="trace-look", width=120)
        scene = compose(
            happy_face=face == "happy",
            cheerful_caption=mood == "cheerful",
            thing=thing,
            topic="" if topic == "plain" else topic,
            look=int(look),
        )
        return _as_picture(draw(scene)), scene.caption, None
    assert run is not None  # noqa: S101 -- offered with a run alone
    ids = [str(name) for name in opened(view.store.path).run(run.run_id).sample_ids()]
    sample_id = view.state.sample if view.state.sample in ids else ids[0]
    st.selectbox("Sample", ids, **session.bind("sample", sample_id, key="trace-sample"))
    sample = original(opened(view.store.path).run(run.run_id), sample_id)
    if sample is not None:
        return _as_picture(sample.images[0]), sample.text, sample_id
    kept = cache.sample(view.store, run.run_id, sample_id)
    st.caption("Only the thumbnail of this sample is stored: the trace is of that small picture.")
    return kept.thumbnail, kept.text, None


def _as_picture(image) -> Picture:
    written = io.BytesIO()
    image.save(written, "PNG")
    return read_picture(written.getvalue())


def pressed() -> None:
    """A press on Trace."""
    st.session_state["trace-go"] = True


def form() -> None:
    """The choice of model and pair; submits it."""
    sources = [UPLOAD, CAMERA, *([STORED] if run else []), *([DRAWN] if generated else [])]
    st.selectbox(
        "Model", keys, format_func=lambda key: labels[key], **session.bind("model", chosen)
    )
    source = st.segmented_control(
        "Pair", sources, default=sources[-1], required=True, key="trace-source"
    )
    try:
        picture, suggested, sample_id = picture_from(str(source))
        if isinstance(picture, bytes):
            picture = read_picture(picture)
    except InputError as error:
        st.error(literal(str(error)), icon=":material/error:")
        return
    if picture is None:
        return
    with st.form("trace-form", border=False), st.container(horizontal=True):
        small = thumbnail(picture.image, SHOWN_PX)
        st.image(small, width=160, alt="The picture that will be traced")
        with st.container():
            text = st.text_input("Text", suggested, key=f"trace-text-{suggested}", max_chars=2_000)
            other = st.text_input("What if it said (optional)", key="trace-other", max_chars=2_000)
            what = st.pills(
                "What if", ["without fusion", "blank image or text"], selection_mode="multi",
                default=["without fusion"], key="trace-what-if",
            )  # fmt: skip
            st.form_submit_button(
                "Trace", icon=":material/route:", type="primary", on_click=pressed
            )
    for note in picture.notes:
        st.caption(literal(note))
    if st.session_state.pop("trace-go", False):
        try:
            work = what_if(
                caption=read_caption(other).text if other else "",
                blanks="blank image or text" in what,
                cut="without fusion" in what,
            )
        except InputError as error:
            st.error(literal(str(error)), icon=":material/error:")
            return
        request = Request(offer.key, (Pair(picture, text),), work)
        live.ask(
            view.store, offer, request, caption=text, shown=live.Shown(small, picture.image.size),
            sample_id=sample_id if text == suggested else None,
        )  # fmt: skip


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


form()
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
        shown={"model": chosen},
        parts=[part],
    )
    st.button("Forget my picture", on_click=live.forget, icon=":material/delete:")
