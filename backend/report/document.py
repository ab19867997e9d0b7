"""One HTML file that needs nothing else: figures, tables and words, with their provenance inside.

Whatever comes from data (names of runs, labels, captions) is escaped by :func:`tag`, which writes
every element, and in the JSON by :func:`script`. The file forbids itself every request.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path

import pandas as pd
from plotly.offline import get_plotlyjs

from backend.views.provenance import Provenance

FOLDED_ABOVE = 4
"""More command lines than this are folded away."""

_HERE = Path(__file__).parent
_MEASURED = ("measure", "params", "pooling", "estimator", "n")
# Plotly draws many points with WebGL, whose library compiles functions of its own.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:"
)


class Html(str):
    """Text that is HTML already."""


NOTHING = Html("")


@dataclass(frozen=True)
class Words:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Points:
    """Short statements, one below the other."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Heading:
    """The title of what follows within a section."""

    text: str


@dataclass(frozen=True)
class Figure:
    """A figure as JSON, with its name, its description for screen readers and its caption.

    ``half``: beside another one where there is room. ``steps``: JSON of what it shows at each layer
    of a strip that the file holds.
    """

    title: str
    json: str
    alt: str
    caption: str = ""
    half: bool = False
    steps: str = ""


@dataclass(frozen=True)
class Table:
    """A table, its numbers with so many ``digits``; ``strong`` cells (row, column) stand out."""

    title: str
    frame: pd.DataFrame
    digits: int = 3
    strong: frozenset[tuple[int, str]] = frozenset()


@dataclass(frozen=True)
class Missing:
    """What is not there, and the command lines that make it."""

    text: str
    commands: tuple[str, ...]


Item = Words | Points | Heading | Figure | Table | Missing | Html


@dataclass(frozen=True)
class Section:
    """A part with a name in the table of contents; ``key`` is its anchor."""

    key: str
    title: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Document:
    """Everything that a file holds.

    ``above`` stays in sight over the sections; ``styles`` and ``scripts`` are files beside this one
    that it takes besides the page's, scripts before them.
    """

    title: str
    lead: str
    sections: tuple[Section, ...]
    provenance: Provenance
    above: Html = NOTHING
    styles: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()

    def to_html(self) -> str:
        """The file's text."""
        numbers = count(1)
        body = [_section(section, numbers) for section in self.sections]
        contents = _contents(self.sections) if len(self.sections) > 1 else NOTHING
        return "<!doctype html>\n" + tag(
            "html",
            tag(
                "head",
                tag("meta", charset="utf-8"),
                tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
                tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
                tag("meta", name="color-scheme", content="light dark"),
                tag("title", self.title),
                *(tag("style", _asset(name)) for name in ("page.css", *self.styles)),
            ),
            tag(
                "body",
                tag("header", tag("h1", self.title), tag("p", self.lead)),
                contents,
                tag("main", self.above, *body, _end(self.provenance)),
                tag("noscript", tag("p", "The figures need JavaScript, which is in this file.")),
                script(self.provenance.to_json(), "provenance"),
                # Plotly's own file: it is written to stand inside such an element.
                tag("script", Html(get_plotlyjs())),
                *(tag("script", _asset(name)) for name in (*self.scripts, "page.js")),
            ),
            lang="en",
        )


