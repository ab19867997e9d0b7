"""A contrastive model that stops at an earlier layer: its own end, begun from there."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from backend.capture.early_exit import EarlyExit
from backend.capture.sinks import PooledSink
from backend.capture.tap import Tap
from backend.errors import InputError
from backend.types import LayerRef
from tests.models.families.common import Case

CONTRASTIVE = (
    *("clip", "siglip", "siglip2", "chinese_clip", "align", "blip", "flava"),
    *("vision_text_dual", "vision_text_dual_timm"),
)


def tiny(name: str) -> Case:
    case: Case = import_module(f"tests.models.families.{name}").tiny()
    return case


def by_layer(case: Case, stream: str) -> tuple[EarlyExit, dict[LayerRef, Tensor], Any]:
    exits = EarlyExit(case.adapter, stream)
    vectors, pooled = exits(exits.encode(case.samples))
    return exits, vectors, pooled


@pytest.mark.parametrize("name", CONTRASTIVE)
def test_at_the_last_layer_it_is_what_the_model_itself_says(name: str) -> None:
    case = tiny(name)
    model: Any = case.adapter.module
    sides = [by_layer(case, stream) for stream in ("vision", "text")]
    image, text = (normalize(vectors[exits.spec.layers[-1]], dim=-1) for exits, vectors, _ in sides)
    inputs = case.adapter.encode(case.samples).tensors
    with torch.inference_mode():
        if name == "blip":
            expected = model(**inputs, use_itm_head=False).itm_score
            said = image @ text.T
        elif name == "flava":
            out = model(**inputs)
            ends = (
                (out.image_embeddings, model.image_projection),
                (
                    out.text_embeddings,
                    model.text_projection,
                ),
            )
            own = [normalize(end(tokens[:, 0]), dim=-1) for tokens, end in ends]
            expected, said = own[0] @ own[1].T, image @ text.T
        else:
            expected = model(**inputs).logits_per_image
            said = image @ text.T
            if name == "align":
                said = said / model.temperature
            else:
                said = said * model.logit_scale.exp() + getattr(model, "logit_bias", 0.0)
    torch.testing.assert_close(said, expected, rtol=0.0, atol=1e-5)


def test_of_clip_every_layer_goes_through_the_norm_and_the_projection() -> None:
    case = tiny("clip")
    model: Any = case.adapter.module
    inputs = case.adapter.encode(case.samples)
    sink = PooledSink(("cls",))
    with Tap(case.adapter, sink) as tap:
        tap(inputs)
    summaries = sink.vectors()
    ends = {
        "vision": lambda x: model.visual_projection(model.vision_model.post_layernorm(x)),
        "text": lambda x: model.text_projection(model.text_model.final_layer_norm(x)),
    }
    for stream, end in ends.items():
        exits, vectors, pooled = by_layer(case, stream)
        assert exits.layers == case.adapter.stream(stream).layers
        for ref in exits.layers:
            summary = summaries[ref, "cls"]
            np.testing.assert_allclose(pooled[ref, "cls"], summary, atol=1e-6)
            with torch.inference_mode():
                expected = end(torch.from_numpy(summary))
            torch.testing.assert_close(vectors[ref], expected, rtol=0.0, atol=1e-5)


def test_of_siglip_the_head_attends_over_the_patches_of_every_layer() -> None:
    case = tiny("siglip")
    model: Any = case.adapter.module
    exits, vectors, pooled = by_layer(case, "vision")
    assert exits.pooling == "mean"
    pixels = exits.encode(case.samples).tensors
    with torch.inference_mode():
        states = model.vision_model(**pixels, output_hidden_states=True).hidden_states
        for ref in exits.layers:
            normed = model.vision_model.post_layernorm(states[ref.layer])
            expected = model.vision_model.head(normed)
            torch.testing.assert_close(vectors[ref], expected, rtol=0.0, atol=1e-5)
            means = states[ref.layer].mean(dim=1).numpy()
            np.testing.assert_allclose(pooled[ref, "mean"], means, atol=1e-5)


def test_maps_of_other_widths_cannot_be_gone_on_from() -> None:
    exits, vectors, pooled = by_layer(tiny("align"), "vision")
    widths = {exits.spec.width_of(ref) for ref in exits.spec.layers}
    assert len(widths) > 1
    assert {exits.spec.width_of(ref) for ref in vectors} == {exits.spec.width}
    assert {ref for ref, _ in pooled} == set(exits.spec.layers)


@pytest.mark.parametrize("name", CONTRASTIVE)
def test_a_batch_says_what_its_samples_say_alone_and_the_model_is_left_as_it_was(name: str) -> None:
    case = tiny(name)
    for stream in ("vision", "text"):
        exits, together, _ = by_layer(case, stream)
        alone = [exits(exits.encode([sample]))[0] for sample in case.samples]
        for ref, vectors in together.items():
            for row, one in enumerate(alone):
                torch.testing.assert_close(one[ref][0], vectors[row], rtol=1e-4, atol=1e-4)
    assert not any("forward" in vars(part) for part in case.adapter.module.modules())


def test_other_models_have_no_such_space() -> None:
    with pytest.raises(InputError, match="vilt models have no space of their own"):
        EarlyExit(tiny("vilt").adapter, "text")
    with pytest.raises(InputError, match="no space of their own"):
        EarlyExit(tiny("blip_caption").adapter, "text")
