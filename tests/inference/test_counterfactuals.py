"""What if: every change is the one that was asked for, and runs with as few passes as can be."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from PIL import Image

from backend.errors import InputError
from backend.inference import counterfactuals as what_if
from backend.inference.tracing import trace_batch
from backend.models.edits import Cut
from backend.types import LayerRef
from tests.models.families.common import Case


def made(family: str) -> Case:
    case: Case = import_module(f"tests.models.families.{family}").tiny()
    return case


@pytest.fixture(scope="module")
def case() -> Case:
    return made("dual_stream")  # co-attention at text 2, 3 and vision 1, 5


def test_another_caption_or_image_leaves_the_other_half(case: Case) -> None:
    sample, other = case.samples[0], case.samples[1]
    worded = what_if.other_caption(sample, "a cat")
    assert (worded.sample.text, worded.sample.images) == ("a cat", sample.images)
    seen = what_if.other_image(sample, other.images[0])
    assert (seen.sample.text, seen.sample.images) == (sample.text, other.images)
    assert (worded.kind, seen.kind) == ("caption", "image")
    assert worded.edits == seen.edits == ()


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
        *("fusion cut", "fusion cut at 3", "fusion cut at vision 5")
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
    sizes = []
    forward = adapter.forward
    monkeypatch.setattr(adapter, "forward", lambda i: sizes.append(len(i)) or forward(i))
    traces = what_if.trace_all(adapter, wanted)
    assert sizes == [4, 2, 1]
    for trace, own in zip(traces, expected, strict=True):
        assert trace.tokens["text"].texts == own.tokens["text"].texts
        for key, vector in own.vectors.items():
            np.testing.assert_allclose(trace.vectors[key], vector, atol=2e-5)
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


def test_the_grid_is_two_captions_by_two_images() -> None:
    red, blue = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    pairs = what_if.grid(("love it", "hate it"), (red, blue))
    assert [(pair.sample.text, pair.sample.images[0]) for pair in pairs] == [
        ("love it", red),
        ("love it", blue),
        ("hate it", red),
        ("hate it", blue),
    ]
    assert [pair.name for pair in pairs][:2] == ["caption 1, image 1", "caption 1, image 2"]
