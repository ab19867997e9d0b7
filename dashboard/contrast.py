"""One run or placement minus another, and the layers of one against those of the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import streamlit as st

from backend.figures import (
    alignment_differences,
    cross_heatmap,
    difference_heatmap,
    dimension_differences,
    transition_differences,
)
from backend.figures.cross import named_cell, named_streams
from backend.figures.scales import ESTIMATOR_NAMES, SCALES
from backend.pairing import Pair, paired
from backend.views.cells import Block, cell_view
from backend.views.compare import (
    Differences,
    cell_in,
    chosen_pair,
    commands_for,
    cross_blocks,
    crossed,
    run_pairs,
    seeds_in_words,
    shown_streams,
    subtractable,
)
from backend.views.groups import RunGroup
from backend.views.questions import Measures
from backend.words import counted, listed, literal
from dashboard import cache, session
from dashboard.across_models import show_moved
from dashboard.cache import Drawn
from dashboard.chart import chart
from dashboard.context import Context, series_of
from dashboard.details import show_matrix_and_cell
from dashboard.downloads import Part
from dashboard.pick import Picked
from dashboard.say import problems, show_commands

Figures = dict[str, Drawn]
CKA = SCALES["cka"]


@dataclass(frozen=True)
class Measured:
    """What is subtracted: one measure of two layers and, if there is one, one of one layer;
    ``pair`` names the two streams that are compared.
    """

    picked: Picked
    dimension: Measures | None
    pair: Pair | None


@st.fragment
def show_contrast(
    view: Context,
    groups: Sequence[RunGroup],
    pair: Pair | None,
    pooling: str,
    measured: Measured | None,
    curves: Part,
    matrices: Part,
    moved: Part,
) -> None:
    """One minus the other: curves, the matrices, and the samples that moved.

    The latter two are parts of their own within this one, which chooses the two.
    """
    view = view.now()
    curves.begin()
    a, b = _pick_pair(view, groups)
    curves.shown.update(focus=a.key, against=b.key)
    if measured:
        seeds = seeds_in_words(measured.picked.rows, a, b)
        st.caption(f"Curves: every column minus {literal(b.label)}. {seeds}")
        curves.figures.update(_differences(view, groups, b, measured))
    _show_matrices(view, groups, a, b, pair, pooling, measured, matrices)
    show_moved(view, a, b, pooling, moved)


@st.fragment
def _show_matrices(
    view: Context,
    groups: Sequence[RunGroup],
    a: RunGroup,
    b: RunGroup,
    pair: Pair | None,
    pooling: str,
    measured: Measured | None,
    part: Part,
) -> None:
    """Layer by layer: one matrix minus the other, and the layers of one by those of the other."""
    view = view.now()
    part.begin()
    st.subheader(f"Layer by layer: {literal(a.label)} and {literal(b.label)}")
    name, block = _pick_block(view, a, b, pair)
    part.shown["block"] = name
    if measured:
        part.figures.update(_difference_matrix(view, a, b, measured, block))
    st.subheader(f"Layers of {literal(a.label)} with layers of {literal(b.label)}")
    part.figures.update(_cross(view, groups, a, b, block, pooling))


def _pick_pair(view: Context, groups: Sequence[RunGroup]) -> tuple[RunGroup, RunGroup]:
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


def _differences(
    view: Context, groups: Sequence[RunGroup], reference: RunGroup, measured: Measured
) -> Figures:
    """Curves of every column minus the reference, which is the line at 0."""
    series, base = series_of(groups), reference.series
    picked = measured.picked
    scaled = {"scale": picked.scale, "estimator": picked.estimator}
    streams = [spec.name for spec in shown_streams(base, measured.pair)]
    pairwise = Differences(picked.ask(view), base.key)
    drawings: dict[str, Callable[[], Drawn]] = {
        f"{stream} transitions": partial(
            cache.figure, transition_differences, pairwise, series, base, stream, **scaled
        )
        for stream in streams
    }
    if paired(base.streams, measured.pair):
        drawings["matching layers"] = partial(
            cache.figure,
            alignment_differences,
            *(pairwise, series, base),
            pair=measured.pair,
            **scaled,
        )
    if measured.dimension:
        single = Differences(measured.dimension, base.key)
        (name,) = measured.dimension.names
        drawings |= {
            f"{stream} dimension": partial(
                cache.figure, dimension_differences, single, series, base, stream, name
            )
            for stream in streams
        }
    figures: Figures = {}
    with st.grid(2, min_column_width=420):
        for title, draw in drawings.items():
            with st.container(border=True):
                st.markdown(f"**{literal(title)}**")
                drawn = draw()
                if not drawn.holds_points:
                    st.caption(
                        f"Nothing to subtract from {literal(reference.label)}: its layers are "
                        "matched by number, and no other run has as many."
                    )
                    continue
                figures[f"difference {title}"] = drawn
                chart(
                    drawn,
                    key=f"difference-{title.replace(' ', '-')}",
                    alt=f"{title}: {listed(one.label for one in series)} minus {reference.label}",
                )
    return figures


def _pick_block(view: Context, a: RunGroup, b: RunGroup, pair: Pair | None) -> tuple[str, Block]:
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


def _difference_matrix(
    view: Context, a: RunGroup, b: RunGroup, measured: Measured, block: Block
) -> Figures:
    """Layer by layer within each run: ``a`` minus ``b``."""
    if not subtractable(block, a.series, b.series):
        st.caption(
            f"{literal(a.label)} and {literal(b.label)} have different numbers of layers here: "
            "their matrices cannot be subtracted cell by cell."
        )
        return {}
    scale = measured.picked.scale
    drawn = cache.figure(
        difference_heatmap,
        Differences(measured.picked.ask(view, (a, b)), b.key),
        *(a.series, b.series, block.rows, block.columns),
        scale=scale,
        show_text=view.state.numbers,
    )
    grid = st.grid(5, min_column_width=170)
    with grid.cell(column_span=3), st.container(border=True):
        chart(
            drawn,
            key="difference-matrix",
            alt=f"{scale.label} of {block.title} layers of {a.label} minus that of {b.label}",
        )
    with grid.cell(column_span=2), st.container(border=True):
        st.markdown(f"**{literal(a.label)} minus {literal(b.label)}**")
        direction = scale.directed("the row's layer", "the column's")
        st.caption(
            f"{literal(scale.label)} of every layer with every other inside each run"
            f"{f' ({direction})' if direction else ''}, "
            f"subtracted cell by cell. Blue: higher in {literal(a.label)}; red: higher in "
            f"{literal(b.label)}; white: the same. The hover has the interval over paired seeds."
        )
    return {f"{a.label} minus {b.label}": drawn}


def _cross(
    view: Context,
    groups: Sequence[RunGroup],
    a: RunGroup,
    b: RunGroup,
    block: Block,
    pooling: str,
) -> Figures:
    """CKA of every layer of ``a`` with every layer of ``b``, or the command that computes it."""
    pairs = run_pairs(a, b)
    if not pairs:
        st.caption("Both are the same run.")
        return {}
    estimator = view.state.estimator
    ask = crossed(view.store, pairs, pooling, estimator)
    table = cache.answer(ask)
    problems(table)
    rows = table.frame
    if rows.empty and table.problems:
        return {}
    if rows.empty:
        if ask.replaced:
            runs = listed(ask.replaced)
            st.caption(
                literal(f"What was computed is out of date: {runs} was captured again since.")
            )
        computes = view.store.adding("This computes it and stores it")
        st.info(f"Not computed yet. {computes}", icon=":material/build:")
        show_commands(commands_for(view.store, groups, pairs))
        return {}
    seeds = sorted(set(rows["seed"].dropna()))
    of_seeds = f" (seed {listed(seeds)})" if seeds else ""
    count = counted(max(len(seeds), 1), "pair of runs", "pairs of runs")
    st.caption(
        f"Rows: layers of {literal(a.label)}; columns: layers of {literal(b.label)}; "
        f"{ESTIMATOR_NAMES[estimator]} CKA of {pooling} vectors, {count}{of_seeds}."
    )
    cell = cell_in(block, view.state.cell)
    drawn = cache.figure(
        cross_heatmap,
        ask,
        *(a.series, b.series, block.rows, block.columns),
        show_text=view.state.numbers,
    )
    named = named_streams(rows, a.series, b.series)
    show_matrix_and_cell(
        drawn,
        block,
        cell,
        cell_view(named, named_cell(cell, a.series, b.series), CKA),
        key="cross",
        alt=f"CKA of {block.title} layers, {a.label} in rows and {b.label} in columns",
        scale=CKA,
        of=f"{a.label} × {b.label}",
        chosen=cell == view.state.cell,
        hint="The last layers of both. Click any cell.",
    )
    return {f"{a.label} layers by {b.label} layers": drawn}
