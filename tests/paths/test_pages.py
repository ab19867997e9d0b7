"""Every page of the dashboard on a tiny model of every family."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from backend.store import Store
from backend.view.navigation import PAGES
from tests.paths.made import FAMILIES, Made

APP = Path(__file__).resolve().parents[2] / "app.py"
Visit = Callable[..., AppTest]

CHARTS = ("transitions", "alignment", "dimensionality", "projection", "compare")
"""Pages that draw something of any measured and projected model with two streams."""


@pytest.fixture
def visit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Visit]:
    def go(store: Path, page: str, **query: str) -> AppTest:
        monkeypatch.setenv("FUSIONSCOPE_STORE", str(store))
        at = AppTest.from_file(str(APP), default_timeout=120)
        at.query_params.update(query)
        at.run()
        if page != PAGES[0].file:
            at.switch_page(f"pages/{page}.py")
            at.query_params.update(query)
            at.run()
        return at

    yield go


def words(at: AppTest) -> str:
    """All text of the page: what stands there, titles of widgets, their options and help."""
    kinds = ("title", "header", "subheader", "markdown", "caption", "text", "code", "info")
    shown = [str(item.value) for kind in kinds for item in getattr(at, kind)]
    for kind in ("selectbox", "button", "button_group", "toggle", "multiselect"):
        for widget in at.get(kind):
            shown += [widget.label, *map(str, getattr(widget, "options", ()))]
            shown += [str(getattr(widget, "value", "")), str(getattr(widget, "help", ""))]
    shown += [chart.proto.alt for chart in at.get("plotly_chart")]
    shown += [frame.value.to_csv() for frame in at.dataframe]
    return "\n".join(shown).replace("\\", "")


def drawn(at: AppTest) -> dict[str, str]:
    return {chart.key: json.loads(chart.proto.spec) for chart in at.get("plotly_chart")}


@pytest.mark.parametrize("page", [entry.file for entry in PAGES])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_page_opens_on_every_family(made: Made, visit: Visit, family: str, page: str) -> None:
    model = f"tiny-{family.replace('_', '-')}"
    at = visit(made.released, page, runs=made.runs[family])
    assert not at.exception and not at.error and not at.warning
    assert at.title[0].value == page.capitalize()
    shown = words(at)
    assert model in shown
    assert "placement" not in shown.lower() and "seed" not in shown.lower()
    assert "were ignored" not in shown
    if page in CHARTS:
        assert drawn(at)
        assert all(chart.proto.alt for chart in at.get("plotly_chart"))
        for stream in Store(made.released).run(made.runs[family]).streams:
            if page in ("transitions", "dimensionality"):
                assert any(key.endswith(f"-{stream.name}") for key in drawn(at)), stream.name
