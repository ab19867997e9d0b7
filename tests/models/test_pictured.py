"""Models that are given patches, tiles and squares of an image: what of it becomes which token."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from backend.capture.sinks import AttentionSink, TokenSink
from backend.capture.tap import Tap
from backend.data.sample import Sample
from backend.models import edits
from backend.models.adapter import AttentionKey, Inputs
from backend.models.roles import Role, has
from backend.types import LayerRef
from tests.models.families.common import Case

CHAT_FORMATS = (
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3_vl",
    "llava_next",
    "llava_onevision",
    "idefics3",
    "internvl",
    "gemma3",
    "gemma4",
    "mllama",
    "idefics2",
    "idefics2_split",
)
READ_LAYER = {
    name: 2 if name == "llava_next" else 3
    for name in CHAT_FORMATS
    if name not in ("mllama", "idefics2", "idefics2_split")
}
"""The layer of the tower that the language model gets, token by token."""
TILED = ("llava_next", "llava_onevision", "idefics3", "internvl", "mllama", "idefics2_split")


def opened(family: str) -> Case:
    case: Case = import_module(f"tests.models.families.{family}").tiny()
    case.adapter.module.double()
    return case


def doubled(inputs: Inputs) -> Inputs:
    tensors = {
        name: value.double() if value.is_floating_point() else value
        for name, value in inputs.tensors.items()
    }
    return Inputs(tensors, inputs.roles, inputs.origins, inputs.cut)


def read(case: Case, inputs: Inputs, *changes: edits.Edit, refs: list[LayerRef]) -> list[Tensor]:
    sink = TokenSink(refs)
    with Tap(case.adapter, sink, changes) as tap:
        tap(inputs)
    return [sink.tokens[ref].clone() for ref in refs]


@pytest.mark.parametrize("family", CHAT_FORMATS)
def test_a_model_gets_what_its_processor_would_give_it(family: str) -> None:
    case: Any = import_module(f"tests.models.families.{family}").tiny()
    processor = case.adapter.processor
    prompts = [
        processor.apply_chat_template(
            [
                {
                    "role": "user",
                    "content": [
                        *({"type": "image"} for _ in sample.images),
                        {"type": "text", "text": sample.text},
                    ],
                }
            ],
            add_generation_prompt=True,
        )
        for sample in case.samples
    ]
    more = {}
    if family == "mllama":  # this processor writes the first token down, and its tokenizer again
        more["add_special_tokens"] = False
    images = [list(sample.images) for sample in case.samples]
    expected = processor(images=images, text=prompts, padding=True, return_tensors="pt", **more)
    ours = case.adapter.encode(case.samples).tensors
    for name in ours.keys() & expected.keys():
        torch.testing.assert_close(ours[name], expected[name], check_dtype=False)
    assert {"input_ids", "attention_mask", "pixel_values"} <= ours.keys() & expected.keys()


@pytest.mark.parametrize(
    ("family", "options"), [("kosmos2", {"num_image_tokens": 4}), ("florence2", {})]
)
def test_without_a_chat_format_a_model_gets_what_its_processor_would_give_it(
    family: str, options: dict[str, int]
) -> None:
    case: Any = import_module(f"tests.models.families.{family}").tiny()
    given = {
        "images": [sample.images[0] for sample in case.samples],
        "text": [sample.text for sample in case.samples],
    }
    expected = case.adapter.processor(**given, padding=True, return_tensors="pt", **options)
    ours = case.adapter.encode(case.samples).tensors
    assert {"input_ids", "attention_mask", "pixel_values"} <= expected.keys() <= ours.keys()
    for name in expected:
        torch.testing.assert_close(ours[name], expected[name], check_dtype=False)


@pytest.mark.parametrize("family", TILED)
def test_of_two_by_two_tiles_each_has_the_pixels_in_its_boxes(family: str) -> None:
    case = opened(family)
    pixels = np.random.default_rng(3).integers(0, 255, (48, 48, 3)).astype(np.uint8)
    changed = pixels.copy()
    changed[4:16, 34:46] = 255 - changed[4:16, 34:46]  # within the quarter at the upper right
    seen = []
    for picture in (pixels, changed):
        inputs = doubled(case.adapter.encode([Sample("a red cat", (Image.fromarray(picture),))]))
        seen += read(case, inputs, refs=[LayerRef("vision", 0)])
    moved = ((seen[1] - seen[0])[0].abs().amax(dim=1) > 1e-9).numpy()
    left, top, right, bottom = inputs.origins["vision"].values[0][moved].T
    assert (right > 24).all() and (top < 24).all()
    of_a_tile = (left >= 24 - 1e-3) & (bottom <= 24 + 1e-3) & (right - left < 10)
    assert of_a_tile.sum() >= 4


@pytest.mark.parametrize(("family", "layer"), READ_LAYER.items())
def test_an_image_token_is_made_of_the_patches_in_its_box(family: str, layer: int) -> None:
    case = opened(family)
    inputs = doubled(case.adapter.encode(case.samples[1:2]))
    entering = LayerRef("image", 0)
    (plain,) = read(case, inputs, refs=[entering])
    patches, tokens = inputs.origins["vision"], inputs.origins["image"]
    seen = has(inputs.roles["vision"][0], Role.CONTENT).numpy()
    seen &= ~np.isnan(patches.values[0]).any(axis=1)
    places, hits = np.flatnonzero(seen), 0
    for place in places[:: max(1, len(places) // 7)].tolist():

        def shifted(value: Tensor, inputs: Inputs, place: int = place) -> Tensor:
            out = value.clone()
            out[0, place] += torch.arange(value.shape[2])
            return out

        edit = edits.Edit(LayerRef("vision", layer), shifted)
        (after,) = read(case, inputs, edit, refs=[entering])
        changed = np.flatnonzero(((after - plain)[0].abs().amax(dim=1) > 1e-9).numpy())
        assert len(changed) <= 1  # a patch that the model drops with its padding changes none
        for token in changed.tolist():
            left, top, right, bottom = tokens.values[0, token]
            inner = patches.values[0, place]
            assert left <= inner[0] + 1e-3 and top <= inner[1] + 1e-3
            assert right >= inner[2] - 1e-3 and bottom >= inner[3] - 1e-3
            assert tokens.image is not None and patches.image is not None
            assert tokens.image[0, token] == patches.image[0, place]
            hits += 1
    assert hits >= 4


def test_the_tower_of_qwen_2_5_has_its_patches_window_by_window_and_the_boxes_say_so() -> None:
    pixels = np.random.default_rng(3).integers(0, 255, (48, 48, 3)).astype(np.uint8)
    sample = Sample("a red cat", (Image.fromarray(pixels),))
    case, by_square = opened("qwen2_5_vl"), opened("qwen2_vl")
    inputs, embedded = doubled(case.adapter.encode([sample])), []
    embed = case.adapter.module.get_submodule("model.visual.patch_embed")
    handle = embed.register_forward_hook(lambda module, args, output: embedded.append(output))
    try:
        (tokens,) = read(case, inputs, refs=[LayerRef("vision", 0)])
    finally:
        handle.remove()
    order = torch.cdist(tokens[0], embedded[0]).argmin(dim=1)
    assert sorted(order.tolist()) == list(range(36)) and order.tolist() != list(range(36))
    boxes = by_square.adapter.encode([sample]).origins["vision"].values[0]
    np.testing.assert_allclose(inputs.origins["vision"].values[0], boxes[order.numpy()])


def test_what_deepstack_adds_is_the_difference_of_the_layer_and_what_enters_the_next_block() -> (
    None
):
    case = opened("qwen3_vl")
    inputs, merged = doubled(case.adapter.encode(case.samples)), []
    mergers = case.adapter.module.get_submodule("model.visual.deepstack_merger_list")
    handles = [
        merger.register_forward_hook(lambda module, args, output: merged.append(output))
        for merger in mergers.children()
    ]
    refs = [LayerRef("image", k, site) for k in (2, 3) for site in ("fusion",)]
    refs += [LayerRef("image", k) for k in (1, 2)]
    try:
        entering_2, entering_3, layer_1, layer_2 = read(case, inputs, refs=refs)
    finally:
        for handle in handles:
            handle.remove()
    image = has(inputs.roles["image"], Role.CONTENT)
    for entering, layer, added in (
        (entering_2, layer_1, merged[0]),
        (entering_3, layer_2, merged[1]),
    ):
        torch.testing.assert_close((entering - layer)[image], added, rtol=0.0, atol=1e-10)
        assert not (entering - layer)[~image].any()


@pytest.mark.parametrize(
    ("family", "key", "heads", "key_heads"),
    [
        ("llava", AttentionKey(LayerRef("text", 1), "text"), 4, 2),
        ("paligemma", AttentionKey(LayerRef("text", 1), "image"), 2, 1),
        ("qwen2_vl", AttentionKey(LayerRef("text", 2), "image"), 2, 1),
        ("mllama", AttentionKey(LayerRef("text", 1), "text"), 4, 2),
        ("mllama", AttentionKey(LayerRef("text", 2), "vision"), 4, 2),
    ],
)
def test_heads_that_share_keys_have_a_map_each(
    family: str, key: AttentionKey, heads: int, key_heads: int
) -> None:
    case: Case = import_module(f"tests.models.families.{family}").tiny()
    model: Any = case.adapter.module
    text = model.config.text_config
    assert (text.num_attention_heads, text.num_key_value_heads) == (heads, key_heads)
    sink = AttentionSink([key])
    with Tap(case.adapter, sink) as tap:
        tap(case.adapter.encode(case.samples))
    weights = sink.weights[key]
    assert weights.shape[1] == heads
    assert not torch.allclose(weights[:, 0], weights[:, 1])  # these two read the same keys


def test_a_grid_that_onevision_shrinks_covers_the_image_and_the_overview_comes_first() -> None:
    case = opened("llava_onevision")
    (sample,) = case.samples[:1]
    inputs = case.adapter.encode([sample])
    boxes = inputs.origins["image"].values[0]
    content = has(inputs.roles["image"][0], Role.CONTENT).numpy()
    width, height = sample.images[0].size
    overview, grid = boxes[content][:9], boxes[content][9:]
    for part in (overview, grid):
        area = ((part[:, 2] - part[:, 0]) * (part[:, 3] - part[:, 1])).sum()
        assert area == pytest.approx(width * height, rel=1e-4)
    ends = has(inputs.roles["image"][0], Role.SPECIAL).sum()
    assert len(grid) % int(ends) == 0 and len(grid) < 2 * 9 * 1.1**2
