"""The choices that pages share: runs, measure, pooling, streams, layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import pandas as pd
import streamlit as st

from backend.figures.scales import ESTIMATOR_NAMES, Scale, scale_for, scale_of
from backend.figures.theme import FUSION_MARK
from backend.pairing import Pair, paired
from backend.pooling import in_words
from backend.types import LayerRef, StreamSpec
from backend.views import questions
from backend.views.choices import (
    PAIRWISE,
    estimator_of,
    measure_of,
    pair_of,
    pooling_of,
    variants_of,
)
from backend.views.groups import RunGroup, noun, nouns
from backend.views.state import MAX_OVERLAY, ignored_line
from backend.words import listed, literal
from dashboard import cache, session
from dashboard.context import Context
from dashboard.say import nothing_yet, problems

FEW_SAMPLES = 16
_PILLS_UP_TO = 8


def pick_runs(view: Context) -> None:
    """The sidebar's choice of placements and models."""
    groups = {group.key: group for group in view.overview.groups}
    title = nouns(view.overview.groups).capitalize()
    together = f"Up to {MAX_OVERLAY} can be shown together."
    averaging = "Runs that differ only in their seed are one entry; their seeds are averaged. "
    chosen = [group.key for group in view.groups if group.key in groups]
    settings = {
        "options": list(groups),
        "help": averaging + together if any(one.placed for one in groups.values()) else together,
        **session.bind("runs", chosen, _as_runs, cell=None),
    }
    if len(groups) <= _PILLS_UP_TO:
        st.pills(
            title,
            selection_mode="multi",
            format_func=lambda key: literal(groups[key].label),
            **settings,
        )
    else:
        st.multiselect(
            title,
            format_func=lambda key: groups[key].label,
            max_selections=MAX_OVERLAY,
            **settings,
        )


def _as_runs(keys: list[str]) -> tuple[str, ...]:
    return tuple(keys[-MAX_OVERLAY:])


def pick_pooling(
    view: Context,
    available: Sequence[str],
    groups: Sequence[RunGroup] = (),
    streams: Sequence[str] = (),
) -> str:
    """The sidebar's pooling: the state's where it is available.

    Else the first one that all these ``streams`` of the groups have, else the first one.
    """
    pooling = pooling_of(view.state, available, groups, streams)
    with st.sidebar:
        st.segmented_control(
            "Pooling",
            list(available),
            required=True,
            format_func=partial(in_words, streams=streams),
            help="How the tokens of a layer became one vector: the summary token (cls; for some "
            "models it is the last one), or the mean of the content tokens.",
            **session.bind("pooling", pooling),
        )
    return pooling


@dataclass(frozen=True)
class Picked:
    """One measure of two layers under one preset, pooling and estimator, of some groups."""

    groups: tuple[RunGroup, ...]
    scale: Scale
    preset: str
    pooling: str
    estimator: str
    """A word for it; "" where there is but one."""
    rows: pd.DataFrame

    @property
    def shown(self) -> dict[str, str]:
        """These as settings of the view's state."""
        return {
            "measure": self.scale.measure,
            "preset": self.preset,
            "pooling": self.pooling,
            **({"estimator": self.estimator} if self.estimator else {}),
        }

    def ask(self, view: Context, groups: tuple[RunGroup, ...] = ()) -> questions.Measures:
        """The question whose answer these rows are, or that for some of the groups."""
        return questions.measures(
            view.store,
            groups or self.groups,
            (self.scale.measure,),
            self.preset,
            pooling=self.pooling,
            estimator=self.estimator or None,
        )


