"""The panel of attention and effects on tiny models: what is shown, chosen and said."""

import json
from dataclasses import replace
from functools import lru_cache
from importlib import import_module
from types import SimpleNamespace

import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.harness import _sent, alts, charts


@lru_cache
def traced(family, row):
    """A tiny model, one of its samples, and the trace."""
    from backend.inference.tracing import trace_batch

    case = import_module(f"tests.models.families.{family}").tiny()
    case.adapter.module.eval()
    sample = case.samples[row]
    return case.adapter, sample, trace_batch(case.adapter, [sample])[0]


@lru_cache
def side_of(family, hidden=(), row=2):
    from backend.inference.effects import hiding
    from dashboard.downloads import Part
    from dashboard.trace.side import Side

    adapter, sample, trace = traced(family, row)
    effects = {part: hiding(trace, part).alone(adapter, [sample]) for part in hidden}
    shown = SimpleNamespace(webp=b"webp", size=sample.images[0].size)
    pair = SimpleNamespace(traces={"this pair": trace}, shown=shown, effects=effects)
    spec = max(trace.streams, key=lambda one: bool(one.fusion_layers))
    at = {ref.label: ref for ref in spec.refs}
    return Side(None, pair, None, "cls", spec, at, Part())


def page(family, hidden=()):
    from dashboard.trace.looks import show_looks
    from tests.dashboard.test_looks import side_of

    show_looks(side_of(family, hidden))


def shown(family, hidden=()):
    side_of(family, hidden)  # the imports take longer than a page may
    at = AppTest.from_function(page, args=(family, hidden), default_timeout=60).run()
    assert not at.exception
    return at


def words(at):
    return "\n".join(str(one.value) for one in [*at.markdown, *at.caption]).translate(
        {92: None, 0x2060: None}
    )


def steps(at, key):
    return _sent(at)[key][0]["steps"]


def test_words_and_patches_that_read_each_other_follow_the_strip():
    at = shown("dual_stream")  # text reads at 2 and 3, vision at 1 and 5
    drawn = steps(at, "trace-attention")
    lines = {label: one["marks"][-1]["label"]["text"] for label, one in drawn.items()}
    assert lines["0"] == "Nothing is looked at before text layer 2.fusion."
    assert lines["5.fusion"].startswith("text layer 3.fusion; reddest: ")
    columns = charts(at)["trace-words-and-meets"]["layout"]["xaxis"]["ticktext"]
    assert columns == ["1<br>.fusion", "5<br>.fusion"], "what patches read, not who reads them"
    centres = {
        label: sum(mark["x0"] + mark["x1"] for mark in one["marks"]) / 4
        for label, one in steps(at, "trace-words-and-meets").items()
        if one["marks"]
    }
    assert centres["1.fusion"] == 0 and centres["5.fusion"] == 1 and "0" not in centres
    assert "Most at text layer 3.fusion: patch" in alts(at)["trace-attention"]
    assert set(side_of("dual_stream", ()).part.rows) == {
        "attention", "words and meets", "where attention goes",
    }  # fmt: skip


def test_a_word_a_head_and_a_patch_change_what_is_shown():
    at = shown("dual_stream")
    before, heat = steps(at, "trace-attention"), charts(at)["trace-words-and-meets"]
    at.get_by_key("trace-word").set_value(2).run()
    word = steps(at, "trace-attention")
    assert word != before
    at.get_by_key("trace-head").set_value(1).run()
    assert steps(at, "trace-attention") != word
    at.session_state["trace-patch"] = 3
    at.run()
    chosen = [m for m in steps(at, "trace-attention")["0"]["marks"] if m.get("name") == "selected"]
    assert [chosen[-1][edge] for edge in ("x0", "x1", "y0", "y1")] == [0, 12, 24, 48]
    assert charts(at)["trace-words-and-meets"] != heat
    assert "Words of patch 3 (25 % from the left, 75 % from the top)" in words(at)


def test_what_a_pair_does_not_have_is_not_chosen_any_more(monkeypatch):
    at = shown("dual_stream")
    at.get_by_key("trace-word").set_value(4)
    at.get_by_key("trace-head").set_value(1).run()
    assert "Attention of all words" not in words(at)
    shorter = side_of("dual_stream", row=0)  # two words
    monkeypatch.setattr(f"{__name__}.side_of", lambda *_: shorter)
    at.session_state["trace-patch"] = 99
    assert "Attention of all words" in words(at.run()) and "Words of all patches" in words(at)
    assert not at.exception


def test_where_only_words_read_a_patch_shows_who_reads_it():
    at = shown("llava")
    assert "trace-words-and-meets" not in charts(at)
    assert "Click a patch of the picture" in words(at)
    from backend.views.attention import looking

    trace = traced("llava", 2)[2]
    patches = side_of("llava").trace.tokens[looking(trace).patches]
    at.session_state["trace-patch"] = int(len(patches.roles) - 1)
    at.run()
    assert "trace-words-and-meets" in charts(at)
    assert "patches read no words in this model" in words(at)


def test_where_only_patches_read_a_word_is_always_chosen(monkeypatch):
    one_way = side_of("dual_stream", row=3)
    trace = one_way.trace
    read = {key: value for key, value in trace.attention.items() if key.reads == "text"}
    pair = SimpleNamespace(**vars(one_way.traced))
    pair.traces = {"this pair": replace(trace, attention=read)}
    monkeypatch.setattr(f"{__name__}.side_of", lambda *_: replace(one_way, traced=pair))
    at = AppTest.from_function(page, args=("", ()), default_timeout=60).run()
    assert not at.exception and at.get_by_key("trace-word").value == 1
    assert "Attention of each patch to " in words(at)


@pytest.mark.parametrize("family", ["vilt", "blip2"])
def test_every_kind_of_meet_has_its_panel(family):
    at = shown(family)
    assert {"trace-attention", "trace-where-attention-goes"} <= set(charts(at))


def test_a_model_that_does_not_meet_says_so():
    at = shown("clip")
    assert not charts(at)
    assert "No words of this model meet patches of the picture." in words(at)


def test_what_hiding_does_stands_beside_it_with_the_rank_correlation_at_every_meet():
    at = shown("dual_stream", ("patches", "words"))
    effects = side_of("dual_stream", ("patches", "words")).traced.effects["patches"]
    said = words(at)
    assert "Rank correlation of attention and effect at text layer 3.fusion: " in said
    assert "(Spearman, n = 4)" in said
    top = int(abs(effects.values).argmax())
    assert f"by {abs(effects.values[top]):.3f}" in alts(at)["trace-effect"].split(";")[0]
    drawn = charts(at)
    assert (
        drawn["trace-agreement-of-patches"]["layout"]["xaxis"]["ticktext"][0]
        == "text<br>2<br>.fusion"
    )
    assert drawn["trace-agreement-of-words"]["layout"]["xaxis"]["ticktext"][0].startswith("vision")
    colours = json.dumps(drawn["trace-effect"]["layout"]["shapes"])
    assert ("rgba(47,127,193" in colours) == bool((effects.values > 0).any())
    assert [button.label for button in at.button] == []
