"""Texts to token ids: padded, with every token's characters, and what did not fit counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from backend.errors import InputError
from backend.models.roles import Origins, Role


class Tokens(NamedTuple):
    """``ids`` and ``mask`` (B, T), the characters of each token, and (B,) how many were cut off."""

    ids: Tensor
    mask: Tensor
    spans: Origins
    cut: np.ndarray


def tokenize(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    max_length: int,
    *,
    text_starts: Sequence[int] | None = None,
    **options: Any,
) -> Tokens:
    """At most ``max_length`` tokens of each text, padded to the longest (or as ``options`` say).

    ``text_starts``: where the sample's own text begins in each of ``texts`` when these are prompts
    around it: spans then count from there, and characters of the prompt have none.
    """
    settings: dict[str, Any] = {"padding": True, **options}
    fast = bool(tokenizer.is_fast)
    out = tokenizer(
        list(texts),
        truncation=True,
        max_length=max_length,
        return_tensors="pt",
        return_attention_mask=True,
        return_offsets_mapping=fast,
        **settings,
    )
    # without a single token, as of empty texts, these come as float
    ids, mask = out["input_ids"].long(), out["attention_mask"].long()
    spans = np.full((*ids.shape, 2), -1, dtype=np.int32)
    if fast:
        offsets = out["offset_mapping"].numpy().reshape(*ids.shape, 2)
        real = mask.numpy().astype(bool) & (offsets[..., 1] > offsets[..., 0])
        spans[real] = offsets[real]
        for row, start in enumerate(text_starts or ()):
            own = spans[row]
            own[own[:, 0] >= 0] -= start
            own[own[:, 0] < 0] = -1
    cut = np.zeros(len(texts), dtype=np.int64)
    full = torch.nonzero(mask.sum(dim=1) >= max_length)[:, 0].tolist()
    if full:
        options = {name: value for name, value in options.items() if name != "padding"}
        whole = tokenizer([texts[row] for row in full], truncation=False, verbose=False, **options)
        for row, tokens in zip(full, whole["input_ids"], strict=True):
            cut[row] = max(0, len(tokens) - max_length)
    return Tokens(ids, mask, Origins("span", spans), cut)


_MARKS = ("bos", "eos", "sep", "cls", "pad", "mask")


def special_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids that stand for no part of a text.

    That of an unknown word does stand for one, unless the tokenizer ends or pads with it, too.
    """
    marks = {getattr(tokenizer, f"{mark}_token_id") for mark in _MARKS}
    unknown = {tokenizer.unk_token_id} - marks
    return [special for special in tokenizer.all_special_ids if special not in unknown]


def text_roles(
    ids: Tensor,
    mask: Tensor,
    special: Sequence[int],
    summary: Literal["first", "last"] | None,
    *,
    summary_id: int | None = None,
) -> Tensor:
    """(B, T) roles of a text stream: padding where ``mask`` is 0, ``special`` ids, content.

    ``summary``: the first or the last real token, wherever padding stands; with ``summary_id`` the
    first real token of that id (CLIP's EOS). A summary that is a word is content, too.
    """
    real = mask.bool()
    specials = torch.isin(ids, torch.as_tensor(list(special), dtype=ids.dtype, device=ids.device))
    roles = torch.where(specials, int(Role.SPECIAL), int(Role.CONTENT))
    roles = torch.where(real, roles, int(Role.PADDING)).to(torch.int8)
    if summary is None and summary_id is None:
        return roles
    places = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    if summary_id is not None:
        at = torch.where(real & (ids == summary_id), places, ids.shape[1]).amin(dim=1)
        if bool((at == ids.shape[1]).any()):
            raise ValueError(f"a text has no token {summary_id}, by which it is read")
    elif summary == "first":
        at = torch.where(real, places, ids.shape[1]).amin(dim=1)
    else:
        at = torch.where(real, places, -1).amax(dim=1)
    rows = torch.arange(len(ids), device=ids.device)
    own = roles[rows, at] & int(Role.CONTENT)  # a special token that sums up is nothing else
    roles[rows, at] = own | int(Role.SUMMARY)
    return roles


class Prompt(NamedTuple):
    """A sample's own text and what a model wants around it."""

    before: str
    text: str
    after: str = ""


