"""What does not change what is trained: where frozen layers are kept, and what is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backend.errors import InputError
from backend.settings import check_settings, setting

GIB = 2**30


@dataclass(frozen=True)
class CacheOptions:
    """Whether and where outputs of frozen layers are kept.

    ``frozen_cache``: ``auto`` (see :mod:`backend.train.frozen`), ``off``, ``float32`` or
    ``float16``. ``cache_dir`` may be shared by trainings, also at the same time; None is a scratch
    directory that goes with the training. ``cache_gib`` bounds all files in the folder together:
    the ones unused for longest make room. ``say`` gets the size before anything is computed.
    """

    frozen_cache: str = setting(
        "auto",
        "Keep frozen layers' outputs: auto, off, float32 or float16.",
        choices=("auto", "off", "float32", "float16"),
    )
    cache_dir: Path | None = setting(None, "Where; shared by trainings. Default: scratch, deleted.")
    cache_gib: float = setting(16.0, "Most that may lie there.", at_least=0)
    say: Callable[[str], None] | None = None

    @property
    def max_bytes(self) -> int:
        """What may lie in the folder."""
        return int(self.cache_gib * GIB)

    def check(self) -> None:
        """InputError for an option whose value cannot be used."""
        check_settings(self)
        if self.cache_dir is not None and self.cache_dir.exists() and not self.cache_dir.is_dir():
            raise InputError(f"{self.cache_dir} is not a directory", field="cache_dir")


@dataclass(frozen=True)
class MeasureOptions:
    """When a training is measured (:mod:`backend.jobs.training_measures`); never if not said."""

    measure_every: str = setting("", "Measure while training: 'epoch', or a number of steps.")
    measure_samples: int = setting(256, "Of the dev split.", at_least=4)
