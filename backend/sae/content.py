"""Which tokens of a batch autoencoders read, and which words a model has said."""

from __future__ import annotations

from torch import Tensor

from backend.models.adapter import Inputs
from backend.models.roles import OWN, Role, has


def content(inputs: Inputs, stream: str) -> Tensor:
    """(B, T) bool: a stream's content tokens, but for one that begins a sequence of words.

    What comes first in a causal model is where its attention rests that has nothing to find, and is
    many times as large as the rest (Xiao et al. 2024, "attention sinks"): mostly the beginning of a
    text, which is no content, else a sample's own first token.
    """
    own = has(inputs.roles[stream], Role.CONTENT)
    mask = inputs.tensors.get("attention_mask")
    if mask is None or mask.shape != own.shape:
        return own
    begins = mask.bool() & (mask.cumsum(dim=1) == 1)
    return own & ~begins


def said(inputs: Inputs) -> Tensor:
    """(B, T - 1) bool: own words of the stream ``text``, from the second place on, that a token
    before them says: one that is there, in the text or in the image of the same sequence."""
    roles = inputs.roles["text"]
    there = has(roles, OWN)
    image = inputs.roles.get("image")
    if image is not None and image.shape == roles.shape:
        there = there | has(image, OWN)
    return has(roles, Role.CONTENT)[:, 1:] & there[:, :-1]
