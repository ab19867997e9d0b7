"""A report of a store: the pages' figures in one file. No Streamlit, no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from backend.errors import InputError
from backend.measures.suite.parts import pooling_of
from backend.pooling import by_stream
from backend.progress import SILENT, Progress
from backend.report.asked import Asked
from backend.report.asked import Section as Builder
from backend.report.document import Document, Item, Section, Words
from backend.report.sections.alignment import alignment
from backend.report.sections.compare import compare
from backend.report.sections.dimensionality import dimensionality
from backend.report.sections.probes import probes
from backend.report.sections.projection import projection
from backend.report.sections.runs import runs
from backend.report.sections.study import study
from backend.report.sections.training import training
from backend.report.sections.transitions import transitions
from backend.store.files import published
from backend.store.kinds import MEASURES
from backend.views import choices, questions
from backend.views.groups import counted_groups
from backend.views.provenance import ViewRecord, provenance, settled, view_record
from backend.views.queries import comparable
from backend.views.state import ViewState
from backend.views.store_access import look, overview
from backend.words import counted, listed


class Entry(NamedTuple):
    """A page's section: its title and what builds it."""

    title: str
    build: Builder


SECTIONS: dict[str, Entry] = {
    "runs": Entry("Runs", runs),
    "transitions": Entry("Transitions", transitions),
    "alignment": Entry("Alignment", alignment),
    "dimensionality": Entry("Dimensionality", dimensionality),
    "probes": Entry("Probes", probes),
    "training": Entry("Training", training),
    "projection": Entry("Projection", projection),
    "compare": Entry("Compare", compare),
    "study": Entry("Study", study),
}
"""By the pages' names in an address, in the order of the menu."""


def state_of(settings: Mapping[str, str]) -> ViewState:
    """The view of settings as in an address, {name: text}; InputError where one cannot be used."""
    for name, text in settings.items():
        if ViewState.from_query({name: text}).notes:
            raise InputError(f"{text!r} is not one that a view can have", field=name)
    return ViewState.from_query(settings).state


def write_report(
    store: str,
    out: Path,
    state: ViewState,
    pages: Sequence[str] = (),
    *,
    force: bool = False,
    progress: Progress = SILENT,
) -> int:
    """Write the report of a store as one HTML file; returns its size in bytes.

    The file appears whole or not at all. InputError where ``out`` exists (unless ``force``), for a
    page, run or measure that there is not, and for a store that holds nothing.
    """
    if out.exists() and not force:
        raise InputError("exists already", where=str(out), hint="Use `force` to replace it")
    if not out.parent.is_dir():
        raise InputError("is not a folder", where=str(out.parent))
    text = report(store, state, pages, progress=progress).to_html().encode()
    try:
        with published(out, replace=force) as temporary:
            temporary.write_bytes(text)
    except FileExistsError as error:
        raise InputError("exists already", where=str(out)) from error
    return len(text)


def report(
    store: str, state: ViewState, pages: Sequence[str] = (), *, progress: Progress = SILENT
) -> Document:
    """The report of a store: the named pages (default: all) in the state of a view."""
    unknown = [page for page in pages if page not in SECTIONS]
    if unknown:
        raise InputError(
            f"{listed(unknown)} is no page", field="pages", hint=f"There are {listed(SECTIONS)}"
        )
    asked, notes = _asked(store, state)
    _check(asked)
    names = [name for name in SECTIONS if name in (pages or SECTIONS)]
    sections: list[Section] = []
    views: list[ViewRecord] = []
    tables: dict[str, pd.DataFrame] = {}
    for done, name in enumerate(names):
        progress.advance(done, len(names), name)
        part = SECTIONS[name].build(asked)
        views.append(view_record(name, settled(asked.state, asked.groups, dict(part.shown))))
        tables |= part.tables
        sections.append(Section(name, SECTIONS[name].title, part.items))
    progress.advance(len(names), len(names))
    if notes:
        sections.insert(0, Section("left-out", "Left out", tuple(notes)))
    number = sum(len(group.runs) for group in asked.groups)
    lead = (
        f"{counted(number, 'run')} of {counted_groups(asked.groups)}: "
        f"{listed(group.label for group in asked.groups)}."
    )
    made_of = provenance(asked.store, asked.groups, views, tables)
    return Document(f"Fusionscope: {asked.store.name}", lead, tuple(sections), made_of)


def _asked(store: str, state: ViewState) -> tuple[Asked, list[Item]]:
    """What to report on, and words for what had to be left out."""
    view = look(store)
    if view.status != "fine":
        raise InputError(view.message)
    every = overview(store)
    notes: list[Item] = [Words(f"{item.run_id}: {item.reason}") for item in every.broken]
    if not every.groups:
        raise InputError("holds no run that can be read", where=f"store {store}")
    groups, unknown = every.chosen(state.runs)
    if unknown:
        known = listed((group.key for group in every.groups), "or")
        raise InputError(
            "; ".join(map(every.why_none, unknown)),
            field="runs",
            hint=f"Use {known}, or a run's id",
        )
    run_ids = [run.run_id for group in groups for run in group.runs]
    same = comparable(tuple(questions.run_at(view, run_id) for run_id in run_ids))
    if same.message:
        left = len(run_ids) - len(same.run_ids)
        notes.append(Words(f"{same.message} {counted(left, 'run')} left out of this report."))
    return Asked(view, every, state, choices.only(groups, same.run_ids)), notes


def _check(asked: Asked) -> None:
    """InputError for a measure or pooling that the view asks for and no chosen run holds."""
    held = asked.held(asked.groups)
    state, default = asked.state, ViewState()
    preset = held.get(state.preset, ())
    if state.measure != default.measure and state.measure not in preset:
        raise InputError(
            f"no chosen run holds {state.measure} under the preset {state.preset}",
            field="measure",
            hint=f"They hold {listed(preset)}" if preset else "They hold no measures",
        )
    runs = [run for group in asked.groups for run in group.runs]
    poolings = {name for run in runs for name in run.entry.poolings}
    keys = [k for run in runs for k in questions.keys_of(asked.store, MEASURES, run.run_id)]
    poolings |= {name for name in map(pooling_of, keys) if name and by_stream(name)}
    if state.pooling is not None and state.pooling not in poolings:
        raise InputError(
            f"no chosen run has {state.pooling} vectors",
            field="pooling",
            hint=f"They have {listed(sorted(poolings))}",
        )
