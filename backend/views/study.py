"""The study's frames from a store's runs: what the Study page and the command line ask."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from backend.errors import InputError
from backend.pairing import Pair
from backend.store.kinds import SAE, TRAINING_SCORES
from backend.study import (
    CLAIMS,
    SCORE_COLUMNS,
    ClaimResult,
    Finding,
    StudyRun,
    StudyTable,
    alignment_points,
    examine,
    study_runs,
)
from backend.study.convergence import NO_CURVES
from backend.study.examine import chosen
from backend.study.formats import difference_grid, heads
from backend.study.interventions import needs_of_a_fusion
from backend.study.reference import published_beside
from backend.study.runs import blocks
from backend.views import questions, store_access
from backend.views.groups import Overview, RunGroup, RunInfo
from backend.views.interventions import interventions
from backend.views.items import items_of
from backend.views.kept import kept
from backend.views.sae import language_claim
from backend.views.trainings import curves_of
from backend.words import literal, metric_name

MEASURES = tuple(dict.fromkeys(name for claim in CLAIMS for name in claim.needs))
"""What the claims need of a store."""


def described(runs: Sequence[RunInfo]) -> tuple[StudyRun, ...]:
    """The runs as the study sees them."""
    return study_runs(run.manifest for run in runs)


def score_frame(runs: Sequence[RunInfo]) -> pd.DataFrame:
    """The scores of all runs on their own split, with the columns of ``SCORE_COLUMNS``."""
    rows = []
    for run, known in zip(runs, described(runs), strict=True):
        own = run.own_scores()
        judged = {task.name: task.metric for task in run.manifest.tasks}
        held = {task: [s.metric for s in own if s.task == task] for task in {s.task for s in own}}
        for score in own:
            # A task that the manifest does not know is judged by the first metric it has.
            metrics = held[score.task]
            main = judged.get(score.task, metrics[0])
            main = main if main in metrics else metrics[0]
            rows.append(
                (
                    *(known.dataset, known.setting, known.placement, known.released),
                    *(run.run_id, run.seed),
                    *(score.task, score.metric, score.split, score.metric == main, score.value),
                )
            )
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS)).astype({"seed": "Int64"})


def layouts(runs: Sequence[RunInfo]) -> dict[str, str]:
    """{dataset as the study calls it: its layout}."""
    return {
        known.dataset: run.manifest.dataset.layout
        for run, known in zip(runs, described(runs), strict=True)
    }


def datasets(runs: Sequence[RunInfo]) -> tuple[str, ...]:
    """The study's names of the runs' datasets, in the order of the runs."""
    return tuple(dict.fromkeys(known.dataset for known in described(runs)))


def groups_of(overview: Overview, dataset: str) -> tuple[RunGroup, ...]:
    """The groups on one dataset, by the study's name of it."""
    known = {one.run_id: one.dataset for one in described(overview.runs)}
    return tuple(group for group in overview.groups if known[group.runs[0].run_id] == dataset)


def left_out(runs: Sequence[RunInfo], dataset: str) -> tuple[str, ...]:
    """One line for runs of a dataset on other samples than most: no claim on layers counts them."""
    found = blocks([one for one in described(runs) if one.dataset == dataset])
    return tuple(note for block in found for note in block.notes)


def claims_of(
    runs: Sequence[RunInfo],
    dataset: str,
    measures: pd.DataFrame,
    pooling: str,
    estimator: str,
    pair: Pair | None = None,
    partners: pd.DataFrame | None = None,
    trained: pd.DataFrame | None = None,
) -> tuple[tuple[ClaimResult, ...], pd.DataFrame]:
    """The claims asked of one dataset's runs, and the points of alignment against score.

    ``partners`` is what the runs were asked with other partners; None leaves that claim out.
    ``trained`` are their dev scores by epoch (:data:`backend.store.kinds.TRAINING_SCORES`).
    """
    own = [
        (run, one) for run, one in zip(runs, described(runs), strict=True) if one.dataset == dataset
    ]
    known = tuple(one for _, one in own)
    scores = score_frame(runs)
    scores = scores[scores["dataset"].eq(dataset)]
    rows = chosen(measures, pooling, estimator)
    points = alignment_points(known, scores, rows, pair)
    asked = examine(
        known,
        scores,
        rows,
        pooling=pooling,
        estimator=estimator,
        points=points,
        items=items_of([run for run, _ in own]),
        curves=NO_CURVES if trained is None else curves_of(trained),
        also=() if partners is None else (needs_of_a_fusion(known, partners, pooling),),
    )
    return asked, points


