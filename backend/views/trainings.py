"""How the trainings of a store's runs ended, for what is said of their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from backend.errors import InputError
from backend.store.kinds import TRAINING_SCORES
from backend.store.tables import to_pandas
from backend.study.convergence import DevCurve, Key, dev_curves
from backend.views.groups import RunInfo
from backend.views.questions import RunAt
from backend.views.store_access import opened


def curves_of(runs: Sequence[RunInfo]) -> dict[Key, DevCurve]:
    """The dev scores by epoch of all runs that keep them; one that cannot be read has none."""
    held: dict[Key, DevCurve] = {}
    for run in runs:
        at = RunAt(str(run.source.path), run.run_id, run.source.version(run.run_id))
        try:
            held |= _of_run(at)
        except InputError:
            continue
    return held


@lru_cache(maxsize=512)
def _of_run(at: RunAt) -> Mapping[Key, DevCurve]:
    return dev_curves(to_pandas(opened(at.store).run(at.run_id).table(TRAINING_SCORES)), at.run_id)
