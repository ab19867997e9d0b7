"""Where a model norms its tokens: after the last block, or at the end of every block.

Pre-norm models (ViT, ModernBERT) leave their blocks' outputs as sums and norm once after the last
one; post-norm ones (BERT) end every block with a norm (Xiong et al. 2020). A pass that is watched
tells which.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

AFTER_OWN_NORM = "Every layer is read after its own LayerNorm."
"""The note of a stream whose blocks end with a norm."""


@dataclass
class Norms:
    """What a watched pass has shown.

    ``final`` is the norm that takes the last block's tokens (B, T, d) and gives as many, None where
    there is none; ``within`` says whether what the last block gives comes out of a norm.
    """

    final: nn.Module | None = None
    within: bool = False


@contextmanager
def watching_norms(model: nn.Module, last_block: nn.Module) -> Iterator[Norms]:
    """Within it, one pass of ``model`` is watched; the result is whole once it has run."""
    norms = Norms()
    normed: list[Tensor] = []  # what the latest norm gave, until the last block is over
    given: list[Tensor] = []  # what the last block gave

    def after_norm(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if not given:
            normed[:] = [output]
        elif norms.final is None:
            taken = args[0] if args else next(iter(kwargs.values()))
            if _same(taken, given[0]) and output.shape == given[0].shape:
                norms.final = module

    def after_block(module: nn.Module, args: Any, output: Any) -> None:
        given[:] = [output[0] if isinstance(output, tuple) else output]
        norms.within = bool(normed) and _same(normed[0], given[0])

    with ExitStack() as stack:
        for part in model.modules():
            if _is_norm(part):
                handle = part.register_forward_hook(after_norm, with_kwargs=True)
                stack.callback(handle.remove)
        stack.callback(last_block.register_forward_hook(after_block).remove)
        yield norms


def _is_norm(module: nn.Module) -> bool:
    """By its class's name; MobileBERT's NoNorm only scales and shifts."""
    name = type(module).__name__.lower()
    return "norm" in name and name != "nonorm" and next(module.children(), None) is None


def _same(a: Any, b: Tensor) -> bool:
    return isinstance(a, Tensor) and a.shape == b.shape and torch.equal(a, b)
