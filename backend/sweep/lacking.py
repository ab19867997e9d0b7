"""What the run of a cell has not, of all that the cell asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backend.errors import InputError
from backend.jobs.measure import lacking_parts
from backend.jobs.project import lacking_maps
from backend.store import Run, RunWriter, kinds
from backend.store.kinds import kinds_of
from backend.words import listed

if TYPE_CHECKING:
    from backend.sweep.cell import Cell


@dataclass(frozen=True)
class Lacking:
    """By name: what is computed from vectors, the vectors themselves, what the model is asked."""

    computed: tuple[str, ...]
    vectors: tuple[str, ...]
    asked: tuple[str, ...]
    whole: bool
    """Whether every vector that a run may have is there."""

    def __bool__(self) -> bool:
        return bool(self.computed or self.vectors or self.asked)

    def __str__(self) -> str:
        return listed([*self.vectors, *self.computed, *self.asked])

    @property
    def captured_again(self) -> bool:
        """Whether the samples have to pass through the model again."""
        return bool(self.vectors or (self.computed and not self.whole))

    @property
    def needs_model(self) -> bool:
        """Whether the vectors that are there are not enough."""
        return self.captured_again or bool(self.asked)


def lacking(cell: Cell, run: Run) -> Lacking:
    """What a finished run has not."""
    poolings = dict.fromkeys(pooling for _, pooling in run.manifest.captures)
    whole = set(run.captured()).issuperset(run.manifest.captures)
    measures = [f"measures of {name}" for name in cell.presets if lacking_parts(run, name)]
    maps = [
        f"maps by {method}"
        for method in cell.methods
        if any(lacking_maps(run, method, pooling) for pooling in poolings)
    ]
    fuses = any(spec.fusion_layers for spec in run.streams)
    asks = cell.intervene and fuses and not run.keys(kinds.INTERVENTIONS)
    return Lacking(
        (*measures, *maps),
        ("vectors",) if cell.keep_activations and not whole else (),
        ("interventions",) if asks else (),
        whole,
    )


def take_over(run: Run, writer: RunWriter) -> None:
    """Add the tables of a run to one that takes its place: of the same model and samples.

    InputError where the samples are others.
    """
    if run.sample_ids().tolist() != writer.sample_ids().tolist():
        raise InputError(
            "captured again it has other samples: the data have changed since",
            where=f"run {run.run_id}",
            hint="Delete the run, or restore the data.",
        )
    for kind in kinds_of("run"):
        for key in set(run.keys(kind)).difference(writer.keys(kind)):
            writer.add(kind, run.rows(kind, key), key)
