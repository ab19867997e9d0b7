"""Decoding images that came from outside."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from struct import error as struct_error
from typing import BinaryIO

from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
MAX_PIXELS = 50_000_000
THUMBNAIL_PX = 96
_THUMBNAIL_QUALITY = 60

# What Pillow's decoders raise on damaged files; anything else would be a fault to hear about.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,
    struct_error,
    zlib.error,
    Image.DecompressionBombError,
)


class DecodeError(Exception):
    """Why a file of a sample cannot be decoded, as one short line."""


def decode(stream: BinaryIO, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode the first frame of an image to RGB, upright by its EXIF orientation, metadata dropped.

    The format must be one of ``FORMATS`` whatever the file is called, and width x height at most
    ``max_pixels``, checked from the header before any pixel is decoded. Transparent images are
    put on white; 16-bit grey is scaled to 8 bits. Raises :class:`DecodeError`.
    """
    try:
        with Image.open(stream, formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise DecodeError(f"{width} x {height} pixels, at most {max_pixels:,} are read")
            image.load()
            return _rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError as error:
        raise DecodeError(f"not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file") from error
    except _DAMAGE as error:
        raise DecodeError(str(error) or type(error).__name__) from error


def decode_file(path: Path, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """:func:`decode` a file; it is closed afterwards."""
    try:
        with path.open("rb") as stream:
            return decode(stream, max_pixels=max_pixels)
    except OSError as error:
        raise DecodeError(error.strerror or str(error)) from error


def thumbnail(image: Image.Image, side: int = THUMBNAIL_PX) -> bytes:
    """A small WebP of an RGB image, at most ``side`` pixels a side."""
    small = image.copy()
    small.thumbnail((side, side))
    out = io.BytesIO()
    small.save(out, "WEBP", quality=_THUMBNAIL_QUALITY)
    return out.getvalue()


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # convert("RGB") would clip 16-bit grey to white.
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    rgb = image.convert("RGB")
    plain = Image.new("RGB", rgb.size)
    plain.paste(rgb)
    return plain
