"""What if: every change is the one that was asked for, and runs with as few passes as can be."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backend.errors import InputError
from backend.inference import counterfactuals as what_if
from backend.inference.cache import Recall, ResultCache
from backend.inference.difference import parting
from backend.inference.tracing import trace_batch
from backend.inference.values import Picture, Trace
from backend.inference.what_if import BOTH, CAPTION, GIVEN, IMAGE, NO_FUSION
from backend.inference.what_if import what_if as as_work
from backend.models.adapter import Adapter
from backend.models.edits import Cut
from backend.types import LayerRef
from tests.models.families.common import Case


def made(family: str) -> Case:
    case: Case = import_module(f"tests.models.families.{family}").tiny()
    return case


@pytest.fixture(scope="module")
def case() -> Case:
    return made("dual_stream")  # co-attention at text 2, 3 and vision 1, 5


RED = Picture(Image.new("RGB", (20, 20), (200, 0, 0)), "digest of red")
BLUE = Picture(Image.new("RGB", (20, 20), (0, 0, 200)), "digest of blue")


def passes(adapter: Adapter, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pairs each forward pass takes, from now on."""
    sizes: list[int] = []
    forward = adapter.forward
    monkeypatch.setattr(adapter, "forward", lambda i: sizes.append(len(i)) or forward(i))
    return sizes


def assert_same(trace: Trace, expected: Trace) -> None:
    assert trace.vectors.keys() == expected.vectors.keys()
    for key, vector in expected.vectors.items():
        np.testing.assert_allclose(trace.vectors[key], vector, atol=2e-5)


def test_another_caption_or_image_leaves_the_other_half(case: Case) -> None:
    sample, other = case.samples[0], case.samples[1]
    worded = what_if.other_caption(sample, "a cat")
    assert (worded.sample.text, worded.sample.images) == ("a cat", sample.images)
    seen = what_if.other_image(sample, other.images[0])
    assert (seen.sample.text, seen.sample.images) == (sample.text, other.images)
    both = what_if.other_pair(sample, "a cat", other.images[0])
    assert (both.sample.text, both.sample.images) == ("a cat", other.images)
    assert worded.edits == seen.edits == both.edits == ()
    names = [change.name for change in (what_if.given(sample), worded, seen, both)]
    assert names == [GIVEN, CAPTION, IMAGE, BOTH]


def test_what_is_blank_is_what_the_model_needs(case: Case) -> None:
    image, text = what_if.blanks(case.adapter, case.samples[0])
    assert (image.name, text.name) == ("blank image", "blank text")
    assert np.unique(np.asarray(image.sample.images[0])).tolist() == [128]
    assert image.sample.text == case.samples[0].text
    assert (text.sample.text, text.sample.images) == ("", case.samples[0].images)
    speech = made("whisper")
    names = [blank.name for blank in what_if.blanks(speech.adapter, speech.samples[0])]
    assert names == ["blank text", "silence"]


def test_fusion_is_cut_at_a_layer_in_a_stream_or_everywhere(case: Case) -> None:
    adapter, sample = case.adapter, case.samples[0]

    def cut_at(*where: object) -> list[tuple[str, int]]:
        change = what_if.without_fusion(adapter, sample, *where)
        assert all(isinstance(edit, Cut) for edit in change.edits)
        return [(edit.stream, edit.meet.layer) for edit in change.edits]

    assert cut_at() == [("vision", 1), ("vision", 5), ("text", 2), ("text", 3)]
    assert cut_at(3) == [("text", 3)]
    assert cut_at(None, "vision") == [("vision", 1), ("vision", 5)]
    assert cut_at(2, "text") == [("text", 2)]
    with pytest.raises(InputError, match=r"at layer 4\. Its fusion layers: 1, 2, 3, 5\."):
        cut_at(4)
    with pytest.raises(InputError, match=r"stream vision.*layer 2\. Its fusion layers: 1, 5"):
        cut_at(2, "vision")
    with pytest.raises(InputError, match="no stream 'sound'"):
        cut_at(None, "sound")


def test_names_say_what_was_cut(case: Case) -> None:
    adapter, sample = case.adapter, case.samples[0]
    cuts = [what_if.without_fusion(adapter, sample, *at) for at in ((), (3,), (5, "vision"))]
    assert [change.name for change in cuts] == [
        *(NO_FUSION, "without fusion at 3", "without fusion at vision 5")
    ]


