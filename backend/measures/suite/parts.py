"""Which measures are computed together, and how a store names their files.

A part of a preset is one file a pooling, so that a new measure costs its own part only, and a page
reads the parts that it shows. All of it derives from the registry.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from backend.measures.registry import MEASURES, PRESETS, Measure, Use
from backend.pooling import by_stream, from_key, in_key
from backend.types import POOLINGS, Pooling

_POOLINGS: dict[str, tuple[Pooling, ...]] = {"default": POOLINGS, "thesis": ("cls",)}

THESIS_SAMPLES = 1_024

# What is done to the layers first: part of what a file's key says.
_LAYERS: dict[str, dict[str, object]] = {
    "default": {},
    "thesis": {"samples": THESIS_SAMPLES, "rows": "unit"},
}

VERSION = 4
"""Raised whenever the same vectors would give other rows of all parts; part of every key."""

_REVISIONS = {"rsa": 1, "rbf": 1, "gap": 1}
"""The same of single parts since then: the null of samples in groups; no alignment between two
spaces."""

_KEY = re.compile(r"([a-z]+)-([a-z0-9_]+)-([a-z]+|[A-Za-z0-9._-]+\.\.[A-Za-z0-9._-]+)-[0-9a-f]{10}")


@dataclass(frozen=True)
class Part:
    """Measures of a preset that are computed together and kept in one file a pooling."""

    preset: str
    name: str
    measures: tuple[Measure, ...]

    @property
    def uses(self) -> dict[str, Use]:
        """{measure: how it is computed}."""
        return {one.name: one.presets[self.preset] for one in self.measures}

    @property
    def max_samples(self) -> int | None:
        """How many samples are looked at at most; None for all."""
        (most,) = {use.max_samples for use in self.uses.values()}
        return most

    @property
    def parameters(self) -> dict[str, object]:
        """Everything that is passed: what the key of the file is made of."""
        out = dict(_LAYERS[self.preset])
        if self.max_samples is not None:
            out["samples"] = self.max_samples
        for use in self.uses.values():
            clash = [name for name, value in use.arguments.items() if out.get(name, value) != value]
            if clash:
                raise ValueError(f"part {self.name}: two values of {clash[0]} in one file")
            out |= use.arguments
        return out

    def measures_of(self, pooling: str) -> tuple[Measure, ...]:
        """What it computes under a pooling; those of two streams alone under one of two.

        Nothing under a pooling that its preset does not have.
        """
        if by_stream(pooling):
            two = [one for one in self.measures if one.kind == "pairwise"]
            return tuple(two) if self.preset == "default" else ()
        return self.measures if pooling in _POOLINGS[self.preset] else ()

    @property
    def weight(self) -> int:
        """About how long it takes, for the progress bar."""
        return max(one.cost for one in self.measures)

    @property
    def labelled(self) -> bool:
        """Whether it needs the samples' labels."""
        return any(one.labelled for one in self.measures)

    @property
    def drivers(self) -> bool:
        """Whether it also keeps the samples that drive its cells."""
        return any(use.drivers for use in self.uses.values())

    @property
    def probes(self) -> bool:
        """Whether it also keeps the probes that it fits."""
        return any(use.probes for use in self.uses.values())


@cache
def parts_of(preset: str) -> tuple[Part, ...]:
    """The parts of a preset, in the registry's order."""
    parts: dict[str, list[Measure]] = {}
    for one in MEASURES.values():
        if preset in one.presets:
            parts.setdefault(one.part, []).append(one)
    return tuple(Part(preset, name, tuple(measures)) for name, measures in parts.items())


def part_of(preset: str, name: str) -> Part:
    """A part of a preset by its name; KeyError for one that there is not."""
    return _by_name(preset)[name]


@cache
def _by_name(preset: str) -> Mapping[str, Part]:
    return {part.name: part for part in parts_of(preset)}


def gallery_names(a: str, b: str) -> tuple[str, str]:
    """What two streams are called in the directions of retrieval: what is sought is an image."""
    one, other = ("image" if name == "vision" else name for name in (a, b))
    return (one, other) if one != other else (a, b)


def content_key(name: str, pooling: str, parameters: Mapping[str, object]) -> str:
    """``"default-cls-1a2b3c4d5e"``: names what was computed, and changes with every parameter."""
    digest = parameters_digest({"name": name, "pooling": pooling, **parameters})
    return f"{name}-{in_key(pooling)}-{digest}"


def parameters_digest(parameters: Mapping[str, object]) -> str:
    """Ten hex digits that change with every parameter."""
    text = json.dumps(parameters, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def measure_key(preset: str, part: str, pooling: str) -> str:
    """The key under which a store keeps a part of a preset for a pooling: all that is passed."""
    parameters = {"version": VERSION, **part_of(preset, part).parameters}
    if part in _REVISIONS:
        parameters["revision"] = _REVISIONS[part]
    return content_key(f"{preset}-{part}", pooling, parameters)


def is_current(key: str) -> bool:
    """Whether this version of the program writes this key, and not an older one."""
    match = _parsed(key)
    if match is None or measures_of(key) is None:
        return False
    return key == measure_key(match[1], match[2], from_key(match[3]))


@lru_cache(maxsize=16_384)
def _parsed(key: str) -> re.Match[str] | None:
    return _KEY.fullmatch(key)


def preset_of(key: str) -> str:
    """The preset of a store's key of measures; a key of another form counts as default."""
    match = _parsed(key)
    return match[1] if match and match[1] in PRESETS else "default"


def measures_of(key: str) -> tuple[str, ...] | None:
    """The measures that the file of a key may hold; None where only reading it tells."""
    match = _parsed(key)
    if not match or match[1] not in PRESETS or match[2] not in _by_name(match[1]):
        return None
    return tuple(one.name for one in part_of(match[1], match[2]).measures)


def pooling_of(key: str) -> str | None:
    """The pooling of everything in the file of a key; None where only reading it tells."""
    match = _parsed(key)
    return from_key(match[3]) if match else None


def may_hold(key: str, names: Sequence[str]) -> bool:
    """Whether a key's file may hold any of the measures."""
    held = measures_of(key)
    return held is None or not set(held).isdisjoint(names)
