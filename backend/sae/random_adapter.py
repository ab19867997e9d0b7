"""What lies between a tower and a language model, as it could be without having been trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from backend.errors import InputError
from backend.models.families.image_tokens import ImageTokens


def between(adapter: ImageTokens) -> list[nn.Module]:
    """What lies between tower and language model; InputError where the model has none of it."""
    try:
        return [adapter.module.get_submodule(name) for name in adapter.parts.between]
    except AttributeError as error:
        raise InputError(
            f"has no {' or '.join(adapter.parts.between)} between tower and language model",
            where=f"model {adapter.name}",
        ) from error


@contextmanager
def randomised(modules: Sequence[nn.Module], seed: int, run: Callable[[], None]) -> Iterator[None]:
    """Within it, the matrices of modules are random; then as before. An identity stays.

    Each has numbers of a normal distribution with the spread of its own columns. ``run`` passes
    some samples through the model: the bias of a random linear layer is set so that its mean output
    of these (of the first call) is the trained one's. So what comes out lies in the same place and
    is about as spread, and has lost what was learned of one patch beside another. A layer without
    a bias has none.
    """
    weights = [weight for module in modules for weight in module.parameters()]
    drawn = [weight for weight in weights if weight.ndim == 2 and not _is_eye(weight)]
    layers = [
        layer
        for module in modules
        for layer in module.modules()
        if isinstance(layer, nn.Linear)
        and layer.bias is not None
        and any(layer.weight is weight for weight in drawn)
    ]
    changed = [*drawn, *(layer.bias for layer in layers)]
    before = [weight.detach().clone() for weight in changed]
    generator = torch.Generator().manual_seed(seed)
    try:
        means = _mean_outputs(layers, run)
        with torch.no_grad():
            for weight in drawn:
                fresh = torch.randn(weight.shape, generator=generator).to(weight)
                weight.copy_(fresh * weight.std(dim=0, keepdim=True))
        _recentre(means, run)
        yield
    finally:
        with torch.no_grad():
            for weight, old in zip(changed, before, strict=True):
                weight.copy_(old)


def _mean_outputs(layers: Sequence[nn.Linear], run: Callable[[], None]) -> dict[nn.Linear, Tensor]:
    """{layer: (d,) the mean over tokens of what it gives in its first call}."""
    means: dict[nn.Linear, Tensor] = {}

    def keep(layer: nn.Linear, *call: Any) -> None:
        means.setdefault(layer, _mean(call[-1]))

    with _hooked([layer.register_forward_hook(partial(keep, layer)) for layer in layers]):
        run()
    return means


def _recentre(means: Mapping[nn.Linear, Tensor], run: Callable[[], None]) -> None:
    """Set each layer's bias in its first call, those before it being set already."""
    waiting = set(means)

    def shift(layer: nn.Linear, _: nn.Module, taken: tuple[Tensor, ...]) -> None:
        if layer in waiting:
            waiting.remove(layer)
            mean = layer.weight.double() @ _mean(taken[0])
            with torch.no_grad():
                layer.bias.copy_(means[layer] - mean)

    with _hooked([layer.register_forward_pre_hook(partial(shift, layer)) for layer in means]):
        run()


@contextmanager
def _hooked(handles: Sequence[RemovableHandle]) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _mean(tokens: Tensor) -> Tensor:
    return tokens.detach().flatten(0, -2).double().mean(dim=0)


def _is_eye(weight: nn.Parameter) -> bool:
    rows, columns = weight.shape
    return rows == columns and bool(torch.equal(weight, torch.eye(rows).to(weight)))
