"""What every page gets: the store, the chosen runs, and small pieces of layout."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from backend.figures.pairing import Pair, default_pair, paired, stream_pairs
from backend.figures.scales import ESTIMATOR_NAMES, SCALES, Scale, scale_for, scale_of
from backend.figures.theme import FUSION_MARK, Series
from backend.measures.suite.parts import PRESETS
from backend.types import POOLINGS, LayerRef, StreamSpec
from backend.views.groups import Overview, RunGroup, noun, nouns
from backend.views.queries import COLUMNS_FOR_PEOPLE, Table
from backend.views.state import (
    ESTIMATORS,
    MAX_OVERLAY,
    ViewState,
    ignored_line,
)
from backend.views.store_access import StoreView, look, named_store
from backend.views.words import counted, listed, literal
from dashboard import cache, session
from dashboard.brand import ICON
from dashboard.navigation import pages

# Retrieval has a place of its own: only one direction of a pair can stand in a matrix.
PAIRWISE = tuple(name for name in SCALES if not name.startswith("recall"))
_CONTEXT = "fusionscope_context"
FEW_SAMPLES = 16
_PILLS_UP_TO = 8
CHART_CONFIG = {"displayModeBar": False, "scrollZoom": False}


@dataclass(frozen=True)
class Context:
    """The store, its runs, the state and the groups that the state chose."""

    store: StoreView
    overview: Overview
    state: ViewState
    groups: tuple[RunGroup, ...]
    note: str = ""

    @property
    def series(self) -> list[Series]:
        """The chosen groups' curves."""
        return [group.series for group in self.groups]

    @property
    def stream_names(self) -> tuple[str, ...]:
        """Names of all streams of the chosen groups, in the models' order."""
        return tuple(
            dict.fromkeys(spec.name for group in self.groups for spec in group.series.streams)
        )

    def focus(self, groups: Sequence[RunGroup]) -> RunGroup:
        """The one of ``groups`` to show where only one can be: the chosen, else one that fuses."""
        named = [group for group in groups if group.key == self.state.focus]
        fusing = [group for group in groups if group.has_fusion]
        return (named or fusing[-1:] or list(groups))[0]


def prepare(page: str) -> Context:
    """Look at the store and the URL of ``page``. Called once a run of the script, by app.py."""
    store = look(named_store())
    parsed = session.load(page)
    overview = cache.overview(store) if store.status == "fine" else Overview((), ())
    if store.status == "fine" and not overview.groups:
        store = replace(store, status="broken", message=store.path)
    groups, unknown = overview.chosen(parsed.state.runs)
    notes = [*parsed.notes, *(f"this store has no run {name}" for name in unknown)]
    return Context(store, overview, parsed.state, groups, ignored_line(notes))


def configure() -> None:
    """Title, icon and width of the page; the icon is our own, so that nothing is downloaded."""
    st.set_page_config(page_title="Fusionscope", page_icon=ICON, layout="wide")


def provide(view: Context) -> None:
    """Hand the context to the page that runs next."""
    st.session_state[_CONTEXT] = view


def context() -> Context:
    """What :func:`prepare` found in this run of the script. A page calls it once.

    A server whose first visitor opens a page by its address runs the page without app.py, because
    Streamlit takes a folder named ``pages`` for its older kind of app until ``st.navigation`` was
    called. Then it is called here, and the script starts over.
    """
    found: Context | None = st.session_state.pop(_CONTEXT, None)
    if found is None:
        caller = sys._getframe(1).f_code.co_filename
        configure()
        st.navigation(pages(Path(caller).parent))
        st.rerun()
    return found


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
    specs = [spec for group in groups for spec in group.series.streams if spec.name in streams]
    of_all = [name for name in available if all(name in spec.poolings for spec in specs)]
    first = (of_all or list(available))[0]
    pooling = view.state.pooling if view.state.pooling in available else first
    with st.sidebar:
        st.segmented_control(
            "Pooling",
            list(available),
            required=True,
            help="How the tokens of a layer became one vector: the summary token (cls; for some "
            "models it is the last one), or the mean of the content tokens.",
            **session.bind("pooling", pooling),
        )
    return str(pooling)