@pytest.mark.parametrize("family", ["clip", "siglip", "vision_text_dual"])
def test_a_model_whose_towers_meet_in_the_loss_says_that_there_is_nothing_to_cut(
    family: str,
) -> None:
    towers = made(family)
    with pytest.raises(InputError, match=r"cannot be cut.*meet in the training loss alone"):
        what_if.without_fusion(towers.adapter, towers.samples[0])


@pytest.mark.parametrize("family", ["vilt", "lxmert", "blip2", "llava", "idefics", "whisper"])
def test_every_other_family_can_be_cut_at_all_its_meets(family: str) -> None:
    other = made(family)
    assert what_if.why_not_cut(other.adapter) == ""
    change = what_if.without_fusion(other.adapter, other.samples[0])
    count = sum(len(spec.meets) for spec in other.adapter.streams)
    assert len(change.edits) == count > 0


def test_a_model_without_the_means_gives_its_own_reason(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(stream: str, meet: object) -> tuple:
        raise InputError("a meet cannot be cut", hint="Its kernel is closed.")

    monkeypatch.setattr(case.adapter, "cut", refuse)
    with pytest.raises(InputError, match=r"Its kernel is closed\."):
        what_if.without_fusion(case.adapter, case.samples[0])


def test_traces_come_in_order_with_one_pass_for_each_set_of_edits(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, sample = case.adapter, case.samples[0]
    wanted = [
        what_if.given(sample),
        what_if.without_fusion(adapter, sample),
        what_if.other_caption(sample, "the dog"),
        what_if.without_fusion(adapter, sample, 3),
        *what_if.blanks(adapter, sample),
        what_if.without_fusion(adapter, case.samples[1]),
    ]
    expected = [trace_batch(adapter, [each.sample], edits=each.edits)[0] for each in wanted]
    sizes = passes(adapter, monkeypatch)
    traces = what_if.trace_all(adapter, wanted)
    assert sizes == [4, 2, 1]
    for trace, own in zip(traces, expected, strict=True):
        assert trace.tokens["text"].texts == own.tokens["text"].texts
        assert_same(trace, own)
    last = (LayerRef("text", 4), "cls")
    assert not np.allclose(traces[0].vectors[last], traces[1].vectors[last], atol=1e-2)


def test_with_the_fusion_cut_another_image_does_not_reach_the_text(case: Case) -> None:
    adapter, sample = case.adapter, case.samples[0]
    other = what_if.other_image(sample, Image.new("RGB", (20, 20), (200, 0, 0))).sample
    both = [what_if.without_fusion(adapter, each) for each in (sample, other)]
    first, second = what_if.trace_all(adapter, both)
    for ref in adapter.stream("text").refs:
        np.testing.assert_allclose(
            first.vectors[ref, "mean"], second.vectors[ref, "mean"], atol=2e-5
        )


def test_all_at_once_is_each_by_itself_and_the_fourth_pair_has_both_others(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, sample = case.adapter, case.samples[0]
    cuts = what_if.without_fusion(adapter, sample, 3).edits
    expected = {
        GIVEN: trace_batch(adapter, [sample])[0],
        CAPTION: trace_batch(adapter, [replace(sample, text="a cat")])[0],
        IMAGE: trace_batch(adapter, [replace(sample, images=(RED.image,))])[0],
        BOTH: trace_batch(adapter, [replace(sample, text="a cat", images=(RED.image,))])[0],
        "blank image": trace_batch(adapter, [sample.blank("vision")])[0],
        "blank text": trace_batch(adapter, [sample.blank("text")])[0],
        "without fusion at 3": trace_batch(adapter, [sample], edits=cuts)[0],
    }
    sizes = passes(adapter, monkeypatch)
    work = as_work(caption="a cat", image=RED, blanks=True, cut=3)
    traces = work.alone(adapter, [sample])
    assert list(traces) == list(expected)
    for name, trace in traces.items():
        assert_same(trace, expected[name])
    assert sizes == [6, 1]


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"caption": "a cat"},
        {"image": RED},
        {"caption": "a cat", "image": RED},
        {"blanks": True, "cut": "all"},
    ],
)
def test_admission_is_told_how_many_pairs_the_largest_pass_takes(
    case: Case, monkeypatch: pytest.MonkeyPatch, asked: dict
) -> None:
    sizes = passes(case.adapter, monkeypatch)
    work = as_work(**asked)
    traces = work.alone(case.adapter, [case.samples[0]])
    assert max(sizes) == work.at_once
    assert (BOTH in traces) == (len(asked) == 2 and "image" in asked)


