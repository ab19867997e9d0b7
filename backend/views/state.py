"""The one value that says what is on the screen; it lives in the URL.

``to_query`` and ``from_query`` are each other's inverse. Whatever a URL holds, ``from_query`` gives
a usable state: a value that cannot be read falls back to its default and a note says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from backend.figures.scales import ESTIMATOR_NAMES
from backend.figures.training import QUANTITIES
from backend.measures.registry import PRESETS, compared_ends, one_layer, two_layers
from backend.pairing import Pair
from backend.pooling import read_pooling
from backend.types import LayerRef

ESTIMATORS = tuple(ESTIMATOR_NAMES)
MAX_RUNS = 40
MAX_OVERLAY = 5

_CHOICES: dict[str, tuple[str, ...]] = {
    "estimator": ESTIMATORS,
    "measure": (*two_layers(), *compared_ends()),
    "preset": PRESETS,
    "played": QUANTITIES,
}
_KEY = re.compile(r"[A-Za-z0-9._~ -]{1,240}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,80}")
_SEPARATOR = ","


@dataclass(frozen=True)
class ViewState:
    """What is shown. None means: whatever the page finds most useful.

    ``runs`` are keys of run groups (``late~macros~small``) or run ids. ``focus`` is the one of them
    that is shown where only one can be, ``seed`` its seed, ``against`` the one that it is compared
    with. ``pair`` names the two streams that are compared; ``pooling`` may be one of these two
    (:mod:`backend.pooling`). ``measure`` compares two layers;
    ``dims`` are measures of one layer; ``preset`` says under which conventions all were computed.
    ``layer`` is a label such as ``"4"`` or ``"4.fusion"``, ``span`` the first and the last of a
    range of layers, ``cell`` the clicked pair of layers, ``colour`` is ``modality``, a task, or
    ``task:class``, ``model`` the key of one that is traced. ``dataset``, ``task``,
    ``metric`` and ``baseline`` (a placement) are what the study shows, ``task`` also what is probed
    for; ``published`` puts the thesis's numbers beside. ``played`` is what is played over a
    training.
    """

    runs: tuple[str, ...] = ()
    focus: str | None = None
    against: str | None = None
    seed: int | None = None
    pair: Pair | None = None
    stream: str | None = None
    layer: str | None = None
    span: tuple[str, str] | None = None
    measure: str = "cka"
    estimator: str = "debiased"
    preset: str = "default"
    dims: tuple[str, ...] = ()
    pooling: str | None = None
    block: str | None = None
    cell: tuple[LayerRef, LayerRef] | None = None
    sample: str | None = None
    model: str | None = None
    colour: str | None = None
    split: bool = False
    numbers: bool = False
    above: bool = False
    dataset: str | None = None
    task: str | None = None
    metric: str | None = None
    baseline: str | None = None
    published: bool = False
    played: str = QUANTITIES[0]

    def to_query(self) -> dict[str, str]:
        """The state as query parameters, defaults left out."""
        out: dict[str, str] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if value != item.default:
                out[item.name] = _write(item.name, value)
        return out

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> Parsed:
        """Read a state; unknown keys and unreadable values become notes and never raise."""
        settings = {item.name for item in fields(cls)}
        values: dict[str, Any] = {}
        notes: list[str] = []
        for key, text in query.items():
            if key not in settings:
                if not key.startswith("embed"):
                    notes.append(f"{_short(key)} is not a setting")
                continue
            try:
                values[key] = _read(key, str(text))
            except ValueError:
                notes.append(f"{key}={_short(text)} cannot be used")
        return Parsed(cls(**values), tuple(notes))

    def but(self, **changes: Any) -> ViewState:
        """A copy with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Parsed:
    """A state and what of the URL could not be used."""

    state: ViewState
    notes: tuple[str, ...] = field(default=())

    @property
    def line(self) -> str:
        """One line for the page; empty when everything was understood."""
        return ignored_line(self.notes)


def ignored_line(notes: Sequence[str]) -> str:
    """What of a link was ignored, in one line; empty for nothing."""
    if not notes:
        return ""
    more = f"; and {len(notes) - 4} more" if len(notes) > 4 else ""
    shown = "; ".join(_short(note, 200) for note in notes[:4])
    return f"Parts of this link were ignored: {shown}{more}. Defaults are shown instead."


def write_ref(ref: LayerRef) -> str:
    """``vision:4``."""
    return f"{ref.stream}:{ref.label}"


def read_ref(text: str) -> LayerRef:
    """Inverse of :func:`write_ref`; ValueError for anything else."""
    stream, colon, label = text.rpartition(":")
    if not colon or not _NAME.fullmatch(stream):
        raise ValueError(f"{text!r} is not a layer")
    return LayerRef.parse(stream, label)


def _write(key: str, value: Any) -> str:
    if key in ("runs", "dims"):
        return _SEPARATOR.join(value)
    if key == "cell":
        return "~".join(map(write_ref, value))
    if key in ("pair", "span"):
        return "~".join(value)
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value)


def _read(key: str, text: str) -> Any:
    if len(text) > 8_000:
        raise ValueError("too long")
    if key == "runs":
        parts = tuple(dict.fromkeys(part for part in text.split(_SEPARATOR) if part))
        if not parts or len(parts) > MAX_RUNS or not all(map(_KEY.fullmatch, parts)):
            raise ValueError(text)
        return parts
    if key == "dims":
        names = tuple(dict.fromkeys(part for part in text.split(_SEPARATOR) if part))
        if not names or not set(names) <= set(one_layer()):
            raise ValueError(text)
        return names
    if key == "cell":
        a, tilde, b = text.partition("~")
        if not tilde:
            raise ValueError(text)
        return read_ref(a), read_ref(b)
    if key == "pair":
        first, _, second = text.partition("~")
        if first == second or not all(map(_NAME.fullmatch, (first, second))):
            raise ValueError(text)
        return first, second
    if key in ("split", "numbers", "above", "published"):
        return {"1": True, "0": False}[text] if text in ("0", "1") else _fail(text)
    if key == "seed":
        if not re.fullmatch(r"-?[0-9]{1,12}", text):
            raise ValueError(text)
        return int(text)
    if key == "pooling":
        return read_pooling(text)
    if key == "layer":
        return LayerRef.parse("any", text).label
    if key == "span":
        first, _, last = text.partition("~")
        return LayerRef.parse("any", first).label, LayerRef.parse("any", last).label
    choices = _CHOICES.get(key)
    if choices is not None:
        return text if text in choices else _fail(text)
    if not text or len(text) > 300 or any(ord(c) < 32 or ord(c) == 127 for c in text):
        raise ValueError(text)
    return text


def _fail(text: str) -> Any:
    raise ValueError(text)


def _short(text: object, limit: int = 40) -> str:
    shown = "".join(c if c.isprintable() else "?" for c in str(text))
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
