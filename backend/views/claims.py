"""What the study shows of a store: the choice, its table, the claims, and their figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import pandas as pd
import plotly.graph_objects as go

from backend.figures import alignment_scatter, effect_forest
from backend.study import ClaimResult, Finding, StudyTable, build_table
from backend.study.findings import ALIGNMENT, DIMENSION, SCORES, TRANSITIONS
from backend.study.items import TestItems
from backend.views.groups import Overview, RunGroup
from backend.views.items import items_of
from backend.views.state import ViewState
from backend.views.study import datasets, effect_rows, groups_of, score_frame


@dataclass(frozen=True)
class StudyChoice:
    """What of a store the study shows, and what there is to choose from.

    No ``task`` means all of them, no ``metric`` each task's own; ``scores`` are those of dataset
    and task, ``items`` how they change without each test sample.
    """

    groups: tuple[RunGroup, ...]
    scores: pd.DataFrame
    datasets: tuple[str, ...]
    dataset: str
    tasks: tuple[str, ...]
    task: str | None
    metrics: tuple[str, ...]
    metric: str | None
    baseline: str | None
    items: TestItems

    @property
    def placed(self) -> tuple[RunGroup, ...]:
        """The groups of models that were trained with a placement: claims are about these."""
        return tuple(group for group in self.groups if group.placed)

    @property
    def placements(self) -> tuple[str, ...]:
        """Names of the placements."""
        return tuple(dict.fromkeys(group.name for group in self.placed))

    @property
    def shown(self) -> dict[str, str | None]:
        """The same as settings of a view."""
        names = ("dataset", "task", "metric", "baseline")
        return {name: getattr(self, name) for name in names}

    @cached_property
    def table(self) -> StudyTable:
        """Scores of every placement or model, compared with the baseline where it has scores."""
        trained = self.scores.loc[~self.scores["released"], "placement"]
        held = self.baseline if self.baseline and trained.eq(self.baseline).any() else ""
        metrics = [self.metric] if self.metric else []
        return build_table(self.scores, metrics=metrics, baseline=held, items=self.items)


def choice_of(state: ViewState, overview: Overview) -> StudyChoice:
    """The state's dataset, task, metric and baseline where there are such, else the defaults."""
    names = datasets(overview.runs)
    dataset = state.dataset if state.dataset in names else names[0]
    groups = groups_of(overview, dataset)
    scores = score_frame(overview.runs)
    scores = scores[scores["dataset"].eq(dataset)]
    tasks = tuple(dict.fromkeys(scores["task"]))
    task = state.task if state.task in tasks else None
    scores = scores if task is None else scores[scores["task"].eq(task)]
    metrics = tuple(dict.fromkeys(scores["metric"]))
    metric = state.metric if state.metric in metrics else None
    placements = list(dict.fromkeys(group.name for group in groups if group.placed))
    baseline = state.baseline if state.baseline in placements else next(iter(placements), None)
    items = items_of([run for group in groups for run in group.runs])
    return StudyChoice(
        groups, scores, names, dataset, tasks, task, metrics, metric, baseline, items
    )


def of_task(
    claims: Sequence[ClaimResult], points: pd.DataFrame, task: str | None
) -> tuple[tuple[ClaimResult, ...], pd.DataFrame]:
    """Claims and points of alignment with what is about one task, or no task; None is all."""
    if task is None:
        return tuple(claims), points
    about = (
        replace(claim, findings=tuple(one for one in claim.findings if one.task in ("", task)))
        for claim in claims
    )
    return tuple(about), points[points["task"].eq(task)]


_EFFECTS = {
    TRANSITIONS.key: "CKA at fusion transitions, minus others (beyond no fusion where said)",
    DIMENSION.key: "effective dimension, relative to no fusion",
    SCORES.key: "score of late, minus the other's",
    ALIGNMENT.key: "Pearson's r over placements",
}
"""What the effects of each claim are, as the words on an axis."""


def effects(claim: str, findings: tuple[Finding, ...]) -> go.Figure:
    """The findings of the claim of that key as a forest plot."""
    return effect_forest(
        effect_rows(findings),
        x_title=_EFFECTS[claim],
        x_range=(-1.05, 1.05) if claim == ALIGNMENT.key else None,
        percent=claim == DIMENSION.key,
    )


@dataclass(frozen=True)
class Placed:
    """A placement's alignment of the last layers, its score, and over how many seeds."""

    placement: str
    alignment: float
    score: float
    seeds: int
    colour: str


def placed_points(points: tuple[Placed, ...], x_title: str, y_title: str, height: int) -> go.Figure:
    """Alignment against score, a named point a placement."""
    rows = pd.DataFrame([asdict(point) for point in points])
    colours = {point.placement: point.colour for point in points if point.colour}
    return alignment_scatter(rows, x_title=x_title, y_title=y_title, colours=colours, height=height)
