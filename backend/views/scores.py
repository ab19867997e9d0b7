"""Scores of groups as tidy rows, as a table for people, and in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from backend.figures import score_strip
from backend.views.groups import RunGroup, noun
from backend.words import listed, mean_sd, metric_name

COLUMNS = ("series", "label", "run_id", "seed", "task", "metric", "split", "value")


def score_rows(groups: Sequence[RunGroup]) -> pd.DataFrame:
    """One row a run, task and metric, on each run's own split."""
    rows = [
        (group.key, group.label, run.run_id, run.seed, s.task, s.metric, s.split, s.value)
        for group in groups
        for run in group.runs
        for s in run.own_scores()
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def score_figure(groups: tuple[RunGroup, ...], task: str, metric: str) -> go.Figure:
    """Every run's score in one metric of one task."""
    series = [group.series for group in groups]
    return score_strip(score_rows(groups), series, task=task, metric=metric)


def headline_metrics(scores: pd.DataFrame, groups: Sequence[RunGroup]) -> list[tuple[str, str]]:
    """One metric a task: AUROC if it is binary, macro-F1 multi-label, accuracy multi-class."""
    judged = {task.name: task.metric for group in groups for task in group.manifest.tasks}
    out = []
    for task in dict.fromkeys(scores["task"]):
        have = list(dict.fromkeys(scores[scores["task"].eq(task)]["metric"]))
        metric = judged.get(task, have[0])
        out.append((task, metric if metric in have else have[0]))
    return out


def score_table(scores: pd.DataFrame, groups: Sequence[RunGroup]) -> pd.DataFrame:
    """Groups x (task, metric) as ``mean ± sd``; "–" where a group has no such score."""
    kinds = list(dict.fromkeys(zip(scores["task"], scores["metric"], strict=True)))
    rows = []
    for group in groups:
        mine = scores[scores["series"].eq(group.key)]
        row = {noun(groups): group.label, "seeds": len(group.seeds) or pd.NA}
        for task, metric in kinds:
            own = mine[mine["task"].eq(task) & mine["metric"].eq(metric)]["value"]
            values = own.dropna().tolist()
            row[f"{task} {metric_name(metric)}"] = mean_sd(values)
        rows.append(row)
    return pd.DataFrame(rows).astype({"seeds": "Int64"})


def scores_for_people(groups: tuple[RunGroup, ...]) -> pd.DataFrame:
    """:func:`score_table` of groups; empty where none has a score."""
    scores = score_rows(groups)
    return score_table(scores, groups) if len(scores) else pd.DataFrame()


def best_of(scores: pd.DataFrame, groups: Sequence[RunGroup], task: str, metric: str) -> str:
    """``highest mean: late, 0.934 ± 0.012 (3 seeds)``."""
    rows = scores[scores["task"].eq(task) & scores["metric"].eq(metric) & scores["value"].notna()]
    if rows.empty:
        return "Undefined for every run"
    means = rows.groupby("series")["value"].mean()
    labels = {group.key: group.label for group in groups}
    key = str(means.idxmax())
    values = rows[rows["series"].eq(key)]["value"].tolist()
    alike = [str(one) for one, mean in means.items() if f"{mean:.3f}" == f"{means[key]:.3f}"]
    if len(alike) > 1:
        names = listed(labels[one] for one in labels if one in alike)
        return f"Highest mean: {means[key]:.3f}, of {names} alike"
    seeds = "one run" if len(values) == 1 else f"{len(values)} seeds"
    return f"Highest mean: {labels[key]}, {mean_sd(values)} ({seeds})"
