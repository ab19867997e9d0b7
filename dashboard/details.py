"""Detail cards: one cell of a heatmap, one sample of a projection. All text is shown literally."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from backend.data.images import webp_source
from backend.figures.heatmap import axis_refs, cell_mark
from backend.figures.scales import Scale
from backend.figures.theme import number
from backend.types import LayerRef
from backend.views.cells import Block, CellView, cell_at, values_in_words
from backend.views.queries import Sample
from backend.words import counted, literal
from dashboard import session
from dashboard.cache import Drawn
from dashboard.chart import Point, chart

_COLUMNS = {
    "low": "low, high: 95 % interval over samples",
    "chance": "chance: the mean where samples are matched at random",
    "z": "z: how far the value lies above chance, in its standard deviations",
    "p": "p: how often chance reaches the value, corrected for looking at all layers",
}


Cell = tuple[LayerRef, LayerRef]


def show_matrix_and_cell(
    drawn: Drawn,
    block: Block,
    cell: Cell | None,
    detail: CellView | None,
    *,
    key: str,
    alt: str,
    scale: Scale,
    of: str,
    chosen: bool,
    hint: str,
) -> None:
    """A heatmap of a block, and beside it the card of its ``cell``, which a click changes.

    ``detail`` is None where nothing is stored for the cell; ``of`` says what the values are of,
    ``hint`` what is shown where no cell was chosen.
    """

    def clicked(point: Point) -> None:
        session.change(cell=cell_at(block, point["x"], point["y"]))

    grid = st.grid(5, min_column_width=170)
    with grid.cell(column_span=3), st.container(border=True):
        chart(
            drawn,
            key=key,
            alt=f"{alt}; click a cell for its values",
            marks=cell_mark(block.rows, block.columns, cell),
            on_click=clicked,
        )
    with grid.cell(column_span=2), st.container(border=True):
        if detail is None:
            st.markdown("**No such cell**")
            st.text("Nothing is stored for this pair of layers. Click another cell.")
        else:
            _show_cell(detail, of, scale, chosen=chosen, hint=hint)
        _pick_cell(block, cell)


def _pick_cell(block: Block, cell: Cell | None) -> None:
    """The same choice as a click on a cell, for the keyboard."""
    rows, columns = axis_refs(block.rows), axis_refs(block.columns)
    row, column = cell if cell and cell[0] in rows and cell[1] in columns else (rows[0], columns[0])
    with st.container(horizontal=True):
        for title, refs, shown, pair in (
            ("Row", rows, row, lambda ref: (ref, column)),
            ("Column", columns, column, lambda ref: (row, ref)),
        ):
            st.selectbox(
                title,
                refs,
                format_func=lambda ref: f"{ref.stream} {ref.label}",
                width=150,
                **session.bind("cell", shown, pair, key=f"view_cell_{title}"),
            )


def _show_cell(cell: CellView, of: str, scale: Scale, *, chosen: bool, hint: str) -> None:
    """A pair of layers: mean, interval, chance, n, and every seed's value."""
    st.caption("Chosen cell" if chosen else hint)
    st.subheader(literal(cell.title[0].upper() + cell.title[1:]), anchor=False)
    st.caption(literal(of))
    seeds = cell.seeds  # those that have a value
    with st.container(horizontal=True):
        st.metric(
            literal(scale.label), number(cell.mean), help=f"Mean over {counted(seeds, 'seed')}."
        )
        if cell.ci_low == cell.ci_low:
            over = counted(seeds, "seed") if seeds > 1 else "samples"
            st.metric(
                f"95 % interval, {over}",
                f"{number(cell.ci_low)} to {number(cell.ci_high)}",
                help="Student's interval of the mean over seeds. It keeps to the values that the "
                "measure can have. With few seeds it is wide."
                if seeds > 1
                else "Over samples (bootstrap).",
            )
        elif seeds > 1:
            st.metric("Range", f"{number(cell.low)} to {number(cell.high)}")
        st.metric(
            "Chance",
            number(cell.null_mean) if cell.null_mean == cell.null_mean else "not known",
            help="The same measure's mean when the two layers' samples are matched at random.",
        )
        st.metric("n", f"{cell.n:,}")
    if cell.tested:
        runs = "" if cell.tested == 1 else f" in {cell.above} of {cell.tested} runs"
        verdict = "Above chance" if cell.above else "Not above chance"
        st.caption(
            f"{verdict}{runs if cell.above else ''} at the 5 % level, corrected for looking at all "
            "layers of these streams."
        )
    for reason in cell.reasons:
        st.text(f"Undefined: {reason}")
    for warning in cell.warnings:
        st.text(f"Note: {warning}")
    table = values_in_words(cell.values, scale.label)
    st.table(table, border="horizontal", alt=f"{scale.label} of {cell.title}, seed by seed")
    if meanings := [words for name, words in _COLUMNS.items() if name in table.columns]:
        st.caption(f"{'; '.join(meanings)}.")
    if chosen:
        st.button(
            "Clear the choice", on_click=session.change, kwargs={"cell": None}, type="tertiary"
        )


def show_drivers(samples: Sequence[tuple[Sample, float]]) -> None:
    """The samples that drive a pair of layers: picture, text, share; a click shows where it lies.

    The largest shares come first; a sample with a negative share pulls the two layers apart.
    """
    for sample, share in samples:
        with st.container(horizontal=True, vertical_alignment="center", wrap=False):
            if sample.thumbnail is None:
                st.caption(sample.picture_note)
            else:
                st.image(
                    webp_source(sample.thumbnail),
                    width=72,
                    alt=f"Image of sample {sample.sample_id}",
                )
            with st.container(gap="xxsmall"):
                st.text(f"{100 * share:+.1f} %  {sample.sample_id}")
                st.text(sample.text if len(sample.text) <= 110 else f"{sample.text[:109]}…")


def show_sample(sample: Sample, *, chosen: bool) -> None:
    """A sample: picture, text, labels."""
    st.caption("Chosen sample" if chosen else "First sample. Click any point.")
    st.text_input(
        "Sample id",
        help="Shows the sample of this id, as a click on its point does.",
        **session.bind("sample", sample.sample_id, lambda text: text.strip() or None),
    )
    if sample.thumbnail is None:
        st.caption(sample.picture_note)
    else:
        st.image(
            webp_source(sample.thumbnail), width=220, alt=f"Image of sample {sample.sample_id}"
        )
    st.text(sample.text or "(no text)")
    st.table(
        {
            "split": literal(sample.split),
            **({"group": literal(sample.group)} if sample.group else {}),
            **{literal(task): literal(label) for task, label in sample.labels},
        },
        alt=f"Labels of sample {sample.sample_id}",
    )
