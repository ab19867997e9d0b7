"""One pair through a model, without the service: for a notebook, a script, the command line."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from backend.data.images import DecodeError, plain
from backend.data.sample import Sample
from backend.errors import InputError
from backend.inference.memory import CPU
from backend.inference.requests import CutAt, tracing
from backend.inference.uploads import (
    MAX_PIXELS,
    TRANSPARENT,
    pixel_digest,
    read_caption,
    read_picture,
)
from backend.inference.values import Picture, Trace
from backend.types import POOLINGS, Pooling

if TYPE_CHECKING:
    from PIL import Image

    from backend.models.adapter import Adapter

_log = logging.getLogger(__name__)


def trace(
    model: Adapter | str | Path,
    image: Picture | Image.Image | bytes | str | Path,
    text: str,
    *,
    cuts: Sequence[CutAt] = (),
    attention: bool = True,
    poolings: Sequence[Pooling] = POOLINGS,
    device: str = CPU,
) -> Trace:
    """One image and a text through a model's layers: for a notebook or a script.

    ``model`` is an adapter (:func:`backend.models.registry.open_model` makes one, once for many
    traces), a checkpoint directory or a hub id, which is opened on ``device``; ``image`` a picture
    of Pillow, a file's path or its bytes. InputError says in one line what cannot be used.
    """
    from backend.models.registry import open_model

    picture, caption = picture_of(image), read_caption(text)
    for note in (*picture.notes, *caption.notes):
        _log.warning(note)
    adapter = open_model(str(model), device=device) if isinstance(model, str | Path) else model
    work = tracing(cuts, attention=attention, poolings=poolings)
    return work.alone(adapter, [Sample(caption.text, (picture.image,))])[0]


def picture_of(image: Picture | Image.Image | bytes | str | Path) -> Picture:
    """A picture of any kind made harmless; InputError where it cannot be.

    A file is read as an upload is. A picture of Pillow is copied as upright RGB: of the bounds of
    uploads only that on pixels holds.
    """
    if isinstance(image, Picture):
        return image
    if isinstance(image, bytes):
        return read_picture(image)
    if isinstance(image, str | Path):
        return read_picture(_file_bytes(Path(image)))
    width, height = image.size
    if not 0 < width * height <= MAX_PIXELS:
        raise InputError(
            f"{width:,} x {height:,} pixels, 1 to {MAX_PIXELS:,} are read",
            where="picture",
            hint="Give one of another size.",
        )
    try:
        copy = plain(image)
    except DecodeError:
        raise InputError("it cannot be read", where="picture", hint="Open it again.") from None
    notes = (TRANSPARENT,) if copy.transparent else ()
    return Picture(copy.image, pixel_digest(copy.image), notes)


def _file_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=str(path)) from error
