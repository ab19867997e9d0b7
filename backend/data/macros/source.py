"""The generated set as a source of pairs, like any layout on disk."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from backend.data.base import PairSource
from backend.data.macros.draw import SIZE, draw
from backend.data.macros.grammar import OBJECTS, TOPIC_NAMES, Scene, draw_scene
from backend.errors import InputError
from backend.types import Record, TaskSpec

_SPLITS = {"train": 0, "dev": 1, "test": 2}
_DEFAULTS = {"n": 8000, "dev": 1000, "test": 1000, "seed": 0, "size": SIZE}
_LIMITS = {"n": 10_000_000, "dev": 10_000_000, "test": 10_000_000, "seed": 2**31, "size": 512}


class Macros(PairSource):
    """Drawn image macros with three tasks: irony, topics, object.

    ``n`` training samples, ``dev`` and ``test`` samples, ``size`` pixels a side, all from ``seed``.
    Sample i of a split depends on (seed, split, i) alone, so a smaller set is a prefix of a larger
    one and nothing is ever kept in memory.
    """

    layout = "macros"
    name = "macros"

    def __init__(
        self,
        n: int = _DEFAULTS["n"],
        dev: int = _DEFAULTS["dev"],
        test: int = _DEFAULTS["test"],
        seed: int = 0,
        size: int = SIZE,
        *,
        strict: bool = False,
    ) -> None:
        self.tasks = {
            "irony": TaskSpec("irony", "binary", ("sincere", "ironic")),
            "topics": TaskSpec("topics", "multilabel", TOPIC_NAMES),
            "object": TaskSpec("object", "multiclass", OBJECTS),
        }
        super().__init__(strict=strict)
        self.seed = seed
        self.size = size
        self._sizes = {"train": n, "dev": dev, "test": test}

    @classmethod
    def from_spec(cls, text: str, *, strict: bool = False) -> Macros:
        """``"n=4000,seed=7"`` -> the set; an unknown option or a wrong number is an InputError."""
        options = dict(_DEFAULTS)
        for part in filter(None, (p.strip() for p in text.split(","))):
            key, _, value = part.partition("=")
            if key not in options:
                known = ", ".join(_DEFAULTS)
                raise InputError(
                    f"no option {key!r}", where="data macros", hint=f"The options are {known}."
                )
            least = 0 if key == "seed" else 16 if key == "size" else 1
            if not value.isdecimal() or not least <= int(value) <= _LIMITS[key]:
                raise InputError(
                    f"{key}={value!r} is not a whole number from {least} to {_LIMITS[key]}",
                    where="data macros",
                )
            options[key] = int(value)
        return cls(**options, strict=strict)

    def splits(self) -> tuple[str, ...]:
        """Train, dev and test."""
        return tuple(_SPLITS)

    def scene(self, split: str, index: int) -> Scene:
        """The scene behind sample ``index`` of ``split``."""
        return draw_scene(np.random.default_rng([self.seed, _SPLITS[split], index]))

    def _records(self, split: str) -> Iterator[Record]:
        for index in range(self._sizes[split]):
            scene = self.scene(split, index)
            yield Record(
                sample_id=f"{split}-{index:06d}",
                text=scene.caption,
                image=scene,
                split=split,
                source=f"macros {split} {index}",
                labels={
                    "irony": int(scene.ironic),
                    "topics": scene.all_topics,
                    "object": scene.object,
                },
            )

    def image(self, record: Record) -> Image.Image:
        """Draw the record's scene."""
        if not isinstance(record.image, Scene):
            raise TypeError(f"{record.sample_id} is not a macro")
        return draw(record.image, self.size)
