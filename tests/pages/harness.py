"""What tests of pages share: the charts of a page in Streamlit's own test harness."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from streamlit.runtime.scriptrunner import RerunData
from streamlit.testing.v1 import AppTest, local_script_runner
from streamlit.testing.v1.element_tree import Widget

from dashboard.navigation import PAGES

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "app.py"
DEMO = ROOT / "cache" / "demo"


def _sent(at: AppTest) -> dict[str, tuple[dict[str, Any], str]]:
    """{key: what is said of a chart, its figure's JSON}, as the browser gets them."""
    out = {}
    for element in at.get("bidi_component"):
        if not element.proto.bytes:
            continue  # another element, such as a strip
        head, _, figure = element.proto.bytes.partition(b"\n")
        out[element.key] = json.loads(head), figure.decode()
    return out


def open_page(
    monkeypatch: pytest.MonkeyPatch, store: Path, page: str = PAGES[0].file, **query: str
) -> AppTest:
    """A page of a store, at an address."""
    monkeypatch.setenv("FUSIONSCOPE_STORE", str(store))
    at = AppTest.from_file(str(APP), default_timeout=180)
    if page != PAGES[0].file:  # which has no file to switch to before it runs
        at.switch_page(f"pages/{page}.py")
    for key, value in query.items():
        at.query_params[key] = value
    return at.run()


def open_trace(monkeypatch: pytest.MonkeyPatch, store: Path = DEMO, **query: str) -> AppTest:
    """The Trace page of a store, at an address."""
    return open_page(monkeypatch, store, "trace", **query)


def charts(at: AppTest) -> dict[str, dict[str, Any]]:
    """{key: figure} of the page."""
    return {key: json.loads(figure) for key, (_, figure) in _sent(at).items()}


def marks(at: AppTest) -> dict[str, list[dict[str, Any]]]:
    """{key: what is drawn over a figure}."""
    return {key: head["marks"] for key, (head, _) in _sent(at).items()}


def steps(at: AppTest) -> dict[str, dict[str, Any]]:
    """{key: what a figure shows at each layer of the strip}."""
    return {key: head["steps"] for key, (head, _) in _sent(at).items() if "steps" in head}


def alts(at: AppTest) -> dict[str, str]:
    """{key: the words that stand for a chart where it is not seen}."""
    return {key: head["alt"] for key, (head, _) in _sent(at).items()}


def tables(at: AppTest) -> dict[str, list[list[str]]]:
    """{key: head and rows} of the page's short tables."""
    out = {}
    for element in at.get("bidi_component"):
        sent = json.loads(element.proto.json) if element.proto.json else {}
        if "head" in sent:
            out[element.key] = [sent["head"], *sent["rows"]]
    return out


def as_sent(at: AppTest) -> list[str]:
    """The figures' JSON."""
    return [figure for _, figure in _sent(at).values()]


def part_of(at: AppTest, widget: Widget) -> str | None:
    """The fragment that holds a widget; None where it is in none."""
    held = at._session_state._state._new_widget_state.widget_metadata[widget.id]
    return held.fragment_id


def run_part(at: AppTest, widget: Widget) -> AppTest:
    """Run what a browser runs when a widget was touched: only the fragment that holds it.

    Then ``at`` holds what that drew.
    """
    with pytest.MonkeyPatch.context() as patch:
        of_part = partial(RerunData, fragment_id=part_of(at, widget))
        patch.setattr(local_script_runner, "RerunData", of_part)
        return at.run()