def pick_measure(
    view: Context,
    groups: tuple[RunGroup, ...],
    streams: Sequence[str],
    among: Sequence[str] = PAIRWISE,
    pair: Pair | None = None,
) -> Picked:
    """The sidebar's preset, measure, pooling and estimator, and the rows of what was chosen.

    ``streams`` are those that the page is about: by default their common pooling is shown. A page
    about one ``pair`` of streams alone offers poolings of these two as well.
    Ends the page where the runs hold none of the measures.
    """
    choice = measure_of(view.state, cache.measure_names(view.store, groups), among)
    preset, measure = choice.preset, choice.measure
    ask = questions.measures(view.store, groups, (measure,), preset)
    table = cache.answer(ask)
    problems(table)
    variants = {} if table.frame.empty else cache.value(variants_of, ask, pair)
    if not variants:
        nothing_yet(scale_of(measure).label, view, "measure", table)
    if len(choice.presets) > 1:
        with st.sidebar:
            st.segmented_control(
                "Conventions",
                choice.presets,
                required=True,
                help="default: the sounder estimators. thesis: those of the published curves "
                "(rows of norm 1, 1,024 samples, biased CKA, no centring in Procrustes).",
                **session.bind("preset", preset, cell=None),
            )
    with st.sidebar:
        st.selectbox(
            "Measure",
            choice.measures,
            format_func=lambda name: scale_of(name).label,
            **session.bind("measure", measure),
        )
    pooling = pick_pooling(view, list(variants), groups, streams)
    kinds, fewest, params = variants[pooling]
    if fewest < FEW_SAMPLES:
        st.warning(
            f"Only n = {fewest} samples: what looks similar here may well be chance.",
            icon=":material/warning:",
        )
    scale = scale_for(measure, params, fewest)
    kind = pick_estimator(view, kinds) if len(kinds) > 1 else estimator_of(view.state, kinds)
    chosen = replace(ask, pooling=pooling, estimator=kind or None)
    return Picked(groups, scale, preset, pooling, kind, cache.answer(chosen).frame)


def pick_estimator(view: Context, kinds: Sequence[str]) -> str:
    """The sidebar's estimator; the state's where it is among ``kinds``, else the first one."""
    kind = estimator_of(view.state, kinds)
    with st.sidebar:
        st.segmented_control(
            "Estimator",
            list(kinds),
            format_func=lambda name: ESTIMATOR_NAMES[name],
            required=True,
            help="Biased CKA rises when there are few samples for many dimensions; the debiased "
            "one does not, and may fall slightly below 0.",
            **session.bind("estimator", kind),
        )
    return kind


def pick_focus(groups: Sequence[RunGroup], focus: RunGroup) -> None:
    """The choice of the one placement or model that is shown, where there are several."""
    if len(groups) > 1:
        labels = {group.key: group.label for group in groups}
        st.segmented_control(
            f"{noun(groups).capitalize()} shown",
            list(labels),
            format_func=lambda key: literal(labels[key]),
            required=True,
            **session.bind("focus", focus.key),
        )


def pick_streams(view: Context, groups: Sequence[RunGroup]) -> Pair | None:
    """The two streams that are compared: the state's, else the first group's default pair.

    The sidebar offers the choice where there are more than two streams. None where no group has
    two. Names the groups that lack one of the two.
    """
    choice = pair_of(view.state, groups)
    if choice is None:
        return None
    pair = choice.pair
    if choice.refused:
        line = ignored_line([f"these runs have no streams {listed(choice.refused)} to compare"])
        st.caption(f":material/link_off: {literal(line)}")
    if len(choice.options) > 1:
        with st.sidebar:
            st.selectbox(
                "Streams compared",
                choice.options,
                format_func=" and ".join,
                help="Alignment, probes of two streams, the matrix across streams, Compare and "
                "Study are about these two.",
                **session.bind("pair", pair, cell=None, block=None),
            )
    lacking = [group.label for group in groups if not paired(group.series.streams, pair)]
    if lacking and len(lacking) < len(groups):
        st.caption(f"Without streams {literal(listed(pair))}: {literal(listed(lacking))}.")
    return pair


def step_layers(refs: Sequence[LayerRef], ref: LayerRef, spec: StreamSpec | None) -> None:
    """The layer stepper: previous and next (also with the keys P and N), and a slider."""
    fused = {str(k) for k in spec.fusion_layers} if spec else set()
    at = refs.index(ref)
    with st.container(horizontal=True, vertical_alignment="bottom", wrap=False):
        for title, icon, key, step in (
            ("Previous", ":material/chevron_left:", "P", -1),
            ("Next", ":material/chevron_right:", "N", 1),
        ):
            there = refs[max(0, min(len(refs) - 1, at + step))]
            st.button(
                title,
                icon=icon,
                shortcut=key,
                disabled=there == ref,
                on_click=session.change,
                kwargs={"layer": there.label},
            )
        if len(refs) > 1:
            st.select_slider(
                f"Layer ({FUSION_MARK} fusion)",
                [one.label for one in refs],
                format_func=lambda label: f"{label} {FUSION_MARK}" if label in fused else label,
                **session.bind("layer", ref.label),
            )
