"""BLIP goes on with a caption as transformers does."""

from __future__ import annotations

import torch

from backend.data.sample import Sample
from backend.models.roles import Role
from tests.models.families.blip_caption import tiny
from tests.models.families.common import pictures


def test_a_caption_begins_with_the_token_with_which_generation_begins() -> None:
    case = tiny()
    model, processor = case.adapter.module, case.adapter.processor
    samples = [*case.samples, Sample("", tuple(pictures(1)))]
    with torch.no_grad():
        ours = case.adapter.forward(case.adapter.encode(samples))["next_token_logits"]
    for sample, logits in zip(samples, ours, strict=True):
        given = processor(images=sample.images[0], text=sample.text, return_tensors="pt")
        said = model.generate(
            **given,
            max_new_tokens=1,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
        )
        torch.testing.assert_close(logits, said.logits[0][0], rtol=0, atol=1e-5)
        assert int(said.sequences[0, -1]) == int(logits.argmax())


def test_it_is_a_special_token_of_the_caption() -> None:
    case = tiny()
    inputs = case.adapter.encode(case.samples)
    assert inputs.tensors["input_ids"][:, 0].unique().tolist() == [len(case.adapter.tokenizer)]
    assert (inputs.roles["text"][:, 0] == int(Role.SPECIAL)).all()