def pick_measure(
    view: Context,
    groups: tuple[RunGroup, ...],
    streams: Sequence[str],
    among: Sequence[str] = PAIRWISE,
) -> tuple[pd.DataFrame, Scale, str]:
    """The sidebar's preset, measure, pooling and estimator, and the rows of what was chosen.

    ``streams`` are those that the page is about: by default their common pooling is shown.
    Returns the rows, the measure's scale and a word for its estimator ("" where there is but one).
    Ends the page where the runs hold none of the measures.
    """
    held = cache.measure_names(view.store, groups)
    presets = [preset for preset in PRESETS if set(held.get(preset, ())) & set(among)]
    preset = view.state.preset if view.state.preset in presets else (presets or ["default"])[0]
    names = [name for name in among if name in held.get(preset, ())] or list(among[:1])
    measure = view.state.measure if view.state.measure in names else names[0]
    table = cache.measures(view.store, groups, (measure,), preset)
    problems(table)
    if table.frame.empty:
        nothing_yet(scale_of(measure).label, view, "measure")
    if len(presets) > 1:
        with st.sidebar:
            st.segmented_control(
                "Conventions",
                presets,
                required=True,
                help="default: the sounder estimators. thesis: those of the published curves "
                "(rows of norm 1, 1,024 samples, biased CKA, no centring in Procrustes).",
                **session.bind("preset", preset, cell=None),
            )
    with st.sidebar:
        st.selectbox(
            "Measure",
            names,
            format_func=lambda name: scale_of(name).label,
            **session.bind("measure", measure),
        )
    poolings = list(dict.fromkeys(table.frame["pooling"]))
    pooling = pick_pooling(view, poolings, groups, streams)
    rows = table.frame[table.frame["pooling"].eq(pooling)]
    kinds = [kind for kind in ESTIMATORS if rows["estimator"].eq(kind).any()]
    fewest = int(rows["n"].min())
    if fewest < FEW_SAMPLES:
        st.warning(
            f"Only n = {fewest} samples: what looks similar here may well be chance.",
            icon=":material/warning:",
        )
    scale = scale_for(measure, str(rows["params"].iloc[0]), int(rows["n"].min()))
    if len(kinds) < 2:
        return rows, scale, kinds[0] if kinds else ""
    kind = pick_estimator(view, kinds)
    return rows[rows["estimator"].eq(kind)], scale, kind


def pick_estimator(view: Context, kinds: Sequence[str]) -> str:
    """The sidebar's estimator; the state's where it is among ``kinds``, else the first one."""
    kind = view.state.estimator if view.state.estimator in kinds else kinds[0]
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
    options = list(dict.fromkeys(p for group in groups for p in stream_pairs(group.series.streams)))
    defaults = (default_pair(group.series.streams) for group in groups)
    pair = next((names for names in defaults if names), None)
    if pair is None:
        return None
    options = [pair, *(other for other in options if set(other) != set(pair))]
    asked = view.state.pair
    chosen = next((one for one in options if asked and set(one) == set(asked)), None)
    if asked and chosen is None:
        line = ignored_line([f"these runs have no streams {listed(asked)} to compare"])
        st.caption(f":material/link_off: {literal(line)}")
    pair = chosen or pair
    if len(options) > 1:
        with st.sidebar:
            st.selectbox(
                "Streams compared",
                options,
                format_func=" and ".join,
                help="Alignment, probes of two streams, the matrix across streams, Compare and "
                "Study are about these two.",
                **session.bind("pair", pair, cell=None, block=None),
            )
    lacking = [group.label for group in groups if not paired(group.series.streams, pair)]
    if lacking and len(lacking) < len(groups):
        st.caption(f"Without streams {literal(listed(pair))}: {literal(listed(lacking))}.")
    return pair


