"""What Pillow does not do with 16 bits a channel: their transparent colour, and grey as 8 bits."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from PIL import Image, ImageFile


def keyed_low_bytes(image: ImageFile.ImageFile, stream: BinaryIO) -> Image.Image | None:
    """The low bytes of a 16-bit RGB image that has a transparent colour; None for another image.

    Pillow keeps the high bytes of the pixels, but 16 bits of the colour. Where fewer than 8 bits
    are stored a pixel it is the other way round: the pixels are scaled, the colour is not; mended
    here in place.
    """
    key = image.info.get("transparency")
    if key is None or len(image.tile) != 1:
        return None
    stored = image.tile[0].args
    if stored in _SCALED_BY and isinstance(key, int):
        image.info["transparency"] = key * _SCALED_BY[stored]
    if stored != "RGB;16B":
        return None
    at = stream.tell()
    stream.seek(0)
    with Image.open(stream, formats=("PNG",)) as again:
        again.tile = [again.tile[0]._replace(args="RGB;16L")]  # of two bytes the other one
        again.load()
        low = again.copy()
    stream.seek(at)
    return low


_SCALED_BY = {"L;2": 85, "L;4": 17}


def by_sixteen_bits(high: Image.Image, low: Image.Image) -> Image.Image:
    """RGB with an alpha channel that is 0 where all 16 bits are those of the transparent colour."""
    key = np.array(high.info["transparency"], dtype=np.uint16)
    values = np.asarray(high).astype(np.uint16) << 8 | np.asarray(low)
    opaque = (values != key).any(axis=2).astype(np.uint8) * 255
    out = Image.merge("RGB", high.split())
    out.putalpha(Image.fromarray(opaque))
    return out


def eight_bits(grey: Image.Image) -> Image.Image:
    """16-bit grey as 8 bits; its transparent value, if any, as an alpha channel."""
    # convert("RGB") would clip to white, and compare the transparent value with 8 bits.
    values = np.asarray(grey)
    small = Image.fromarray((values >> 8).astype(np.uint8))
    if "transparency" in grey.info:
        opaque = (values != grey.info["transparency"]).astype(np.uint8) * 255
        small.putalpha(Image.fromarray(opaque))
    return small
