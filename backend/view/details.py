"""Detail cards: one cell of a heatmap, one sample of a projection. All text is shown literally."""

from __future__ import annotations

import streamlit as st

from backend.figures.heatmap import axis_refs
from backend.figures.theme import number
from backend.types import LayerRef
from backend.view import session
from backend.view.cells import Block, CellView
from backend.view.queries import Sample
from backend.view.words import counted, literal


def pick_cell(block: Block, cell: tuple[LayerRef, LayerRef] | None) -> None:
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


def show_cell(cell: CellView, placement: str, *, chosen: bool) -> None:
    """A pair of layers: mean, chance, n, and every seed's value."""
    st.caption("Chosen cell" if chosen else "Where the streams are most alike. Click any cell.")
    st.subheader(literal(cell.title[0].upper() + cell.title[1:]), anchor=False)
    st.caption(literal(placement))
    seeds = len(cell.values)
    with st.container(horizontal=True):
        st.metric("CKA", number(cell.mean), help=f"Mean over {counted(seeds, 'seed')}.")
        if seeds > 1:
            st.metric("Range", f"{number(cell.low)} to {number(cell.high)}")
        st.metric(
            "Chance",
            number(cell.null_mean) if cell.null_mean == cell.null_mean else "not stored",
            help="The same measure's mean when the two layers' samples are matched at random.",
        )
        st.metric("n", f"{cell.n:,}")
    for reason in cell.reasons:
        st.text(f"Undefined: {reason}")
    for warning in cell.warnings:
        st.text(f"Note: {warning}")
    st.dataframe(
        cell.values,
        hide_index=True,
        width="stretch",
        column_config={
            "CKA": st.column_config.NumberColumn(format="%.4f"),
            "chance": st.column_config.NumberColumn(format="%.4f", help="Mean of the null"),
            "z": st.column_config.NumberColumn(
                format="%.1f", help="Distance from chance in standard deviations of the null"
            ),
        },
        alt=f"CKA of {cell.title}, seed by seed",
    )
    if chosen:
        st.button(
            "Clear the choice", on_click=session.change, kwargs={"cell": None}, type="tertiary"
        )


def show_sample(sample: Sample, *, chosen: bool) -> None:
    """A sample: picture, text, labels."""
    st.caption("Chosen sample" if chosen else "First sample. Click any point.")
    st.text_input(
        "Sample id",
        help="Shows the sample of this id, as a click on its point does.",
        **session.bind("sample", sample.sample_id, lambda text: text.strip() or None),
    )
    if sample.thumbnail is None:
        st.caption("No picture was stored for this sample.")
    else:
        st.image(sample.thumbnail, width=220, alt=f"Image of sample {sample.sample_id}")
    st.text(sample.text or "(no text)")
    st.table(
        {
            "split": literal(sample.split),
            **{literal(task): literal(label) for task, label in sample.labels},
        },
        alt=f"Labels of sample {sample.sample_id}",
    )
