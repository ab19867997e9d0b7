"""``fusionscope explore``: what a run needs on every page, step by step; what is there is kept."""

from __future__ import annotations

import shlex
from pathlib import Path

from backend.capture.options import CaptureOptions
from backend.data.base import PairSource
from backend.data.registry import open_source
from backend.data.splits import chosen
from backend.errors import InputError
from backend.jobs.capture import CaptureRequest, Opened, open_request, run_capture
from backend.progress import SILENT, Progress
from backend.store import Manifest, Store
from backend.store.commands import activations_command, measure_command, project_command

_SPLITS = ("test", "dev", "train")


def open_exploration(
    model: str,
    data: str,
    store: Path,
    *,
    split: str,
    limit: int | None,
    device: str,
    follow_links: bool = False,
    timesteps: tuple[int, ...] = (),
) -> tuple[CaptureRequest, Opened]:
    """What to capture, with model and data opened.

    Without a ``split`` it is the first there is of test, dev and train, else the first of all.
    """
    source = open_source(data, follow_links=follow_links)
    options = CaptureOptions(split=split or _split_of(source), limit=limit, device=device)
    request = CaptureRequest(
        model=model,
        data=data,
        store=str(store),
        options=options,
        follow_links=follow_links,
        timesteps=timesteps,
    )
    return request, open_request(request, source)


def capture_once(
    request: CaptureRequest, opened: Opened, progress: Progress = SILENT
) -> Manifest | None:
    """Capture, or go on with a capture; None where the store has the run already.

    InputError where it has another one of that name: of other samples, another model or timesteps.
    """
    run_id = opened.manifest.run_id
    store = Store.create(request.store)
    if run_id not in store.run_ids():
        return run_capture(request, opened, progress=progress)
    there, wanted = store.run(run_id).manifest, opened.manifest
    same = (
        there.model.digest == wanted.model.digest
        and there.dataset.fingerprint == wanted.dataset.fingerprint
        and there.dataset.split == wanted.dataset.split
        and there.timesteps == wanted.timesteps
    )
    if not same:
        raise InputError(
            "is there already, of other samples, another model or other timesteps",
            where=f"run {run_id} in {request.store}",
            hint="Give another `store`, or remove the run.",
        )
    return None


def commands_again(manifest: Manifest, store: str, *, follow_links: bool = False) -> str:
    """The commands that do the same one by one, in one line."""
    runs = [manifest.run_id]
    return " && ".join(
        (
            activations_command(manifest, store) + (" --follow-links" if follow_links else ""),
            measure_command(store, runs),
            project_command(store, runs),
            shlex.join(["fusionscope", "serve", "--store", store]),
        )
    )


def _split_of(source: PairSource) -> str:
    there = source.splits()
    found = (chosen(name, there) for name in _SPLITS)
    return next((name for name in found if name is not None), there[0])
