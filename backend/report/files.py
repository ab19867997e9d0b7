"""A page's figures and tables as files, and all of them in one zip."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping

import pandas as pd

from backend.report.document import Document, Figure, Section
from backend.views.exports import to_csv, to_parquet
from backend.views.provenance import Provenance
from backend.words import counted


def figures_html(title: str, figures: Mapping[str, str], provenance: Provenance) -> bytes:
    """Figures, {name: JSON}, as one HTML file that works offline, with their provenance."""
    items = tuple(Figure(name, json, name) for name, json in figures.items())
    lead = f"{counted(len(items), 'figure')} of the store {provenance.store}"
    section = Section("figures", "Figures" if len(items) > 1 else "Figure", items)
    return Document(title, lead, (section,), provenance).to_html().encode()


def bundle(
    name: str,
    tables: Mapping[str, pd.DataFrame],
    figures: Mapping[str, str],
    provenance: Provenance,
) -> bytes:
    """A zip: every table as CSV and Parquet, the figures as one HTML file, the provenance."""
    files = {"provenance.json": provenance.to_json().encode()}
    for title, table in tables.items():
        files[file_name(title, "csv")] = to_csv(table)
        files[file_name(title, "parquet")] = to_parquet(table, provenance)
    if figures:
        files["figures.html"] = figures_html(name, figures, provenance)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, content in files.items():
            archive.writestr(f"{file_name(name)}/{file}", content)
    return written.getvalue()


def file_name(title: str, ending: str = "") -> str:
    """A title as the name of a file: letters, digits, dots and hyphens only, no path."""
    plain = re.sub(r"[^\w.-]+", "-", title).strip("-.") or "figure"
    return f"{plain[:120]}.{ending}" if ending else plain[:120]
