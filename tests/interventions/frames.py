"""Tables of interventions with values that are known."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pandas as pd

from backend.interventions.table import COLUMNS, PARTNERS
from backend.store import Store, kinds
from backend.study.runs import StudyRun
from backend.types import StreamSpec

Value = Callable[[str, str, str, int, int], float]
"""(weights, partner, placement, seed, layer) -> CKA of the transition to that layer."""

FUSED = {"early": (2,), "late": (4,)}
PARAMS = json.dumps({"pooling": "cls"})


def cka_table(
    value: Value, seeds: Sequence[int] = (0, 1, 2), stream: str = "vision"
) -> pd.DataFrame:
    """CKA at transitions 1 to 4 of one stream, two placements, trained and untrained."""
    rows = [
        (
            *(f"{placement}-seed{seed}", "key", "macros", "m", placement, seed, weights, partner),
            *(stream, k, "k-1 to k", k in fused, "cls", "cka", "debiased"),
            *(value(weights, partner, placement, seed, k), 64, "", PARAMS),
        )
        for placement, fused in FUSED.items()
        for seed in seeds
        for weights in ("trained", "untrained")
        for partner in PARTNERS
        for k in range(1, 5)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"seed": "Int64"})


def runs_of(table: pd.DataFrame) -> tuple[StudyRun, ...]:
    """The runs of a table, with both streams and the fusion layers of their placement."""
    keys = ["run_id", "placement", "seed"]
    runs = []
    distinct = table[keys].drop_duplicates()
    for run_id, placement, seed in zip(*(distinct[key] for key in keys), strict=True):
        specs = tuple(
            StreamSpec.of(name, name, 4, 8, FUSED.get(placement, ()), reads=other)
            for name, other in (("vision", "text"), ("text", "vision"))
        )
        number = None if seed is pd.NA else int(seed)
        runs.append(StudyRun(run_id, "macros", "", placement, number, "all", specs))
    return tuple(runs)


def add_to(store: Store, table: pd.DataFrame) -> None:
    """Keep the rows in the runs of a store of the same names (tests/make_store.py)."""
    for run_id, own in table.groupby("run_id", sort=False):
        rows = own[kinds.INTERVENTIONS.schema.names]
        store.run(str(run_id)).add(kinds.INTERVENTIONS, rows, str(own["key"].iloc[0]))
