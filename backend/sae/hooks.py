"""The places of the residual stream as other libraries write them, in our counting of layers.

TransformerLens and nnsight count blocks from 0: the output of their block 11 is our layer 12.
"""

from __future__ import annotations

import re

from backend.errors import InputError

_BLOCKS = r"(?:blocks|layers|h)"
_OUTPUTS = (
    re.compile(r"blocks\.(\d{1,4})\.hook_resid_post"),
    re.compile(rf"(?:[a-z_]+\.)*{_BLOCKS}\.(\d{{1,4}})(?:\.output)?"),
    re.compile(r"resid_post_layer_(\d{1,4})"),
)
_INPUTS = (
    re.compile(r"blocks\.(\d{1,4})\.hook_resid_pre"),
    re.compile(rf"(?:[a-z_]+\.)*{_BLOCKS}\.(\d{{1,4}})\.input"),
)
_EMBEDDINGS = re.compile(r"hook_embed|(?:[a-z_]+\.)*embed_tokens(?:\.output)?")


def layer_of(hook: str, where: str) -> int:
    """The layer that a hook's name means.

    InputError for a place beside the residual stream (an attention's or a perceptron's output),
    which is none of a stream's layers, and for a name that is not known.
    """
    if _EMBEDDINGS.fullmatch(hook):
        return 0
    for pattern in _OUTPUTS:
        if match := pattern.fullmatch(hook):
            return int(match[1]) + 1
    for pattern in _INPUTS:
        if match := pattern.fullmatch(hook):
            return int(match[1])
    raise InputError(
        f"was trained at {hook[:80]!r}, which is no layer of the residual stream",
        where=where,
        hint="Layers are read as blocks give them: blocks.N.hook_resid_post, or model.layers.N.",
    )
