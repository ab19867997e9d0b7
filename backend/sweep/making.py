"""Making one cell of a sweep: train, capture, measure, project, intervene.

What is on disk is not made again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from backend.errors import InputError
from backend.progress import SILENT, Progress, Share
from backend.store import Store
from backend.store.files import remove_leftovers
from backend.store.left import clear_left
from backend.store.paths import StorePaths
from backend.sweep.cell import Cell, Pretraining, Status, read_status, write_status
from backend.sweep.lacking import lacking, take_over

if TYPE_CHECKING:
    from backend.jobs.capture import CaptureRequest, Opened
    from backend.store import Run, RunWriter
    from backend.train.observe import Observer

STAGES = {
    "pretrain": 0.0,
    "train": 0.7,
    "capture": 0.1,
    "measure": 0.1,
    "project": 0.05,
    "intervene": 0.05,
}
"""The steps of a cell in order, and the share of its time that each is taken to need.

Pretraining is shared by cells, so it is no cell's own."""

ERROR_FILE = "error.txt"
"""The traceback of a cell's last failure."""

_LOCK_S = 60.0  # a process of a killed sweep ends within a moment


def is_done(cell: Cell) -> bool:
    """Whether the cell is finished and its run is in the store, with all that is asked for."""
    status = read_status(cell)
    if status is None or status.state != "done":
        return False
    try:
        run = _finished(cell)
        return run is not None and not lacking(cell, run)
    except InputError:  # a run that cannot be read: making the cell says so
        return False


def _finished(cell: Cell) -> Run | None:
    """The run of the cell's name, if it is in the store."""
    if not cell.store.is_dir():
        return None
    store = Store(cell.store)
    return store.run(cell.run_id) if cell.run_id in store.run_ids() else None


def run_cell(
    cell: Cell, device: str, seconds: Callable[[], float], progress: Progress = SILENT
) -> None:
    """Make whatever the cell lacks, on one device; its status says ``done`` at the end.

    ``progress`` gets how much of the whole cell is done, 0..1, and which of :data:`STAGES` it is
    at.
    Every step goes on where it was killed. InputError for what cannot be used, among it a run or
    a checkpoint of the same name that was made with other options; TrainingStopped if the cell's
    observer ended the training.
    """
    cell.folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(cell.folder / "lock", timeout=_LOCK_S):
            _run(cell, device, progress)
            clear_left(StorePaths(cell.store))
            for folder, _, _ in os.walk(cell.folder):
                remove_leftovers(Path(folder))
            (cell.folder / ERROR_FILE).unlink(missing_ok=True)  # of an earlier failure
            write_status(cell, Status("done", "", cell.digest(), round(seconds(), 1)))
            if not cell.keep_checkpoint:
                _drop_checkpoint(cell)
    except Timeout as error:
        raise InputError("is being made by another process", where=cell.run_id) from error


def _run(cell: Cell, device: str, progress: Progress) -> None:
    from backend.jobs.capture import open_request

    clear_left(StorePaths(cell.store))
    finished = _finished(cell)
    if finished is not None and _is_made_without_model(cell, finished):
        _measure(cell, progress)
        return
    checkpoint = _train(cell, device, progress)
    _begin("capture", progress)
    store = Store.create(cell.store)
    request = _request(cell, checkpoint, device)
    opened = open_request(request)
    finished = _finished(cell)  # as it is now: training takes hours
    if finished is not None and not finished.manifest.same_work(opened.manifest.with_n(finished.n)):
        raise InputError(
            f"run {cell.run_id} exists, from other options",
            where=f"store {cell.store}",
            hint="Choose another store, or delete the run.",
        )
    if finished is None or lacking(cell, finished).captured_again:
        _capture(cell, request, opened, finished, progress)
    run = store.run(cell.run_id)
    if run.has_activations:
        _measure(cell, progress)
    _intervene(cell, run, opened, progress)


def _is_made_without_model(cell: Cell, run: Run) -> bool:
    """Whether the vectors of a run that is known to be the cell's are all that it takes.

    InputError for a run that lacks what only its model gives, where the checkpoint is not kept.
    """
    from backend.train.engine import checkpoint_dir

    absent, status = lacking(cell, run), read_status(cell)
    if absent.needs_model and not checkpoint_dir(cell.folder, cell.seed).exists():
        raise InputError(
            f"run {cell.run_id} lacks {absent}, and its checkpoint is not kept",
            where=f"store {cell.store}",
            hint="Delete the run to have it trained again, or leave out what it lacks.",
        )
    same = status is not None and status.state == "done"
    return same and absent.whole and not absent.needs_model


