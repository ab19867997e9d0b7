"""The form of the Trace page: which model, which picture, which text, and what if."""

from __future__ import annotations

import io
from collections.abc import Sequence

import streamlit as st
from PIL import Image

from backend.data.images import thumbnail
from backend.data.macros.draw import draw
from backend.data.macros.grammar import OBJECTS, TOPICS, compose
from backend.errors import InputError
from backend.inference.models import Offer
from backend.inference.originals import original
from backend.inference.service import Pair, Request
from backend.inference.uploads import read_caption, read_picture
from backend.inference.values import Picture
from backend.inference.what_if import what_if
from backend.views.groups import RunInfo
from backend.views.store_access import opened
from backend.words import literal
from dashboard import cache, live, session
from dashboard.context import Context
from dashboard.say import say_ignored

SHOWN_PX = 640
UPLOAD, CAMERA, STORED, DRAWN = "Upload", "Camera", "From the store", "Draw one"


def _picture_from(
    view: Context, run: RunInfo | None, source: str
) -> tuple[Picture | bytes | None, str, str | None]:
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


def _as_picture(image: Image.Image) -> Picture:
    written = io.BytesIO()
    image.save(written, "PNG")
    return read_picture(written.getvalue())


def _pressed() -> None:
    """A press on Trace."""
    st.session_state["trace-go"] = True


def show_form(view: Context, offers: Sequence[Offer]) -> RunInfo | None:
    """The choice of model and pair; submits it. Returns the run of the model, if it has one."""
    keys = [offer.key for offer in offers]
    labels = {offer.key: offer.label for offer in offers}
    shown = {run.run_id for run in view.focus(view.overview.groups).runs}
    first = next((one.key for one in offers if one.run_id in shown), keys[0])
    chosen = view.state.model if view.state.model in keys else first
    offer = next(one for one in offers if one.key == chosen)
    run = next((one for one in view.overview.runs if one.run_id == offer.run_id), None)
    say_ignored(view, model=chosen)
    generated = run is not None and run.manifest.dataset.layout == "macros"
    sources = [UPLOAD, CAMERA, *([STORED] if run else []), *([DRAWN] if generated else [])]
    st.selectbox(
        "Model", keys, format_func=lambda key: labels[key], **session.bind("model", chosen)
    )
    source = st.segmented_control(
        "Pair", sources, default=sources[-1], required=True, key="trace-source"
    )
    try:
        picture, suggested, sample_id = _picture_from(view, run, str(source))
        if isinstance(picture, bytes):
            picture = read_picture(picture)
    except InputError as error:
        st.error(literal(str(error)), icon=":material/error:")
        return run
    if picture is None:
        return run
    with st.form("trace-form", border=False), st.container(horizontal=True):
        small = thumbnail(picture.image, SHOWN_PX)
        st.image(small, width=160, alt="The picture that will be traced")
        with st.container():
            text = st.text_input("Text", suggested, key=f"trace-text-{suggested}")
            other = st.text_input("What if it said (optional)", key="trace-other")
            what = st.pills(
                "What if", ["without fusion", "blank image or text"], selection_mode="multi",
                default=["without fusion"], key="trace-what-if",
            )  # fmt: skip
            st.form_submit_button(
                "Trace", icon=":material/route:", type="primary", on_click=_pressed
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
            return run
        request = Request(offer.key, (Pair(picture, text),), work)
        live.ask(
            view.store, offer, request, caption=text, shown=live.Shown(small, picture.image.size),
            sample_id=sample_id if text == suggested else None,
        )  # fmt: skip
    return run
