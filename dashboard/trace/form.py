"""The form of the Trace page: which model, which picture, which text, and what if."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from backend.data.images import thumbnail, webp_source
from backend.errors import InputError
from backend.inference.models import Offer
from backend.inference.requests import Pair
from backend.inference.uploads import read_caption
from backend.inference.values import Caption, Picture
from backend.inference.what_if import CAPTION, IMAGE, CutWhere, what_if
from backend.types import POOLINGS, StreamSpec
from backend.views.groups import RunInfo
from backend.views.trace import pooling_of
from backend.words import listed, literal
from dashboard import session
from dashboard.context import Context
from dashboard.say import say_ignored
from dashboard.trace import live
from dashboard.trace.source import Source, is_compared, pick_other, pick_source, samples_of

SHOWN_PX = 640

_TEXT, _OTHER, _GO, _SUGGESTED = "trace-text", "trace-other", "trace-go", "trace-suggested"
_SMALL = "trace-small"


@dataclass(frozen=True, eq=False)
class _What:
    """What is to be traced beside the pair."""

    caption: str
    cut: CutWhere | None
    blanks: bool


def show_form(view: Context, offers: Sequence[Offer]) -> None:
    """The choice of model, pair and what if; asks for the trace when the visitor presses Trace."""
    offer, run = _pick_model(view, offers)
    streams = run.manifest.streams if run is not None else ()
    samples = samples_of(view, run)
    sample = view.state.sample if view.state.sample in samples else None
    say_ignored(view, model=offer.key, sample=sample)
    first = pick_source(view, run, samples)
    comparing = first is not None or is_compared()
    second = pick_other(view, run, samples, first) if comparing else None
    _begin_with(first.caption if first is not None else "")
    # It stands without a picture, too: while one is replaced there is none for a moment, and what
    # is typed in a form is nowhere but in the browser.
    with st.form("trace-form", border=False):
        pictures, words = st.columns([1, 3])
        with pictures, st.container(horizontal=True):
            small = _show_pictures(first, second)
        with words:
            text = st.text_input("Text", key=_TEXT)
            what = _ask_what_if(offer, run, streams)
            _buttons(first)
    pressed = st.session_state.get(_GO, False) and first is not None
    other = _read(what.caption, CAPTION) if what.caption.strip() else Caption("")
    for name, changed in ((CAPTION, other), (IMAGE, second.picture if second else None)):
        for note in changed.notes if changed is not None else ():
            st.caption(literal(f"{name.capitalize()}: {note}"))
    caption = _read(text, "caption") if pressed else None
    if first is not None and caption is not None and other is not None:
        asked = live.Asked(
            offer=offer,
            pair=Pair(first.picture, caption),
            shown=live.Shown(small, first.picture.image.size),
            caption=caption.text,
            sample_id=first.sample_id if caption.text == first.caption else None,
            among=_among(view, offer, streams),
        )
        image = second.picture if second is not None else None
        work = what_if(caption=other.text, image=image, blanks=what.blanks, cut=what.cut)
        live.ask(view.store, asked, work)
    # Not before: a run that another one interrupts must not take the press with it.
    st.session_state[_GO] = False


def _pick_model(view: Context, offers: Sequence[Offer]) -> tuple[Offer, RunInfo | None]:
    """A model, and its run where it has one in the store."""
    keys = [offer.key for offer in offers]
    labels = {offer.key: offer.label for offer in offers}
    shown = {run.run_id for run in view.focus(view.overview.groups).runs}
    first = next((one.key for one in offers if one.run_id in shown), keys[0])
    chosen = view.state.model if view.state.model in keys else first
    st.selectbox(
        "Model", keys, format_func=lambda key: labels[key], **session.bind("model", chosen)
    )
    offer = next(one for one in offers if one.key == chosen)
    return offer, next((one for one in view.overview.runs if one.run_id == offer.run_id), None)


def _among(view: Context, offer: Offer, streams: Sequence[StreamSpec]) -> live.AmongKey:
    """How the panels will first show the pair among others."""
    specs = {spec.name: spec for spec in streams}
    first = next(iter(streams), None)
    spec = specs.get(view.state.stream or "", first)
    pooling = POOLINGS[0]
    if spec is not None:
        pooling = pooling_of(spec, view.state.pooling, live.kept_poolings(view, offer))
    return live.AmongKey(pooling, live.compared(view, offer))


def _show_pictures(first: Source | None, second: Source | None) -> bytes:
    """The picture that will be traced, and the one beside it; returns the first as it is shown."""
    if first is None:
        st.caption("No picture yet: choose one above.")
        return b""
    small = _small(first.picture)
    width = 160 if second is None else 104
    st.image(webp_source(small), width=width, alt="The picture that will be traced")
    if second is not None:
        beside = thumbnail(second.picture.image, SHOWN_PX)
        st.image(webp_source(beside), caption="Another", width=width, alt="The picture beside it")
    return small


def _small(picture: Picture) -> bytes:
    """The picture as it is shown, made once for as long as the visitor keeps it."""
    kept: tuple[str, bytes] = st.session_state.get(_SMALL, ("", b""))
    if kept[0] != picture.digest:
        kept = st.session_state[_SMALL] = picture.digest, thumbnail(picture.image, SHOWN_PX)
    return kept[1]


def _begin_with(caption: str) -> None:
    """Another suggestion starts the texts anew; until then they are the visitor's."""
    if _TEXT not in st.session_state or st.session_state.get(_SUGGESTED) != caption:
        st.session_state.update({_SUGGESTED: caption, _TEXT: caption, _OTHER: ""})


