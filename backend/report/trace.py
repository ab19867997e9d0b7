"""A traced pair as one HTML file: its picture, its text, and panels that follow a layer strip."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from backend.data.images import webp_source
from backend.report.document import (
    Document,
    Figure,
    Heading,
    Html,
    Item,
    Points,
    Section,
    Table,
    Words,
    script,
    tag,
)
from backend.views import strip
from backend.views.provenance import Provenance
from backend.views.queries import Sample
from backend.views.strip import CardRow, Site
from backend.words import listed

HOLDS = (
    "This file holds the picture and the text that were traced: whoever gets the file gets them."
)


@dataclass(frozen=True)
class Plot:
    """A figure as JSON, with its description for screen readers.

    ``steps`` are what it shows at each layer of the strip: ``marks`` over it, and the name of its
    ``frame``.
    """

    title: str
    json: str
    alt: str
    steps: Mapping[str, Mapping[str, object]] = field(default_factory=dict)


@dataclass(frozen=True)
class Cards:
    """Rows of samples at each layer of the strip."""

    title: str
    samples: Mapping[str, Sample]
    steps: Mapping[str, Sequence[CardRow]]


@dataclass(frozen=True)
class Rows:
    """A table as people read it."""

    title: str
    frame: pd.DataFrame


@dataclass(frozen=True)
class Remark:
    """A sentence that a panel says."""

    title: str
    text: str


Panel = Plot | Cards | Rows | Remark


@dataclass(frozen=True)
class GivenPair:
    """A pair that was traced: its picture as a WebP, its text, the model, and what is said of it.

    ``name`` tells it from the pair beside it, and is empty where it is alone. ``weights`` is the
    digest of the model's weights and configuration.
    """

    name: str
    webp: bytes
    text: str
    model: str
    weights: str
    notes: tuple[str, ...] = ()


def still(plot: Plot, label: str) -> str:
    """The figure as it stands at a layer of the strip, as JSON without frames."""
    step = plot.steps.get(label)
    if step is None:
        return plot.json
    figure = json.loads(plot.json)
    frames = {frame["name"]: frame for frame in figure.pop("frames", [])}
    if "frame" in step:
        frame = frames[step["frame"]]
        for at, moved in zip(frame["traces"], frame["data"], strict=True):
            figure["data"][at] |= moved
    marks = step.get("marks", ())
    figure["layout"]["shapes"] = [*figure["layout"].get("shapes", []), *marks]  # type: ignore[misc]
    return json.dumps(figure)


def trace_html(
    pairs: Sequence[GivenPair],
    sites: Sequence[Site],
    at: str,
    panels: Sequence[Panel],
    provenance: Provenance,
) -> bytes:
    """One HTML file that works offline: pairs, a strip of ``sites`` at ``at``, and panels.

    Panels follow the strip by their ``steps``, whose keys are labels of sites; an ``at`` that is no
    site's label is the last one. ValueError without any site.
    """
    labels = [site["label"] for site in sites]
    if not labels:
        raise ValueError("a strip needs a site")
    start = labels.index(at) if at in labels else len(labels) - 1
    sections: dict[str, tuple[str, list[Item]]] = {
        "pair": ("Pairs" if len(pairs) > 1 else "The pair", _pairs(pairs, panels)),
        "layers": ("By layer", [_figure(one) for one in panels if isinstance(one, Plot)]),
        "samples": ("Samples of the store", _decks(panels)),
        "tables": (
            "Tables",
            [Table(one.title, one.frame) for one in panels if isinstance(one, Rows)],
        ),
    }
    contents = [
        Section(key, title, tuple(items)) for key, (title, items) in sections.items() if items
    ]
    document = Document(
        f"Fusionscope: a trace of {listed(dict.fromkeys(pair.model for pair in pairs))}",
        HOLDS,
        tuple(contents),
        provenance,
        above=_strip(sites, start),
        styles=("trace.css",),
        scripts=("trace.js",),
    )
    # A caption may hold half a character, which cannot be written.
    return document.to_html().encode(errors="replace")


def _pairs(pairs: Sequence[GivenPair], panels: Sequence[Panel]) -> list[Item]:
    items: list[Item] = []
    for pair in pairs:
        items.append(_picture(pair))
        items.append(Words(f"Model {pair.model}, weights {pair.weights[:12]}."))
        if pair.notes:
            items.append(Points(pair.notes))
    remarks = tuple(f"{one.title}: {one.text}" for one in panels if isinstance(one, Remark))
    return [*items, Points(remarks)] if remarks else items


def _picture(pair: GivenPair) -> Html:
    source = webp_source(pair.webp)
    name = " ".join(filter(None, ("The picture that was traced", pair.name)))
    return tag(
        "figure",
        *((tag("h3", pair.name),) if pair.name else ()),
        tag("img", src=source, alt=name),
        tag("blockquote", pair.text or "(no text)", dir="auto"),
        class_="pair",
    )


def _figure(plot: Plot) -> Figure:
    steps = json.dumps(plot.steps) if plot.steps else ""
    return Figure(plot.title, plot.json, plot.alt, plot.alt, half=True, steps=steps)


def _decks(panels: Sequence[Panel]) -> list[Item]:
    items: list[Item] = []
    for at, panel in enumerate(one for one in panels if isinstance(one, Cards)):
        data = json.dumps(strip.cards(panel.samples, panel.steps))
        place = tag("div", data_cards=f"cards-{at}", aria_live="polite")
        items += [Heading(panel.title), place, script(data, f"cards-{at}")]
    return items


def _strip(sites: Sequence[Site], at: int) -> Html:
    cells = [
        tag(
            "span",
            site["short"],
            class_=" ".join(kind for kind in ("fused", "beside") if site[kind]),
            title=site["title"],
            data_label=site["label"],
        )
        for site in sites
    ]
    play = tag("button", "▶", type="button", aria_label="Play through the layers")
    row = tag(
        "div",
        *cells,
        role="slider",
        tabindex="0",
        aria_label="Layer; arrow keys move it",
        aria_valuemin="0",
        aria_valuemax=str(len(sites) - 1),
        aria_valuenow=str(at),
        aria_valuetext=sites[at]["title"],
    )
    return tag("div", play, row, tag("span", sites[at]["title"], class_="where"), class_="strip")
