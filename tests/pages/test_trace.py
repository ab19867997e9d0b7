"""The Trace page on the demo, with a real model."""

from functools import partial

import pytest

from backend.inference.requests import Busy
from backend.inference.service import Service
from tests.pages.harness import charts, open_trace


@pytest.fixture
def visit(monkeypatch):
    return partial(open_trace, monkeypatch)


def words(at):
    kinds = ("markdown", "caption", "info", "text", "error", "warning")
    return "\n".join(str(item.value) for kind in kinds for item in getattr(at, kind))


def pressed(at):
    """Press Trace; the page waits until there is something to see."""
    next(button for button in at.button if button.label == "Trace").click()
    at.run()
    assert not at.exception and not at.error, words(at)
    assert "Path" in [header.value for header in at.header]
    return at


def test_a_drawn_macro_is_traced_with_and_without_fusion(visit):
    at = visit()
    assert not at.exception
    assert [tab.label for tab in at.selectbox if tab.label == "Model"]
    at = pressed(at)
    assert not at.exception
    drawn = charts(at)
    assert {
        *("trace-vision-path", "trace-text-path", "trace-vision-similarity", "trace-vision-norm")
    } <= set(drawn)
    names = {trace.get("name") for trace in drawn["trace-vision-path"]["data"]}
    assert {"this pair", "without fusion"} <= names
    assert len(drawn["trace-vision-path"]["frames"]) == 17, "13 layers, 3 fusions, the norm"
    said = words(at).replace("\\", "")
    assert "without fusion parts from the pair" in said
    assert "vision at layer 10.fusion and text at layer 10.fusion." in said
    assert "irony" in said


def test_a_full_queue_is_said_and_nothing_is_lost(visit, monkeypatch):
    def full(service, request):
        raise Busy("16 requests are waiting already, no more are taken", hint="Try again soon.")

    at = pressed(visit())
    drawn = set(charts(at))
    monkeypatch.setattr(Service, "submit", full)
    for label in ("Trace", "Hide each patch and see what it does"):
        next(button for button in at.button if button.label == label).click()
        at.run()
        assert ["requests are waiting" in item.value for item in at.warning] == [True], label
        assert set(charts(at)) == drawn


def test_a_range_of_the_strip_is_what_every_panel_shows(visit):
    at = pressed(visit(span="3~7", layer="5"))
    assert "were ignored" not in words(at)
    drawn = charts(at)
    frames = [frame["name"] for frame in drawn["trace-vision-path"]["frames"]]
    assert frames == ["3", "4", "5", "6", "7"]
    assert drawn["trace-vision-norm"]["layout"]["xaxis"]["range"] == [2.5, 7.5]
    whole = pressed(visit())
    frames = [frame["name"] for frame in charts(whole)["trace-vision-path"]["frames"]]
    for span in ((frames[0], frames[-1]), (frames[-1], frames[0]), ("7", "9")):
        whole.query_params["span"] = "~".join(span)
        whole.query_params["layer"] = "5"
        assert "were ignored" not in words(whole.run())
    at = visit(span="3~99")
    assert "these runs have no span" in words(pressed(at)).replace("\\", "")


def test_a_pinned_pair_stands_beside_the_next_one_until_it_is_unpinned(visit):
    at = pressed(visit())
    alone = set(charts(at))
    next(button for button in at.button if button.label == "Pin this pair").click()
    at.run()
    assert set(charts(at)) == alone
    other = next(one for one in at.selectbox if one.label == "Model")
    early = next(label for label in other.options if label.startswith("macros-early"))
    other.set_value(next(k for k in other.options if k == early))
    at.run()
    at = pressed(at)
    pinned = {name for name in charts(at) if name.startswith("trace-pinned-")}
    assert {name.replace("pinned-", "") for name in pinned} == alone
    assert "Pinned: macros-late" in words(at).replace("\\", "")
    next(button for button in at.button if button.label == "Unpin").click()
    at.run()
    assert not [name for name in charts(at) if name.startswith("trace-pinned-")]


def test_a_stored_sample_is_drawn_again_and_lies_on_its_stored_points(visit):
    at = visit(sample="macros-test-3")
    at.get_by_key("trace-source").set_value("From the store").run()
    ids = at.get_by_key("trace-sample").options
    at.get_by_key("trace-sample").set_value(ids[4]).run()
    assert at.query_params["sample"] == ids[4]
    at = pressed(at)
    figure = charts(at)["trace-vision-path"]
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