def _capture(
    cell: Cell,
    request: CaptureRequest,
    opened: Opened,
    finished: Run | None,
    progress: Progress,
) -> None:
    """Make the run; again, with the tables that it has, where it lacks what its vectors give."""
    from backend.jobs.capture import run_capture

    def before_commit(writer: RunWriter) -> None:
        if finished is not None:
            take_over(finished, writer)
        if not cell.keep_activations:
            _measure_unfinished(cell, writer, progress)

    run_capture(
        replace(request, replace=finished is not None),
        opened,
        keep_activations=cell.keep_activations,
        before_commit=before_commit,
        progress=_begin("capture", progress),
    )


def _measure(cell: Cell, progress: Progress) -> None:
    """Add what a run lacks and its vectors give."""
    from backend.jobs.measure import measure_store
    from backend.jobs.project import project_run

    store = Store(cell.store)
    _begin("measure", progress)
    for preset in cell.presets:
        measure_store(store, [cell.run_id], preset=preset)
    projecting = _begin("project", progress)
    for method in cell.methods:
        project_run(store.run(cell.run_id), method=method, progress=projecting)


def _begin(stage: str, progress: Progress) -> Progress:
    """Say that a stage begins; what tells of it from now on."""
    before = sum(share for name, share in list(STAGES.items())[: list(STAGES).index(stage)])
    part = Share(progress, before, STAGES[stage], stage)
    part.advance(0, 1)
    return part


def _train(cell: Cell, device: str, progress: Progress) -> Path:
    from backend.data.registry import open_source
    from backend.jobs.training_measures import TrainingMeasures, require_measured
    from backend.train.loop import train_seed
    from backend.train.observe import Observers
    from backend.train.recipe import starting_from

    plan = replace(cell.plan, device=device)
    if cell.pretraining:
        start = _pretrain(cell, cell.pretraining, device, progress)
        plan = starting_from(plan, os.path.relpath(start))
    measured = cell.measured
    observers: list[Observer] = [cell.observer] if cell.observer else []
    if measured.measure_every:
        observers.insert(0, TrainingMeasures(measured.measure_every, measured.measure_samples))
    checkpoint = train_seed(
        plan,
        open_source(plan.data, follow_links=cell.follow_links),
        cell.seed,
        cell.folder,
        _begin("train", progress),
        cell.cache,
        Observers(observers) if observers else None,
    )
    if measured.measure_every:
        require_measured(checkpoint, measured)
    return checkpoint


def _pretrain(cell: Cell, wanted: Pretraining, device: str, progress: Progress) -> Path:
    """The checkpoint of a cell's pretraining; waits where another cell is making it."""
    from backend.data.registry import open_source
    from backend.train.pretrain import finished_pretraining, pretrain_seed

    pretraining, folder = _begin("pretrain", progress), cell.work / "pretrained"
    name = wanted.name + ("-links" if cell.follow_links else "")
    folder.mkdir(parents=True, exist_ok=True)
    plan = replace(wanted.plan, device=device)
    with FileLock(folder / f"{name}.lock"):
        checkpoint = finished_pretraining(wanted.plan, wanted.seed, folder / name)
        if checkpoint:
            return checkpoint  # the pairs need not be there any more
        source = open_source(plan.data, follow_links=cell.follow_links)
        return pretrain_seed(plan, source, wanted.seed, folder / name, pretraining)


def _request(cell: Cell, checkpoint: Path, device: str) -> CaptureRequest:
    from backend.jobs.capture import CaptureRequest

    return CaptureRequest(
        model=os.path.relpath(checkpoint),
        data=cell.plan.data,
        store=str(cell.store),
        run_id=cell.run_id,
        follow_links=cell.follow_links,
        options=replace(cell.capture, device=device),
    )


def _measure_unfinished(cell: Cell, writer: RunWriter, progress: Progress) -> None:
    """What a run must have before its activations are dropped."""
    from backend.jobs.measure import measure_source
    from backend.jobs.project import project_source

    _begin("measure", progress)
    for preset in cell.presets:
        measure_source(writer, preset=preset, keep_probes=False)
    projecting = _begin("project", progress)
    for method in cell.methods:
        project_source(writer, method=method, progress=projecting)


def _intervene(cell: Cell, run: Run, opened: Opened, progress: Progress) -> None:
    """Ask the model with other partners while its checkpoint is there."""
    from backend.interventions.run import add_interventions

    if cell.intervene:
        asking = _begin("intervene", progress)
        add_interventions(run, opened.adapter, opened.source)
        asking.advance(1, 1)


def _drop_checkpoint(cell: Cell) -> None:
    from backend.train.engine import checkpoint_dir

    shutil.rmtree(checkpoint_dir(cell.folder, cell.seed), ignore_errors=True)
