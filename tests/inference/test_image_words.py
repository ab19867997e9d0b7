"""Image tokens in words: oracles of each reading, and models that have no such tokens."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from backend.capture.sinks import TokenSink
from backend.capture.tap import Tap
from backend.data.sample import Sample
from backend.errors import InputError
from backend.inference import image_words as module
from backend.inference.image_words import image_words
from backend.inference.requests import wording
from backend.inference.values import CONTEXT, INPUT, NEXT, WORDS_BYTES
from backend.models.roles import Role, has
from tests.models.families.common import Case

MASK = "attention_mask"
TEXTS = ("best day ever", "i hate the red pizza", "a small cat and a large dog", "what is it ?")


def made(family: str) -> Case:
    case: Case = import_module(f"tests.models.families.{family}").tiny()
    return case


def hidden(case: Case, stream: str) -> tuple[list[Tensor], Tensor]:
    """The image's content tokens at every layer, and which they are."""
    adapter = case.adapter
    inputs = adapter.encode(case.samples[:1])
    sink = TokenSink(adapter.stream(stream).layers)
    with Tap(adapter, sink) as tap:
        tap(inputs)
    at = torch.nonzero(has(inputs.roles[stream][0], Role.CONTENT))[:, 0]
    return [sink.tokens[ref][0, at] for ref in adapter.stream(stream).layers], at


@pytest.mark.parametrize("family", ["llava", "paligemma", "qwen2_vl", "smolvlm"])
def test_each_reading_is_that_of_a_few_lines(family: str) -> None:
    case = made(family)
    adapter = case.adapter
    words = image_words(adapter, case.samples[0], TEXTS)
    layers, at = hidden(case, words.stream.name)
    assert words.tokens.tolist() == at.tolist()
    head, table = adapter.unembedding(), adapter.module.get_input_embeddings().weight
    assert head is not None and adapter.tokenizer is not None
    for layer, tokens in enumerate(layers):
        with torch.inference_mode():
            shares = head(tokens).softmax(dim=-1)
            near = cosine_similarity(tokens[:, None], table[None], dim=2)
        for name, scores in ((NEXT, shares), (INPUT, near)):
            reading = words.readings[name]
            best, ids = scores.max(dim=1)
            np.testing.assert_allclose(reading.scores[:, layer, 0], best, atol=1e-5)
            said = [reading.said[k] for k in reading.words[:, layer, 0]]
            assert said == [adapter.tokenizer.decode([k]) for k in ids.tolist()]
            assert (np.diff(reading.scores[:, layer], axis=1) <= 0).all()


def test_however_little_memory_there_is_for_a_vocabulary_the_words_are_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = made("llava")
    whole = image_words(case.adapter, case.samples[0], TEXTS).readings
    words = len(case.adapter.module.get_input_embeddings().weight)
    monkeypatch.setattr(module, "WORDS_BYTES", 3 * 12 * words)
    heights: list[int] = []
    head = case.adapter.module.lm_head
    handle = head.register_forward_hook(lambda _, __, logits: heights.append(logits.shape[-2]))
    try:
        parts = image_words(case.adapter, case.samples[0], TEXTS).readings
    finally:
        handle.remove()
    assert max(heights[1:]) == 3  # after the model's own pass
    for name, reading in whole.items():
        np.testing.assert_allclose(parts[name].scores, reading.scores, atol=1e-6)
        assert np.isfinite(reading.scores[..., 0]).all()
        said = np.array(reading.said)[reading.words[..., 0]]
        assert (np.array(parts[name].said)[parts[name].words[..., 0]] == said).all()
    assert wording(TEXTS).beside() == WORDS_BYTES


