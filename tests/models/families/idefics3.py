"""A tiny Idefics 3: tiles of 32 pixels, four by four patches, squares of four as one token."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from transformers import Idefics3ImageProcessor, Idefics3Processor

from backend.models.families.shuffled import Idefics3
from tests.models.families.common import LM_SPECIALS, Case, enlarged, word_tokenizer
from tests.models.families.llava import CHAT
from tests.models.families.llava_next import SIZES, language, one_or_two

PLACES = [f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)]
MARKS = ("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", *PLACES)


def tiny() -> Case:
    images = Idefics3ImageProcessor(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    return idefics3("Idefics3", Idefics3, images, Idefics3Processor)


def idefics3(kind: str, family: Any, images: Any, processor_class: Any) -> Case:
    """A model of ``kind``."""
    tokenizer = word_tokenizer(
        specials=LM_SPECIALS, template="<s> $A", side="left", extra=MARKS, max_length=256
    )
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(
        vision_config={**SIZES, "image_size": 32},
        text_config=language(tokenizer).to_dict(),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=tokenizer.pad_token_id,
    )
    processor = processor_class(images, tokenizer, image_seq_len=4, chat_template=CHAT)
    model = enlarged(getattr(transformers, f"{kind}ForConditionalGeneration")(config))
    adapter = family(model, processor, f"tiny-{kind.lower()}")
    states = {"image": "hidden_states", "text": "hidden_states"}
    return Case(adapter, one_or_two(), states, tiles=False)
