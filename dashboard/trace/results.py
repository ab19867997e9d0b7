"""What came of a trace: the strip, and the panels that follow it, of one pair or of two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import streamlit as st

from backend.data.images import webp_source
from backend.types import LayerRef, Pooling, StreamSpec
from backend.views import trace as views
from backend.views.trace_grid import has_grid
from backend.words import literal
from dashboard import session
from dashboard.context import Context
from dashboard.downloads import Part
from dashboard.say import say_ignored
from dashboard.strip import layer_strip
from dashboard.trace import live
from dashboard.trace.beliefs import show_beliefs
from dashboard.trace.features import has_features, show_features
from dashboard.trace.grid import show_grid
from dashboard.trace.live import AmongKey, Traced
from dashboard.trace.looks import show_looks
from dashboard.trace.near import show_neighbours
from dashboard.trace.paths import show_paths
from dashboard.trace.side import GROUP, Side
from dashboard.trace.standing import show_standing
from dashboard.trace.take_away import remarks


@dataclass(frozen=True)
class Panel:
    """``show`` draws it for a side; ``fits`` says whether a side has what it shows."""

    title: str
    show: Callable[[Side], None]
    fits: Callable[[Side], bool] = lambda side: True


def _is_placed(side: Side) -> bool:
    return side.among is not None


PANELS = (
    Panel("Path", show_paths, _is_placed),
    Panel("What is looked at", show_looks),
    Panel("Two captions, two images", show_grid, lambda side: has_grid(side.traces)),
    Panel("Features", show_features, has_features),
    Panel("Neighbours", show_neighbours, _is_placed),
    Panel("Where it stands", show_standing),
    Panel("What the model believes", show_beliefs),
)
PINNED = "pinned"


def show_results(view: Context, traced: Traced, part: Part) -> tuple[Side, ...]:
    """The strip and the panels of what was traced last, beside the pinned pair if there is one."""
    trace = next(iter(traced.traces.values()))
    specs = {spec.name: spec for spec in trace.streams}
    stream = view.state.stream if view.state.stream in specs else next(iter(specs))
    spec = specs[stream]
    pooling = views.pooling_of(spec, view.state.pooling, live.kept_poolings(view, traced.offer))
    refs = tuple(ref for ref in spec.refs if (ref, pooling) in trace.vectors)
    asked = view.state.span
    shown = views.within(refs, asked)
    span = asked if len(shown) < len(refs) else None
    ref = views.start_of(shown, view.state.layer)
    part.shown.update(
        model=traced.offer.key, stream=stream, layer=ref.label, pooling=pooling, span=span
    )
    _choices(specs, stream, spec, pooling)
    say_ignored(
        view,
        layer=views.start_of(refs, view.state.layer).label,  # one outside of the range is known
        span=asked if views.ends_in(refs, asked) else None,
        stream=stream,
    )
    layer_strip(
        spec, refs, ref, group=GROUP, key="trace-strip", span=span,
        on_move=lambda label, ends: session.change(layer=label, span=ends),
    )  # fmt: skip
    at = {one.label: one for one in shown}
    sides = [_side(view, traced, spec, pooling, at, part, "")]
    pinned = live.pinned()
    if pinned is not None and pinned is not traced:
        sides.append(_beside(view, pinned, sides[0], part))
    for column, side in _columns(sides):
        with column:
            _head(side)
    for panel in PANELS:
        if any(map(panel.fits, sides)):
            _show(panel, sides)
    return tuple(sides)


def _show(panel: Panel, sides: Sequence[Side]) -> None:
    st.header(panel.title)
    for column, side in _columns(sides):
        if panel.fits(side):
            with column:
                panel.show(side)


def _columns(sides: Sequence[Side]) -> zip[tuple[st.delta_generator.DeltaGenerator, Side]]:
    if len(sides) == 1:
        return zip([st.container()], sides, strict=True)
    return zip(st.columns(len(sides)), sides, strict=True)


def _choices(specs: dict[str, StreamSpec], stream: str, spec: StreamSpec, pooling: Pooling) -> None:
    poolings = spec.poolings
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if len(specs) > 1:
            st.segmented_control(
                "Stream", list(specs), format_func=literal, required=True,
                **session.bind("stream", stream, span=None),
            )  # fmt: skip
        if len(poolings) > 1:
            st.segmented_control(
                "Vectors", list(poolings), required=True, **session.bind("pooling", pooling)
            )
        if live.pinned() is None:
            st.button("Pin this pair", icon=":material/keep:", on_click=live.pin)
        else:
            st.button("Unpin", icon=":material/keep_off:", on_click=live.unpin)


def _side(
    view: Context,
    traced: Traced,
    spec: StreamSpec,
    pooling: Pooling,
    at: dict[str, LayerRef],
    part: Part,
    name: str,
) -> Side:
    key = AmongKey(pooling, live.compared(view, traced.offer))
    return Side(
        store=view.store,
        traced=traced,
        among=live.among(view.store, traced, key),
        pooling=pooling,
        spec=spec,
        at=at,
        part=part,
        name=name,
    )


def _beside(view: Context, pinned: Traced, side: Side, part: Part) -> Side:
    """The pinned pair, at the sites of like depth of the stream of the same name."""
    trace = next(iter(pinned.traces.values()))
    specs = {spec.name: spec for spec in trace.streams}
    spec = specs.get(side.spec.name) or next(iter(specs.values()))
    pooling = side.pooling if side.pooling in spec.poolings else spec.poolings[0]
    refs = [ref for ref in spec.refs if (ref, pooling) in trace.vectors]
    at = {label: views.beside(side.spec, ref, refs, spec) for label, ref in side.at.items()}
    return _side(view, pinned, spec, pooling, at, part, PINNED)


def _head(side: Side) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        source = webp_source(side.traced.shown.webp)
        st.image(source, width=72, alt="The picture that was traced")
        st.text(side.traced.asked.caption or "(no text)")
    outcome = side.traced.outcome
    seconds = ", ".join(f"{name} {spent:.2f} s" for name, spent in outcome.seconds.items())
    pinned = "Pinned: " if side.name else ""
    st.caption(f"{pinned}{literal(side.traced.offer.label)}; {seconds or 'from the cache'}")
    for sentence in remarks(side):
        st.caption(literal(sentence))
