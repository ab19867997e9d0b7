from __future__ import annotations

from dataclasses import replace

import pytest

from backend.models.roles import Role, has
from backend.models.texts import special_ids, tokenize
from tests.models.families.common import BERT_SPECIALS, word_tokenizer
from tests.models.saved import tiny


def test_an_unknown_word_is_no_special_token() -> None:
    tokenizer = word_tokenizer(specials=BERT_SPECIALS, template="[CLS] $A [SEP]")
    marks = (BERT_SPECIALS[f"{name}_token"] for name in ("pad", "cls", "sep", "mask"))
    assert sorted(special_ids(tokenizer)) == sorted(tokenizer.convert_tokens_to_ids([*marks]))


def test_one_that_is_also_the_end_of_a_text_is() -> None:
    specials = {"unk_token": "<end>", "eos_token": "<end>", "bos_token": "<start>"}
    tokenizer = word_tokenizer(specials=specials, template="<start> $A <end>")
    ids = tokenize(tokenizer, ["the cat"], 8, padding=False).ids[0]
    assert {int(ids[0]), int(ids[-1])} == {*special_ids(tokenizer)}


@pytest.mark.parametrize(
    "family", ["dual_stream", "clip", "siglip", "vilt", "lxmert", "idefics", "blip2", "llava"]
)
def test_a_text_of_unknown_words_alone_has_content(family: str) -> None:
    case = tiny(family)
    sample = replace(case.samples[0], text="umbrella kite")
    roles = case.adapter.encode([sample, case.samples[1]]).roles["text"]
    assert int(has(roles[0], Role.CONTENT).sum()) == 2
