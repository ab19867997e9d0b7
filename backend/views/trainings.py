"""How the trainings of a store's runs ended, for what is said of their scores."""

from __future__ import annotations

import pandas as pd

from backend.study.convergence import DevCurve, Key, dev_curves


def curves_of(rows: pd.DataFrame) -> dict[Key, DevCurve]:
    """The dev scores by epoch of the runs of :data:`backend.store.kinds.TRAINING_SCORES`' rows."""
    held: dict[Key, DevCurve] = {}
    if len(rows):
        for run_id, mine in rows.groupby("run_id", sort=False):
            held |= dev_curves(mine, str(run_id))
    return held
