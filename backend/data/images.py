"""Decoding images that came from outside."""

from __future__ import annotations

import base64
import hashlib
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from struct import error as struct_error
from typing import BinaryIO

from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from backend.data.sixteen_bits import by_sixteen_bits, eight_bits, keyed_low_bytes

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
MAX_PIXELS = 50_000_000
KEPT_PIXELS = 2**24
"""More pixels than this are made fewer while an image is decoded; no model here takes as many."""
THUMBNAIL_PX = 96
MAX_THUMBNAIL_PX = 1024
MAX_THUMBNAIL_BYTES = 2**18
_THUMBNAIL_QUALITY = 60
_STRIP_PIXELS = 1 << 18
_WEBP_HEADER = 30

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
    ``max_pixels``, checked from the header before any pixel is decoded. An image of more than
    ``KEPT_PIXELS`` is made smaller by a whole number, its pixels averaged. Transparent images are
    put on white; 16 bits become 8; a colour profile is not applied. Raises :class:`DecodeError`.
    """
    return decode_with_remarks(stream, max_pixels=max_pixels).image


def decode_with_remarks(stream: BinaryIO, *, max_pixels: int = MAX_PIXELS) -> Decoded:
    """:func:`decode`, and what cannot be told from the pixels any more."""
    try:
        # The WebP decoder takes memory for its pixels as soon as it is opened.
        claimed = webp_size(stream.read(_WEBP_HEADER))
        stream.seek(0)
        _check_size(claimed or (0, 0), max_pixels)
        with Image.open(stream, formats=FORMATS) as image:
            _check_size(image.size, max_pixels)
            if (factor := _factor(image.size)) > 1:
                image.draft("RGB", (image.width // factor, image.height // factor))
            low = keyed_low_bytes(image, stream)
            with _early_end(image):
                return _plain(image, _factor(image.size), low)
    except UnidentifiedImageError as error:
        raise DecodeError(f"not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file") from error
    except _DAMAGE as error:
        raise DecodeError(str(error) or type(error).__name__) from error


def plain(image: Image.Image) -> Decoded:
    """A copy of an image that Pillow has opened or made, as :func:`decode` makes it.

    Raises :class:`DecodeError` where it cannot be read.
    """
    try:
        return _plain(image)
    except _DAMAGE as error:
        raise DecodeError(str(error) or type(error).__name__) from error


def decode_file(path: Path) -> Image.Image:
    """:func:`decode` a file; it is closed afterwards."""
    try:
        with path.open("rb") as stream:
            return decode(stream)
    except OSError as error:
        raise DecodeError(error.strerror or str(error)) from error


def size_in_header(stream: BinaryIO) -> tuple[int, int]:
    """Width and height as a file has them, not turned. Raises :class:`DecodeError`."""
    try:
        with Image.open(stream, formats=FORMATS) as image:
            return image.size
    except _DAMAGE as error:
        raise DecodeError(str(error) or type(error).__name__) from error


def thumbnail(image: Image.Image, side: int = THUMBNAIL_PX) -> bytes:
    """A small WebP of an RGB image, at most ``side`` pixels a side."""
    small = image.copy()
    small.thumbnail((side, side))
    out = io.BytesIO()
    small.save(out, "WEBP", quality=_THUMBNAIL_QUALITY)
    return out.getvalue()


def webp_source(webp: bytes) -> str:
    """A WebP as the source of an ``<img>``, which then needs no file."""
    return f"data:image/webp;base64,{base64.b64encode(webp).decode()}"


def webp_size(data: bytes) -> tuple[int, int] | None:
    """Width and height as the first bytes of a WebP file claim them; None for another file.

    Source: RFC 9649, sections 2.5 to 2.7.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < _WEBP_HEADER:
        return None
    kind, little = data[12:16], partial(int.from_bytes, byteorder="little")
    if kind == b"VP8X":
        return little(data[24:27]) + 1, little(data[27:30]) + 1
    if kind == b"VP8L":
        bits = little(data[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return little(data[26:28]) & 0x3FFF, little(data[28:30]) & 0x3FFF


def is_thumbnail(data: bytes) -> bool:
    """Whether bytes from a store are a WebP file no larger than a thumbnail; nothing is decoded."""
    size = webp_size(data)
    small = len(data) <= MAX_THUMBNAIL_BYTES
    return small and size is not None and min(size) > 0 and max(size) <= MAX_THUMBNAIL_PX


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


def strips(image: Image.Image, multiple: int = 1) -> Iterator[tuple[int, Image.Image]]:
    """(top row, rows from there on), from top to bottom: some 2^18 pixels each, or a few rows.

    All but the last have a ``multiple`` of so many rows.
    """
    rows = max(1, _STRIP_PIXELS // image.width // multiple) * multiple
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise DecodeError(f"{width} x {height} pixels, at most {max_pixels:,} are read")


def _factor(size: tuple[int, int]) -> int:
    """How many pixels across and down become one, so that ``KEPT_PIXELS`` are not exceeded."""
    factor = 1
    while -(-size[0] // factor) * -(-size[1] // factor) > KEPT_PIXELS:
        factor += 1
    return factor


@contextmanager
def _early_end(image: ImageFile.ImageFile) -> Iterator[None]:
    """Let go of a WebP's decoder, which holds two canvases, before memory for the pixels is taken.

    Pillow hands the frame over, then asks for room (``load_prepare``); the decoder is of no use any
    more, since only the first frame is read, but would stay until the image is gone.
    """
    prepare = image.load_prepare

    def lighter() -> None:
        vars(image).pop("_decoder", None)
        prepare()

    vars(image)["load_prepare"] = lighter
    try:
        yield
    finally:
        del vars(image)["load_prepare"]  # or the image would hold itself, and stay for longer


def _plain(image: Image.Image, factor: int = 1, low: Image.Image | None = None) -> Decoded:
    """An opened image as upright RGB, by strips: only the result is held beside what Pillow holds.

    ``low``: :func:`backend.data.sixteen_bits.keyed_low_bytes`.
    """
    if factor == 1:
        image.load()  # no room for a result of this size while the decoder holds what it needs
    # A smaller one comes first: memory that is given back must not lie below what stays.
    small = Image.new("RGB", (-(-image.width // factor), -(-image.height // factor)))
    image.load()
    transparent = False
    for top, strip in strips(image, factor):
        if low is not None:
            strip = by_sixteen_bits(strip, low.crop((0, top, low.width, top + strip.height)))
        elif image.mode.startswith("I;16"):
            strip = eight_bits(strip)
        if strip.has_transparency_data:
            strip = strip.convert("RGBA")
            transparent = transparent or strip.getchannel("A").getextrema() != (255, 255)
            white = Image.new("RGBA", strip.size, (255, 255, 255, 255))
            strip = Image.alpha_composite(white, strip)
        strip = strip.convert("RGB")
        small.paste(strip.reduce(factor) if factor > 1 else strip, (0, top // factor))
    turned = upright(small, image.getexif().get(ExifTags.Base.Orientation, 1))
    return Decoded(turned, transparent)
