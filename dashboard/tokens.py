"""The page Tokens: which model, which picture, which patch; its words by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import streamlit as st

from backend.data.images import thumbnail, webp_source
from backend.figures.picture import Patches, patch_mark, picture_figure
from backend.figures.words import grid_px, word_grid
from backend.inference.models import Offer
from backend.inference.requests import Done, Pair, Request, wording
from backend.inference.values import CONTEXT, NEXT, READINGS, ImageWords
from backend.views import tokens as views
from backend.views.groups import RunInfo
from backend.views.store_access import opened
from backend.words import counted, literal
from dashboard import session
from dashboard.cache import Drawn
from dashboard.chart import Point, chart
from dashboard.context import Context
from dashboard.downloads import Part
from dashboard.say import or_say
from dashboard.trace import jobs
from dashboard.trace.source import Source, pick_source, samples_of

_SHOWN, _PATCH, _TEXT, _GO = "tokens-shown", "tokens-patch", "tokens-text", "tokens-go"
_SHOWN_PX = 640


@dataclass(frozen=True, eq=False)
class Read:
    """What a visitor had read: the model, the picture as it is shown, and its words."""

    offer: Offer
    webp: bytes
    size: tuple[int, int]
    words: ImageWords


def show_form(view: Context, offers: Sequence[Offer]) -> None:
    """The choice of model and pair; asks when the visitor presses Read."""
    offer, run = _pick_model(view, offers)
    why = views.why_not(run.manifest.streams if run is not None else (), offer.family)
    if why:
        st.info(literal(why), icon=":material/info:")
        return
    samples = samples_of(view, run)
    source = pick_source(view, run, samples)
    if source is None:
        return
    if st.session_state.get(f"{_TEXT}-of") != source.caption or _TEXT not in st.session_state:
        st.session_state.update({_TEXT: source.caption, f"{_TEXT}-of": source.caption})
    with st.form("tokens-form", border=False):
        pictures, words = st.columns([1, 3])
        small = thumbnail(source.picture.image, _SHOWN_PX)
        pictures.image(webp_source(small), width=160, alt="The picture that will be read")
        with words:
            text = st.text_input("Text", key=_TEXT)
            st.form_submit_button(
                "Read", icon=":material/translate:", type="primary", on_click=_press
            )
    if st.session_state.get(_GO, False):
        _ask(view, offer, source, text, small)
    # Not before: a run that another one interrupts must not take the press with it.
    st.session_state[_GO] = False


def _press() -> None:
    st.session_state[_GO] = True


def _pick_model(view: Context, offers: Sequence[Offer]) -> tuple[Offer, RunInfo | None]:
    """A model, and its run where it has one; first one whose image tokens can be read."""
    runs = {run.run_id: run for run in view.overview.runs}
    keys = [offer.key for offer in offers]
    readable = [
        one.key
        for one in offers
        if one.run_id in runs and not views.why_not(runs[one.run_id].manifest.streams, one.family)
    ]
    chosen = view.state.model if view.state.model in keys else (readable or keys)[0]
    labels = {offer.key: offer.label for offer in offers}
    st.selectbox(
        "Model", keys, format_func=lambda key: labels[key], **session.bind("model", chosen)
    )
    offer = next(one for one in offers if one.key == chosen)
    return offer, runs.get(offer.run_id)


def _ask(view: Context, offer: Offer, source: Source, text: str, small: bytes) -> None:
    def take(done: Done[ImageWords]) -> None:
        read = Read(offer, small, source.picture.image.size, done.value)
        st.session_state.update({_SHOWN: read, _PATCH: None})

    pair = Pair(source.picture, text)
    jobs.submit(view.store, Request(offer.key, (pair,), wording(_texts(view, offer))), take)


def _texts(view: Context, offer: Offer) -> tuple[str, ...]:
    """Texts of the model's run, else of the first run: words in their contexts come from them."""
    run_ids = [offer.run_id] if offer.run_id else [run.run_id for run in view.overview.runs[:1]]
    nothing: tuple[str, ...] = ()
    for run_id in run_ids:
        return or_say(partial(_texts_of, view.store.path, run_id), nothing)
    return nothing


def _texts_of(path: str, run_id: str) -> tuple[str, ...]:
    run = opened(path).run(run_id)
    return views.chosen_texts([str(text) for text in run.samples(["text"])["text"]])


def shown() -> Read | None:
    """What this visitor had read last."""
    return st.session_state.get(_SHOWN)


def forget() -> None:
    """Forget the picture and its words."""
    jobs.cancel()
    st.session_state.pop(_SHOWN, None)


def show_words(read: Read, part: Part) -> None:
    """The picture with its patches, and the words of the chosen one by layer."""
    words = read.words
    held = [name for name in READINGS if name in words.readings]
    reading = str(
        st.segmented_control(
            "Read by",
            held,
            default=CONTEXT if CONTEXT in held else held[0],
            format_func=lambda name: views.READING_NAMES[name],
            required=True,
            key="tokens-reading",
        )
    )
    st.caption(f"{views.MEANINGS[reading]} {views.sources(words.readings[reading])}".strip())
    if CONTEXT not in held:
        st.caption("There is no text of a run to take words in their contexts from.")
    patches = views.patches(words, reading)
    token = _pick_token(words, patches)
    with st.columns([1, 2])[0], st.container(border=True):
        _show_picture(read, patches, token)
    spec, table = words.stream, views.cells(words, reading, token)
    score = "probability" if reading == NEXT else "cosine"
    st.markdown(f"**Token {token}, {literal(views.READING_NAMES[reading])}**")
    drawn = Drawn(word_grid(table, spec, score=score, most=1.0).json)
    chart(
        drawn,
        key="tokens-words",
        alt=f"Words of token {token} by layer: {views.READING_NAMES[reading]}",
        least_px=grid_px(spec.depth + 1),
    )
    part.rows[f"words of token {token}"] = table
    part.figures[f"words of token {token}"] = drawn


def _pick_token(words: ImageWords, patches: Patches) -> int:
    """The chosen token: clicked on the picture, or chosen by its number."""
    count = len(words.tokens)
    clicked = st.session_state.get(_PATCH)
    first = patches.tokens[len(patches.tokens) // 2] if len(patches.tokens) else 0
    st.session_state[_PATCH] = clicked if isinstance(clicked, int) and clicked < count else first
    st.number_input(
        f"Token (of {counted(count, 'image token')}; a click on the picture chooses, too)",
        0, count - 1, key=_PATCH, width=320,
    )  # fmt: skip
    return int(st.session_state[_PATCH])


def _show_picture(read: Read, patches: Patches, token: int) -> None:
    if not len(patches.tokens):
        st.caption("An image token of this model is of the whole image, not of one place.")
        st.image(webp_source(read.webp), alt="The picture that was read")
        return

    def clicked(point: Point) -> None:
        if point.get("customdata") is not None:
            st.session_state[_PATCH] = int(point["customdata"])

    marks: tuple[dict[str, object], ...] = ()
    if token in patches.tokens:
        marks = patch_mark(patches.boxes[list(patches.tokens).index(token)])
    chart(
        Drawn(picture_figure(read.webp, read.size, patches).json),
        key="tokens-picture",
        alt="The picture; a click chooses one of its patches",
        marks=marks,
        on_click=clicked,
    )
