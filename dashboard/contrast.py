"""One run or placement minus another, and the layers of one against those of the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from backend.figures import (
    alignment_differences,
    cross_heatmap,
    difference_heatmap,
    differences,
    dimension_differences,
    transition_differences,
)
from backend.figures.cross import named_cell, named_streams
from backend.figures.difference import paired_seeds
from backend.figures.pairing import Pair, paired
from backend.figures.scales import ESTIMATOR_NAMES, SCALES, Scale
from backend.views.cells import Block, cell_at, cell_view
from backend.views.compare import (
    cell_in,
    chosen_pair,
    commands_for,
    cross_blocks,
    run_pairs,
    shown_streams,
    subtractable,
)
from backend.views.dimensions import MEASURES
from backend.views.groups import RunGroup, RunInfo
from backend.views.queries import Table
from backend.views.words import counted, listed, literal
from dashboard import cache, session
from dashboard.details import pick_cell, show_cell
from dashboard.page import Context, chart, identity, problems
from dashboard.side_by_side import kind_of

Figures = dict[str, go.Figure]
CKA = SCALES["cka"]


def pick_pair(view: Context, groups: Sequence[RunGroup]) -> tuple[RunGroup, RunGroup]:
    """The two that are set against each other: ``focus`` minus ``against``."""
    a, b = chosen_pair(groups, view.state.focus, view.state.against)
    labels = {group.key: group.label for group in groups}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for title, field, shown, other in (
            ("This", "focus", a.key, {"against": b.key}),
            ("minus this", "against", b.key, {"focus": a.key}),
        ):
            options = [key for key in labels if key != next(iter(other.values()))]
            st.segmented_control(
                title,
                options,
                format_func=lambda key: literal(labels[key]),
                required=True,
                **session.bind(field, shown, None, cell=None, **other),
            )
    return a, b


def seeds_in_words(frame: pd.DataFrame, a: RunGroup, b: RunGroup) -> str:
    """How the seeds of two groups were paired."""
    seeds = paired_seeds(frame, a.key, b.key)
    if not a.seeds and not b.seeds:
        return "One run of each, so without an interval."
    if not a.seeds or not b.seeds:
        return "A model without a seed is one run: means are subtracted, without an interval."
    if not seeds:
        return "They have no seed in common: means over seeds are subtracted, without an interval."
    if len(seeds) == 1:
        return f"From the runs of seed {seeds[0]}; one pair of runs has no interval over seeds."
    return (
        f"Seeds {listed(seeds)} are paired; the band is the 95 % t interval of the mean difference."
    )


@dataclass(frozen=True)
class Measured:
    """What is subtracted: rows of one measure of two layers, and of one measure of one layer;
    ``pair`` names the two streams that are compared.
    """

    rows: pd.DataFrame
    scale: Scale
    estimator: str
    dims: pd.DataFrame
    dimension: str
    pair: Pair | None

    def kind(self, view: Context) -> tuple[str, ...]:
        """What these are, for the key of a figure."""
        return (*kind_of(view, self.rows), self.dimension, *(self.pair or ()))


def show_differences(
    view: Context, groups: Sequence[RunGroup], reference: RunGroup, measured: Measured
) -> Figures:
    """Curves of every column minus the reference, which is the line at 0."""
    series, base = [group.series for group in groups], reference.series
    pairwise = lru_cache(lambda: differences(measured.rows, base.key))
    single = lru_cache(lambda: differences(measured.dims, base.key))
    scale, estimator, name = measured.scale, measured.estimator, measured.dimension
    streams = [spec.name for spec in shown_streams(base, measured.pair)]

    def transitions(stream: str) -> go.Figure:
        return transition_differences(
            pairwise(), series, base, stream, scale=scale, estimator=estimator
        )

    def matching() -> go.Figure:
        return alignment_differences(
            pairwise(), series, base, pair=measured.pair, scale=scale, estimator=estimator
        )

    def dimensions(stream: str) -> go.Figure:
        words = MEASURES[name][2]
        return dimension_differences(single(), series, base, stream, name, name=words)

    drawings: dict[str, Callable[[], go.Figure]] = {
        f"{stream} transitions": partial(transitions, stream) for stream in streams
    }
    if paired(base.streams, measured.pair):
        drawings["matching layers"] = matching
    if name:
        drawings |= {f"{stream} dimension": partial(dimensions, stream) for stream in streams}
    kind = (identity(groups), reference.key, measured.kind(view))
    figures: Figures = {}
    with st.grid(2, min_column_width=420):
        for title, draw in drawings.items():
            with st.container(border=True):
                st.markdown(f"**{literal(title)}**")
                figure = cache.figure(view.store, f"difference-{title}", kind, draw)
                if not figure.data:
                    st.caption(
                        f"Nothing to subtract from {literal(reference.label)}: its layers are "
                        "matched by number, and no other run has as many."
                    )
                    continue
                figures[f"difference {title}"] = figure
                chart(
                    figure,
                    key=f"difference-{title.replace(' ', '-')}",
                    alt=f"{title}: {listed(one.label for one in series)} minus {reference.label}",
                )
    return figures


def pick_block(view: Context, a: RunGroup, b: RunGroup, pair: Pair | None) -> tuple[str, Block]:
    """The part of the matrices that is shown."""
    blocks = cross_blocks(a.series, b.series, pair)
    name = view.state.block if view.state.block in blocks else next(iter(blocks))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if len(blocks) > 1:
            st.segmented_control(
                "Layers",
                list(blocks),
                format_func=lambda key: literal(blocks[key].title),
                required=True,
                **session.bind("block", name),
            )
        st.toggle("Numbers", **session.bind("numbers", view.state.numbers))
    return str(name), blocks[str(name)]


def show_difference_matrix(
    view: Context, a: RunGroup, b: RunGroup, measured: Measured, block: Block
) -> Figures:
    """Layer by layer within each run: ``a`` minus ``b``."""
    if not subtractable(block, a.series, b.series):
        st.caption(
            f"{literal(a.label)} and {literal(b.label)} have different numbers of layers here: "
            "their matrices cannot be subtracted cell by cell."
        )
        return {}
    figure = cache.figure(
        view.store,
        "difference-matrix",
        (identity([a, b]), measured.kind(view), block.title, view.state.numbers),
        lambda: difference_heatmap(
            differences(measured.rows[measured.rows["series"].isin([a.key, b.key])], b.key),
            *(a.series, b.series, block.rows, block.columns),
            scale=measured.scale,
            show_text=view.state.numbers,
        ),
    )
    grid = st.grid(5, min_column_width=170)
    with grid.cell(column_span=3), st.container(border=True):
        chart(
            figure,
            key="difference-matrix",
            alt=f"{measured.scale.label} of {block.title} layers of {a.label} minus that of "
            f"{b.label}",
        )
    with grid.cell(column_span=2), st.container(border=True):
        st.markdown(f"**{literal(a.label)} minus {literal(b.label)}**")
        st.caption(
            f"{literal(measured.scale.label)} of every layer with every other inside each run, "
            f"subtracted cell by cell. Blue: higher in {literal(a.label)}; red: higher in "
            f"{literal(b.label)}; white: the same. The colours reach as far up as down; the hover "
            "has the interval over paired seeds."
        )
    return {f"{a.label} minus {b.label}": figure}


def show_cross(
    view: Context,
    groups: Sequence[RunGroup],
    a: RunGroup,
    b: RunGroup,
    block: Block,
    pooling: str,
) -> Figures:
    """CKA of every layer of ``a`` with every layer of ``b``, or the command that computes it."""
    pairs = run_pairs(a, b)
    found = [cache.cross(view.store, one.run_id, other.run_id) for one, other in pairs]
    problems(Table(pd.DataFrame(), tuple(line for item in found for line in item.problems)))
    frames = [
        item.frame.assign(seed=pd.array([one.seed] * len(item.frame), dtype="Int64"))
        for (one, _), item in zip(pairs, found, strict=True)
        if len(item.frame)
    ]
    rows = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    estimator = view.state.estimator
    if len(rows):
        rows = rows[rows["pooling"].eq(pooling) & rows["estimator"].eq(estimator)]
    if rows.empty:
        _say_how(view, groups, pairs, tuple(run for item in found for run in item.replaced))
        return {}
    seeds = sorted(set(rows["seed"].dropna()))
    of_seeds = f" (seed {listed(seeds)})" if seeds else ""
    st.caption(
        f"Rows: layers of {literal(a.label)}; columns: layers of {literal(b.label)}; "
        f"{ESTIMATOR_NAMES[estimator]} CKA of {pooling} vectors, "
        f"{counted(len(frames), 'pair of runs', 'pairs of runs')}{of_seeds}."
    )
    cell = cell_in(block, view.state.cell)
    chosen = cell == view.state.cell

    def clicked() -> None:
        """A click on a cell of the heatmap."""
        points = st.session_state["cross"]["selection"]["points"]
        if points:
            session.change(cell=cell_at(block, points[0]["x"], points[0]["y"]))

    grid = st.grid(5, min_column_width=170)
    with grid.cell(column_span=3), st.container(border=True):
        figure = cache.figure(
            view.store,
            "cross",
            (identity([a, b]), pooling, estimator, block.title, cell, view.state.numbers),
            partial(
                cross_heatmap,
                *(rows, a.series, b.series, block.rows, block.columns),
                selected=cell,
                show_text=view.state.numbers,
            ),
        )
        chart(
            figure,
            key="cross",
            alt=f"CKA of {block.title} layers, {a.label} in rows and {b.label} in columns; click "
            "a cell for its values",
            on_click=clicked,
        )
    with grid.cell(column_span=2), st.container(border=True):
        named = named_streams(rows, a.series, b.series)
        detail = cell_view(named, named_cell(cell, a.series, b.series), CKA)
        if detail is None:
            st.markdown("**No such cell**")
            st.text("Nothing is stored for this pair of layers. Click another cell.")
        else:
            show_cell(
                detail,
                f"{a.label} × {b.label}",
                CKA,
                chosen=chosen,
                hint="The last layers of both. Click any cell.",
            )
        pick_cell(block, cell)
    return {f"{a.label} layers by {b.label} layers": figure}


def _say_how(
    view: Context,
    groups: Sequence[RunGroup],
    pairs: Sequence[tuple[RunInfo, RunInfo]],
    replaced: Sequence[str],
) -> None:
    """Why there is no matrix between the two, and the commands that make it."""
    if replaced:
        runs = listed(dict.fromkeys(replaced))
        st.caption(literal(f"What was computed is out of date: {runs} was captured again since."))
    st.info("Not computed yet. This computes it and stores it:", icon=":material/build:")
    commands = commands_for(view.store.path, groups, pairs)
    st.code("\n".join(commands), language="bash", wrap_lines=True)
