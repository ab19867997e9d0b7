"""What stands around an image and its text: a plain caption, or a question in a chat format."""

from __future__ import annotations

import json

from transformers import PreTrainedTokenizerBase

from backend.errors import InputError
from backend.linear_adapter.plan import AdapterPlan
from backend.models.loading import guarded

IMAGE = "<image>"
_ASKED = "\ue000"
"""Stands for the user's words while a chat format is looked at."""


def chat_template(tokenizer: PreTrainedTokenizerBase, plan: AdapterPlan, where: str) -> str:
    """How the checkpoint's processor lays out an image and a text.

    As training does: the image after the beginning of a text (BOS, where there is one) and the
    caption after it, or, where an instruction is asked, the language model's own format of one
    question around both. InputError where it has none.
    """
    before, after = tokenizer.bos_token or "", ""
    if plan.instruction:
        if not tokenizer.chat_template:
            raise InputError(
                "has no chat format, in which an instruction could be asked",
                where=where,
                field="instruction",
                hint="Leave `instruction` out to train captions, or use a model made for chats.",
            )
        asked = [{"role": "user", "content": _ASKED}]
        whole = guarded(
            where,
            "its chat format cannot be used",
            lambda: tokenizer.apply_chat_template(
                asked, tokenize=False, add_generation_prompt=True
            ),
        )
        before, word, after = str(whole).partition(_ASKED)
        if not word:
            raise InputError("its chat format does not show what is asked", where=where)
    return (
        "{% for message in messages %}{{ " + json.dumps(before) + " }}"
        "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
        "{{ " + json.dumps(f"{IMAGE}\n") + " }}{% else %}{{ part['text'] }}{% endif %}"
        "{% endfor %}{{ " + json.dumps(after) + " }}{% endfor %}"
    )