def opened(path: str) -> Overview:
    """A store's runs; InputError where there are none that can be read."""
    overview = store_access.overview(path)
    if not overview.runs:
        raise InputError(
            "the store holds no run that can be read",
            where=f"store {path}",
            hint="Make one with: fusionscope train, then fusionscope capture --store DIR",
        )
    return overview


def findings(
    path: str, pooling: str = "cls", estimator: str = "debiased", preset: str = "default"
) -> tuple[tuple[ClaimResult, ...], tuple[str, ...]]:
    """Every claim asked of a whole store, and one line for every run that cannot be read."""
    overview = opened(path)
    problems = [f"{item.run_id}: {item.reason}" for item in overview.broken]
    view = store_access.StoreView("fine", path)
    table = questions.measures(view, overview.groups, MEASURES, preset).answer()
    problems += table.problems
    measures = table.frame
    if len(measures) and not measures["pooling"].eq(pooling).any():
        held = ", ".join(measures["pooling"].unique())
        raise InputError(
            f"no run has measures of {pooling!r} vectors", field="pooling", hint=f"Use {held}"
        )
    partners = interventions(view, overview.groups).answer()
    problems += partners.problems
    known = described(overview.runs)
    run_ids = [run.run_id for run in overview.runs]
    read = kept(view, run_ids, SAE).answer()
    trained = kept(view, run_ids, TRAINING_SCORES).answer()
    problems += [*read.problems, *trained.problems]
    also = [needs_of_a_fusion(known, partners.frame, pooling)]
    if len(read.frame):
        also.append(language_claim(read.frame, overview.runs))
    asked = examine(
        known,
        score_frame(overview.runs),
        measures,
        pooling=pooling,
        estimator=estimator,
        items=items_of(overview.runs),
        curves=curves_of(trained.frame),
        also=also,
    )
    return asked, tuple(problems)


def effect_rows(findings: Sequence[Finding]) -> pd.DataFrame:
    """Rows of a forest plot: every finding, each followed by its parts where it has several."""
    places = {one.where for one in findings}
    tasks = {(one.task, one.metric) for one in findings if one.task}
    rows: list[dict[str, object]] = []
    for one in findings:
        words = [one.subject]
        if len(places) > 1:
            words.append(one.where)
        if len(tasks) > 1:
            words.append(f"{one.task} {metric_name(one.metric)}")
        label = ", ".join(words)
        numbers = {"value": one.value, "low": one.low, "high": one.high}
        rows.append(
            {"label": label, **numbers, "n": one.n, "unit": one.unit, "verdict": one.verdict}
        )
        for part in one.parts if len(one.parts) > 1 else ():
            if not math.isnan(part.low):
                numbers = {"value": part.value, "low": part.low, "high": part.high}
                name = f"{label}: {part.label}"
                rows.append({"label": name, **numbers, "n": part.n, "unit": "runs", "verdict": ""})
    columns = ["label", "value", "low", "high", "n", "unit", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def markdown_table(
    table: StudyTable, layout_of: Mapping[str, str], *, published: bool = False
) -> pd.DataFrame:
    """The table for ``st.table``: Markdown cells, the best in bold, text from data escaped.

    With ``published``, columns of datasets that the thesis has, too, are followed by its numbers.
    """
    out: dict[str, list[str]] = {
        table.heading: [literal(row.label) for row in table.rows],
        "seeds": [table.seeds(row) for row in table.rows],
    }
    theirs = published_beside(table, layout_of)
    for column, head in zip(table.columns, heads(table), strict=True):
        cells = [table.cell(row, column) for row in table.rows]
        out[literal(head)] = [
            "–" if cell is None else f"**{cell.text}**" if cell.best else cell.text
            for cell in cells
        ]
        if published and theirs.has(column):
            found = [theirs.beside.get((row, column)) for row in table.rows]
            out[f"{literal(head)}, thesis"] = [cell.text if cell else "–" for cell in found]
    return pd.DataFrame(out)


def markdown_differences(table: StudyTable) -> pd.DataFrame:
    """The differences to the baseline for ``st.table``."""
    rows = [[literal(row[0]), *row[1:]] for row in difference_grid(table)]
    names = [table.heading, *map(literal, heads(table))]
    columns = {name: [row[at] for row in rows] for at, name in enumerate(names)}
    return pd.DataFrame(columns)
