"""One cell of a sweep: train, capture, measure, project, intervene.

What is on disk is not made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from backend.errors import InputError
from backend.progress import SILENT, Progress, Share
from backend.store import Store
from backend.store.files import published, remove_leftovers
from backend.store.left import clear_left
from backend.store.paths import StorePaths

if TYPE_CHECKING:
    from backend.capture.options import CaptureOptions
    from backend.jobs.capture import CaptureRequest, Opened
    from backend.store import Run, RunWriter
    from backend.train.observe import Observer
    from backend.train.options import CacheOptions, MeasureOptions
    from backend.train.recipe import PretrainPlan, TrainPlan

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

_CAPTURED = ("split", "pooling", "limit", "batch_size", "dtype", "with_checkpoint")
_LOCK_S = 60.0  # a process of a killed sweep ends within a moment


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


def is_done(cell: Cell) -> bool:
    """Whether the cell is finished and its run is in the store."""
    status = read_status(cell)
    if status is None or status.state != "done" or not cell.store.is_dir():
        return False
    return cell.run_id in Store(cell.store).run_ids()


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
    from backend.jobs.capture import open_request, run_capture
    from backend.jobs.measure import measure_store
    from backend.jobs.project import project_run

    checkpoint = _train(cell, device, progress)
    capturing = _begin("capture", progress)
    store = Store.create(cell.store)
    request = _request(cell, checkpoint, device)
    opened = open_request(request)
    if cell.run_id in store.run_ids():
        clear_left(store.paths)
        finished = store.run(cell.run_id)
        if not finished.manifest.same_work(opened.manifest.with_n(finished.n)):
            raise InputError(
                f"run {cell.run_id} exists, from other options",
                where=f"store {cell.store}",
                hint="Choose another store, or delete the run.",
            )
    else:

        def before_commit(writer: RunWriter) -> None:
            if not cell.keep_activations:
                _measure_unfinished(cell, writer, progress)

        run_capture(
            request,
            opened,
            keep_activations=cell.keep_activations,
            before_commit=before_commit,
            progress=capturing,
        )
    if cell.keep_activations:
        _begin("measure", progress)
        for preset in cell.presets:
            measure_store(store, [cell.run_id], preset=preset)
        projecting = _begin("project", progress)
        for method in cell.methods:
            project_run(store.run(cell.run_id), method=method, progress=projecting)
    _intervene(cell, store.run(cell.run_id), opened, progress)


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
        require_measured(checkpoint)
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
