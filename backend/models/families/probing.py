"""Finds an encoder's blocks, attention maps and summary token by running it, whatever its class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from backend.errors import InputError, first_line
from backend.models.norms import watching_norms


@dataclass(frozen=True, eq=False)
class Probed:
    """An encoder as a small batch has shown it.

    ``attention[k - 1]`` has the map of ``blocks[k - 1]`` as item ``index`` of its output (empty
    where the blocks give none). ``norm`` is the norm of all tokens after the last block, if there
    is one, and ``normed`` says whether what a block gives comes out of a norm. ``reads`` (B, T):
    the tokens of the last block on which the pooled vector depends.
    """

    blocks: tuple[nn.Module, ...]
    attention: tuple[nn.Module, ...]
    index: int
    width: int
    norm: nn.Module | None
    normed: bool
    reads: Tensor


def probe(encoder: PreTrainedModel, tensors: dict[str, Tensor], where: str) -> Probed:
    """Run ``encoder`` on ``tensors`` twice: once to see its blocks, once to see what is read.

    InputError where no list of blocks turns (B, T, d) into (B, T, d) one after another, or where
    the output has no pooled vector. Attention must be eager already.
    """
    blocks = _blocks(encoder, tensors, where)
    maps: dict[nn.Module, int] = {}
    last: list[Tensor] = []

    def look(module: nn.Module, args: Any, output: Any) -> None:
        for index, part in enumerate(output if isinstance(output, tuple) else (output,)):
            if isinstance(part, Tensor) and part.ndim == 4 and part.shape[2] == part.shape[3]:
                sums = part.sum(dim=-1)
                if torch.allclose(sums, torch.ones_like(sums), atol=1e-2):
                    maps.setdefault(module, index)

    def leaf(module: nn.Module, args: Any, output: Any) -> Any:
        last.append(_tensor(output).detach().requires_grad_())
        return (last[0], *output[1:]) if isinstance(output, tuple) else last[0]

    with ExitStack() as stack, torch.enable_grad():
        for part in blocks[0].modules():
            stack.callback(part.register_forward_hook(look).remove)
        stack.callback(blocks[-1].register_forward_hook(leaf).remove)
        norms = stack.enter_context(watching_norms(encoder, blocks[-1]))
        pooled = getattr(encoder(**tensors, return_dict=True), "pooler_output", None)
        if pooled is None or pooled.ndim != 2:
            raise InputError(
                f"a {encoder.config.model_type} model gives no pooled vector to be projected",
                where=where,
            )
        direction = torch.randn(pooled.shape[1], generator=torch.Generator().manual_seed(0))
        (slope,) = torch.autograd.grad((pooled * direction.to(pooled)).sum(), last[0])
    path = next((path for path, part in blocks[0].named_modules() if part in maps), None)
    return Probed(
        blocks,
        () if path is None else tuple(block.get_submodule(path) for block in blocks),
        0 if path is None else maps[blocks[0].get_submodule(path)],
        last[0].shape[2],
        norms.final,
        norms.within,
        (slope != 0).any(dim=-1),
    )


@dataclass(frozen=True, eq=False)
class Chain:
    """Modules of which each takes what the one before it gave, (B, ``length``, ``width``).

    ``argument``: by which name the first is given it, where it is given by name.
    """

    blocks: tuple[nn.Module, ...]
    length: int
    width: int
    argument: str


def chained(model: nn.Module, run: Callable[[], object]) -> dict[str, Chain]:
    """{path: blocks} of every list of modules in ``model`` that ``run`` runs one after another."""
    lists = {
        path: tuple(part)
        for path, part in model.named_modules()
        if isinstance(part, (nn.ModuleList, nn.Sequential)) and len(part) > 0
    }
    calls: dict[nn.Module, list[tuple[Any, Any]]] = {p: [] for ps in lists.values() for p in ps}
    names: dict[nn.Module, str] = {}

    def note(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        names.setdefault(module, next(iter(kwargs), "") if not args else "")
        calls[module].append((_tensor(args or tuple(kwargs.values())), _tensor(output)))

    with ExitStack() as stack, torch.no_grad():
        for part in calls:
            stack.callback(part.register_forward_hook(note, with_kwargs=True).remove)
        run()
    chains = {}
    for path, parts in lists.items():
        if is_chain([calls[part] for part in parts]):
            _, length, width = calls[parts[0]][0][1].shape
            chains[path] = Chain(parts, length, width, names[parts[0]])
    return chains


def _blocks(
    encoder: PreTrainedModel, tensors: dict[str, Tensor], where: str
) -> tuple[nn.Module, ...]:
    """The longest list of modules of which each takes what the one before it gave."""
    try:
        chains = chained(encoder, partial(encoder, **tensors))
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"a {encoder.config.model_type} model cannot take what its processor gives: "
            f"{first_line(error)}",
            where=where,
        ) from error
    depth = getattr(encoder.config, "num_hidden_layers", None)
    found = [chain.blocks for chain in chains.values() if depth in (None, len(chain.blocks))]
    if not found:
        raise InputError(
            f"the blocks of a {encoder.config.model_type} model cannot be found",
            where=where,
            hint="They must be a list of modules of one width, each run once, in order.",
        )
    return max(found, key=len)


def is_chain(calls: Sequence[list[tuple[Any, Any]]]) -> bool:
    """Whether modules are blocks: each called once, with what the one before it returned.

    ``calls``: for each module what its calls took and gave; blocks keep (B, T, d) as it is.
    """
    if any(len(own) != 1 for own in calls):
        return False
    tokens = [value for own in calls for value in own[0]]
    if not all(isinstance(value, Tensor) and value.ndim == 3 for value in tokens):
        return False
    if len({value.shape for value in tokens}) != 1:
        return False
    return all(torch.equal(a[0][1], b[0][0]) for a, b in pairwise(calls))


def _tensor(value: Any) -> Any:
    """The first item of a tuple, or the value itself."""
    return value[0] if isinstance(value, tuple) and value else value
