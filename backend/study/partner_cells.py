"""Stored rows of the causal test as a table: a row a quantity of a run, a column a state."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from backend.interventions.table import END, STATES
from backend.study.runs import Block

Cells = pd.DataFrame
"""Rows (run, stream, measure, transition, layer, metric), columns (weights, partner), values."""


def same_samples(
    block: Block, rows: pd.DataFrame, pooling: str
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The rows of one key, so that all runs were asked on the same samples; what was left out."""
    if rows.empty:
        return pd.DataFrame(columns=["run_id", "key", "params"]), ()
    own = rows[rows["run_id"].isin([run.run_id for run in block.runs])]
    held = {text: json.loads(text)["pooling"] for text in own["params"].unique()}
    fitting = own[own["params"].map(held).eq(pooling)]
    if fitting.empty:
        other = " and ".join(sorted(set(held.values())))
        said = f"{block.where}: other partners were asked with {other} vectors only."
        return fitting, (said,) if held else ()
    counts = fitting.groupby("key")["run_id"].nunique().sort_index()
    key = str(counts.idxmax())
    lost = set(fitting["run_id"]) - set(fitting[fitting["key"].eq(key)]["run_id"])
    said = (
        f"{min(lost, default='')}: asked in another way than most runs (samples, labels or who was "
        "given whom), left out."
    )
    return fitting[fitting["key"].eq(key)], (said,) if lost else ()


def cells_of(rows: pd.DataFrame) -> Cells:
    """The values that the questions are about: at fusions, and at the streams' ends."""
    index = ["run_id", "stream", "measure", "transition", "layer", "estimator"]
    if rows.empty:
        empty = pd.MultiIndex.from_tuples([], names=index)
        return pd.DataFrame(index=empty, columns=pd.MultiIndex.from_tuples([], names=STATES))
    kept = rows[rows["crossing"] | rows["transition"].eq(END)]
    return kept.set_index([*index, *STATES])["value"].unstack(list(STATES), sort=False)


def at(cells: Cells, level: str, value: str) -> np.ndarray:
    """(rows,) whether a level of the rows' index has a value."""
    found: np.ndarray = np.asarray(cells.index.get_level_values(level) == value)
    return found
