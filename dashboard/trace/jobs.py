"""A visitor's job at the inference service: submitted, waited for with its stages, cancelled."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import streamlit as st

from backend.inference.jobs import Job
from backend.inference.models import Catalogue, named_models
from backend.inference.requests import STAGES, Busy, Done, Failed, Request
from backend.inference.service import Service
from backend.views.store_access import StoreView, opened
from backend.words import literal

T = TypeVar("T")

_JOB = "fusionscope_job"
_BUSY = "fusionscope_busy"
_AT_ONCE_S = 0.3
_EVERY_S = 0.1
_SOON_S = 2.0
_LOADING = threading.Lock()


@dataclass(eq=False)
class _Waiting:
    """A job, and who takes what comes of it."""

    job: Job[Any]
    take: Callable[[Done[Any]], None]


@lru_cache(maxsize=4)
def _catalogue(_store: object, path: str) -> Catalogue:
    return Catalogue(opened(path), named_models())


@lru_cache(maxsize=4)
def _service(catalogue: Catalogue) -> Service:
    from backend.models.devices import choose_device

    return Service(catalogue, [str(choose_device("auto"))])


@lru_cache(maxsize=1)
def prepare() -> None:
    """Load what models need in the background: whoever opens the page will want to run one.

    Importing torch and its kin takes seconds, in which the visitor chooses a picture.
    """
    threading.Thread(target=_load, name="prepare", daemon=True).start()


def _load() -> None:
    """Where two threads import transformers at once, one of them finds it half made and fails."""
    with _LOADING:
        from backend.inference import tracing  # noqa: F401
        from backend.models.dual_stream import adapter  # noqa: F401


def catalogue(store: StoreView) -> Catalogue:
    """The models that may be traced beside a store."""
    return _catalogue(opened(store.path), store.path)


def submit(store: StoreView, request: Request[T], take: Callable[[Done[T]], None]) -> None:
    """Submit a request, in place of one that this visitor still waits for.

    ``take`` gets what came of it, in the run of the page that has waited for it (:func:`wait`);
    that run also says so where the queue is full.
    """
    cancel()
    st.session_state[_JOB] = None
    _load()
    try:
        job = _service(catalogue(store)).submit(request)
    except Busy as error:
        st.session_state[_BUSY] = str(error)
        return
    st.session_state[_JOB] = _Waiting(job, take)


def wait() -> None:
    """The stages of the job on its way with a Cancel, if there is one, until it has ended."""
    if busy := st.session_state.get(_BUSY):
        st.warning(literal(busy), icon=":material/hourglass_top:")
        st.session_state[_BUSY] = ""
    waiting: _Waiting | None = st.session_state.get(_JOB)
    if waiting is None:
        return
    place = st.empty()
    if not _done(waiting.job, _AT_ONCE_S):
        with place.container(horizontal=True, vertical_alignment="center"):
            line = st.empty()
            st.button("Cancel", key="trace-cancel", on_click=cancel)
        told = ""
        while not _done(waiting.job, _EVERY_S):
            now = _stages(waiting.job)
            if now != told:
                line.markdown(now)
                told = now
    place.empty()
    outcome = waiting.job.result()
    if isinstance(outcome, Failed):
        st.error(literal(str(outcome.error)), icon=":material/error:")
    elif isinstance(outcome, Done):
        waiting.take(outcome)
    else:
        st.info("Cancelled.", icon=":material/cancel:")
    # Last: a run that another one interrupts must not take what it has to say with it.
    st.session_state[_JOB] = None


def cancel() -> None:
    """Want it no more; the page says so when it is drawn again."""
    waiting: _Waiting | None = st.session_state.get(_JOB)
    if waiting is not None:
        waiting.job.cancel()


def _done(job: Job[Any], within_s: float) -> bool:
    with contextlib.suppress(TimeoutError):
        job.result(within_s)
    return job.done


def _stages(job: Job[Any]) -> str:
    """What has been done for how long: whole seconds once it takes long, so that many who wait do
    not keep their browsers busy."""
    spent, now = job.seconds(), job.stage
    digits = 1 if sum(spent.values()) < _SOON_S else 0
    parts = [
        f"**{stage} {spent[stage]:.{digits}f} s**"
        if stage == now
        else f"{stage} {spent[stage]:.{digits}f} s"
        for stage in STAGES
        if stage in spent
    ]
    return f":material/hourglass_top: {' · '.join(parts) or 'waiting for its turn'}"
