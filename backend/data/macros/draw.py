"""Draws a scene: background, face with an expression, object. The caption is never in the image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from backend.data.macros.grammar import OBJECTS, TOPICS, Scene

SIZE = 64
_SCALE = 2  # drawn larger, then reduced: smooth edges without an anti-aliasing library

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]

_SKINS: tuple[Colour, ...] = ((255, 214, 170), (236, 188, 140), (198, 134, 92), (141, 85, 52))
_INK: Colour = (30, 30, 36)
_PAINTS: tuple[Colour, ...] = (
    (214, 58, 58), (52, 110, 214), (46, 150, 84), (236, 160, 36), (132, 78, 178), (20, 150, 160),
)  # fmt: skip
# One hue a topic: the background's hint. Without a hint the background is grey.
_HINTS: tuple[Colour, ...] = (
    (150, 170, 210), (240, 226, 150), (246, 196, 160), (168, 214, 160),
    (160, 214, 226), (188, 188, 236), (232, 176, 214), (214, 196, 168),
)  # fmt: skip
assert len(_HINTS) == len(TOPICS)  # noqa: S101 -- a topic without a hue would draw the wrong hint


def draw(scene: Scene, size: int = SIZE) -> Image.Image:
    """The macro as an RGB image of ``size`` x ``size`` pixels (deterministic)."""
    rng = np.random.default_rng(scene.look)
    side = size * _SCALE
    image = Image.new("RGB", (side, side), _background(rng, scene.hint))
    pen = ImageDraw.Draw(image)
    _pattern(pen, rng, side)
    left = bool(rng.integers(2))
    _face(pen, rng, side, 0.37 if left else 0.63, scene.happy_face)
    _object(pen, rng, side, 0.83 if left else 0.17, OBJECTS[scene.object])
    return image.resize((size, size), Image.Resampling.BOX)


def _jitter(rng: np.random.Generator, amount: float) -> float:
    return float(rng.uniform(-amount, amount))


def _background(rng: np.random.Generator, hint: int | None) -> Colour:
    base = (205, 205, 205) if hint is None else _HINTS[hint]
    r, g, b = (int(np.clip(c + rng.integers(-10, 11), 0, 255)) for c in base)
    return r, g, b


def _pattern(pen: ImageDraw.ImageDraw, rng: np.random.Generator, side: int) -> None:
    kind, shade = int(rng.integers(3)), (225, 225, 225)
    if kind == 1:
        for x in range(0, side, side // 8):
            pen.line((x, 0, x, side), fill=shade, width=2)
    elif kind == 2:
        for y in range(0, side, side // 8):
            pen.line((0, y, side, y), fill=shade, width=2)


def _face(
    pen: ImageDraw.ImageDraw, rng: np.random.Generator, side: int, across: float, happy: bool
) -> None:
    radius = side * (0.34 + _jitter(rng, 0.02))
    cx, cy = side * (across + _jitter(rng, 0.02)), side * (0.58 + _jitter(rng, 0.03))
    skin = _SKINS[int(rng.integers(len(_SKINS)))]
    pen.ellipse(_around(cx, cy, radius), fill=skin, outline=_INK, width=_SCALE)
    for sign in (-1, 1):
        eye = cx + sign * 0.38 * radius, cy - 0.25 * radius
        pen.ellipse(_around(*eye, 0.12 * radius), fill=_INK)
        slant = (0.12 if happy else -0.12) * radius * sign
        brow = eye[1] - 0.28 * radius
        pen.line(
            (eye[0] - 0.2 * radius, brow - slant, eye[0] + 0.2 * radius, brow + slant),
            fill=_INK,
            width=3 * _SCALE,
        )
    wide, tall = 0.6 * radius, (0.45 + _jitter(rng, 0.08)) * radius
    open_mouth = bool(rng.integers(2))
    top = cy + (0.12 if happy else 0.36) * radius
    box = (cx - wide, top - (tall if happy else 0), cx + wide, top + (tall if happy else 2 * tall))
    start, end = (20, 160) if happy else (200, 340)
    if open_mouth:
        pen.chord(box, start, end, fill=(120, 24, 36), outline=_INK, width=_SCALE)
    else:
        pen.arc(box, start, end, fill=_INK, width=3 * _SCALE)


def _around(x: float, y: float, radius: float) -> Box:
    return x - radius, y - radius, x + radius, y + radius


def _object(
    pen: ImageDraw.ImageDraw, rng: np.random.Generator, side: int, across: float, name: str
) -> None:
    x = side * (across + _jitter(rng, 0.02))
    y = side * (0.2 + _jitter(rng, 0.03))
    _SHAPES[name](pen, x, y, side * 0.16, _PAINTS[int(rng.integers(len(_PAINTS)))])


Pen = ImageDraw.ImageDraw


def _balloon(pen: Pen, x: float, y: float, r: float, paint: Colour) -> None:
    pen.line((x, y, x, y + 1.4 * r), fill=_INK, width=_SCALE)
    pen.ellipse((x - 0.7 * r, y - r, x + 0.7 * r, y + 0.6 * r), fill=paint, outline=_INK)


def _book(pen: Pen, x: float, y: float, r: float, paint: Colour) -> None:
    pen.rectangle((x - r, y - 0.7 * r, x + r, y + 0.7 * r), fill=paint, outline=_INK)
    pen.rectangle((x - 0.8 * r, y - 0.5 * r, x + 0.8 * r, y + 0.5 * r), fill=(250, 250, 244))
    pen.line((x, y - 0.7 * r, x, y + 0.7 * r), fill=_INK, width=_SCALE)


def _car(pen: Pen, x: float, y: float, r: float, paint: Colour) -> None:
    pen.rectangle((x - r, y - 0.1 * r, x + r, y + 0.5 * r), fill=paint, outline=_INK)
    pen.rectangle((x - 0.5 * r, y - 0.6 * r, x + 0.5 * r, y - 0.1 * r), fill=paint, outline=_INK)
    for wheel in (-0.55, 0.55):
        pen.ellipse(_around(x + wheel * r, y + 0.55 * r, 0.28 * r), fill=_INK)


def _cup(pen: Pen, x: float, y: float, r: float, paint: Colour) -> None:
    pen.arc((x + 0.2 * r, y - 0.4 * r, x + r, y + 0.4 * r), -90, 90, fill=_INK, width=2 * _SCALE)
    pen.rectangle((x - 0.7 * r, y - 0.7 * r, x + 0.5 * r, y + 0.7 * r), fill=paint, outline=_INK)


def _fish(pen: Pen, x: float, y: float, r: float, paint: Colour) -> None:
    pen.polygon([(x + 0.4 * r, y), (x + r, y - 0.6 * r), (x + r, y + 0.6 * r)], fill=paint)
    pen.ellipse((x - r, y - 0.5 * r, x + 0.6 * r, y + 0.5 * r), fill=paint, outline=_INK)
    pen.ellipse(_around(x - 0.6 * r, y - 0.1 * r, 0.1 * r), fill=_INK)


def _house(pen: Pen, x: float, y: float, r: float, paint: Colour) -> None:
    pen.rectangle((x - 0.7 * r, y - 0.1 * r, x + 0.7 * r, y + 0.9 * r), fill=(244, 236, 214))
    pen.polygon([(x - r, y - 0.1 * r), (x, y - r), (x + r, y - 0.1 * r)], fill=paint, outline=_INK)
    pen.rectangle((x - 0.2 * r, y + 0.3 * r, x + 0.2 * r, y + 0.9 * r), fill=_INK)


def _kite(pen: Pen, x: float, y: float, r: float, paint: Colour) -> None:
    corners = [(x, y - r), (x + 0.7 * r, y - 0.1 * r), (x, y + 0.9 * r), (x - 0.7 * r, y - 0.1 * r)]
    pen.polygon(corners, fill=paint, outline=_INK)
    pen.line((x, y - r, x, y + 0.9 * r), fill=_INK, width=_SCALE)
    pen.line((x - 0.7 * r, y - 0.1 * r, x + 0.7 * r, y - 0.1 * r), fill=_INK, width=_SCALE)


def _mushroom(pen: Pen, x: float, y: float, r: float, paint: Colour) -> None:
    pen.rectangle((x - 0.25 * r, y, x + 0.25 * r, y + 0.9 * r), fill=(250, 244, 230), outline=_INK)
    pen.pieslice((x - r, y - 0.8 * r, x + r, y + 0.9 * r), 180, 360, fill=paint, outline=_INK)


def _star(pen: Pen, x: float, y: float, r: float, paint: Colour) -> None:
    angles = np.arange(10) * np.pi / 5 - np.pi / 2
    reach = np.where(np.arange(10) % 2 == 0, r, 0.42 * r)
    points = zip(x + reach * np.cos(angles), y + reach * np.sin(angles), strict=True)
    pen.polygon([(float(a), float(b)) for a, b in points], fill=paint, outline=_INK)


def _umbrella(pen: Pen, x: float, y: float, r: float, paint: Colour) -> None:
    pen.pieslice((x - r, y - r, x + r, y + r), 180, 360, fill=paint, outline=_INK)
    pen.line((x, y, x, y + 0.8 * r), fill=_INK, width=_SCALE)
    pen.arc((x, y + 0.5 * r, x + 0.5 * r, y + r), 0, 180, fill=_INK, width=_SCALE)


_SHAPES: dict[str, Callable[[Pen, float, float, float, Colour], None]] = {
    "balloon": _balloon,
    "book": _book,
    "car": _car,
    "cup": _cup,
    "fish": _fish,
    "house": _house,
    "kite": _kite,
    "mushroom": _mushroom,
    "star": _star,
    "umbrella": _umbrella,
}
