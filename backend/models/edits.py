"""Interventions: values that a tap applies during a pass. Nothing of them stays on the model.

``cut`` keeps another stream from entering, ``zero``, ``add`` and ``patch`` change a site. To blank
a modality as a whole, change the sample: :meth:`backend.data.sample.Sample.blank`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from backend.errors import InputError
from backend.models.roles import OWN, Role, has
from backend.types import LayerRef, Meet, StreamSpec

if TYPE_CHECKING:
    from backend.models.adapter import Inputs

Change = Callable[[Tensor, "Inputs"], Tensor]


@dataclass(frozen=True)
class Edit:
    """A new value for a stream's tokens at a site: ``function((B, T, d), inputs) -> (B, T, d)``.

    Only the tokens of ``roles`` are changed (by default all that are the stream's own): what the
    function returns for others, such as another stream's tokens in the same sequence, is ignored.
    """

    ref: LayerRef
    function: Change
    roles: Role = OWN

    def apply(self, tokens: Tensor, inputs: Inputs) -> Tensor:
        """The edited tokens; the given ones stay as they are."""
        changed = self.function(tokens, inputs).to(tokens.dtype)
        roles = inputs.roles[self.ref.stream]
        if tokens.shape[1] != roles.shape[1]:
            return changed  # after the model's own pooling there are no tokens to tell apart
        return torch.where(has(roles, self.roles)[..., None], changed, tokens)


@dataclass(frozen=True)
class Cut:
    """The stream no longer takes the other one in at ``meet``."""

    stream: str
    meet: Meet


def cut(spec: StreamSpec, layer: int | None = None) -> tuple[Cut, ...]:
    """Cuts of a stream's meets at a fusion layer, or of all its meets.

    InputError where the stream takes nothing in there.
    """
    found = tuple(
        Cut(spec.name, meet)
        for meet in spec.meets
        if meet.how != "loss" and layer in (None, meet.layer)
    )
    if not found:
        where = "anywhere" if layer is None else f"at layer {layer}"
        layers = ", ".join(map(str, spec.fusion_layers)) or "none"
        raise InputError(
            f"stream {spec.name} takes no other stream in {where}",
            hint=f"Its fusion layers: {layers}.",
        )
    return found


def identity(ref: LayerRef) -> Edit:
    """Put back what was read: changes nothing."""
    return Edit(ref, lambda tokens, inputs: tokens.clone())


def zero(ref: LayerRef, roles: Role = OWN) -> Edit:
    """Zeros at a site."""
    return Edit(ref, lambda tokens, inputs: torch.zeros_like(tokens), roles)


def add(ref: LayerRef, vector: Tensor, roles: Role = OWN) -> Edit:
    """Add ``vector``, (d,) or (B, 1, d), to a site's tokens."""
    return Edit(ref, lambda tokens, inputs: tokens + vector.to(tokens), roles)


def patch(ref: LayerRef, source: Tensor, roles: Role = OWN) -> Edit:
    """Put another pass's tokens, (B, T, d) or (1, T, d), into a site.

    With ``roles=Role.SUMMARY`` only the summary token is replaced; ``source`` is then (B, 1, d) or
    (1, 1, d), whatever the lengths are. InputError while running where the shapes do not fit.
    """

    def replace(tokens: Tensor, inputs: Inputs) -> Tensor:
        try:
            return source.to(tokens).expand_as(tokens)
        except RuntimeError as error:
            raise InputError(
                f"tokens of shape {tuple(source.shape)} do not fit {tuple(tokens.shape)}",
                where=f"patching {ref.stream} {ref.label}",
                hint="Patch from a sample with as many tokens, or the summary token alone.",
            ) from error

    return Edit(ref, replace, roles)
