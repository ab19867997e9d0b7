"""The demo store: five placements x three seeds of a small model on the generated set.

``fusionscope demo --rebuild`` makes it from nothing, in processes of one thread each: what a cell
gives does not depend on how many run beside it, and a finished cell is never made again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from backend.errors import InputError
from backend.jobs.measure import one_thread_each, unless_killed
from backend.paths import shipped_demo
from backend.progress import SILENT, Progress, quiet_libraries
from backend.store import Store

if TYPE_CHECKING:
    from backend.store import RunWriter
    from backend.train.recipe import TrainPlan

PLACEMENTS = ("none", "full", "early", "middle", "late")
SEEDS = (0, 1, 2)
DATA = "macros"
SAMPLES = 256
# Activations and checkpoints are shipped for this seed; scores, measures and what fusions do with
# other partners for all.
KEPT_SEED = 0

_EPOCHS = 6
_BATCH = 128
_RATE = 2e-3


@dataclass(frozen=True)
class Cell:
    """One training of the demo."""

    placement: str
    seed: int

    @property
    def run_id(self) -> str:
        """Id of the run in the store."""
        return f"macros-{self.placement}-s{self.seed}"


def cells() -> Iterator[Cell]:
    """All fifteen, seed by seed, so that an unfinished demo already compares placements."""
    for seed in SEEDS:
        for placement in PLACEMENTS:
            yield Cell(placement, seed)


def is_demo(path: Path) -> bool:
    """Whether the directory holds every run of the demo."""
    return path.is_dir() and {c.run_id for c in cells()} <= set(Store(path).run_ids())


def missing_cells(path: Path) -> list[Cell]:
    """The cells whose runs a demo store lacks; all of them where there is no store."""
    made = set(Store(path).run_ids()) if path.is_dir() else set()
    return [cell for cell in cells() if cell.run_id not in made]


def ensure_demo(path: Path) -> bool:
    """Have the demo store at ``path`` by copying the shipped one; False if that is not to be had.

    A directory that holds something else is left alone and gives an InputError.
    """
    if is_demo(path):
        return True
    shipped = shipped_demo()
    if not is_demo(shipped) or path.resolve() == shipped.resolve():
        return False
    if path.exists() and any(path.iterdir()):
        raise InputError(
            "is not empty and not the demo store",
            where=str(path),
            hint="Choose another `store`, or complete it with `rebuild`.",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.tmp-{os.getpid()}"
    shutil.copytree(shipped, temporary)
    if path.exists():
        path.rmdir()
    temporary.rename(path)
    return True


def build_demo(path: Path, work: Path, workers: int, progress: Progress = SILENT) -> None:
    """Train, capture, measure and project whatever the store lacks.

    Checkpoints go to ``work`` (resumable, may be deleted afterwards), runs to ``path``.
    """
    store = Store.create(path)
    missing = [cell for cell in cells() if cell.run_id not in store.run_ids()]
    done = len(PLACEMENTS) * len(SEEDS) - len(missing)
    # A process a cell: what a cell gives must not depend on what ran in its process before, and
    # the thread settings that the projection leaves behind would slow the next training down.
    spawn = get_context("spawn")
    with one_thread_each(), ProcessPoolExecutor(workers, spawn, max_tasks_per_child=1) as pool:
        futures = {pool.submit(build_cell, cell, path, work): cell for cell in missing}
        with unless_killed("demo", str(path)):
            for future in as_completed(futures):
                future.result()
                done += 1
                progress.advance(done, len(PLACEMENTS) * len(SEEDS), futures[future].run_id)


def plan_of(placement: str) -> TrainPlan:
    """How the demo's models are trained.

    No early stopping: irony is learned after the rest and at once, following epochs without any
    progress on it.
    """
    from backend.train.recipe import TrainPlan

    return TrainPlan(
        data=DATA,
        placement=placement,
        epochs=_EPOCHS,
        batch_size=_BATCH,
        learning_rate=_RATE,
        dropout=0.0,
        patience=_EPOCHS,
        saved_precision="float16",
        device="cpu",
    )


def folder_of(cell: Cell, work: Path) -> Path:
    """Where a cell is trained.

    A checkpoint that was finished without training measures (an earlier version made none) is left
    alone and its cell trained beside it: the weights come out the same, and what was not measured
    then cannot be made up for.
    """
    from backend.jobs.training_measures import read_training_measures
    from backend.train.engine import checkpoint_dir

    folder = work / cell.placement
    finished = checkpoint_dir(folder, cell.seed)
    if finished.exists() and read_training_measures(finished) is None:
        return work / f"{cell.placement}-measured"
    return folder


def build_cell(cell: Cell, path: Path, work: Path) -> None:
    """One run of the demo, from nothing to the store.

    Checkpoints of other seeds than the kept one are not shipped (12 MB), so what their fusions do
    with other partners is asked while they are here.
    """
    from backend.capture.options import CaptureOptions
    from backend.data.registry import open_source
    from backend.interventions.run import add_interventions
    from backend.jobs.capture import (
        CaptureRequest,
        measure_and_project,
        open_request,
        run_capture,
    )
    from backend.jobs.training_measures import TrainingMeasures
    from backend.train.loop import train_seed

    quiet_libraries()
    whole = cell.seed == KEPT_SEED
    checkpoint = train_seed(
        plan_of(cell.placement),
        open_source(DATA),
        cell.seed,
        folder_of(cell, work),
        observer=TrainingMeasures("epoch"),
    )
    request = CaptureRequest(
        model=os.path.relpath(checkpoint),
        data=DATA,
        store=str(path),
        run_id=cell.run_id,
        options=CaptureOptions(
            limit=SAMPLES,
            dtype="float16",
            with_checkpoint=whole,
            device="cpu",
            thumbnail_px=64,
        ),
    )
    opened = open_request(request)

    def before_commit(writer: RunWriter) -> None:
        measure_and_project(writer, keep_probes=whole)
        add_interventions(writer, opened.adapter, opened.source)

    run_capture(request, opened, keep_activations=whole, before_commit=before_commit)
