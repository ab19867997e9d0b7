"""Pictures and captions of strangers, made harmless before anything else sees them.

What a message or a note says is never taken from the content: both may be logged.
"""

from __future__ import annotations

import hashlib
import io
import re
import unicodedata
from collections import Counter
from typing import Literal

from PIL import Image

from backend.data.images import Decoded, DecodeError, decode_with_remarks, strips, upright
from backend.errors import InputError
from backend.inference.containers import BrokenFileError, Contents, contents
from backend.inference.values import Caption, Picture
from backend.words import counted

MAX_BYTES = 20_000_000
MAX_PIXELS = 25_000_000
MAX_RATIO = 50
"""Longer to shorter side. A model that fits the shorter side makes ratio x side² pixels of it."""
MAX_CHARACTERS = 5_000
"""More than 1,000 tokens of English: far beyond a caption, and a bound on attention maps."""

TRANSPARENT = "transparent parts on white"
"""The note of a picture that had such."""

_AGAIN = "Open it in a program for pictures and save it as PNG or JPEG."


def read_picture(data: bytes) -> Picture:
    """A PNG, JPEG, WebP, GIF or BMP file as upright RGB without metadata; its first frame.

    Checked in this order: the file's size (``MAX_BYTES``), its format by its first bytes, and from
    the header, before decoding, its pixels (``MAX_PIXELS``) and the ratio of its sides
    (``MAX_RATIO``); 1 x 1 is accepted. The decoder is given what the first frame needs and nothing
    else (:mod:`backend.inference.containers`). The pixels are those of
    :func:`backend.data.images.decode`, so a colour profile is not applied. Held at once are at most
    17 bytes a pixel of a WebP, 13 of others, and the file four times: half a GB at the limits.

    Raises InputError: one sentence, with nothing of the content.
    """
    if not data:
        raise InputError("the file is empty", where="picture", hint="Choose another one.")
    if len(data) > MAX_BYTES:
        raise InputError(
            f"{len(data):,} bytes, at most {MAX_BYTES:,} are read",
            where="picture",
            hint="Make it smaller.",
        )
    # Errors of decoders quote the file, hence "from None".
    try:
        inside = contents(data)
    except BrokenFileError:
        raise _damaged() from None
    if inside is None:
        raise InputError(_other_kind(data), where="picture", hint=_AGAIN)
    _check_size(inside)
    try:
        decoded = decode_with_remarks(io.BytesIO(inside.data), max_pixels=MAX_PIXELS)
    except DecodeError:
        raise _damaged() from None
    image = upright(decoded.image, inside.orientation)
    return Picture(image, pixel_digest(image), tuple(_notes(inside, decoded)))


def read_caption(text: str) -> Caption:
    """A caption without what nobody can see; words, emoji, HTML and Markdown stay as they are.

    At most ``MAX_CHARACTERS`` are kept (the model cuts tokens later). Line breaks of every kind
    become ``\\n``; tabs stay. Left out are other control characters, invisible format characters
    (zero width, writing direction, tags) and what is no character (lone surrogates, U+FFFE).
    Joiners stay between characters that they join (emoji, Persian, Indic scripts), tags in flags.

    Raises InputError where nothing is left.
    """
    notes = []
    if len(text) > MAX_CHARACTERS:
        notes.append(f"the first {MAX_CHARACTERS:,} of {len(text):,} characters")
    whole = _SURROGATE_PAIR.sub(_joined, text[:MAX_CHARACTERS])
    lines = _LINE_BREAK.sub("\n", whole)
    flags = {place for flag in _FLAG.finditer(lines) for place in range(*flag.span())}
    kinds = ["" if at in flags else _unwanted(lines, at) for at in range(len(lines))]
    kept = "".join(char for char, kind in zip(lines, kinds, strict=True) if not kind)
    if not kept.strip():
        problem = "nothing in it can be seen" if text.strip() else "it is empty"
        raise InputError(problem, where="caption", hint="Write a few words.")
    if lines != whole:
        notes.append("line breaks of other kinds as plain ones")
    for kind, number in sorted(Counter(filter(None, kinds)).items()):
        notes.append(f"left out: {counted(number, f'{kind} character')}")
    return Caption(kept, tuple(notes))


