"""Models that hand an image to a language model: prompts, roles, and what reaches what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModel, GPTNeoXConfig, LlamaConfig, PhiConfig, PreTrainedConfig

from backend.capture.sinks import AttentionSink, PooledSink, TokenSink
from backend.capture.tap import Tap
from backend.data.sample import Sample
from backend.errors import InputError
from backend.models import edits
from backend.models.adapter import Adapter, AttentionKey
from backend.models.families.llava import Llava
from backend.models.families.stacks import stack
from backend.models.roles import OWN, Role, has
from backend.types import LayerRef
from tests.models.families import blip2, blip2_t5, idefics, instructblip, llava, paligemma
from tests.models.families.common import Case, pictures


@pytest.fixture(scope="module")
def tiny_llava() -> Case:
    return llava.tiny()


@pytest.fixture(scope="module")
def tiny_idefics() -> Case:
    return idefics.tiny()


def read(adapter: Adapter, samples: list[Sample], ref: LayerRef, *changes: edits.Edit) -> Tensor:
    sink = TokenSink([ref])
    with Tap(adapter, sink, changes) as tap:
        tap(adapter.encode(samples))
    return sink.tokens[ref].clone()


def test_an_edit_of_the_layer_that_is_read_reaches_the_language_model_and_one_after_it_does_not(
    tiny_llava: Case,
) -> None:
    adapter, samples = tiny_llava.adapter, tiny_llava.samples
    spec, entering = adapter.stream("vision"), LayerRef("image", 0)
    plain = read(adapter, samples, entering)
    of_read_layer = edits.zero(LayerRef("vision", spec.depth - 1))
    of_last_layer = edits.zero(LayerRef("vision", spec.depth))
    assert not torch.allclose(read(adapter, samples, entering, of_read_layer), plain)
    assert torch.equal(read(adapter, samples, entering, of_last_layer), plain)
    assert spec.note == "The language model reads layer 2 of the tower: block 3 does not reach it."


def test_a_cut_is_the_same_alone_without_any_padding_and_in_a_batch(tiny_llava: Case) -> None:
    adapter, samples = tiny_llava.adapter, tiny_llava.samples
    cuts = edits.cut(adapter.stream("text"))

    def pooled(chosen: list[Sample]) -> np.ndarray:
        sink = PooledSink(("cls",))
        with Tap(adapter, sink, cuts) as tap:
            tap(adapter.encode(chosen))
        return sink.vectors()[LayerRef("text", 3), "cls"]

    np.testing.assert_allclose(pooled(samples[:1])[0], pooled(samples)[0], atol=1e-4)


def test_llava_gets_what_its_processor_would_give_it(tiny_llava: Case) -> None:
    adapter = tiny_llava.adapter
    processor = adapter.processor
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
            ]
        )
        for sample in tiny_llava.samples
    ]
    images = [list(sample.images) for sample in tiny_llava.samples]
    expected = processor(images=images, text=prompts, padding=True, return_tensors="pt")
    ours = adapter.encode(tiny_llava.samples).tensors
    for name in ("input_ids", "attention_mask", "pixel_values"):
        torch.testing.assert_close(ours[name], expected[name])


def test_paligemma_gets_what_its_processor_would_give_it() -> None:
    case = paligemma.tiny()
    processor = case.adapter.processor
    expected = processor(
        images=[[sample.images[0]] for sample in case.samples],
        text=["<image>" + sample.text for sample in case.samples],
        padding=True,
        return_tensors="pt",
    )
    ours = case.adapter.encode(case.samples).tensors
    for name in ("input_ids", "attention_mask", "pixel_values", "token_type_ids"):
        torch.testing.assert_close(ours[name], expected[name])


@pytest.mark.parametrize("family", [blip2, blip2_t5, instructblip])
def test_blip2_gets_what_its_processor_would_give_it(family: Any) -> None:
    case = family.tiny()
    expected = case.adapter.processor(
        images=[sample.images[0] for sample in case.samples],
        text=[sample.text for sample in case.samples],
        padding=True,
        return_tensors="pt",
    )
    ours = case.adapter.encode(case.samples).tensors
    for name in expected:
        torch.testing.assert_close(ours[name], expected[name])


def test_idefics_gets_what_its_processor_would_give_it(tiny_idefics: Case) -> None:
    processor = tiny_idefics.adapter.processor
    prompts = [[*sample.images, sample.text] for sample in tiny_idefics.samples]
    expected = processor(text=prompts, return_tensors="pt")
    ours = tiny_idefics.adapter.encode(tiny_idefics.samples).tensors
    for name in ("input_ids", "attention_mask", "pixel_values"):
        torch.testing.assert_close(ours[name], expected[name])
    assert torch.equal(ours["image_attention_mask"], expected["image_attention_mask"].bool())


def test_prompt_tokens_are_special_and_the_last_one_sums_up(tiny_llava: Case) -> None:
    adapter = tiny_llava.adapter
    inputs = adapter.encode([Sample("a red cat", pictures(1))])
    words = adapter.processor.tokenizer.convert_ids_to_tokens(inputs.tensors["input_ids"][0])
    roles = inputs.roles["text"][0]
    assert words[0] == "<s>" and words[-2:] == ["assistant", ":"]
    content = [word for word, own in zip(words, has(roles, Role.CONTENT), strict=True) if own]
    assert content == ["a", "red", "cat"]
    assert int(roles[-1]) == Role.SUMMARY
    assert has(roles, Role.SPECIAL).sum() == 4  # <s> user : assistant
    image = inputs.roles["image"][0]
    assert has(image, Role.CONTENT).sum() == 9
    assert not (has(image, Role.CONTENT) & (roles != int(Role.ABSENT))).any()


def test_a_text_too_long_is_cut_and_counted_and_the_prompt_around_it_stays(
    tiny_llava: Case,
) -> None:
    adapter = tiny_llava.adapter
    long, short = Sample("cat " * 80, pictures(1)), Sample("cat", pictures(1))
    inputs = adapter.encode([long, short])
    words = adapter.processor.tokenizer.convert_ids_to_tokens(inputs.tensors["input_ids"][0])
    assert len(words) == 64 and words[-2:] == ["assistant", ":"] and words.count("<image>") == 9
    assert inputs.cut["text"].tolist() == [80 - words.count("cat"), 0]
    with pytest.raises(InputError, match="the prompt around sample 1 alone has"):
        adapter.encode([Sample("cat", tuple(pictures(8)))])


def test_each_image_token_has_the_box_of_its_patch_in_its_own_image(tiny_llava: Case) -> None:
    two = tiny_llava.samples[1]
    inputs = tiny_llava.adapter.encode([two])
    at = has(inputs.roles["image"][0], Role.CONTENT).numpy()
    patches = has(inputs.roles["vision"][0], Role.CONTENT).numpy()
    image, vision = inputs.origins["image"], inputs.origins["vision"]
    np.testing.assert_array_equal(image.values[0, at], vision.values[0, patches])
    assert image.image[0, at].tolist() == [0] * 9 + [1] * 9


def test_a_sample_is_summed_up_by_its_first_image_alone(tiny_llava: Case) -> None:
    roles = tiny_llava.adapter.encode(tiny_llava.samples[:2]).roles["vision"]
    assert has(roles, Role.SUMMARY).sum(dim=1).tolist() == [1, 1]
    assert has(roles, Role.CONTENT).sum(dim=1).tolist() == [9, 18]
    assert has(roles, Role.PADDING).sum(dim=1).tolist() == [10, 0]


def test_patches_of_one_image_do_not_see_those_of_another(tiny_llava: Case) -> None:
    adapter = tiny_llava.adapter
    sink = AttentionSink([AttentionKey(LayerRef("vision", 1), "vision")])
    with Tap(adapter, sink) as tap:
        tap(adapter.encode(tiny_llava.samples[:2]))
    (weights,) = sink.weights.values()
    assert weights[1, :, :10, :10].sum() > 0 and weights[1, :, 10:, 10:].sum() > 0
    assert not weights[1, :, :10, 10:].any() and not weights[1, :, 10:, :10].any()


def test_a_stream_reads_only_what_the_template_puts_before_it(tiny_llava: Case) -> None:
    adapter = tiny_llava.adapter
    assert adapter.stream("text").fusion_layers == (1, 2, 3)
    assert adapter.stream("image").fusion_layers == ()
    processor, adapter.processor.chat_template = adapter.processor, None
    try:
        turned = Llava(adapter.model, processor, "turned", template="{text} {image}")
        around = Llava(adapter.model, processor, "around", template="{text} {image} ?")
    finally:
        processor.chat_template = llava.CHAT
    assert turned.stream("text").fusion_layers == ()
    assert turned.stream("image").fusion_layers == (1, 2, 3)
    assert around.stream("text").fusion_layers == (1, 2, 3)


def test_bad_prompts_are_refused_in_one_line(tiny_llava: Case) -> None:
    adapter = tiny_llava.adapter
    with pytest.raises(InputError, match=r"must say where \{image\} and \{text\} come"):
        Llava(adapter.model, adapter.processor, "none", template="{text}")
    marked = replace(tiny_llava.samples[0], text="what is <image> ?")
    with pytest.raises(InputError, match="the text of sample 1 contains <image>"):
        adapter.encode([marked])
    with pytest.raises(InputError, match="sample 1 has no image"):
        adapter.encode([Sample("cat")])


def test_idefics_shows_its_gates_as_they_multiply(tiny_idefics: Case) -> None:
    gates = tiny_idefics.adapter.gates()
    assert set(gates) == {LayerRef("text", 1, "fusion"), LayerRef("text", 3, "fusion")}
    for gate in gates.values():
        assert float(gate) == pytest.approx(np.tanh(1.0))


def test_an_edit_of_the_latents_reaches_the_sums_that_come_after_and_stays_off_the_model(
    tiny_idefics: Case,
) -> None:
    adapter, samples = tiny_idefics.adapter, tiny_idefics.samples
    resampler = adapter.model.model.perceiver_resampler
    before = resampler.latents.detach().clone()
    entering, fused = LayerRef("query", 0), LayerRef("query", 1, "fusion")
    sums = []
    handle = resampler.blocks[0][1].register_forward_pre_hook(lambda _, args: sums.append(args[0]))
    try:
        got = read(adapter, samples, fused, edits.zero(entering))
    finally:
        handle.remove()
    own = has(adapter.encode(samples).roles["query"], OWN)
    torch.testing.assert_close(got[own], sums[0].reshape(got.shape)[own])
    assert torch.equal(resampler.latents, before)


@pytest.mark.parametrize(
    ("config", "norm"),
    [
        (LlamaConfig, "norm"),
        (PhiConfig, "final_layernorm"),
        (GPTNeoXConfig, "final_layer_norm"),
    ],
)
def test_the_final_norm_of_a_language_model_is_found_by_any_of_its_names(
    config: type[PreTrainedConfig], norm: str
) -> None:
    sizes = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2}
    model = AutoModel.from_config(config(**sizes, intermediate_size=16, vocab_size=20))
    found = stack(model, model.config)
    assert found.depth == 2
    assert found.norm is getattr(model, norm)
