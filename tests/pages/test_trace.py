"""The Trace page on the demo, with a real model."""

import time

import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.harness import APP, ROOT, charts

DEMO = ROOT / "cache" / "demo"


@pytest.fixture
def visit(monkeypatch):
    def go(store=DEMO, **query):
        monkeypatch.setenv("FUSIONSCOPE_STORE", str(store))
        at = AppTest.from_file(str(APP), default_timeout=120)
        at.run()
        at.switch_page("pages/trace.py")
        for key, value in query.items():
            at.query_params[key] = value
        return at.run()

    return go


def words(at):
    kinds = ("markdown", "caption", "info", "text", "error", "warning")
    return "\n".join(str(item.value) for kind in kinds for item in getattr(at, kind))


def pressed(at):
    """Press Trace, and wait until there is something to see."""
    next(button for button in at.button if button.label == "Trace").click()
    at.run()
    until = time.monotonic() + 60
    while "Path" not in [header.value for header in at.header]:
        assert time.monotonic() < until and not at.exception and not at.error, words(at)
        time.sleep(0.2)
        at.run()
    return at


def test_a_drawn_macro_is_traced_with_and_without_fusion(visit):
    at = visit()
    assert not at.exception
    assert [tab.label for tab in at.selectbox if tab.label == "Model"]
    at = pressed(at)
    assert not at.exception
    drawn = charts(at)
    assert {"path-vision", "path-text", "standing-similarity", "standing-norm"} <= set(drawn)
    names = {trace.get("name") for trace in drawn["path-vision"]["data"]}
    assert {"this pair", "without fusion"} <= names
    assert len(drawn["path-vision"]["frames"]) == 16, "13 layers and 3 fusions"
    assert "**without fusion** parts from the pair: vision at layer 10.fusion" in words(at).replace(
        "\\", ""
    )
    assert "irony" in words(at)


def test_a_stored_sample_is_drawn_again_and_lies_on_its_stored_points(visit):
    at = visit(sample="macros-test-3")
    at.get_by_key("trace-source").set_value("From the store").run()
    ids = at.get_by_key("trace-sample").options
    at.get_by_key("trace-sample").set_value(ids[4]).run()
    assert at.query_params["sample"] == ids[4]
    at = pressed(at)
    figure = charts(at)["path-vision"]
    points = figure["data"][0]["hovertext"]
    last = figure["frames"][-1]["data"]
    from tests.pages.test_compare import numbers

    at_sample = points.index(ids[4])
    assert numbers(last[2]["x"])[0] == numbers(last[0]["x"])[at_sample]
    assert numbers(last[2]["y"])[0] == numbers(last[0]["y"])[at_sample]


def test_a_store_without_models_says_what_it_takes(visit, tmp_path, store_factory):
    store_factory.make_store(
        tmp_path / "store", placements=("late",), n=12, depth=4, checkpoint=False
    )
    at = visit(tmp_path / "store")
    assert not at.exception
    assert "No model can be traced here" in words(at)
    assert "fusionscope serve" in words(at)


def test_a_text_that_is_too_long_is_cut_and_said_and_an_unknown_model_is_named(visit):
    at = visit(model="zzz")
    assert "these runs have no model zzz" in words(at).replace("\\", "")
    at.text_input[0].set_value("word " * 1_000)
    at = pressed(at)
    assert "tokens of the text did not fit" in words(at)
