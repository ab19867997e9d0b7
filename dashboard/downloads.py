"""What can be taken away from a page. The menu is filled when it is opened, files when clicked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import pandas as pd
import streamlit as st

from backend.report.files import bundle, figures_html, file_name
from backend.report.trace import Panel, Plot, still
from backend.spreadsheet import harmless
from backend.views.exports import to_csv, to_parquet
from backend.views.groups import RunGroup
from backend.views.provenance import Provenance, provenance, settled, view_record
from backend.views.state import ViewState
from backend.views.store_access import StoreView
from backend.words import literal
from dashboard import session
from dashboard.cache import Drawn
from dashboard.context import Context

Rows = pd.DataFrame | Callable[[], pd.DataFrame]
"""A table, or what makes it when it is wanted."""


@dataclass
class Part:
    """A part of a page that runs again by itself, and says here what it shows now.

    ``shown`` are the settings that it chose where the address left them open; ``panels`` what a
    file of the whole page holds, by title, in the order in which it stands there.
    """

    rows: dict[str, Rows] = field(default_factory=dict)
    figures: dict[str, Drawn] = field(default_factory=dict)
    shown: dict[str, Any] = field(default_factory=dict)
    panels: dict[str, Panel] = field(default_factory=dict)

    def begin(self) -> None:
        """Forget what was shown: the part is drawn anew."""
        for held in (self.rows, self.figures, self.shown, self.panels):
            held.clear()


@dataclass(frozen=True)
class Offer:
    """What a page offers, and what it was made from."""

    name: str
    page: str
    store: StoreView
    state: ViewState
    groups: tuple[RunGroup, ...]
    parts: tuple[Part, ...]
    texts: Mapping[str, Callable[[], bytes]]
    wholes: Mapping[str, Callable[[Provenance], bytes]]

    @property
    def rows(self) -> dict[str, Rows]:
        """The tables, or what makes them."""
        return {title: made for part in self.parts for title, made in part.rows.items()}

    @property
    def figures(self) -> dict[str, Drawn]:
        """The figures by title."""
        return {title: drawn for part in self.parts for title, drawn in part.figures.items()}

    @property
    def shown(self) -> dict[str, Any]:
        """The settings that the page and its parts chose."""
        return {name: value for part in self.parts for name, value in part.shown.items()}

    def figure(self, title: str) -> str:
        """One figure as JSON, as it stands at the layer of the strip that it follows."""
        for part in self.parts:
            if isinstance(panel := part.panels.get(title), Plot):
                return still(panel, str(self.shown.get("layer")))
        return self.figures[title].json

    def table(self, title: str) -> pd.DataFrame:
        """One table."""
        made = self.rows[title]
        return made() if callable(made) else made

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table."""
        return {title: self.table(title) for title in self.rows}

    @property
    def provenance(self) -> Provenance:
        """Store, runs, view and versions as they are now."""
        state = settled(self.state, self.groups, self.shown)
        views = [view_record(self.page, state)]
        return provenance(self.store, self.groups, views, self.tables)

    @property
    def zip(self) -> bytes:
        """Everything."""
        drawn = {title: self.figure(title) for title in self.figures}
        return bundle(self.name, self.tables, drawn, self.provenance)

    def html(self, title: str) -> bytes:
        """One figure."""
        return figures_html(title, {title: self.figure(title)}, self.provenance)


def downloads(
    view: Context,
    name: str,
    tables: Rows | Mapping[str, Rows],
    figures: Mapping[str, Drawn],
    *,
    groups: Sequence[RunGroup],
    shown: Mapping[str, Any],
    parts: Sequence[Part] = (),
    texts: Mapping[str, Callable[[], bytes]] = MappingProxyType({}),
    wholes: Mapping[str, Callable[[Provenance], bytes]] = MappingProxyType({}),
    label: str = "Download",
) -> None:
    """A menu of everything as a zip, tables as CSV and Parquet, and figures as HTML.

    ``groups`` are those that are shown, ``shown`` the settings that the page chose where its
    address left them open: the provenance in each file says how to see the same again. ``parts``
    are the page's parts that run again by themselves. ``texts`` are further files, {name: what
    makes it}, ``wholes`` HTML files of the whole page, made with their provenance. A table may be a
    function that makes it when clicked.
    """
    named = tables if isinstance(tables, Mapping) else {name: tables}
    page = Part(dict(named), dict(figures), dict(shown))
    offer = Offer(
        name, view.page, view.store, view.state, tuple(groups), (page, *parts), texts, wholes
    )
    _menu(offer, label)


@st.fragment
def _menu(offer: Offer, label: str) -> None:
    menu = st.popover(
        label, icon=":material/download:", key=f"{offer.name}-downloads", on_change="rerun"
    )
    if not menu.open:
        return
    # A file is made when there is no session to ask, so what it shows is that of this moment.
    offer = replace(offer, state=session.current())
    with menu:
        if offer.rows or offer.figures:
            _button(
                "Everything (zip)", lambda: offer.zip, f"{offer.name}.zip", "folder_zip", offer.name
            )
        for file, fill in offer.wholes.items():
            whole = lambda fill=fill: fill(offer.provenance)  # noqa: E731
            _button("Whole page (HTML)", whole, file, "web", offer.name)
        for title in offer.rows:
            of = f"{literal(title)} " if len(offer.rows) > 1 else "Table "
            for kind, named, ending, make in (
                ("CSV", title, "csv", lambda title=title: to_csv(offer.table(title))),
                (
                    "CSV for spreadsheets",
                    f"{title} spreadsheet",
                    "csv",
                    lambda title=title: to_csv(harmless(offer.table(title))),
                ),
                (
                    "Parquet",
                    title,
                    "parquet",
                    lambda title=title: to_parquet(offer.table(title), offer.provenance),
                ),
            ):
                file = file_name(named, ending)
                _button(f"{of}({kind})", make, file, "table", offer.name)
        for file, write in offer.texts.items():
            _button(_LABELS[file.rpartition(".")[2]], write, file, "table", offer.name)
        _button(
            "Provenance (JSON)",
            lambda: offer.provenance.to_json().encode(),
            f"{offer.name}-provenance.json",
            "fingerprint",
            offer.name,
        )
        for title in offer.figures:
            file = f"{offer.name}-{file_name(title, 'html')}"
            make = lambda title=title: offer.html(title)  # noqa: E731
            _button(f"{literal(title)} (HTML)", make, file, "show_chart", offer.name)


_LABELS = {"tex": "Table (LaTeX)", "md": "Table (Markdown)"}
_KINDS = {
    "tex": "text/plain",
    "md": "text/markdown",
    "zip": "application/zip",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "json": "application/json",
    "html": "text/html",
}


def _button(label: str, make: Callable[[], bytes], file: str, icon: str, menu: str) -> None:
    st.download_button(
        label,
        make,
        file,
        _KINDS[file.rpartition(".")[2]],
        key=f"{menu} {label}",
        on_click="ignore",
        icon=f":material/{icon}:",
        width="stretch",
    )
