"""What a search does: the table [search] of a study file, checked before anything trains."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from backend.errors import InputError
from backend.models.placement import Placement, name_of
from backend.search.space import Space, space_of
from backend.search.trial import Trial
from backend.sweep.cell import Cell
from backend.sweep.mistakes import Where
from backend.sweep.schema import SearchKeys, Study
from backend.sweep.study import DatasetCells, dataset_cells, read_file
from backend.train.encoders import encoder_depths, frozen_layers
from backend.train.plan import check_plan


@dataclass(frozen=True)
class SearchPlan:
    """The search on one dataset of a study. ``depths`` are of the (text, vision) encoders."""

    options: SearchKeys
    cells: DatasetCells
    seeds: tuple[int, ...]
    depths: tuple[int, int]
    space: Space
    follow_links: bool = False

    @property
    def dataset(self) -> str:
        """What the dataset's runs begin with."""
        return self.cells.label

    @property
    def settings(self) -> dict[str, Any]:
        """All that its trials depend on; not how many there are, nor how runs are captured."""
        start = self.cells.pretraining(self.cells.plan(""))
        return {
            "training": self.cells.plan("").digest(),
            **({"pretraining": start.name} if start else {}),
            "data": self.cells.plan("").data,
            "seeds": list(self.seeds),
            "space": {
                k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self.space).items()
            },
            "sampler": self.options.sampler,
            "pruner": self.options.pruner,
            "seed": self.options.seed,
            **({"follow_links": True} if self.follow_links else {}),
        }

    @property
    def folder(self) -> Path:
        """Its record and dev scores; another for a search with other settings."""
        text = json.dumps(self.settings, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        return self.cells.study.folder / "search" / f"{self.dataset}-{digest}"

    def cell(self, trial: Trial, seed: int) -> Cell:
        """What is trained, captured and measured for a trial and one of its seeds."""
        return self._cell(trial.placement, seed)

    def _cell(self, placement: Placement, seed: int) -> Cell:
        plan = self.cells.plan(placement.written)
        cell = self.cells.cell(placement.name, plan, seed, self.seeds[0])
        return replace(cell, follow_links=self.follow_links)

    def check(self, where: Where) -> None:
        """InputError where the smallest or the largest placement could not be trained."""
        line = where(("search",))
        for count, ends in (
            (self.space.fewest, slice(None)),
            (self.space.most, slice(None, None, -1)),
        ):
            text, vision = (
                tuple(sorted(layers[ends][:count]))
                for layers in (self.space.text, self.space.vision)
            )
            placement = Placement(name_of(text, vision, *self.depths), text, vision)
            trained = self.cells.plan(placement.written)
            self.cells.check_start(trained, where)
            with self.cells.blaming(line, where):
                check_plan(trained)
                self._cell(placement, max(self.seeds))  # the longest name that a run can get


def read_search(path: Path, changes: Sequence[str] = (), dataset: str = "") -> list[SearchPlan]:
    """A search for each dataset of a study file, or for the one of that name.

    ``changes`` are ``KEY=VALUE`` (``search.trials=40``), stronger than the file. InputError names
    the line of what is wrong.
    """
    study, where = read_file(path, changes)
    labels = [one.label for one in study.datasets]
    if dataset and dataset not in labels:
        raise InputError(
            f"no dataset is called {dataset!r}",
            where=f"study {path}",
            hint=f"It has: {', '.join(labels)}.",
        )
    return [
        _plan(study, at, where)
        for at, label in enumerate(labels)
        if not dataset or label == dataset
    ]


def _plan(study: Study, at: int, where: Where) -> SearchPlan:
    options = study.search
    seeds = options.seeds or study.seeds[:1]
    if len(set(seeds)) < len(seeds):
        raise InputError("a seed is given twice", where=where(("search", "seeds")))
    make = dataset_cells(study, at, where)
    with make.blaming(where(("search",)), where):
        depths = encoder_depths(make.plan("none"))
        frozen = frozen_layers(make.plan("none").freeze, *depths)
    try:
        space = space_of(
            depths,
            fewest=options.min_fusions,
            most=options.max_fusions,
            symmetric=options.symmetric,
            frozen=(max(0, frozen[0]), max(0, frozen[1])) if options.above_frozen else (0, 0),
        )
    except ValueError as error:
        key = "min_fusions" if options.max_fusions is None else "max_fusions"
        raise InputError(f"{make.label}: {error}", where=where(("search", key))) from error
    plan = SearchPlan(options, make, seeds, depths, space)
    plan.check(where)
    return plan
