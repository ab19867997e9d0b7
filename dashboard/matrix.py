"""A measure layer by layer on a page: the heatmap, the clicked cell, and what drives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import streamlit as st

from backend.errors import InputError
from backend.figures import layer_heatmap
from backend.pairing import Pair
from backend.types import LayerRef
from backend.views.cells import Block, cell_view, default_cell
from backend.views.groups import RunGroup, RunInfo
from backend.words import literal
from dashboard import cache, session
from dashboard.context import Context
from dashboard.details import show_drivers, show_matrix_and_cell
from dashboard.downloads import Part
from dashboard.pick import Picked, pick_focus
from dashboard.say import say_ignored


@st.fragment
def show_matrix(
    view: Context,
    picked: Picked,
    pair: Pair | None,
    blocks_of: Callable[[RunGroup, Pair | None], Mapping[str, Block]],
    part: Part,
    *,
    drivers: bool = False,
) -> None:
    """The controls, the heatmap and the card of the chosen cell.

    With ``drivers`` the card also shows which samples drive the cell in one of the runs.
    """
    view = view.now()
    part.begin()
    focus = view.focus(picked.groups)
    part.shown["focus"] = focus.key
    blocks = blocks_of(focus, pair)
    asked = view.state.block or ""
    name = asked if asked in blocks else next(iter(blocks))
    shown = blocks[name]
    tested = bool(picked.rows["p_corrected"].notna().any())
    say_ignored(view, focus=focus.key, **({"block": name} if len(blocks) > 1 else {}))
    _controls(view, picked, blocks, name, focus, tested)
    scale = picked.scale
    ask = picked.ask(view, (focus,))
    mine = cache.answer(ask).frame
    names = [spec.name for spec in (*shown.rows, *shown.columns)]
    if not (mine["stream_a"].isin(names) & mine["stream_b"].isin(names)).any():
        st.caption(f"Nothing of {literal(shown.title)} is stored for {picked.pooling} vectors.")
        return
    cell = view.state.cell or cache.value(default_cell, ask, shown, scale)

    if words := scale.directed("the row's layer", "the column's"):
        st.caption(f"In every cell: {words}.")
    drawn = cache.figure(
        layer_heatmap,
        ask,
        shown.rows,
        shown.columns,
        scale=scale,
        model=focus.label,
        above_chance=view.state.above and tested,
        show_text=view.state.numbers,
    )
    show_matrix_and_cell(
        drawn,
        shown,
        cell,
        cache.value(cell_view, ask, cell, scale) if cell else None,
        key="heatmap",
        alt=f"{scale.label} of {shown.title} layers of {focus.label}",
        scale=scale,
        of=focus.label,
        chosen=view.state.cell is not None,
        hint="Where the streams are most alike. Click any cell.",
    )
    if drivers and cell:
        _show_drivers(view, focus.run_of(view.state.seed), cell, picked.pooling)
    part.figures[f"{focus.label} layer by layer"] = drawn


def _controls(
    view: Context,
    picked: Picked,
    blocks: Mapping[str, Block],
    block: str,
    focus: RunGroup,
    tested: bool,
) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        pick_focus(picked.groups, focus)
        if len(blocks) > 1:
            st.segmented_control(
                "Layers",
                list(blocks),
                format_func=lambda name: literal(blocks[name].title),
                required=True,
                **session.bind("block", block),
            )
        st.toggle("Numbers", **session.bind("numbers", view.state.numbers))
        if tested:
            st.toggle(
                "Above chance only",
                help="Leave out cells that a random matching of the samples would also give "
                "(5 % level, corrected for looking at all layers, in every run).",
                **session.bind("above", view.state.above),
            )
    if view.state.above and not tested:
        st.caption("All cells are shown: this measure and estimator have no test against chance.")


def _show_drivers(
    view: Context, run: RunInfo, cell: tuple[LayerRef, LayerRef], pooling: str
) -> None:
    """The samples with the largest and the smallest share of a pair's debiased CKA."""
    st.subheader("Which samples drive it", anchor=False)
    try:
        driving = cache.drivers(view.store, run.run_id, cell, pooling)
        samples = {item: cache.sample(view.store, run.run_id, item.sample_id) for item in driving}
    except InputError as error:
        st.text(str(error))
        return
    if not samples:
        st.caption("No driving samples are stored for this pair of layers.")
        return
    st.caption(
        f"How much of the debiased CKA each sample makes, in {literal(run.run_id)} alone. All "
        f"{run.n:,} shares sum to 100 % (to -100 % where CKA is negative); an even share is "
        f"{100 / run.n:.2f} %. Large: both layers place the sample far from the others, in the "
        "same way. Negative: they disagree about it."
    )
    with st.grid(2, min_column_width=320):
        for title, sign in (("Largest shares", 1), ("Smallest shares", -1)):
            ranked = sorted(
                (item for item in driving if item.rank * sign > 0), key=lambda d: abs(d.rank)
            )
            with st.container(border=True):
                st.markdown(f"**{title}**")
                show_drivers([(samples[item], item.share) for item in ranked])
