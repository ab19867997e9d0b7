"""Which store the dashboard looks at, and in what state it is."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from backend.errors import InputError
from backend.paths import shipped_demo
from backend.store import Run, Store
from backend.views.groups import Broken, Overview, RunInfo, Score, group_runs

ENVIRONMENT = "FUSIONSCOPE_STORE"
Status = Literal["unnamed", "missing", "empty", "broken", "fine"]


@dataclass(frozen=True)
class StoreView:
    """The store as the pages see it. ``token`` changes whenever its content does."""

    status: Status
    path: str
    token: str = ""
    message: str = ""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return Path(self.path).name or self.path


def named_store(
    arguments: Sequence[str] | None = None, environment: Mapping[str, str] | None = None
) -> str | None:
    """The path after ``--store`` on the command line, else the environment's, else the demo's.

    The demo store is looked for in ``cache/demo`` below the current directory and next to app.py.
    None where nothing is named and there is no demo.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    environment = os.environ if environment is None else environment
    for at, word in enumerate(arguments):
        if word == "--store" and at + 1 < len(arguments):
            return arguments[at + 1]
        if word.startswith("--store="):
            return word.removeprefix("--store=")
    if environment.get(ENVIRONMENT):
        return environment[ENVIRONMENT]
    for candidate in (Path("cache") / "demo", shipped_demo()):
        if candidate.is_dir():
            return str(candidate)
    return None


def look(path: str | None) -> StoreView:
    """The state of the store at ``path``; costs a few directory listings."""
    if path is None:
        return StoreView("unnamed", "", message="No store was named")
    try:
        store = Store(path)
        token = store.token()
        if not store.run_ids():
            return StoreView("empty", path, token, f"{path} holds no runs")
    except InputError as error:
        return StoreView("missing", path, message=str(error))
    except OSError as error:
        return StoreView("broken", path, message=f"{path}: {error.strerror or error}")
    return StoreView("fine", path, token)


def overview(path: str) -> Overview:
    """Every run of the store, grouped; a run that cannot be read is listed with its reason.

    Only manifests, scores and file names are read: a corrupt table of measures shows where it is
    used, and the rest of its run stays usable.
    """
    store = Store(path)
    infos, broken = [], []
    for run_id in store.run_ids():
        try:
            infos.append(_info(store.run(run_id)))
        except InputError as error:
            if (Path(path) / "runs" / run_id).is_dir():
                broken.append(Broken(run_id, str(error)))
    return Overview(group_runs(infos), tuple(broken))


def _info(run: Run) -> RunInfo:
    scores = run.scores()[["task", "metric", "split", "value"]]
    return RunInfo(
        run.manifest,
        has_activations=run.has_activations,
        has_checkpoint=run.checkpoint is not None,
        has_measures=bool(run.measure_keys()),
        has_projections=bool(run.projection_keys()),
        scores=tuple(Score(*row) for row in scores.itertuples(index=False, name=None)),
    )
