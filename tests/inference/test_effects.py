"""Hiding a part moves the output by what one run with and one without it give."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter

from backend.data.sample import Sample
from backend.errors import InputError
from backend.inference import occlusion
from backend.inference.effects import (
    BATCH,
    ClassProbability,
    Effects,
    Fill,
    VectorShift,
    agreement,
    default_target,
    hiding,
)
from backend.inference.occlusion import patch_effects, word_effects
from backend.inference.tracing import trace_batch
from backend.inference.values import Trace
from backend.models.edits import cut
from backend.types import LayerRef
from tests.models.families.common import Case


def made(family: str) -> Case:
    case: Case = import_module(f"tests.models.families.{family}").tiny()
    return case


@pytest.fixture(scope="module")
def case() -> Case:
    return made("dual_stream")  # 16 x 16 pixels in four patches


def trace_of(case: Case, sample: Sample) -> Trace:
    return trace_batch(case.adapter, [sample])[0]


IRONIC = ClassProbability("irony", "ironic")


def ironic(case: Case, sample: Sample, edits: tuple = ()) -> float:
    (trace,) = trace_batch(case.adapter, [sample], edits=edits)
    return float(trace.outputs[0].probabilities[1])


@pytest.mark.parametrize("fill", ["grey", "blur"])
@pytest.mark.parametrize("edited", [False, True])
def test_effects_of_patches_equal_a_loop_of_single_passes(
    case: Case, fill: Fill, edited: bool
) -> None:
    sample = case.samples[0]  # 40 x 30: two patches of 20 x 15 a side
    cuts = cut(case.adapter.stream("vision")) if edited else ()
    result = patch_effects(
        *(case.adapter, sample, trace_of(case, sample)),
        target=IRONIC, fill=fill, batch_size=3, edits=cuts,
    )  # fmt: skip
    whole = ironic(case, sample, cuts)
    assert result.whole == pytest.approx(whole, abs=1e-6)
    corners = [(0, 0), (20, 0), (0, 15), (20, 15)]
    assert result.regions.tolist() == [[x, y, x + 20, y + 15] for x, y in corners]
    for (left, top), value in zip(corners, result.values, strict=True):
        picture = sample.images[0].copy()
        box = (left, top, left + 20, top + 15)
        if fill == "grey":
            ImageDraw.Draw(picture).rectangle((left, top, left + 19, top + 14), (128, 128, 128))
        else:
            blurred = picture.filter(ImageFilter.GaussianBlur(40 / 8))
            picture.paste(blurred.crop(box), box)
        expected = whole - ironic(case, replace(sample, images=(picture,)), cuts)
        assert value == pytest.approx(expected, abs=1e-6)
    assert np.abs(result.values).max() > 1e-4
    np.testing.assert_array_equal(result.shares, np.eye(5)[1:])


def test_effects_of_words_equal_a_loop_of_single_passes(case: Case) -> None:
    sample = replace(case.samples[0], text="i hate  the red cat")
    result = word_effects(case.adapter, sample, trace_of(case, sample), target=IRONIC)
    shortened = (
        *("hate  the red cat", "i the red cat", "i hate  red cat", "i hate  the cat"),
        "i hate  the red",
    )
    words = [sample.text[int(a) : int(b)] for a, b in result.regions]
    assert words == list(result.words) == sample.text.split()
    for text, value in zip(shortened, result.values, strict=True):
        expected = ironic(case, sample) - ironic(case, replace(sample, text=text))
        assert value == pytest.approx(expected, abs=1e-6)
    assert np.abs(result.values).max() > 1e-4
    np.testing.assert_array_equal(result.shares, np.eye(7)[1:6])


@pytest.mark.parametrize("family", ["clip", "vilt", "llava", "blip2", "lxmert"])
def test_without_a_task_the_effect_is_how_far_a_vector_moves(family: str) -> None:
    case = made(family)
    sample = case.samples[2]
    result = patch_effects(case.adapter, sample, trace_of(case, sample))
    assert isinstance(result.target, VectorShift)
    key = (result.target.ref, result.target.pooling)
    expected_stream = "vision" if family == "clip" else "text"
    assert (key[0].stream, key[1]) == (expected_stream, "cls")
    whole = trace_of(case, sample).vectors[key]
    box = result.regions[1]
    changed = sample
    if sample.regions is not None:
        features = sample.regions.features.copy()
        features[1] = 0
        changed = replace(sample, regions=replace(sample.regions, features=features))
    else:
        picture = np.asarray(sample.images[0]).copy()
        left, top, right, bottom = (round(float(edge)) for edge in box)
        picture[top:bottom, left:right] = 128
        changed = replace(sample, images=(Image.fromarray(picture), *sample.images[1:]))
    hidden = trace_of(case, changed).vectors[key]
    expected = np.linalg.norm(hidden - whole) / np.linalg.norm(whole)
    assert result.values[1] == pytest.approx(expected, abs=1e-4)
    assert np.isnan(result.whole) and result.values.max() > 1e-3


def test_many_patches_are_hidden_by_a_grid_and_few_pictures_are_held_at_once(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = case.samples[0]
    sizes = []
    forward = case.adapter.forward
    monkeypatch.setattr(case.adapter, "forward", lambda i: sizes.append(len(i)) or forward(i))
    trace = trace_of(case, sample)
    one = patch_effects(case.adapter, sample, trace, target=IRONIC, most=3)
    assert one.regions.tolist() == [[0, 0, 40, 30]]
    np.testing.assert_array_equal(one.shares, [[0, 1, 1, 1, 1]])
    assert sizes == [1, 2]
    monkeypatch.setattr(occlusion, "MAX_PIXELS", 2 * 40 * 30)
    patch_effects(case.adapter, sample, trace, target=IRONIC)
    assert sizes[2:] == [2, 2, 1]


def test_a_huge_picture_is_shrunk_and_its_patches_stay_in_its_own_pixels(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = case.samples[0].images[0].resize((1_200, 900), Image.Resampling.BICUBIC)
    sample = replace(case.samples[0], images=(huge,))
    trace = trace_of(case, sample)
    whole = patch_effects(case.adapter, sample, trace, target=IRONIC)
    sizes = []
    encode = case.adapter.encode
    monkeypatch.setattr(
        case.adapter, "encode",
        lambda batch: sizes.extend(one.images[0].size for one in batch) or encode(batch),
    )  # fmt: skip
    monkeypatch.setattr(occlusion, "MAX_SIDE_PX", 400)
    result = patch_effects(case.adapter, sample, trace, target=IRONIC)
    assert sizes == [(400, 300)] * 5
    np.testing.assert_array_equal(result.regions, whole.regions)
    assert result.regions[3].tolist() == [600, 450, 1_200, 900]
    np.testing.assert_allclose(result.values, whole.values, atol=0.02 * np.ptp(whole.values))
    sizes.clear()
    word_effects(case.adapter, sample, trace, target=IRONIC)
    assert set(sizes) == {(400, 300)}
    sliver = occlusion.shrunk(Image.new("RGB", (1, 20_000)))
    assert sliver.size == (1, 400)


def test_the_service_hides_what_it_is_asked_for(case: Case) -> None:
    sample = case.samples[0]
    trace = trace_of(case, sample)
    works = [hiding(trace, "patches"), hiding(trace, "patches", "blur"), hiding(trace, "words")]
    assert len({work.key for work in works}) == 3
    assert {work.at_once for work in works} == {BATCH}
    direct = (
        patch_effects(case.adapter, sample, trace),
        patch_effects(case.adapter, sample, trace, fill="blur"),
        word_effects(case.adapter, sample, trace),
    )
    for work, expected in zip(works, direct, strict=True):
        np.testing.assert_array_equal(work.alone(case.adapter, [sample]).values, expected.values)


def test_cells_of_a_grid_get_attention_by_area() -> None:
    patches = np.array([[0, 0, 3, 6], [3, 0, 6, 6], [np.nan] * 4], dtype=np.float32)
    cells = np.array([[0, 0, 2, 6], [2, 0, 4, 6], [4, 0, 6, 6]], dtype=np.float32)
    shares = occlusion.overlaps(cells, patches)
    np.testing.assert_allclose(shares, [[2 / 3, 0, 0], [1 / 3, 1 / 3, 0], [0, 2 / 3, 0]], atol=1e-6)
    spans = np.array([[-1, -1], [0, 4], [4, 6]], dtype=np.float32)
    words = np.array([[0, 6], [7, 9]], dtype=np.float32)
    np.testing.assert_array_equal(occlusion.overlaps(words, spans), [[0, 1, 1], [0, 0, 0]])


def test_many_words_are_left_out_in_groups_and_those_cut_off_not_at_all(case: Case) -> None:
    sample = replace(case.samples[0], text=" ".join(["cat", "dog"] * 20))
    trace = trace_of(case, sample)  # 30 of 40 words fit
    result = word_effects(case.adapter, sample, trace, target=IRONIC)
    assert len(result.regions) == 30
    groups = word_effects(case.adapter, sample, trace, target=IRONIC, most=4)
    texts = [sample.text[int(a) : int(b)] for a, b in groups.regions]
    assert [len(text.split()) for text in texts] == [8, 8, 7, 7]
    np.testing.assert_array_equal(groups.shares.sum(axis=1), [8, 8, 7, 7])


def test_an_empty_caption_has_no_words_and_no_effects(case: Case) -> None:
    sample = replace(case.samples[0], text="  ")
    result = word_effects(case.adapter, sample, trace_of(case, sample), target=IRONIC)
    assert result.values.shape == (0,) and result.regions.shape == (0, 2)
    measured = agreement(result, np.ones(2, dtype=np.float32))
    assert np.isnan(measured.value) and "0 regions are too few" in measured.reason


def test_words_stand_between_spaces_and_ideographs_alone() -> None:
    text = "a cat, 猫がいる!\nend"
    words = [text[int(a) : int(b)] for a, b in occlusion.word_spans(text)]
    assert words == ["a", "cat,", "猫", "が", "い", "る", "!", "end"]


@pytest.mark.parametrize(
    ("box", "expected"),
    [((0, 0, 2, 2), 4), ((0.4, 0.6, 2.4, 1.6), 2), ((3.9, 3.9, 4, 4), 1), ((1.1, 1, 1.2, 3), 2)],
)
def test_a_patch_hides_its_pixels_and_one_at_least(box: tuple, expected: int) -> None:
    picture, under = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    shown = occlusion.covered(picture, under, np.array(box, dtype=np.float32))
    assert (np.asarray(shown)[..., 2] == 255).sum() == expected
    assert not (np.asarray(picture)[..., 2]).any()


def made_effects(values: list[float]) -> Effects:
    count = len(values)
    return Effects(
        IRONIC, "vision", np.zeros((count, 4), dtype=np.float32),
        np.array(values, dtype=np.float32), np.eye(count, dtype=np.float32), 0.5,
    )  # fmt: skip


def test_agreement_is_the_rank_correlation_of_attention_and_the_size_of_effects() -> None:
    values, weights = [0.1, -0.4, 0.2, 0.0, 0.3], np.array([0.1, 0.9, 0.0, 0.2, 0.3])
    measured = agreement(made_effects(values), weights)
    # ranks of sizes 2 5 3 1 4, of attention 2 5 1 3 4: d² = 0 0 4 4 0, 1 - 6 * 8 / (5 * 24)
    assert measured.value == pytest.approx(0.6) and measured.n == 5
    assert agreement(made_effects(values), np.abs(values)).value == pytest.approx(1.0)
    partly = agreement(made_effects([0.1, np.nan, 0.2, 0.3]), np.array([3.0, 2.0, 2.0, 1.0]))
    assert (partly.value, partly.n) == (pytest.approx(-1.0), 3)


def test_what_has_no_rank_correlation_says_why() -> None:
    few = agreement(made_effects([0.1, 0.2]), np.array([1.0, 2.0]))
    assert np.isnan(few.value) and few.n == 2 and "too few" in few.reason
    flat = agreement(made_effects([0.1, -0.1, 0.1]), np.array([1.0, 2.0, 3.0]))
    assert np.isnan(flat.value) and flat.reason == "the effect is the same in every region"
    even = agreement(made_effects([0.1, 0.2, 0.3]), np.ones(3))
    assert even.reason == "the attention is the same in every region"


def test_the_likeliest_class_is_watched_unless_another_is_named(case: Case) -> None:
    trace = trace_of(case, case.samples[0])
    likeliest = trace.outputs[0].classes[int(trace.outputs[0].probabilities.argmax())]
    assert default_target(trace, "vision") == ClassProbability("irony", likeliest)
    silent = made("clip")
    trace = trace_of(silent, silent.samples[0])
    last = {spec.name: spec.refs[-1] for spec in silent.adapter.streams}
    for modality in ("vision", "text"):
        assert default_target(trace, modality) == VectorShift(last[modality], "cls")


def test_a_target_that_the_model_does_not_have_is_refused_in_one_line(case: Case) -> None:
    sample = case.samples[0]
    trace = trace_of(case, sample)
    for target, message in (
        (ClassProbability("irony", "funny"), "does not predict 'funny' of a task 'irony'"),
        (ClassProbability("hate", "x"), "Its tasks: irony, topics, object"),
        (VectorShift(LayerRef("text", 9), "cls"), "stream text has no vector cls at 9"),
        (VectorShift(LayerRef("sound", 1), "cls"), "no stream 'sound'"),
    ):
        with pytest.raises(InputError, match=message):
            patch_effects(case.adapter, sample, trace, target=target)


def test_a_model_without_pictures_says_so() -> None:
    speech = made("whisper")
    trace = trace_of(speech, speech.samples[0])
    with pytest.raises(InputError, match="no token of it has a place in a picture"):
        patch_effects(speech.adapter, speech.samples[0], trace)


def test_effects_leave_the_model_and_the_sample_alone(case: Case) -> None:
    sample = case.samples[0]
    before = np.asarray(sample.images[0]).copy()
    weights = {name: value.clone() for name, value in case.adapter.module.state_dict().items()}
    patch_effects(case.adapter, sample, trace_of(case, sample), fill="blur")
    assert np.array_equal(np.asarray(sample.images[0]), before)
    for name, value in case.adapter.module.state_dict().items():
        assert torch.equal(value, weights[name])
