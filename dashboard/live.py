"""Live inference on a page: the models on offer, a job on its way, and what came of it.

A visitor's pictures and results live in their own session and nowhere else on the page; the service
keeps results under a hash of their content for a while.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import streamlit as st

from backend.errors import InputError
from backend.inference.models import Catalogue, Offer, named_models
from backend.inference.reference import Reference
from backend.inference.service import STAGES, Busy, Cancelled, Done, Failed, Job, Request, Service
from backend.types import Pooling
from backend.views import questions
from backend.views.questions import RunAt
from backend.views.store_access import StoreView, opened
from backend.words import literal

_JOB = "fusionscope_job"
_SHOWN = "fusionscope_traced"
_EVERY_S = 0.4


@dataclass(frozen=True)
class Shown:
    """A picture as the page shows it: a WebP, and the (width, height) of the original."""

    webp: bytes
    size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Traced:
    """What a visitor sees: the outcome, the model, and the pair as it was given."""

    outcome: Done[Any]
    offer: Offer
    caption: str
    shown: Shown
    sample_id: str | None


@dataclass(eq=False)
class _Asked:
    """A job, and what will be shown with its result."""

    job: Job[Any]
    offer: Offer
    caption: str
    shown: Shown
    sample_id: str | None


@lru_cache(maxsize=4)
def _catalogue(_store: object, path: str) -> Catalogue:
    return Catalogue(opened(path), named_models())


@lru_cache(maxsize=4)
def _service(catalogue: Catalogue) -> Service:
    from backend.models.devices import choose_device

    return Service(catalogue, [str(choose_device("auto"))])


@lru_cache(maxsize=4)
def _reference(run: RunAt, pooling: Pooling) -> Reference:
    return Reference.of(opened(run.store).run(run.run_id), pooling)


@lru_cache(maxsize=1)
def prepare() -> None:
    """Load what models need in the background: whoever opens the page will want to run one.

    Importing torch and its kin takes seconds, in which the visitor chooses a picture.
    """

    def load() -> None:
        from backend.inference import tracing  # noqa: F401
        from backend.models.dual_stream import adapter  # noqa: F401

    threading.Thread(target=load, name="prepare", daemon=True).start()


def catalogue(store: StoreView) -> Catalogue:
    """The models that may be traced beside a store."""
    return _catalogue(opened(store.path), store.path)


def reference(store: StoreView, run_id: str, pooling: Pooling) -> Reference:
    """The pairs of a run, read once for as long as none of its tables changes."""
    return _reference(questions.run_at(store, run_id), pooling)


def ask(
    store: StoreView,
    offer: Offer,
    request: Request[Any],
    *,
    caption: str,
    shown: Shown,
    sample_id: str | None,
) -> None:
    """Submit a request, in place of one that this visitor still waits for; says if it is busy."""
    if (waiting := st.session_state.get(_JOB)) is not None:
        waiting.job.cancel()
    try:
        job = _service(catalogue(store)).submit(request)
    except Busy as error:
        st.session_state[_JOB] = None
        st.warning(literal(str(error)), icon=":material/hourglass_top:")
        return
    st.session_state[_JOB] = _Asked(job, offer, caption, shown, sample_id)


def wait() -> None:
    """The stages of the job on its way with a Cancel, if there is one; then what came of it."""
    asked: _Asked | None = st.session_state.get(_JOB)
    if asked is not None:
        if asked.job.done:
            _end(asked)
        else:
            _waiting()


def shown() -> Traced | None:
    """What this visitor traced last."""
    return st.session_state.get(_SHOWN)


def forget() -> None:
    """Forget this visitor's picture and results."""
    for key in (_JOB, _SHOWN):
        st.session_state.pop(key, None)


@st.fragment(run_every=_EVERY_S)
def _waiting() -> None:
    asked: _Asked | None = st.session_state.get(_JOB)
    if asked is None or asked.job.done:
        st.rerun()
    spent = asked.job.seconds()
    now = asked.job.stage
    line = " · ".join(
        f"{'**' if stage == now else ''}{stage} {spent[stage]:.1f} s{'**' if stage == now else ''}"
        for stage in STAGES
        if stage in spent
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f":material/hourglass_top: {line or 'waiting for its turn'}")
        if st.button("Cancel", key="trace-cancel"):
            asked.job.cancel()
            st.rerun()


def _end(asked: _Asked) -> None:
    st.session_state[_JOB] = None
    outcome = asked.job.result()
    if isinstance(outcome, Failed):
        st.error(literal(str(outcome.error)), icon=":material/error:")
    elif isinstance(outcome, Cancelled):
        st.info("Cancelled.", icon=":material/cancel:")
    else:
        st.session_state[_SHOWN] = Traced(
            outcome, asked.offer, asked.caption, asked.shown, asked.sample_id
        )


def usable(offers: tuple[Offer, ...]) -> tuple[Offer, ...]:
    """Those that can be traced; says why none can, if none can."""
    held = tuple(offer for offer in offers if not offer.problem)
    if not held:
        reasons = dict.fromkeys(f"{offer.where}: {offer.problem}. {offer.hint}" for offer in offers)
        st.info(
            "No model can be traced here: it takes the checkpoint of one of these runs, or a "
            "folder of checkpoints that is named with `fusionscope serve --models DIR`.",
            icon=":material/info:",
        )
        for reason in list(reasons)[:5]:
            st.caption(literal(reason))
    return held


def reference_or_say(store: StoreView, offer: Offer, pooling: Pooling) -> Reference | None:
    """The reference pairs of a model's run; says in one line why there are none."""
    if not offer.run_id:
        st.caption(
            "This model has no run in the store, so there are no reference pairs: what follows is "
            "the pair alone."
        )
        return None
    try:
        return reference(store, offer.run_id, pooling)
    except InputError as error:
        st.caption(f":material/info: {literal(str(error))}")
        return None
