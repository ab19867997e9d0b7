"""The whole trace as a file: what the page shows of a real model, and no more in its name."""

import json
import time
from types import SimpleNamespace

import pytest
import streamlit as st

from backend.report.trace import Remark
from backend.types import StreamSpec
from dashboard.downloads import Part
from dashboard.trace.live import Shown
from dashboard.trace.side import Side
from dashboard.trace.take_away import whole
from tests.dashboard.test_downloads import key_of
from tests.pages.harness import charts, open_trace
from tests.report.test_trace import Read
from tests.report.traced import ANYWHERE, SPEC, webp


@pytest.fixture(scope="module")
def page():
    """The Trace page of the demo with a traced pair, its strip at vision layer 8."""
    with pytest.MonkeyPatch.context() as patch:
        at = open_trace(patch, layer="8")
        next(button for button in at.button if button.label == "Trace").click()
        at.run()
        until = time.monotonic() + 60
        while "Path" not in [header.value for header in at.header]:
            assert time.monotonic() < until and not at.exception and not at.error
            time.sleep(0.2)
            at.run()
        yield at


@pytest.fixture
def offered(page, monkeypatch):
    """{file name: what makes it} of the menu."""
    made = {}
    button = st.download_button

    def recorded(label, data, file_name, *args, **settings):
        made[file_name] = data
        return button(label, data, file_name, *args, **settings)

    monkeypatch.setattr(st, "download_button", recorded)
    keys = [key_of(popover.proto.popover.id) for popover in page.get("popover")]
    (menu,) = (key for key in keys if key.endswith("-downloads"))
    page.session_state[menu] = True
    page.run()
    assert not page.exception
    return made


def test_the_whole_trace_holds_every_figure_of_the_page_at_its_layer(page, offered):
    made = offered["trace-macros-late-s0.html"]()
    read = Read(made.decode())
    (slider,) = [given for _, given, _ in read.elements if given.get("role") == "slider"]
    assert slider["aria-valuetext"] == "vision layer 8"
    names = [given["data-figure"] for _, given, _ in read.elements if "data-figure" in given]
    held = {json.dumps(read.data(one), sort_keys=True) for one in names}
    shown = {json.dumps(figure, sort_keys=True) for figure in charts(page).values()}
    assert held == shown and len(shown) >= 7
    made_of = read.data("provenance")
    assert "layer=8" in made_of["views"][0]["address"]
    assert [run["model"] for run in made_of["runs"]]


def test_a_pinned_pair_is_beside_the_one_whose_layers_the_strip_has():
    part = Part(shown={"layer": "2"})
    mine = {ref.label: ref for ref in SPEC.refs}
    other = StreamSpec.of("text", "text", 2, 4)
    sides = [
        side(part, "pinned", "deep", "a cat", other, dict.fromkeys(mine, other.refs[0])),
        side(part, "", "../late/0", "a dog", SPEC, mine),
    ]
    part.panels["turn"] = Remark("turn", "said once")
    ((name, make),) = whole(sides).items()
    assert name == "trace-..-late-0.html"
    read = Read(make(ANYWHERE).decode())
    (slider,) = [given for _, given, _ in read.elements if given.get("role") == "slider"]
    assert slider["aria-valuetext"] == "vision layer 2 (◆ fusion)"
    assert read.texts("blockquote") == ["a cat", "a dog"]
    assert read.texts("h3") == ["pinned", "traced last"]
    assert read.texts("li").count("turn: said once") == 1
    assert "2 tokens of the text did not fit into the model and were left out." in read.texts("li")


def side(part, name, model, caption, spec, at):
    """A side of a made-up trace, whose text was cut."""
    trace = SimpleNamespace(cut=2, unsupported={}, digest="0" * 16)
    traced = SimpleNamespace(
        traces={"this pair": trace},
        offer=SimpleNamespace(label=model),
        shown=Shown(webp(), (64, 48)),
        asked=SimpleNamespace(caption=caption),
        outcome=SimpleNamespace(notes=()),
    )
    return Side(None, traced, None, "cls", spec, at, part, name)
