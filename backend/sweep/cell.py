"""One cell of a sweep: what it is to be, and what became of it."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backend.errors import InputError
from backend.store.files import published

if TYPE_CHECKING:
    from backend.capture.options import CaptureOptions
    from backend.train.observe import Observer
    from backend.train.options import CacheOptions, MeasureOptions
    from backend.train.recipe import PretrainPlan, TrainPlan

_CAPTURED = ("split", "pooling", "limit", "batch_size", "dtype", "with_checkpoint")


@dataclass(frozen=True)
class Pretraining:
    """What cells of one placement start from, made once by whichever of them comes first."""

    plan: PretrainPlan
    seed: int

    @property
    def name(self) -> str:
        """Its folder: the placement, and a digest of everything else."""
        parts = f"{self.plan.digest()} {self.seed}"
        digest = hashlib.sha256(parts.encode()).hexdigest()[:12]
        return f"{re.sub('[^A-Za-z0-9]+', '_', self.plan.placement)}-{digest}"


@dataclass(frozen=True)
class Cell:
    """One dataset, placement and seed, with all that its run depends on.

    ``observer`` is told of its training in the cell's own process and may end it; what it does is
    no part of the result.
    """

    run_id: str
    dataset: str
    placement: str
    seed: int
    plan: TrainPlan
    pretraining: Pretraining | None
    store: Path
    work: Path
    capture: CaptureOptions
    keep_activations: bool
    presets: tuple[str, ...]
    methods: tuple[str, ...]
    intervene: bool
    measured: MeasureOptions
    cache: CacheOptions
    keep_checkpoint: bool
    follow_links: bool = False
    observer: Observer | None = None

    @property
    def folder(self) -> Path:
        """Its checkpoint and its status."""
        return self.work / self.run_id

    def digest(self) -> str:
        """Identifies everything that its results depend on."""
        parts = {
            "plan": self.plan.digest(),
            "data": self.plan.data,
            "seed": self.seed,
            "capture": {
                **{name: getattr(self.capture, name) for name in _CAPTURED},
                "keep_activations": self.keep_activations,
            },
            "presets": self.presets,
            "methods": self.methods,
            "measure": [self.measured.measure_every, self.measured.measure_samples],
        }
        if self.pretraining:
            parts["pretraining"] = self.pretraining.name
        if self.intervene:
            parts["intervene"] = True
        if self.follow_links:
            parts["follow_links"] = True
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Status:
    """``status.json`` of a cell: ``done``, or ``failed`` and why."""

    state: str
    reason: str
    digest: str
    seconds: float


def write_status(cell: Cell, status: Status) -> None:
    """Write it whole; InputError where the disk refuses."""
    try:
        cell.folder.mkdir(parents=True, exist_ok=True)
        with published(cell.folder / "status.json", replace=True) as temporary:
            temporary.write_text(json.dumps(asdict(status), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot be written ({error.strerror or error})", where=str(cell.folder)
        ) from error


def read_status(cell: Cell) -> Status | None:
    """What an earlier sweep left; None where that is nothing or of other options."""
    try:
        status = Status(**json.loads((cell.folder / "status.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return status if status.digest == cell.digest() else None