def tag(name: str, /, *inside: str, **attributes: str) -> Html:
    """An element. What is not :class:`Html` is text and escaped, and so are the attributes."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"'
        for key, value in attributes.items()
    )
    if name in ("meta", "img"):
        return Html(f"<{name}{given}>")
    text = "".join(part if isinstance(part, Html) else html.escape(part) for part in inside)
    return Html(f"<{name}{given}>{text}</{name}>\n")


def script(json: str, name: str) -> Html:
    """JSON that scripts read by its id; nothing in it can end the element."""
    return tag("script", Html(json.replace("<", "\\u003c")), type="application/json", id=name)


@cache
def _asset(name: str) -> Html:
    return Html((_HERE / name).read_text(encoding="utf-8"))


def _contents(sections: Sequence[Section]) -> Html:
    entries = [*((section.key, section.title) for section in sections), ("made-from", "Made from")]
    links = [tag("li", tag("a", title, href=f"#{key}")) for key, title in entries]
    return tag("nav", tag("h2", "Contents"), tag("ol", *links), aria_label="Contents")


def _section(section: Section, numbers: Iterable[int]) -> Html:
    parts = [_item(item, numbers) for item in section.items]
    return tag("section", tag("h2", section.title), *parts, id=section.key)


def _item(item: Item, numbers: Iterable[int]) -> Html:
    match item:
        case Words(text):
            return tag("p", text)
        case Points(lines):
            return tag("ul", *(tag("li", line) for line in lines))
        case Heading(text):
            return tag("h3", text)
        case Figure():
            return _figure(item, f"figure-{next(iter(numbers))}")
        case Table():
            return _table(item)
        case Missing():
            return _missing(item)
        case Html():
            return item


def _figure(figure: Figure, name: str) -> Html:
    return tag(
        "figure",
        tag("h4", figure.title),
        tag("div", role="img", aria_label=figure.alt, data_figure=name, data_name=figure.title),
        script(figure.json, name),
        *((script(figure.steps, f"{name}-steps"),) if figure.steps else ()),
        *((tag("figcaption", figure.caption),) if figure.caption else ()),
        class_="half" if figure.half else "",
    )


def _missing(item: Missing) -> Html:
    """Commands of many lines are folded away."""
    shown = {} if len(item.commands) > FOLDED_ABOVE else {"open": ""}
    lines = tag("pre", "\n".join(item.commands))
    return tag("details", tag("summary", item.text), lines, class_="missing", **shown)


def _table(table: Table) -> Html:
    frame = table.frame

    def cell(at: int, name: str, value: object) -> Html:
        text = _text(value, table.digits)
        return tag("td", tag("strong", text) if (at, name) in table.strong else text)

    head = tag("tr", *(tag("th", str(name), scope="col") for name in frame.columns))
    rows = []
    for at, values in enumerate(frame.itertuples(index=False)):
        cells = [cell(at, name, value) for name, value in zip(frame.columns, values, strict=True)]
        rows.append(tag("tr", *cells))
    drawn = tag("table", tag("caption", table.title), tag("thead", head), tag("tbody", *rows))
    return tag("div", drawn, class_="table", tabindex="0", role="region", aria_label=table.title)


def _text(value: object, digits: int = 3) -> str:
    if value is None or value is pd.NA or value != value:
        return "–"
    if not isinstance(value, float):
        return str(value)
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _end(provenance: Provenance) -> Html:
    """The provenance for people: the same facts as in the JSON, in which nothing is shortened."""
    runs = pd.DataFrame(
        {
            "run": [run.run_id for run in provenance.runs],
            "model": [run.model for run in provenance.runs],
            "seed": pd.array([run.seed for run in provenance.runs], dtype="Int64"),
            "samples": [f"{run.dataset} ({run.split}), n = {run.n:,}" for run in provenance.runs],
            "weights": [run.weights[:12] for run in provenance.runs],
            "run.json": [run.run_json[:12] for run in provenance.runs],
        }
    )
    measured = pd.DataFrame(
        [
            {name: _listed(line.get(name)) for name in _MEASURED}
            for lines in provenance.tables.values()
            for line in lines
            if "measure" in line
        ]
    )
    shown = pd.DataFrame(
        [{"view": view.page, "address": view.address} for view in provenance.views]
    )
    versions = ", ".join(f"{name} {number}" for name, number in provenance.versions.items())
    return tag(
        "section",
        tag("h2", "Made from"),
        tag("p", f"Store {provenance.store}, {provenance.made}, with {versions}."),
        *((_table(Table("Runs", runs)),) if len(runs) else ()),
        *((_table(Table("Measured", measured.drop_duplicates())),) if len(measured) else ()),
        *((_table(Table("The same in the dashboard", shown)),) if len(shown) else ()),
        tag("p", tag("button", "Save the provenance as JSON", type="button", id="save-provenance")),
        id="made-from",
    )


def _listed(value: object) -> str:
    """Parameters as ``k = 10, normalise = True``, several numbers with commas."""
    if isinstance(value, dict):
        return ", ".join(f"{name} = {item}" for name, item in value.items()) or "–"
    return ", ".join(map(str, value)) if isinstance(value, list) else _text(value)
