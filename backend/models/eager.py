"""The attention implementation of transformers that gives its maps, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import PreTrainedModel


@contextmanager
def eager_attention(model: PreTrainedModel) -> Iterator[None]:
    """Within it every part of ``model`` attends by the eager implementation; then as before."""
    before = [(config, config._attn_implementation_internal) for config in _configs(model)]
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        for config, implementation in before:
            config._attn_implementation_internal = implementation


def _configs(model: PreTrainedModel) -> list[Any]:
    """Every configuration that decides how a part of the model attends, each once."""
    configs: dict[int, Any] = {}
    waiting: list[Any] = [
        part.config for part in model.modules() if isinstance(part, PreTrainedModel)
    ]
    while waiting:
        config = waiting.pop()
        if id(config) not in configs:
            configs[id(config)] = config
            parts = (getattr(config, name, None) for name in getattr(config, "sub_configs", ()))
            waiting += [part for part in parts if part is not None]
    return list(configs.values())
