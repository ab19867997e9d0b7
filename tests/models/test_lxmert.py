from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LxmertConfig, LxmertForPreTraining

from backend.capture.sinks import TokenSink
from backend.capture.tap import Tap
from backend.data.sample import Regions
from backend.errors import InputError
from backend.models.registry import open_model
from backend.models.roles import Role, has
from backend.types import LayerRef
from tests.models.families.lxmert import tiny


def test_layers_are_numbered_through_the_cross_modality_layers() -> None:
    text, vision = tiny().adapter.streams
    assert (text.depth, text.fusion_layers) == (3 + 2, (4, 5))
    assert (vision.depth, vision.fusion_layers) == (2 + 2, (3, 4))
    assert vision.poolings == ("mean",)  # no token sums the regions up


def test_the_shared_module_is_told_apart_by_its_call() -> None:
    case = tiny()
    adapter, inputs = case.adapter, case.adapter.encode(case.samples)
    sink = TokenSink([LayerRef("text", 4, "fusion"), LayerRef("vision", 3, "fusion")])
    with Tap(adapter, sink) as tap:
        tap(inputs)
    for ref, tokens in sink.tokens.items():
        assert tokens.shape[:2] == inputs.roles[ref.stream].shape


def test_without_relational_layers_vision_starts_at_the_first_cross_modality_layer() -> None:
    case = tiny(vision_layers=0)
    adapter, inputs = case.adapter, case.adapter.encode(case.samples)
    entering = LayerRef("vision", 0)
    sink = TokenSink([entering])
    with Tap(adapter, sink) as tap:
        tap(inputs)
    regions = adapter.module.encoder.visn_fc
    expected = regions(inputs.tensors["visual_feats"], inputs.tensors["visual_pos"])
    torch.testing.assert_close(sink.tokens[entering], expected)


def test_regions_are_padded_scaled_by_their_image_and_their_own_origins() -> None:
    case = tiny()
    inputs = case.adapter.encode(case.samples)
    for row, sample in enumerate(case.samples):
        assert sample.regions is not None
        count = len(sample.regions.boxes)
        scaled = sample.regions.boxes / np.array(sample.images[0].size * 2)
        np.testing.assert_allclose(inputs.tensors["visual_pos"][row, :count], scaled, rtol=1e-6)
        boxes = inputs.origins["vision"].values[row]
        np.testing.assert_array_equal(boxes[:count], sample.regions.boxes)
        assert np.isnan(boxes[count:]).all()
        assert has(inputs.roles["vision"][row], Role.PADDING).tolist() == [
            at >= count for at in range(len(boxes))
        ]


def test_a_sample_without_what_the_model_needs_is_one_line() -> None:
    case = tiny()
    sample = case.samples[0]
    assert sample.regions is not None
    narrow = Regions(sample.regions.features[:, :5], sample.regions.boxes)
    for bad, message in (
        (replace(sample, regions=None), "sample 2 has no regions, which lxmert models need"),
        (replace(sample, images=()), "sample 2 has no image, which lxmert models need"),
        (replace(sample, regions=narrow), "have 5 features a region, where the model takes 12"),
    ):
        with pytest.raises(InputError, match=message):
            case.adapter.encode([sample, bad])


def test_a_checkpoint_of_pretraining_opens_without_its_heads(tmp_path: Path) -> None:
    case = tiny()
    config = LxmertConfig(**case.adapter.module.config.to_dict())
    saved = LxmertForPreTraining(config)
    saved.save_pretrained(tmp_path)
    case.adapter.processor.save_pretrained(tmp_path)
    opened = open_model(str(tmp_path))
    inputs = opened.encode(case.samples)
    with torch.no_grad():
        ours = opened.forward(inputs)["pooled_output"]
        theirs = saved.eval().lxmert(**inputs.tensors).pooled_output
    torch.testing.assert_close(ours, theirs)