@pytest.mark.parametrize("family", ["llava", "qwen2_vl"])
def test_the_nearest_word_in_its_text_is_sought_at_every_layer(family: str) -> None:
    case = made(family)
    adapter = case.adapter
    reading = image_words(adapter, case.samples[0], TEXTS).readings[CONTEXT]
    layers, _ = hidden(case, "image")
    alone = adapter.text_alone()
    assert alone is not None and reading.layers is not None
    rows, said = [], []
    for text in TEXTS:  # one by one: no padding
        inputs = alone.encode([type(case.samples[0])(text)])
        sink = TokenSink(adapter.stream("text").layers)
        with Tap(adapter, sink, run=lambda given: {"": alone.run(given)}) as tap:
            tap(inputs)
        content = has(inputs.roles["text"][0], Role.CONTENT)
        content[0] = False
        rows.append(torch.stack([sink.tokens[ref][0, content] for ref in sink.tokens]))
        said += [adapter.tokenizer.decode([k]) for k in inputs.tensors["input_ids"][0, content]]
    every = torch.cat(rows, dim=1)  # (L, N, d)
    for layer, tokens in enumerate(layers):
        near = cosine_similarity(tokens[:, None, None], every[None], dim=3)  # (T, L, N)
        best, place = near.flatten(1).max(dim=1)
        np.testing.assert_allclose(reading.scores[:, layer, 0], best, atol=1e-5)
        found = [reading.said[k] for k in reading.words[:, layer, 0]]
        assert found == [said[int(k) % len(said)] for k in place]
        assert reading.layers[:, layer, 0].tolist() == [int(k) // len(said) for k in place]
        for token in range(len(tokens)):
            k = np.isfinite(reading.scores[token, layer]).sum()
            told = [reading.said[w] for w in reading.words[token, layer, :k]]
            assert len(set(told)) == len(told) == 5
    assert all(
        word.strip() in around for word, around in zip(reading.said, reading.within, strict=True)
    )


def test_every_text_gives_as_many_words_as_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert module._shares([1, 100, 3, 100], 24) == [1, 10, 3, 10]
    assert module._shares([2, 5], 24) == [2, 5]
    monkeypatch.setattr(module, "MOST_CONTEXTS", 10)
    case = made("llava")
    texts = ("cat dog cup " * 9, "best day ever", "a red pizza on the left", "it is", "blue thing")
    reading = image_words(case.adapter, case.samples[0], texts).readings[CONTEXT]
    assert (len(reading.said), reading.texts) == (10, 5)
    of_text = [sum(around in text for around in reading.within) for text in texts]
    assert of_text == [2, 2, 2, 2, 2]


def test_what_stands_first_without_a_bos_is_not_compared_with() -> None:
    padded = torch.tensor([Role.PADDING, Role.CONTENT, Role.CONTENT, Role.CONTENT])
    assert module._words_of(padded).tolist() == [2, 3]
    begun = torch.tensor([Role.SPECIAL, Role.CONTENT, Role.CONTENT, Role.PADDING])
    assert module._words_of(begun).tolist() == [1, 2]


def test_a_text_alone_is_read_by_the_rules_of_the_whole_model() -> None:
    case = made("paligemma")
    model, alone = case.adapter.module.model, case.adapter.text_alone()
    assert alone is not None
    inputs = alone.encode([Sample("a red cat"), Sample("hate the small red pizza")])
    with torch.no_grad():
        tokens = alone.run(inputs)
    for row in range(2):
        real = inputs.tensors[MASK][row].bool()
        ids = inputs.tensors["input_ids"][row][None, real]
        places = torch.arange(1, ids.shape[1] + 1)[None]  # its positions begin at 1
        with torch.no_grad():
            whole = model(input_ids=ids, position_ids=places, token_type_ids=ids * 0)[0]
        torch.testing.assert_close(tokens[row, real], whole[0], rtol=0, atol=1e-4)
    with torch.no_grad():  # by itself the language model is causal as soon as there is padding
        causal = model.language_model(**{k: inputs.tensors[k] for k in ("input_ids", MASK)})[0]
    real = inputs.tensors[MASK][0].bool()
    assert not torch.allclose(tokens[0, real], causal[0, real], atol=1e-3)


def test_boxes_are_those_of_the_patches_and_without_texts_there_are_no_contexts() -> None:
    case = made("llava")
    words = image_words(case.adapter, case.samples[0], ())
    assert set(words.readings) == {NEXT, INPUT}
    width, height = case.samples[0].images[0].size
    assert np.isfinite(words.boxes).all()
    assert words.boxes[:, 2].max() <= width and words.boxes[:, 3].max() <= height


@pytest.mark.parametrize("family", ["clip", "vilt", "idefics", "blip_caption", "dual_stream"])
def test_other_models_say_why_not_in_one_line(family: str) -> None:
    case = made(family)
    with pytest.raises(InputError, match="put no image tokens among the words") as caught:
        image_words(case.adapter, case.samples[0], TEXTS)
    assert "\n" not in str(caught.value)
