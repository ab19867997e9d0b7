"""CKA across fusions under each partner, trained and not: what the figure draws."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from backend.interventions.table import CKA, STATES, WHOLE
from backend.measures.chance.seeds import t_interval
from backend.measures.registry import MEASURES
from backend.study.findings import combine, per_seed
from backend.study.partner_cells import at, cells_of, same_samples
from backend.study.runs import StudyRun, blocks, placement_order


def conditions(runs: Sequence[StudyRun], rows: pd.DataFrame, pooling: str = "cls") -> pd.DataFrame:
    """CKA across fusions in every state, a row a run: what the figure draws.

    Columns: where, stream, weights, partner, placement, seed, value (the mean over the run's
    fusions, at layers that every state of the run has).
    """
    out = []
    for block in blocks(runs):
        known = {run.run_id: run for run in block.runs if run.fuses and run.seed is not None}
        chosen, _ = same_samples(block, rows, pooling)
        cells = cells_of(chosen[chosen["run_id"].isin(known)])
        here = cells[at(cells, "measure", CKA) & at(cells, "transition", WHOLE)]
        for (run_id, stream), own in here.groupby(["run_id", "stream"], sort=False):
            run = known[str(run_id)]
            means = own.dropna(axis=1, how="all").dropna().mean()
            for (weights, partner), value in means.items():
                place = (block.where, stream, weights, partner, run.placement, run.seed)
                out.append((*place, float(value)))
    columns = ["where", "stream", *STATES, "placement", "seed", "value"]
    frame = pd.DataFrame(out, columns=columns)
    order = frame["placement"].map(placement_order)
    return frame.loc[order.sort_values(kind="stable").index].reset_index(drop=True)


def condition_means(rows: pd.DataFrame) -> pd.DataFrame:
    """The mean over seeds of rows of :func:`conditions`, a row a state.

    Columns: where, stream, weights, partner, value, low, high, seeds. A seed's value is the mean
    over its placements; ``low`` and ``high`` are the 95 % interval over seeds, which keeps to what
    CKA can be, NaN with one seed.
    """
    bounds = MEASURES["cka"].bounds("debiased")
    keys = ["where", "stream", *STATES]
    out = []
    for place, own in rows.groupby(keys, sort=False):
        values = {
            str(placement): per_seed(zip(some["seed"].astype(int), some["value"], strict=True))
            for placement, some in own.groupby("placement", sort=False)
        }
        mean, _, _ = combine(values)
        low = high = math.nan
        if mean.n > 1:
            sd = mean.se * math.sqrt(mean.n)
            low, high = t_interval(mean.value, sd, mean.n, bounds=bounds)
        out.append((*place, mean.value, low, high, mean.n))
    return pd.DataFrame(out, columns=[*keys, "value", "low", "high", "seeds"])