def check_marks(texts: Sequence[str], mark: str, model: str) -> None:
    """InputError for a text with the word that a prompt has where an image's tokens come."""
    for at, text in enumerate(texts):
        if mark in text:
            raise InputError(
                f"the text of sample {at + 1} contains {mark}, which stands for an image",
                where=f"model {model}",
            )


class Prompted(NamedTuple):
    """Tokens of prompts, and which of them are the sample's own: ``own`` (B, T) bool."""

    ids: Tensor
    mask: Tensor
    spans: Origins
    own: Tensor
    cut: np.ndarray


def tokenize_prompts(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    max_length: int,
    *,
    lead: Sequence[int] = (),
    add_special_tokens: bool = True,
    padding_side: Literal["left", "right"] | None = None,
) -> Prompted:
    """Tokens of each prompt, padded on ``padding_side`` (default: as the tokenizer does).

    Spans count in the sample's own text. What does not fit into ``max_length`` is taken from the
    end of that text and counted, so that the prompt around it stays whole. ``lead``: ids before
    everything else. InputError where the prompt alone does not fit.
    """
    if not tokenizer.is_fast:
        raise InputError(
            f"the tokenizer {type(tokenizer).__name__} does not say where its tokens come from",
            hint="Save the model with the fast tokenizer (tokenizer.json).",
        )
    out = tokenizer(
        [prompt.before + prompt.text + prompt.after for prompt in prompts],
        add_special_tokens=add_special_tokens,
        return_offsets_mapping=True,
        verbose=False,
    )
    rows = []
    cut = np.zeros(len(prompts), dtype=np.int64)
    for row, (prompt, ids) in enumerate(zip(prompts, out["input_ids"], strict=True)):
        spans = _own_spans(prompt, out["offset_mapping"][row])
        own = np.flatnonzero(spans[:, 0] >= 0)
        cut[row] = max(0, len(lead) + len(ids) - max_length)
        if cut[row] > len(own):
            raise InputError(
                f"the prompt around sample {row + 1} alone has"
                f" {len(lead) + len(ids) - len(own)} tokens, the model takes {max_length}",
                hint="Give it fewer images.",
            )
        stay = np.ones(len(ids), dtype=bool)
        stay[own[len(own) - cut[row] :]] = False
        none = np.full((len(lead), 2), -1, dtype=np.int32)
        rows.append(([*lead, *np.asarray(ids)[stay].tolist()], np.concatenate([none, spans[stay]])))
    padded = tokenizer.pad(
        {"input_ids": [ids for ids, _ in rows]},
        return_attention_mask=True,
        return_tensors="pt",
        padding_side=padding_side,
    )
    ids, mask = padded["input_ids"], padded["attention_mask"]
    spans = np.full((*ids.shape, 2), -1, dtype=np.int32)
    spans[mask.numpy().astype(bool)] = np.concatenate([own for _, own in rows])
    return Prompted(ids, mask, Origins("span", spans), torch.from_numpy(spans[..., 0] >= 0), cut)


def _own_spans(prompt: Prompt, offsets: Sequence[tuple[int, int]]) -> np.ndarray:
    """(T, 2): the characters of the sample's own text in each token, -1 where there are none."""
    spans = np.asarray(offsets, dtype=np.int32).reshape(-1, 2) - len(prompt.before)
    spans = spans.clip(0, len(prompt.text))
    spans[spans[:, 0] >= spans[:, 1]] = -1
    return spans


def prompt_roles(tokens: Prompted, special: Sequence[int], elsewhere: Tensor) -> Tensor:
    """(B, T) roles of a text inside prompts: its summary is the last real token.

    ``special`` ids and the prompt's own tokens are special. ``elsewhere`` (B, T): which tokens
    belong to another stream.
    """
    ids, real = tokens.ids, tokens.mask.bool()
    specials = torch.isin(ids, torch.as_tensor(list(special), dtype=ids.dtype))
    content = tokens.own & ~specials
    roles = torch.where(content, int(Role.CONTENT), int(Role.SPECIAL))
    roles = torch.where(elsewhere, int(Role.ABSENT), roles)
    roles = torch.where(real, roles, int(Role.PADDING)).to(torch.int8)
    last = torch.where(real & ~elsewhere, torch.arange(ids.shape[1]), -1).amax(dim=1)
    if bool((last < 0).any()):
        raise ValueError("a prompt has no token of its text")
    rows = torch.arange(len(ids))
    roles[rows, last] = (roles[rows, last] & int(Role.CONTENT)) | int(Role.SUMMARY)
    return roles
