"""From safetensors files into a model of transformers, with nothing left to chance."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from backend.models.doors import Misfits, other_shapes, real_name, wrapping

_SEED = 0


def read_weights(
    model_class: type[PreTrainedModel],
    config: PreTrainedConfig,
    files: Sequence[Path],
    own: Mapping[str, tuple[int, ...]],
    ignored: re.Pattern[str] | None,
    dtype: torch.dtype,
    *,
    fill: bool,
) -> tuple[PreTrainedModel, Misfits]:
    """The model of these files in evaluation mode on the CPU, and what of them does not fit.

    ``own`` are the model's names and shapes; names that ``ignored`` finds are in no misfit. With
    ``fill`` what the files lack is drawn as the class draws it, from one seed: two readings are
    equal. Without it a model with misfits is not to be used.
    """
    with ExitStack() as stack:
        stored: dict[str, Any] = {}
        for path in files:
            file = stack.enter_context(safe_open(path, "pt"))
            stored |= {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        around = wrapping(stored, own, model_class.base_model_prefix)
        named = {real_name(name, own, around): tensor for name, tensor in stored.items()}
        twice = len(stored) - len(named)
        loading: Any = model_class
        with torch.random.fork_rng([]):
            torch.manual_seed(_SEED)
            model, info = loading.from_pretrained(
                None,
                config=config,
                state_dict=stored if twice else named,
                local_files_only=True,
                trust_remote_code=False,
                dtype=dtype,
                ignore_mismatched_sizes=True,  # they are told, by name
                output_loading_info=True,
            )
        lost = {key for key, *_ in info["mismatched_keys"]} | set(info["missing_keys"])
        if lost and fill:
            _fill(model, lost, model_class, config)
    _work_out_buffers(model)
    mismatched = info["mismatched_keys"]
    shapes = other_shapes(
        {key: tuple(shape) for key, shape, _ in mismatched},
        {key: tuple(shape) for key, _, shape in mismatched},
    )
    found = (info["missing_keys"], info["unexpected_keys"], shapes)
    missing, unexpected, other = (
        [name for name in names if not (ignored and ignored.search(name))] for names in found
    )
    return model, Misfits(missing, unexpected, other)


def _fill(
    model: nn.Module,
    names: set[str],
    model_class: type[PreTrainedModel],
    config: PreTrainedConfig,
) -> None:
    """What no file holds, as the class makes it from the seed: never memory as it was found."""
    with torch.random.fork_rng([]):
        torch.manual_seed(_SEED)
        fresh = model_class(config).state_dict()
    held = model.state_dict()
    with torch.no_grad():
        for name in names & fresh.keys() & held.keys():
            held[name].copy_(fresh[name])


def _work_out_buffers(model: nn.Module) -> None:
    """timm's own buffers that are no part of its weights: positions, tables of indices.

    transformers makes room for them and leaves them as memory was found.
    """
    for module in model.modules():
        work_out = getattr(module, "init_non_persistent_buffers", None)
        if work_out is not None:
            work_out()
