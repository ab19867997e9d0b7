"""What a visitor has traced: kept in their own session, and nowhere else on the page."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import streamlit as st

from backend.errors import InputError
from backend.inference.cache import content_key
from backend.inference.effects import Effects
from backend.inference.models import Offer
from backend.inference.reference import Reference
from backend.inference.requests import Done, Pair, Placing, Request, Work
from backend.inference.values import LitFeatures, Trace
from backend.store.commands import activations_command
from backend.types import Pooling
from backend.views import questions
from backend.views import trace as views
from backend.views.choices import pair_of
from backend.views.questions import RunAt
from backend.views.store_access import StoreView, opened
from backend.views.trace import Among
from backend.words import literal
from dashboard import say
from dashboard.context import Context
from dashboard.trace import jobs

Lit = dict[int, LitFeatures]
"""{layer: features}"""

_SHOWN = "fusionscope_traced"
_PINNED = "fusionscope_pinned"


@dataclass(frozen=True)
class Shown:
    """A picture as the page shows it: a WebP, and the (width, height) of the original."""

    webp: bytes
    size: tuple[int, int]


class AmongKey(NamedTuple):
    """How a pair is placed among others: under which pooling, and which streams are compared."""

    pooling: Pooling
    pair: tuple[str, str] | None


@dataclass(frozen=True, eq=False)
class Asked:
    """What a visitor wants to have traced: a pair, as it is shown, and the model.

    ``sample_id`` is the pair of the store that it is of, ``among`` how it is to be placed.
    """

    offer: Offer
    pair: Pair
    shown: Shown
    caption: str
    sample_id: str | None
    among: AmongKey


@dataclass(frozen=True, eq=False)
class Traced:
    """What a visitor sees: what was asked for, what came of it, and what was made of that since."""

    asked: Asked
    outcome: Done[dict[str, Trace]]
    placed: dict[AmongKey, Among] = field(default_factory=dict)
    effects: dict[str, Effects] = field(default_factory=dict)
    features: dict[str, Lit] = field(default_factory=dict)

    @property
    def traces(self) -> Mapping[str, Trace]:
        """{name: trace}, the pair itself first."""
        return self.outcome.value

    @property
    def offer(self) -> Offer:
        """The model."""
        return self.asked.offer

    @property
    def shown(self) -> Shown:
        """The picture."""
        return self.asked.shown


def ask(store: StoreView, asked: Asked, work: Work[dict[str, Trace]]) -> None:
    """Have a pair traced; what comes of it is :func:`shown`."""

    def take(done: Done[dict[str, Trace]]) -> None:
        st.session_state[_SHOWN] = Traced(asked, done)

    jobs.submit(store, Request(asked.offer.key, (asked.pair,), work, _placing(store, asked)), take)


def ask_effects(store: StoreView, traced: Traced, part: str, work: Work[Effects]) -> None:
    """Have each ``part`` of a pair hidden; what comes of it is in the pair's ``effects``."""

    def take(done: Done[Effects]) -> None:
        traced.effects[part] = done.value

    jobs.submit(store, Request(traced.offer.key, (traced.asked.pair,), work), take)


def ask_features(store: StoreView, traced: Traced, reading: str, work: Work[Lit]) -> None:
    """Have a pair read by the autoencoders of a ``reading``; it is in the pair's ``features``."""

    def take(done: Done[Lit]) -> None:
        traced.features[reading] = done.value

    jobs.submit(store, Request(traced.offer.key, (traced.asked.pair,), work), take)


def shown() -> Traced | None:
    """What this visitor traced last."""
    return st.session_state.get(_SHOWN)


def pinned() -> Traced | None:
    """What this visitor has put beside it."""
    return st.session_state.get(_PINNED)


def pin() -> None:
    """Keep what is shown, beside what will be traced next."""
    st.session_state[_PINNED] = shown()


def unpin() -> None:
    """Show one pair alone."""
    st.session_state.pop(_PINNED, None)


def forget() -> None:
    """Forget this visitor's pictures and results."""
    jobs.cancel()
    for key in (_SHOWN, _PINNED):
        st.session_state.pop(key, None)


def among(store: StoreView, traced: Traced, key: AmongKey) -> Among | None:
    """Where a traced pair lies among those of its model's run; None, and says why, without any."""
    if traced.asked.among == key and isinstance(traced.outcome.placed, Among):
        return traced.outcome.placed
    if key not in traced.placed:
        reference = _reference_or_say(store, traced.offer, key.pooling)
        if reference is None:
            return None
        traced.placed[key] = views.among(reference, traced.traces, key.pair, traced.asked.sample_id)
    return traced.placed[key]


def compared(view: Context, offer: Offer) -> tuple[str, str] | None:
    """The two streams that are compared in a model's run: the chosen ones, if it has them."""
    groups = [
        group
        for group in view.overview.groups
        if offer.run_id in {run.run_id for run in group.runs}
    ]
    choice = pair_of(view.state, groups) if groups else None
    return choice.pair if choice else None


def kept_poolings(view: Context, offer: Offer) -> tuple[Pooling, ...]:
    """The poolings whose vectors a model's run keeps; none for a model without a run."""
    runs = [run for run in view.overview.runs if run.run_id == offer.run_id]
    return tuple(runs[0].manifest.poolings) if runs else ()


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


@lru_cache(maxsize=4)
def _reference(run: RunAt, pooling: Pooling) -> Reference:
    """The pairs of a run, read once for as long as none of its tables changes."""
    return Reference.of(opened(run.store).run(run.run_id), pooling)


def _placing(store: StoreView, asked: Asked) -> Placing[dict[str, Trace]] | None:
    """What places the traces among the pairs of the model's run, if it has any."""
    if not asked.offer.run_id:
        return None
    run = questions.run_at(store, asked.offer.run_id)

    def place(traces: dict[str, Trace]) -> Among | None:
        try:
            reference = _reference(run, asked.among.pooling)
        except InputError:
            return None  # the page asks again, and says why
        return views.among(reference, traces, asked.among.pair, asked.sample_id)

    return Placing(content_key("among", run, asked.among, asked.sample_id), place)


def _reference_or_say(store: StoreView, offer: Offer, pooling: Pooling) -> Reference | None:
    alone = "so there are no reference pairs: what follows is the pair alone."
    if not offer.run_id:
        words = ("--model", "MODEL", "--data", "LAYOUT:PATH", "--store", store.origin)
        command = shlex.join(("fusionscope", "capture", *words))
        lacking = f"This model has no run in the store, {alone}"
        say.offer(store, lacking, "This makes them", [command])
        return None
    run = opened(store.path).run(offer.run_id)
    if all(kept != pooling for _, kept in run.captured()):
        poolings = sorted({*run.manifest.poolings, pooling})
        command = activations_command(run.manifest, store.origin, poolings)
        lacking = f"This model's run keeps no {pooling} vectors, {alone}"
        say.offer(store, lacking, "This makes them", [command])
        return None
    try:
        return _reference(questions.run_at(store, offer.run_id), pooling)
    except InputError as error:
        st.caption(f":material/info: {literal(str(error))}")
        return None