def test_what_is_asked_differently_has_another_key() -> None:
    asked = [
        {},
        {"caption": "a"},
        {"caption": "b"},
        {"image": RED},
        {"image": BLUE},
        {"blanks": True},
        {"cut": "all"},
        {"cut": 0},
        {"cut": 3},
        {"caption": "a", "image": RED},
    ]
    assert len({as_work(**each).key for each in asked}) == len(asked)
    again = Picture(RED.image.copy(), RED.digest, ("turned upright",))
    assert as_work(image=RED).key == as_work(image=again).key


def test_attention_is_read_in_the_pass_of_the_pair_alone_and_changes_no_vector(case: Case) -> None:
    adapter, sample = case.adapter, case.samples[0]
    traces = as_work(cut=3).alone(adapter, [sample])
    cut = traces["without fusion at 3"]
    assert traces[GIVEN].attention and not cut.attention
    plain = trace_batch(adapter, [sample], attention=False)[0]
    for key, vector in plain.vectors.items():
        np.testing.assert_allclose(traces[GIVEN].vectors[key], vector, rtol=1e-5, atol=1e-5)
    assert all(ref is None for ref in parting(traces[GIVEN], plain).values())
    parts = parting(traces[GIVEN], cut)
    assert parts["text"] == LayerRef("text", 3, "fusion")


def test_with_all_fusion_cut_each_stream_parts_where_it_first_takes_the_other_in(
    case: Case,
) -> None:
    traces = as_work(cut="all").alone(case.adapter, [case.samples[0]])
    assert parting(traces[GIVEN], traces[NO_FUSION]) == {
        "vision": LayerRef("vision", 1, "fusion"),
        "text": LayerRef("text", 2, "fusion"),
    }


def test_what_was_traced_before_is_not_run_again(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, sample = case.adapter, case.samples[0]
    cache = ResultCache(2**30, 60)
    sizes = passes(adapter, monkeypatch)

    def traced(**asked: Any) -> dict[str, Trace]:
        recall = Recall(cache, "the pair")
        traces = as_work(**asked).run(adapter, [sample], recall)
        recall.keep()
        return traces

    pair = traced()[GIVEN]
    both = traced(caption="a cat", cut="all")
    assert both[GIVEN] is pair and list(both) == [GIVEN, CAPTION, NO_FUSION]
    assert traced(cut="all")[NO_FUSION] is both[NO_FUSION] and sizes == [1, 1, 1]
    other = traced(caption="a dog")[CAPTION]
    assert other.tokens["text"].texts != both[CAPTION].tokens["text"].texts
    assert other.attention and not both[NO_FUSION].attention
    assert list(traced(caption="a dog", cut=3)) == [GIVEN, CAPTION, "without fusion at 3"]
    grid = traced(caption="a dog", image=RED)
    assert grid[CAPTION] is other and sizes[3:] == [1, 1, 2]
    assert traced(caption="a dog", image=BLUE)[BOTH] is not grid[BOTH]


def test_where_nothing_can_be_cut_the_pair_says_why() -> None:
    towers = made("clip")
    traces = as_work(cut="all").alone(towers.adapter, [towers.samples[0]])
    assert list(traces) == [GIVEN]
    assert "meet in the training loss alone" in traces[GIVEN].unsupported[NO_FUSION]
    assert NO_FUSION not in as_work().alone(towers.adapter, [towers.samples[0]])[GIVEN].unsupported


def test_a_model_whose_streams_do_not_attend_runs_as_usual(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    towers = made("clip")

    def never() -> None:
        raise AssertionError("attends by its eager implementation")

    monkeypatch.setattr(towers.adapter, "showing_attention", never)
    assert as_work().alone(towers.adapter, [towers.samples[0]])[GIVEN].attention == {}
