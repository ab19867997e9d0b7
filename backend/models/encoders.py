"""Released encoders by name, to be looked at side by side without training, or one alone.

As one word, ``text=DIR_OR_ID;vision=TIMM_NAME[:WEIGHTS];pixels=224``, they are a model like any
other: :func:`backend.models.registry.open_model` opens it, and a run remembers it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backend.errors import InputError
from backend.settings import check_settings, setting

FAMILY = "fusionscope-encoders"
"""The family of the models that they become."""

_KEYS = {"text": "text_encoder", "vision": "vision_encoder", "pixels": "image_size"}
_DIGITS = 6


@dataclass(frozen=True)
class Encoders:
    """A text encoder, a vision encoder, or both; empty where there is none."""

    text_encoder: str = setting(
        "", "Instead of a model: a directory or a hub id, beside a vision encoder or alone."
    )
    vision_encoder: str = setting(
        "", "Instead of a model: TIMM_NAME[:WEIGHTS.safetensors], beside a text encoder or alone."
    )
    image_size: int | None = setting(
        None, "Pixels of the vision encoder; default its own.", at_least=8
    )

    def __bool__(self) -> bool:
        return bool(self.text_encoder or self.vision_encoder)

    @property
    def word(self) -> str:
        """All of it in one word; :func:`named_encoders` reads it.

        InputError for a name that has a semicolon in it.
        """
        values = {key: getattr(self, field) for key, field in _KEYS.items()}
        for key, value in values.items():
            if ";" in str(value or ""):
                raise InputError("a name with ; cannot be read back", field=_KEYS[key])
        return ";".join(f"{key}={value}" for key, value in values.items() if value)

    @property
    def name(self) -> str:
        """For people, without folders: ``minilm_l6 + vit_small_patch14_dinov2``."""
        named = (self.text_encoder, self.vision_encoder.partition(":")[0])
        return " + ".join(Path(name).name for name in named if name)


def named_encoders(word: str) -> Encoders | None:
    """The encoders that a word names; None where it is the name of something else.

    InputError for a word that begins like one and is none.
    """
    if not word.startswith(tuple(f"{key}=" for key in _KEYS)):
        return None
    parts = dict.fromkeys(_KEYS, "")
    for part in word.split(";"):
        key, _, value = part.partition("=")
        if key not in parts or parts[key] or not value.strip():
            raise _unreadable(word, f"{part[:80]!r} is not one of text=, vision=, pixels=")
        parts[key] = value.strip()
    pixels = parts["pixels"]
    if pixels and not (pixels.isascii() and pixels.isdecimal() and len(pixels) <= _DIGITS):
        raise _unreadable(word, f"{pixels[:80]!r} is not a number of pixels")
    encoders = Encoders(parts["text"], parts["vision"], int(pixels) if pixels else None)
    if not encoders or (pixels and not encoders.vision_encoder):
        raise _unreadable(word, "it names no encoder" if not encoders else "no vision encoder")
    return encoders


def model_or(encoders: Encoders, model: str) -> str:
    """What to open: the model that is named, or the encoders.

    InputError unless it is one of both.
    """
    check_settings(encoders)
    if bool(encoders) == bool(model):
        raise InputError(
            "name a model, or encoders" if not model else "cannot be given with encoders",
            field="model",
            hint="Give `model`, or `text_encoder` and `vision_encoder` or one of these.",
        )
    if encoders.image_size is not None and not encoders.vision_encoder:
        raise InputError("there is no vision encoder that it is of", field="image_size")
    return model or encoders.word


def _unreadable(word: str, problem: str) -> InputError:
    return InputError(
        problem,
        where=f"model {word[:200]!r}",
        hint="Write text=DIR_OR_ID;vision=TIMM_NAME[:WEIGHTS];pixels=224, or a part of it.",
    )
