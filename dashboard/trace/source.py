"""Where a picture comes from: a file, the camera, a stored sample, or a scene that is drawn."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import streamlit as st
from PIL import Image

from backend.data.macros.draw import draw
from backend.data.macros.grammar import OBJECTS, TOPICS, Scene, compose
from backend.errors import InputError
from backend.inference.originals import original
from backend.inference.uploads import read_picture
from backend.inference.values import Picture
from backend.views.groups import RunInfo
from backend.views.store_access import opened
from backend.words import literal
from dashboard import cache, session
from dashboard.context import Context
from dashboard.say import or_say
from dashboard.trace.paste import paste_into

UPLOAD, CAMERA, STORED, DRAWN = "Upload", "Camera", "From the store", "Draw one"
OTHER_FACE = "The other face"

_KINDS = ("png", "jpg", "jpeg", "webp", "gif", "bmp")


@dataclass(frozen=True, eq=False)
class Source:
    """A picture, and what is known of it.

    ``caption`` is one to begin with. ``sample_id`` is the stored sample that it is of, ``scene``
    what is drawn.
    """

    picture: Picture
    caption: str = ""
    sample_id: str | None = None
    scene: Scene | None = None

    @property
    def swapped(self) -> str:
        """The caption of the other mood for a scene that is drawn, else empty."""
        if self.scene is None:
            return ""
        topics = [tuple(TOPICS)[topic] for topic in self.scene.topics]
        other = compose(
            happy_face=self.scene.happy_face,
            cheerful_caption=not self.scene.cheerful_caption,
            thing=OBJECTS[self.scene.object],
            topic=topics[0] if topics else "",
            look=self.scene.look,
        )
        return other.caption


def samples_of(view: Context, run: RunInfo | None) -> tuple[str, ...]:
    """The samples of the model's run."""
    if run is None:
        return ()
    run_id = run.run_id
    nothing: tuple[str, ...] = ()
    return or_say(
        lambda: tuple(map(str, opened(view.store.path).run(run_id).sample_ids())), nothing
    )


def pick_source(view: Context, run: RunInfo | None, samples: Sequence[str]) -> Source | None:
    """The choice of a pair to begin with; None while there is none, and says why.

    It begins with the sample that the link names, else with a scene, else with a stored sample.
    """
    generated = run is not None and run.manifest.dataset.layout == "macros"
    sources = [UPLOAD, CAMERA, *([STORED] if samples else []), *([DRAWN] if generated else [])]
    named = view.state.sample if view.state.sample in samples else None
    if st.session_state.get("trace-source") not in sources:
        st.session_state["trace-source"] = STORED if named else sources[-1]

    def moved() -> None:
        stored = st.session_state["trace-source"] == STORED
        session.change(sample=(named or samples[0]) if stored else None)

    source = st.segmented_control(
        "Pair", sources, required=True, key="trace-source", on_change=moved
    )
    if source == DRAWN:
        return _drawn(_pick_scene())
    if source == STORED and run is not None:
        sample_id = named or samples[0]
        st.selectbox("Sample", samples, **session.bind("sample", sample_id, key="trace-sample"))
        return _stored(view, run, sample_id)
    return _sent(str(source), "trace", everywhere=True)


def is_compared() -> bool:
    """Whether the visitor has chosen where another picture comes from."""
    return st.session_state.get("trace-other-source") is not None


def pick_other(
    view: Context, run: RunInfo | None, samples: Sequence[str], first: Source | None
) -> Source | None:
    """The choice of another picture for the same caption; None for none."""
    scene = first.scene if first is not None else None
    sources = [
        *([OTHER_FACE] if scene is not None else []),
        *(UPLOAD, CAMERA),
        *([STORED] if samples else []),
    ]
    if st.session_state.get("trace-other-source") not in sources:
        st.session_state["trace-other-source"] = None
    source = st.segmented_control(
        "Compare with another image (optional)", sources, key="trace-other-source"
    )
    if source == OTHER_FACE and scene is not None:
        return _drawn(replace(scene, happy_face=not scene.happy_face))
    if source == STORED and run is not None:
        sample_id = st.selectbox("Its sample", samples, key="trace-other-sample")
        return _stored(view, run, sample_id)
    if source is None:
        return None
    return _sent(source, "trace-other", everywhere=st.session_state["trace-source"] != UPLOAD)


def _sent(source: str, key: str, *, everywhere: bool) -> Source | None:
    """A picture of the visitor's own; ``everywhere`` it can be pasted or dropped."""
    if source == CAMERA:
        file = st.camera_input("Picture", key=f"{key}-shot")
    else:
        file = st.file_uploader("Image", _KINDS, key=f"{key}-file")
        paste_into(f"{key}-file", everywhere=everywhere)
    if file is None:
        return None
    try:
        return Source(read_picture(file.getvalue()))
    except InputError as error:
        st.error(literal(str(error)), icon=":material/error:")
        return None


def _stored(view: Context, run: RunInfo, sample_id: str) -> Source | None:
    """A sample of the store: its picture where it can be had again, else its thumbnail."""
    sample = original(opened(view.store.path).run(run.run_id), sample_id)
    if sample is not None:
        return Source(_as_picture(sample.images[0]), sample.text, sample_id)
    kept = cache.sample(view.store, run.run_id, sample_id)
    if not kept.thumbnail:
        st.caption(f"No picture of this sample is stored: {literal(kept.picture_note)}")
        return None
    st.caption("Only the thumbnail of this sample is stored: the trace is of that small picture.")
    return Source(read_picture(kept.thumbnail), kept.text)


def _pick_scene() -> Scene:
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
    return compose(
        happy_face=face == "happy",
        cheerful_caption=mood == "cheerful",
        thing=thing,
        topic="" if topic == "plain" else topic,
        look=int(look),
    )


def _drawn(scene: Scene) -> Source:
    return Source(_as_picture(draw(scene)), scene.caption, scene=scene)


def _as_picture(image: Image.Image) -> Picture:
    written = io.BytesIO()
    image.save(written, "PNG")
    return read_picture(written.getvalue())
