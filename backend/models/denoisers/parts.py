"""The parts of a pipeline of diffusers, each opened from its own folder by names and shapes.

Nothing of diffusers' own loading is used: it takes whatever fits, asks the hub for what is not
there and reads classes from the files.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from backend.errors import InputError
from backend.models.configs import without_execution
from backend.models.doors import Misfits, not_finite, other_shapes, other_types
from backend.models.loading import Checkpoint, guarded

_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""What an autoencoder's attention was called before diffusers 0.16; files are as they were."""
_OLD_NAME = re.compile(rf"(?<=\.)({'|'.join(_OLD_ATTENTION)})(?=\.(weight|bias)$)")
_SEED = 0


def diffusers_class(name: str) -> Any:
    """A class of diffusers; InputError where the extra is not installed."""
    try:
        import diffusers
    except ImportError as error:
        raise InputError(
            "models that make images out of noise need diffusers, which is not installed",
            hint="Install it with: pip install 'fusionscope[denoisers]'",
        ) from error
    return getattr(diffusers, name)


def open_part(part: Checkpoint, class_name: str) -> nn.Module:
    """A model of diffusers on the CPU, in evaluation mode, in float32.

    InputError names every tensor that is missing, unexpected, of another shape, no real number or
    not finite, and a part of another class.
    """
    if part.model_type != class_name:
        raise InputError(
            f"is a {part.model_type[:80]}, not a {class_name}",
            where=part.where,
            hint="Other kinds of this pipeline are not supported.",
        )
    made = diffusers_class(class_name)
    settings = {
        name: value
        for name, value in without_execution(part.config).items()
        if not name.startswith("_") and name != "model_type"
    }

    def described() -> nn.Module:
        with torch.device("meta"):
            model: nn.Module = made.from_config(settings)
        return model

    problem = f"config.json does not describe a {class_name}"
    model = guarded(part.where, problem, described)
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    part.require_room(model)
    stored = {_new_name(name, own): tensor for name, tensor in part.tensors.items()}
    if len(stored) < len(part.tensors):
        raise InputError(
            "weights hold a tensor under its old name and its new one", where=part.where
        )
    shapes = {name: tensor.shape for name, tensor in stored.items()}
    misfits = Misfits(
        missing=[name for name in own if name not in stored],
        unexpected=[name for name in stored if name not in own],
        shapes=other_shapes(_alike(shapes, own), own),
        types=other_types(stored),
    )
    part.judge(misfits, class_name)
    with torch.random.fork_rng([]):
        torch.manual_seed(_SEED)
        model = guarded(part.where, problem, lambda: made.from_config(settings))
    values: dict[str, Tensor] = {}
    for file in part.files:
        values |= {_new_name(name, own): value for name, value in load_file(file).items()}
    fitting = {
        name: value.reshape(own[name])
        for name, value in values.items()
        if _alike({name: tuple(value.shape)}, own)[name] == own.get(name)
    }
    model.load_state_dict(fitting, strict=False)
    part.judge(Misfits(not_finite=not_finite(model)), class_name)
    opened: nn.Module = model.float().eval()
    return opened


def _new_name(name: str, own: dict[str, tuple[int, ...]]) -> str:
    return name if name in own else _OLD_NAME.sub(lambda old: _OLD_ATTENTION[old[0]], name)


def _alike(
    shapes: dict[str, tuple[int, ...]], own: dict[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """A projection that was stored as a convolution of one pixel has the shape of a matrix."""
    return {
        name: own[name] if shape[:2] == own.get(name) and set(shape[2:]) == {1} else shape
        for name, shape in shapes.items()
    }
