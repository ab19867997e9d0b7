"""Every page of the dashboard on a tiny model of every family."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from backend.store import Store
from dashboard.navigation import PAGES
from tests.pages.harness import APP, alts, charts
from tests.paths.made import FAMILIES, PROBED, Made

Walk = Callable[..., Iterator[tuple[str, AppTest]]]

TITLES = {entry.file: entry.title for entry in PAGES}
CHARTS = ("transitions", "alignment", "dimensionality", "projection", "compare")
"""Pages that draw something of any measured and projected model with two streams."""


@pytest.fixture
def walk(monkeypatch: pytest.MonkeyPatch) -> Walk:
    """Opens a store on one page after the other: (its name, what stands there)."""

    def go(store: Path, *pages: str, **query: str) -> Iterator[tuple[str, AppTest]]:
        monkeypatch.setenv("FUSIONSCOPE_STORE", str(store))
        at = AppTest.from_file(str(APP), default_timeout=120)
        for name in pages or [entry.file for entry in PAGES]:
            at.query_params.update(query)
            if name == PAGES[0].file:
                at.run()
            else:
                at.switch_page(f"pages/{name}.py").run()
            assert not at.exception and not at.error, name
            assert at.title[0].value == TITLES[name]
            assert "were ignored" not in words(at), name
            yield name, at

    return go


def words(at: AppTest) -> str:
    """All text of the page: what stands there, titles of widgets, their options and help."""
    kinds = ("title", "header", "subheader", "markdown", "caption", "text", "code", "info")
    shown = [str(item.value) for kind in kinds for item in getattr(at, kind)]
    for kind in ("selectbox", "button", "button_group", "toggle", "multiselect"):
        for widget in at.get(kind):
            shown += [widget.label, *map(str, getattr(widget, "options", ()))]
            shown += [str(getattr(widget, "value", "")), str(getattr(widget, "help", ""))]
    shown += alts(at).values()
    shown += [frame.value.to_csv() for frame in at.dataframe]
    return "\n".join(shown).replace("\\", "")


def curves(figure: dict[str, Any]) -> int:
    """How many of a figure's lines have a point."""
    lines = [trace for trace in figure["data"] if trace.get("mode") == "lines+markers"]
    return sum(bool(len(trace["hovertext"])) for trace in lines)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_page_opens_on_every_family(made: Made, walk: Walk, family: str) -> None:
    specs = Store(made.released).run(made.runs[family]).streams
    streams = [spec.name for spec in specs if "mean" in spec.poolings]
    for page, at in walk(made.released, runs=made.runs[family], pooling="mean"):
        assert not at.warning, page
        shown, figures = words(at), charts(at)
        assert f"tiny-{family.replace('_', '-')}" in shown, page
        assert "placement" not in shown.lower() and "seed" not in shown.lower(), page
        assert all(alts(at).values()), page
        assert bool(figures) or page not in CHARTS, page
        if page == "transitions":
            assert all(curves(figures[f"curve-{name}"]) for name in streams)
        if page == "dimensionality":
            assert all(curves(figures[f"effective_dimension-{name}"]) for name in streams)
        if page == "alignment":
            assert curves(figures["matching"])
            retrieval = [figure for key, figure in figures.items() if key.startswith("retrieval")]
            assert [curves(figure) for figure in retrieval] == [1, 1]


def test_what_is_read_from_the_layers_of_a_probed_model_is_drawn(made: Made, walk: Walk) -> None:
    ((_, at),) = walk(made.released, "probes", runs=made.runs[PROBED])
    assert charts(at)


@pytest.mark.parametrize("pair", [("query", "text"), ("vision", "image")])
def test_any_two_of_a_models_four_streams_are_compared(
    made: Made, walk: Walk, pair: tuple[str, str]
) -> None:
    asked = {"pair": "~".join(pair), "pooling": "mean"}
    ((_, at),) = walk(made.released, "alignment", runs=made.runs["blip2"], **asked)
    figures = charts(at)
    assert f"{pair[0]} layer, with its matching {pair[1]} layer" in json.dumps(figures["matching"])
    for query, target in (pair, pair[::-1]):
        assert curves(figures[f"retrieval-{query}_to_{target}"])
        title = figures[f"retrieval-{query}_to_{target}"]["layout"]["yaxis"]["title"]["text"]
        assert title == f"recall at 5, {query} to {target}"


def test_every_page_opens_on_placements_beside_models_of_other_kinds(
    made: Made, walk: Walk
) -> None:
    names = ("none", "late", "clip", "blip2", "llava")
    for page, at in walk(made.every, runs=",".join(made.runs[name] for name in names)):
        assert not at.warning, page
        shown = words(at)
        assert "placements and models" in shown.lower(), page
        if page in CHARTS:
            assert charts(at), page
            assert all(name in shown for name in ("late", "tiny-clip", "tiny-llava")), page


def test_models_on_other_samples_are_not_set_against_each_other(made: Made, walk: Walk) -> None:
    chosen = ",".join(made.runs[name] for name in ("clip", "whisper"))
    for page, at in walk(made.released, runs=chosen):
        said = [item.value for item in at.warning]
        if page in ("transitions", "alignment", "dimensionality", "compare"):
            assert len(said) == 1, page
        assert all("cannot be compared" in warning for warning in said)