def _other_kind(data: bytes) -> str:
    """What a file is that is none of the formats, for the kinds that people often have."""
    if data[4:8] == b"ftyp":
        kind = "a HEIC or AVIF picture, or a film"
    elif re.match(rb"(\xef\xbb\xbf)?\s*<", data) and b"<svg" in data[:4096].lower():
        kind = "an SVG drawing"
    else:
        return "not a PNG, JPEG, WebP, GIF or BMP picture"
    return f"{kind}; PNG, JPEG, WebP, GIF and BMP are read"


def _damaged() -> InputError:
    problem = "the file is damaged, cut off or of a kind that is not read"
    return InputError(problem, where="picture", hint=_AGAIN)


def _check_size(inside: Contents) -> None:
    sides = inside.width, inside.height
    if min(sides) < 1:
        raise _damaged()
    shape = f"{inside.width:,} x {inside.height:,} pixels"
    if inside.width * inside.height > MAX_PIXELS:
        raise InputError(
            f"{shape}, at most {MAX_PIXELS:,} are read", where="picture", hint="Make it smaller."
        )
    if max(sides) > MAX_RATIO * min(sides):
        raise InputError(
            f"{shape}; a side may be {MAX_RATIO} times the other at most",
            where="picture",
            hint="Cut out a part of it.",
        )


def _notes(inside: Contents, decoded: Decoded) -> list[str]:
    # Made smaller by a whole number: the other sides are the file's own, turned or not.
    smaller = max(decoded.image.size) < max(inside.width, inside.height)
    sides = f"{decoded.image.width:,} x {decoded.image.height:,}"
    notes = {
        f"made smaller, from {inside.width:,} x {inside.height:,} to {sides} pixels": smaller,
        f"the first of {inside.frames:,} frames": inside.frames > 1,
        "turned upright as its EXIF says": inside.orientation > 1,
        TRANSPARENT: decoded.transparent,
        "8 of its 16 bits a channel": inside.bits == 16,
        "CMYK as RGB, without a colour profile": inside.channels == 4,
    }
    return [note for note, holds in notes.items() if holds]


def pixel_digest(image: Image.Image) -> str:
    """SHA-256 of the size and the RGB bytes, row by row."""
    digest = hashlib.sha256(f"{image.width} x {image.height} RGB\n".encode())
    for _, strip in strips(image):
        digest.update(strip.tobytes())
    return digest.hexdigest()


_SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_LINE_BREAK = re.compile("\r\n?|[\v\f\x85\u2028\u2029]")
_FLAG = re.compile("\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f")  # of England, of Texas
_JOINERS = "\u200c\u200d"
_VISIBLE_FORMAT = frozenset(
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
)
"""Format characters (Cf) that are drawn: signs that enclose or precede numbers."""


def _joined(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le")


def _unwanted(text: str, place: int) -> Literal["", "control", "invisible", "broken"]:
    """Why the character there is left out, or nothing."""
    char = text[place]
    category = unicodedata.category(char)
    code = ord(char)
    if category == "Cc":
        return "" if char in "\t\n" else "control"
    if category == "Cs" or code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF:
        return "broken"
    if category == "Cf" and char not in _VISIBLE_FORMAT:
        neighbours = text[place - 1 : place] + text[place + 1 : place + 2]
        return "" if char in _JOINERS and _can_join(neighbours) else "invisible"
    return ""


def _can_join(neighbours: str) -> bool:
    """Two letters, marks or symbols beyond ASCII."""
    return len(neighbours) == 2 and all(
        char > "\x7f" and unicodedata.category(char)[0] in "LMS" for char in neighbours
    )
