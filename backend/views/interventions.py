"""The causal test on the Study page: the rows that a store keeps, their figure, and how to ask."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from backend.figures import condition_figure
from backend.store.kinds import INTERVENTIONS
from backend.study.conditions import condition_means, conditions
from backend.study.findings import ClaimResult
from backend.study.interventions import needs_of_a_fusion
from backend.study.judging import judge
from backend.study.runs import StudyRun, study_runs
from backend.types import StreamSpec
from backend.views.groups import RunGroup, RunInfo
from backend.views.kept import Kept, kept
from backend.views.store_access import StoreView


def interventions(store: StoreView, groups: Sequence[RunGroup]) -> Kept:
    """What the groups' runs were asked with other partners."""
    run_ids = [run.run_id for group in groups for run in group.runs]
    return kept(store, run_ids, INTERVENTIONS)


def conditions_of(
    runs: Sequence[RunInfo], dataset: str, rows: pd.DataFrame, pooling: str
) -> pd.DataFrame:
    """CKA across fusions under each partner, a row a run of one dataset and state."""
    known = [one for one in study_runs(run.manifest for run in runs) if one.dataset == dataset]
    return conditions(known, rows, pooling)


def condition_drawing(
    runs: Sequence[RunInfo], dataset: str, rows: pd.DataFrame, pooling: str
) -> go.Figure:
    """The same as a figure, with the means over seeds."""
    shown = conditions_of(runs, dataset, rows, pooling)
    return condition_figure(shown, condition_means(shown))


def intervene_command(store: str, runs: Sequence[RunInfo]) -> str:
    """What asks the runs of a store with other partners, and keeps the answers in it."""
    data = next((run.manifest.origin.data for run in runs if run.manifest.origin.data), "")
    return shlex.join(["fusionscope", "intervene", store, "--data", data or "LAYOUT:PATH"])


def findings_of_table(table: pd.DataFrame) -> ClaimResult:
    """The claim asked of the models of a table: p is corrected over its own questions."""
    keys = ["run_id", "dataset", "model", "placement", "seed"]
    several = table.groupby(["dataset", "placement"])["model"].nunique().max() > 1
    runs = []
    for at, own in table.groupby(keys, dropna=False, sort=False):
        run_id, dataset, model, placement, seed = at
        streams = tuple(_stream(str(s), rows) for s, rows in own.groupby("stream", sort=False))
        number = None if seed is pd.NA else int(str(seed))
        setting = str(model) if several else ""
        runs.append(
            StudyRun(str(run_id), str(dataset), setting, str(placement), number, "", streams)
        )
    pooling = json.loads(table["params"].iloc[0])["pooling"]
    (result,) = judge([needs_of_a_fusion(runs, table, pooling)])
    return result


def _stream(name: str, rows: pd.DataFrame) -> StreamSpec:
    """Depth and fusion layers, which the rows tell."""
    fused = sorted(set(rows[rows["crossing"]]["layer"]))
    return StreamSpec.of(name, name, int(rows["layer"].max()), 1, fused, reads=name)
