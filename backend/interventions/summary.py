"""What a table of interventions says: numbers to print, and the findings over seeds."""

from __future__ import annotations

import json

import pandas as pd

from backend.interventions.table import CKA, WHOLE
from backend.study.findings import ClaimResult
from backend.study.interventions import needs_of_a_fusion
from backend.study.judging import judge
from backend.study.runs import StudyRun
from backend.study.statistics import mean_estimate
from backend.types import StreamSpec

_KEYS = ["dataset", "placement", "stream", "weights", "partner"]


def findings(table: pd.DataFrame) -> ClaimResult:
    """The claim asked of the models of a table: p is corrected over its own questions."""
    keys = ["run_id", "dataset", "placement", "seed"]
    runs = []
    for (run_id, dataset, placement, seed), own in table.groupby(keys, dropna=False, sort=False):
        streams = tuple(_stream(str(s), rows) for s, rows in own.groupby("stream", sort=False))
        number = None if seed is pd.NA else int(str(seed))
        runs.append(StudyRun(str(run_id), str(dataset), "", str(placement), number, "", streams))
    pooling = json.loads(table["params"].iloc[0])["pooling"]
    (result,) = judge([needs_of_a_fusion(runs, table, pooling)])
    return result


def _stream(name: str, rows: pd.DataFrame) -> StreamSpec:
    """Depth and fusion layers, which the rows tell."""
    fused = sorted(set(rows[rows["crossing"]]["layer"]))
    return StreamSpec.of(name, name, int(rows["layer"].max()), 1, fused, reads=name)


def contrasts(table: pd.DataFrame) -> pd.DataFrame:
    """Mean CKA at transitions that cross a fusion minus that at the others, a row a seed.

    Columns dataset, placement, stream, weights, partner, seed, value. It describes: fusion layers
    also lie at certain depths. A placement that fuses everywhere has none; NaN does not count.
    """
    rows = table[table["measure"].eq(CKA) & table["transition"].eq(WHOLE) & table["value"].notna()]
    means = rows.groupby([*_KEYS, "seed", "crossing"], dropna=False, sort=False)["value"].mean()
    wide = means.unstack("crossing").reindex(columns=[True, False]).dropna()
    return (wide[True] - wide[False]).rename("value").reset_index()


def over_seeds(values: pd.DataFrame) -> pd.DataFrame:
    """Mean, 95 % t interval and number of seeds of each dataset, placement, stream and so on."""
    rows = []
    for at, own in values.groupby(_KEYS, dropna=False, sort=False):
        one = mean_estimate(own["value"].tolist())
        rows.append((*at, one.value, one.low, one.high, one.n))
    return pd.DataFrame(rows, columns=[*_KEYS, "value", "low", "high", "seeds"])
