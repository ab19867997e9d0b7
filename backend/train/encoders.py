"""What a recipe says of its encoders: their sizes, depths, and the layers that are frozen."""

from __future__ import annotations

from pathlib import Path

from backend.errors import InputError, blamed_on
from backend.models.dual_stream import pretrained
from backend.models.dual_stream.vision_weights import check_weights
from backend.train.recipe import Recipe, kind_of

SMALL = {"depth": 12, "width": 48, "heads": 4}
SMALL_PATCH = 12


def small_text(recipe: Recipe) -> dict[str, int]:
    """The sizes of a text encoder from scratch; InputError for what cannot be one."""
    return _small(recipe.text_encoder, SMALL, "text_encoder")


def small_vision(recipe: Recipe) -> dict[str, int]:
    """The sizes of a ViT from scratch; InputError also for an image that is not whole patches."""
    size = _small(recipe.vision_encoder, {**SMALL, "patch": SMALL_PATCH}, "vision_encoder")
    if recipe.pixels % size["patch"]:
        raise InputError(
            f"image size {recipe.pixels} is not a multiple of the patch size {size['patch']}",
            field="image_size" if recipe.image_size else "vision_encoder",
        )
    return size


def _small(encoder: str, defaults: dict[str, int], field: str) -> dict[str, int]:
    """``small:depth=6,width=64`` over ``defaults``; InputError for anything else."""
    size = dict(defaults)
    for part in filter(None, encoder.partition(":")[2].split(",")):
        key, _, value = part.partition("=")
        if key not in size or not value.isdecimal() or not int(value):
            raise InputError(
                f"{encoder!r}: {part!r} is not one of {', '.join(f'{k}=N' for k in size)}",
                field=field,
            )
        size[key] = int(value)
    if size["width"] % size["heads"]:
        raise InputError(
            f"{encoder!r}: width {size['width']} is not a multiple of {size['heads']} heads",
            field=field,
        )
    return size


def frozen_layers(freeze: str, text_depth: int, vision_depth: int) -> tuple[int, int]:
    """(text, vision) layers up to which ``freeze`` freezes, -1 for nothing; InputError if none."""
    depths = {"text": text_depth, "vision": vision_depth}
    upto = {"text": -1, "vision": -1}
    if freeze == "encoders":
        upto = depths
    elif freeze != "none":
        for part in freeze.split(";"):
            stream, _, value = (p.strip() for p in part.partition("="))
            if stream not in upto or not value.isdecimal() or int(value) > depths[stream]:
                raise InputError(
                    f"{part!r} does not name a layer of a stream",
                    field="freeze",
                    hint="Use none, encoders, or e.g. 'text=4;vision=6'.",
                )
            upto[stream] = int(value)
    return upto["text"], upto["vision"]


def encoder_depths(recipe: Recipe) -> tuple[int, int]:
    """(text, vision) number of blocks, without loading any weights.

    InputError names the encoder that is not to be had.
    """
    if kind_of(recipe.text_encoder) == "small":
        text = small_text(recipe)["depth"]
    else:
        with blamed_on("text_encoder"):
            text = pretrained.text_depth(recipe.text_encoder)
    name, _, weights = recipe.vision_encoder.partition(":")
    if name == "small":
        return text, small_vision(recipe)["depth"]
    with blamed_on("vision_encoder"):
        if weights:
            check_weights(Path(weights))
        return text, pretrained.vision_depth(name)