def _go(other: str | None = None) -> None:
    """A press on Trace, or on the button that puts ``other`` beside the text."""
    st.session_state[_GO] = True
    if other is not None:
        st.session_state[_OTHER] = other


def _ask_what_if(offer: Offer, run: RunInfo | None, streams: Sequence[StreamSpec]) -> _What:
    caption = st.text_input("What if it said (optional)", key=_OTHER)
    cuts = _cuts(streams, known=run is not None)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        cut: CutWhere | None = None
        if cuts:
            cut = st.selectbox(
                "Cut the fusion", list(cuts), index=list(cuts).index("all"), width=240,
                format_func=lambda where: cuts[where], key=f"trace-cut-{offer.key}",
            )  # fmt: skip
        else:
            st.caption("Its streams take nothing from each other: there is no fusion to cut.")
        blanks = st.checkbox("Blank image, blank text", key="trace-blanks")
    return _What(caption, cut, blanks)


def _cuts(streams: Sequence[StreamSpec], *, known: bool) -> dict[CutWhere | None, str]:
    """Where the fusion can be cut, in words; nothing where a model is ``known`` to have none.

    A layer names its streams where not all that fuse do so there.
    """
    fusing = {spec.name: set(spec.fusion_layers) for spec in streams if spec.fusion_layers}
    if known and not fusing:
        return {}
    cuts: dict[CutWhere | None, str] = {None: "nowhere", "all": "at all layers"}
    for layer in sorted(set().union(*fusing.values())):
        names = [name for name, layers in fusing.items() if layer in layers]
        of = f" ({listed(names)})" if len(names) < len(fusing) else ""
        cuts[layer] = f"at layer {layer}{of}"
    return cuts


def _buttons(first: Source | None) -> None:
    with st.container(horizontal=True):
        st.form_submit_button(
            "Trace", icon=":material/route:", type="primary", on_click=_go, disabled=first is None
        )
        if first is not None and first.swapped:
            st.form_submit_button(
                "Swap the caption",
                icon=":material/swap_vert:",
                help="Trace it beside the same picture with the caption of the other mood.",
                on_click=_go,
                kwargs={"other": first.swapped},
            )


def _read(text: str, where: str) -> Caption | None:
    """A caption as the model gets it; None for one that cannot be used, and says why."""
    try:
        return read_caption(text)
    except InputError as error:
        refused = InputError(error.problem, where=where, hint=error.hint)
        st.error(literal(str(refused)), icon=":material/error:")
        return None
