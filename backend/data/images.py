"""Decoding images that came from outside."""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import error as struct_error
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
MAX_PIXELS = 50_000_000
THUMBNAIL_PX = 96
_THUMBNAIL_QUALITY = 60
_STRIP_PIXELS = 1 << 18

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


@dataclass(frozen=True, eq=False)
class Decoded:
    """An image as upright RGB without metadata, and whether anything of it was ``transparent``."""

    image: Image.Image
    transparent: bool


def decode(stream: BinaryIO, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode the first frame of an image to RGB, upright by its EXIF orientation, metadata dropped.

    The format must be one of ``FORMATS`` whatever the file is called, and width x height at most
    ``max_pixels``, checked from the header before any pixel is decoded. Transparent images are
    put on white; 16 bits become 8; a colour profile is not applied. Raises :class:`DecodeError`.
    """
    return decode_with_remarks(stream, max_pixels=max_pixels).image


def decode_with_remarks(stream: BinaryIO, *, max_pixels: int = MAX_PIXELS) -> Decoded:
    """:func:`decode`, and what cannot be told from the pixels any more."""
    try:
        with Image.open(stream, formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise DecodeError(f"{width} x {height} pixels, at most {max_pixels:,} are read")
            _shorten_key(image)
            return plain(image)
    except UnidentifiedImageError as error:
        raise DecodeError(f"not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file") from error
    except _DAMAGE as error:
        raise DecodeError(str(error) or type(error).__name__) from error


def plain(image: Image.Image) -> Decoded:
    """A copy of an image that Pillow has opened or made, as :func:`decode` makes it.

    Raises :class:`DecodeError` where it cannot be read.
    """
    try:
        image.load()
        rgb, transparent = _rgb(image)
        return Decoded(upright(rgb, image.getexif().get(ExifTags.Base.Orientation, 1)), transparent)
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


def image_digest(images: Sequence[Image.Image]) -> str | None:
    """16 hex digits that are the same for the same RGB pixels in the same size; None for no image.

    A 64-bit BLAKE2b (Aumasson et al. 2013): of ten million different images two share one with a
    probability of 3e-6. Memory: one strip of an image.
    """
    if not images:
        return None
    state = hashlib.blake2b(digest_size=8)
    for image in images:
        state.update(f"{image.width}x{image.height} ".encode())
        for _, strip in strips(image):
            state.update(strip.tobytes())
    return state.hexdigest()


def upright(image: Image.Image, orientation: object) -> Image.Image:
    """The image turned and mirrored as the EXIF orientation (2 to 8) says; others change nothing.

    Source: Exif 2.32 (CIPA DC-008), tag 274.
    """
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """(top row, rows from there on), from top to bottom: at most 2^18 pixels each, or one row."""
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _rgb(image: Image.Image) -> tuple[Image.Image, bool]:
    """A new RGB image, and whether any pixel was not opaque. By strips: only it is held beside."""
    plain = Image.new("RGB", image.size)
    transparent = False
    for top, strip in strips(image):
        if image.mode.startswith("I;16"):
            strip = _eight_bits(strip)
        if strip.has_transparency_data:
            strip = strip.convert("RGBA")
            transparent = transparent or strip.getchannel("A").getextrema() != (255, 255)
            white = Image.new("RGBA", strip.size, (255, 255, 255, 255))
            strip = Image.alpha_composite(white, strip)
        plain.paste(strip.convert("RGB"), (0, top))
    return plain, transparent


def _shorten_key(image: ImageFile.ImageFile) -> None:
    """Of 16-bit RGB Pillow keeps 8 bits of the pixels, but 16 of the transparent colour."""
    key = image.info.get("transparency")
    if isinstance(key, tuple) and any(tile.args == "RGB;16B" for tile in image.tile):
        image.info["transparency"] = tuple(value >> 8 for value in key)


def _eight_bits(grey: Image.Image) -> Image.Image:
    """16-bit grey as 8 bits; its transparent value, if any, as an alpha channel."""
    # convert("RGB") would clip to white, and compare the transparent value with 8 bits.
    values = np.asarray(grey)
    small = Image.fromarray((values >> 8).astype(np.uint8))
    if "transparency" in grey.info:
        opaque = (values != grey.info["transparency"]).astype(np.uint8) * 255
        small.putalpha(Image.fromarray(opaque))
    return small