def say_pooling(groups: Sequence[RunGroup], streams: Sequence[str], pooling: str) -> None:
    """Name the streams that have no vectors of this pooling, and offer one that they have."""
    specs = [(group, spec) for group in groups for spec in group.series.streams]
    lacking = [
        (g, spec) for g, spec in specs if spec.name in streams and pooling not in spec.poolings
    ]
    names = list(dict.fromkeys(spec.name for _, spec in lacking))
    if not names:
        return
    several = len(lacking) < sum(spec.name in names for _, spec in specs)
    of = listed(dict.fromkeys(group.label for group, _ in lacking)) if several else ""
    why = ": no one token of it sums up the others" if pooling == "cls" else ""
    other = next(
        (name for name in POOLINGS if all(name in spec.poolings for _, spec in lacking)), ""
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(
            f":material/info: {literal(listed(names))}{f' of {literal(of)}' if of else ''} "
            f"{'has' if len(names) == 1 else 'have'} no {pooling} vectors{why}. What there is of "
            "the other streams is shown."
        )
        if other:
            st.button(
                f"Show {other} vectors",
                on_click=session.change,
                kwargs={"pooling": other},
                type="tertiary",
                key=f"pooling-{'-'.join(names)}",
            )


def say_notes(groups: Sequence[RunGroup], *streams: str) -> None:
    """What must be known of streams wherever they are plotted, under the chart."""
    notes: dict[str, list[str]] = {}
    for group in groups:
        for spec in group.series.streams:
            if spec.name in streams and spec.note:
                notes.setdefault(f"{spec.name}: {spec.note}", []).append(group.label)
    for note, labels in notes.items():
        of = f"{listed(labels)}, " if len(groups) > 1 else ""
        st.caption(f":material/info: {literal(of + note)}")


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


def averaged(view: Context) -> tuple[RunGroup, ...]:
    """The chosen groups without runs whose samples differ from the first run's; says which."""
    run_ids = tuple(run.run_id for group in view.groups for run in group.runs)
    same = cache.comparable(view.store, run_ids)
    if same.message:
        st.warning(
            f"{literal(same.message)}  \n{counted(len(run_ids) - len(same.run_ids), 'run')} left "
            f"out of this page.",
            title="Runs with different samples are not averaged",
            icon=":material/rule:",
        )
    kept = set(same.run_ids)
    groups = (
        replace(group, runs=tuple(run for run in group.runs if run.run_id in kept))
        for group in view.groups
    )
    return tuple(group for group in groups if group.runs)


def say_ignored(view: Context, **shown: object) -> None:
    """One line for settings of the link that these runs do not have."""
    wanted = {key: getattr(view.state, key) for key in shown}
    line = ignored_line(
        [
            f"these runs have no {key} {wanted[key]}"
            for key, value in shown.items()
            if wanted[key] is not None and wanted[key] != value
        ]
    )
    if line:
        st.caption(f":material/link_off: {literal(line)}")


def identity(groups: Sequence[RunGroup]) -> tuple[tuple[str, ...], ...]:
    """What a figure of these groups depends on: their keys, labels, colours and runs."""
    return tuple(
        (group.key, group.label, group.series.colour, *(run.run_id for run in group.runs))
        for group in groups
    )


def problems(table: Table) -> None:
    """Name files that could not be read."""
    if table.problems:
        with st.container(border=True):
            st.markdown(
                f":material/warning: {counted(len(table.problems), 'run')} could not be read"
            )
            for line in table.problems:
                st.code(line, language=None, wrap_lines=True)


def nothing_yet(what: str, view: Context, command: str) -> None:
    """Say that the chosen runs lack something and which command makes it; ends the page."""
    say_missing(what, view, command)
    st.stop()


def say_missing(what: str, view: Context, command: str) -> None:
    """Say that the chosen runs lack something and which command makes it."""
    say_commands(what, [shlex.join(["fusionscope", command, "--store", view.store.path])])


def say_commands(what: str, lines: Sequence[str]) -> None:
    """Say that the chosen runs lack something and which command lines make it."""
    st.info(f"The chosen runs have no {what} yet. This makes them:", icon=":material/build:")
    st.code("\n".join(lines), language="bash", wrap_lines=True)


def chart(
    figure: go.Figure, *, key: str, alt: str, on_click: Callable[[], None] | None = None
) -> None:
    """A figure over the full width, named for screen readers; ``on_click`` a point if given."""
    if on_click is None:
        st.plotly_chart(figure, key=key, alt=alt, config=CHART_CONFIG)
    else:
        st.plotly_chart(
            figure,
            key=key,
            alt=alt,
            config=CHART_CONFIG,
            on_select=on_click,
            selection_mode="points",
        )


def panel(figure: go.Figure, *, key: str, alt: str, what: str) -> None:
    """A figure of curves, or a sentence where it holds no point of ``what``."""
    if holds_points(figure):
        chart(figure, key=key, alt=alt)
    else:
        st.caption(f"Nothing of {literal(what)} is stored for these runs and this pooling.")


def holds_points(figure: go.Figure) -> bool:
    """Whether a figure of curves holds any point besides its legend and its strip of fusions."""
    return any(trace.hovertext and trace.yaxis in (None, "y") for trace in figure.data)


def downloads(
    name: str, frame: pd.DataFrame, figures: dict[str, go.Figure], *, label: str = "Download"
) -> None:
    """A menu: the table as CSV, every figure as a stand-alone HTML page. Made when clicked."""
    with st.popover(label, icon=":material/download:"):
        st.download_button(
            "Table (CSV)",
            lambda: frame.to_csv(index=False).encode(),
            f"{name}.csv",
            "text/csv",
            key=f"{name}-csv",
            on_click="ignore",
            icon=":material/table:",
            width="stretch",
        )
        for title, figure in figures.items():
            st.download_button(
                f"{literal(title)} (HTML)",
                partial(standalone, figure),
                f"{name}-{title.replace(' ', '-')}.html",
                "text/html",
                key=f"{name}-{title}-html",
                on_click="ignore",
                icon=":material/show_chart:",
                width="stretch",
            )


def standalone(figure: go.Figure) -> bytes:
    """A figure as an HTML page of its own, on white; Streamlit's template needs Streamlit."""
    copy = go.Figure(figure)
    copy.update_layout(template="plotly_white", paper_bgcolor="white", plot_bgcolor="white")
    page: str = copy.to_html(include_plotlyjs=True, auto_play=False)
    return page.encode()


def for_people(frame: pd.DataFrame, groups: Sequence[RunGroup]) -> pd.DataFrame:
    """Measure rows with the columns that a reader of the CSV wants, in their order."""
    rows = frame[[column for column in COLUMNS_FOR_PEOPLE if column in frame.columns]]
    return rows.rename(columns={"label": noun(groups)})
