"""The one door through which weights come: what is stored against what a model needs, by name.

Whoever opens weights lays both beside each other here: nothing that is missing, left over, of
another shape, of no real numbers or not finite passes in silence.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

from torch import nn

from backend.errors import InputError
from backend.models.weights import StoredTensor, shortened

SWITCH = "allow_partial_weights"
"""The setting of whoever means it."""

_REAL = ("F64", "F32", "F16", "BF16")
_INDICES = re.compile(r"(^|\.)(position_ids|token_type_ids|num_batches_tracked|\w+_index)$")
"""Tensors that are whole numbers in every model that has them."""

_INSIDE = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
"""What compiling, sharding and checkpointing put before a module's name, wherever it stands."""

_AROUND = (
    *("module.", "_forward_module.", "state_dict.", "0.auto_model.", "auto_model.", "0."),
    *("model.", "encoder.", "backbone.", "bert.", "roberta.", "distilbert.", "electra."),
    *("deberta.", "mpnet.", "transformer.", "text_model.", "vision_model.", "visual.trunk."),
    *("visual.", "fusion."),
)
"""What other programs and larger models put before the names of a whole model."""


@dataclass(frozen=True)
class Misfits:
    """What does not fit, as names a kind.

    ``types`` are tensors of other than real numbers, ``shapes`` say both shapes.
    """

    missing: Sequence[str] = ()
    unexpected: Sequence[str] = ()
    shapes: Sequence[str] = ()
    types: Sequence[str] = ()
    not_finite: Sequence[str] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, kind.name) for kind in fields(self))

    def told(self, model: str) -> str:
        """All of it in one clause; every kind with its first names and their count."""
        sentences = {
            "missing": f"weights lack what a {model} needs: ",
            "unexpected": f"weights hold what a {model} has no place for: ",
            "shapes": f"weights do not have the shapes of a {model}: ",
            "types": "weights are not real numbers: ",
            "not_finite": "weights are not finite in ",
        }
        return "; ".join(
            sentence + shortened(sorted(getattr(self, kind)))
            for kind, sentence in sentences.items()
            if getattr(self, kind)
        )

    def judge(
        self, model: str, where: str, *, allow: bool | None, hint: str = ""
    ) -> tuple[str, ...]:
        """Nothing, or with ``allow`` the note to keep; else an InputError that names what is wrong.

        ``model`` is what to call the class that the weights are for; ``allow`` is None at a door
        that has no switch.
        """
        if not self:
            return ()
        told = self.told(model)
        if allow:
            made = " What is missing is random, from seed 0." if self.missing or self.shapes else ""
            return (f"Opened although its {told}.{made}",)
        if not hint and self.not_finite:
            hint = "The training that wrote them diverged, or the file is damaged."
        if allow is not None:
            hint = f"{hint} `{SWITCH}` opens it all the same.".strip()
        raise InputError(told, where=where, hint=hint)


def real_name(stored: str, own: Collection[str], around: str) -> str:
    """What a model calls a stored tensor: without ``around`` and what wraps single modules."""
    if stored in own:
        return stored
    return _INSIDE.sub("", stored).removeprefix(around)


def wrapping(stored: Iterable[str], own: Collection[str], base: str = "") -> str:
    """The known prefix under which most stored names are a model's ``own``; empty for none.

    ``base`` is a prefix that the loader itself puts before names or takes away.
    """
    names = [_INSIDE.sub("", name) for name in stored]
    known = {*own, *(f"{base}.{name}" for name in own)} if base else set(own)
    if base:
        known |= {name.removeprefix(f"{base}.") for name in own}
    best, most = "", sum(name in known for name in names)
    for prefix in _prefixes(names):
        matched = sum(name.startswith(prefix) and name[len(prefix) :] in known for name in names)
        if matched > most:
            best, most = prefix, matched
    return best


def _prefixes(names: Sequence[str]) -> Iterator[str]:
    """Every chain of known wrappers that any name begins with, shorter ones first."""
    waiting, seen = [""], {""}
    while waiting:
        begun = waiting.pop(0)
        for part in _AROUND:
            longer = begun + part
            if longer not in seen and any(name.startswith(longer) for name in names):
                seen.add(longer)
                waiting.append(longer)
                yield longer


def other_shapes(
    stored: Mapping[str, tuple[int, ...]], own: Mapping[str, tuple[int, ...]]
) -> list[str]:
    """``name (2×3 stored, 2×4 in the model)`` of each that both have."""
    return [
        f"{name} ({_shape(shape)} stored, {_shape(own[name])} in the model)"
        for name, shape in stored.items()
        if name in own and tuple(own[name]) != tuple(shape)
    ]


def other_types(tensors: Mapping[str, StoredTensor]) -> list[str]:
    """``name (I64)`` of each that is stored as other than real numbers and is no index."""
    return [
        f"{name} ({tensor.dtype})"
        for name, tensor in tensors.items()
        if tensor.dtype not in _REAL and not _INDICES.search(name)
    ]


def not_finite(module: nn.Module) -> list[str]:
    """Parameters and buffers that hold a NaN or an infinity."""
    held = (*module.named_parameters(), *module.named_buffers())
    return [
        name
        for name, values in held
        if (values.is_floating_point() or values.is_complex()) and not bool(values.isfinite().all())
    ]


def _shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "a number"
