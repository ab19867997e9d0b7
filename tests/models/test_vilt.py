"""What is ViLT's own: patches keep their order, and what does not fit is counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ViltForQuestionAnswering

from backend.capture.sinks import TokenSink
from backend.capture.tap import Tap
from backend.data.sample import Sample
from backend.errors import InputError
from backend.models import edits
from backend.models.families.vilt import Vilt
from backend.models.loading import open_checkpoint
from backend.models.roles import OWN, Role, has
from tests.models.families.common import Case
from tests.models.families.vilt import tiny


@pytest.fixture
def case() -> Iterator[Case]:
    yield tiny()


def test_patches_are_those_of_the_models_own_embedding_row_by_row(case: Case) -> None:
    inputs = case.adapter.encode(case.samples)
    pixels, mask = inputs.tensors["pixel_values"], inputs.tensors["pixel_mask"]
    with torch.no_grad():
        ours, real = case.adapter._embed(pixels, mask)
        theirs, their_mask, _ = case.adapter.module.embeddings.visual_embed(pixels, mask, -1)
    assert ours.shape == theirs.shape and torch.equal(real, their_mask)
    counts = real.sum(dim=1).tolist()
    assert len(set(counts)) > 1
    for row, count in enumerate(counts):
        if count < max(counts):  # the model leaves the order of the others to chance
            torch.testing.assert_close(ours[row, :count], theirs[row, :count])
        else:
            distances = torch.cdist(ours[row, :count], theirs[row, :count])
            assert float(distances.amin(dim=1).max()) < 1e-4
    places = has(inputs.roles["vision"], Role.CONTENT).sum(dim=1).tolist()
    assert places == [count - 1 for count in counts]


def test_two_passes_give_the_same_tokens_in_the_same_order(case: Case) -> None:
    inputs = case.adapter.encode(case.samples)
    refs = case.adapter.stream("vision").refs
    first, second = TokenSink(refs), TokenSink(refs)
    for sink in (first, second):
        with Tap(case.adapter, sink) as tap:
            tap(inputs)
    assert all(torch.equal(first.tokens[ref], second.tokens[ref]) for ref in refs)


def test_of_too_many_patches_evenly_spaced_ones_are_taken_and_the_others_are_counted(
    case: Case,
) -> None:
    whole = case.adapter.encode(case.samples)
    case.adapter.module.config.max_image_length = 5
    inputs = case.adapter.encode(case.samples)
    before = has(whole.roles["vision"], Role.CONTENT).sum(dim=1)
    assert int(before.max()) > 5
    assert has(inputs.roles["vision"], Role.CONTENT).sum(dim=1).tolist() == [5] * len(before)
    assert inputs.cut["vision"].tolist() == (before - 5).tolist()
    boxes = inputs.origins["vision"].values
    for row, sample in enumerate(case.samples):
        own = boxes[row][~np.isnan(boxes[row, :, 0])]
        assert own[:, :2].min() == 0 and tuple(own[:, 2:].max(axis=0)) == sample.images[0].size
    sink = TokenSink(case.adapter.stream("vision").refs)
    with Tap(case.adapter, sink) as tap:
        tap(inputs)
    assert all(bool(torch.isfinite(tokens).all()) for tokens in sink.tokens.values())


def test_a_cut_is_the_same_where_the_model_makes_no_mask(case: Case) -> None:
    case.adapter.module.double()
    spec = case.adapter.stream("text")
    last = spec.refs[spec.depth]

    def cut_tokens(samples: list[Sample]) -> torch.Tensor:
        inputs = case.adapter.encode(samples)
        inputs.tensors["pixel_values"] = inputs.tensors["pixel_values"].double()
        sink = TokenSink([last])
        with Tap(case.adapter, sink, edits.cut(spec)) as tap:
            tap(inputs)
        return sink.tokens[last][0][has(inputs.roles["text"], OWN)[0]]

    torch.testing.assert_close(
        cut_tokens(case.samples[:1]), cut_tokens(case.samples), rtol=0.0, atol=1e-10
    )


def test_an_image_too_narrow_for_one_patch_is_refused_by_its_size(case: Case) -> None:
    stripe = Image.new("RGB", (400, 2))
    with pytest.raises(InputError, match=r"image of sample 2 is too narrow: 400 x 2 pixels"):
        case.adapter.encode([case.samples[0], Sample("a cat", (stripe,))])
    almost = Image.new("RGB", (100, 20))
    assert len(case.adapter.encode([Sample("a cat", (almost,))])) == 1


def test_a_checkpoint_of_a_task_class_is_opened_as_the_model_inside(
    case: Case, tmp_path: Path
) -> None:
    config = case.adapter.module.config
    answering = ViltForQuestionAnswering(config).eval()
    answering.vilt.load_state_dict(case.adapter.module.state_dict())
    answering.save_pretrained(tmp_path)
    case.adapter.processor.save_pretrained(tmp_path)
    opened = Vilt.load(open_checkpoint(str(tmp_path)))
    refs = opened.stream("text").refs
    ours, theirs = TokenSink(refs), TokenSink(refs)
    for adapter, sink in ((case.adapter, ours), (opened, theirs)):
        with Tap(adapter, sink) as tap:
            tap(adapter.encode(case.samples))
    assert all(torch.equal(ours.tokens[ref], theirs.tokens[ref]) for ref in refs)
