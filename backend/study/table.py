"""Placement x dataset x task: mean and sd over seeds, the best, and paired differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from backend.errors import InputError
from backend.measures.chance.pvalues import holm
from backend.measures.chance.seeds import mean_over_seeds
from backend.study.items import NO_ITEMS, TestItems
from backend.study.paired import paired, seed_scores
from backend.study.runs import placement_order
from backend.study.scores import LOWER_IS_BETTER
from backend.words import with_sd

DIGITS = 3


@dataclass(frozen=True)
class Column:
    """One task of one dataset under one metric."""

    dataset: str
    task: str
    metric: str


@dataclass(frozen=True)
class Row:
    """One placement, of one model where the study holds several; or a ``released`` model."""

    placement: str
    setting: str = ""
    released: bool = False

    @property
    def label(self) -> str:
        """The placement, and the model where there are several."""
        return f"{self.placement}, {self.setting}" if self.setting else self.placement


@dataclass(frozen=True)
class Cell:
    """Mean and sd (n-1) over ``n`` seeds; sd is NaN for one. ``best`` in its column."""

    mean: float
    sd: float
    n: int
    best: bool = False

    @property
    def text(self) -> str:
        """``0.934 ± 0.012``, or only the mean where there is one seed."""
        return with_sd(self.mean, self.sd, DIGITS)


@dataclass(frozen=True)
class Difference:
    """Mean difference to the baseline over ``n`` seeds that both have, with its 95 % interval.

    ``p_corrected`` is Holm's over the column. With fewer than two pairs there is no interval.
    ``lacking`` says why the interval takes the test set as given, "" where it does not.
    """

    mean: float
    low: float
    high: float
    n: int
    p: float
    p_corrected: float
    lacking: str = ""

    @property
    def text(self) -> str:
        """``+0.030 [+0.010, +0.050]`` or "not enough runs"."""
        if math.isnan(self.low):
            return "not enough runs"
        return f"{self.mean:+.{DIGITS}f} [{self.low:+.{DIGITS}f}, {self.high:+.{DIGITS}f}]"


@dataclass(frozen=True)
class StudyTable:
    """Cells by (row, column); a pair that was not run has none. ``differences`` to ``baseline``."""

    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    cells: dict[tuple[Row, Column], Cell]
    differences: dict[tuple[Row, Column], Difference]
    baseline: str = ""
    notes: tuple[str, ...] = ()

    @property
    def heading(self) -> str:
        """What the rows are: placement, model, or "placement or model"."""
        kinds = {False: "placement", True: "model"}
        held = {row.released for row in self.rows}
        return " or ".join(word for released, word in kinds.items() if released in held)

    def cell(self, row: Row, column: Column) -> Cell | None:
        """The scores of a row in a column, or None."""
        return self.cells.get((row, column))

    def difference(self, row: Row, column: Column) -> Difference | None:
        """The difference of a row to the baseline, or None where there is nothing to compare."""
        return self.differences.get((row, column))

    def seeds(self, row: Row) -> str:
        """``3``, or ``2-3`` where its cells differ in their number; "–" for a released model."""
        if row.released:
            return "–"
        counts = [cell.n for (at, _), cell in self.cells.items() if at == row]
        low, high = min(counts, default=0), max(counts, default=0)
        return str(low) if low == high else f"{low}-{high}"


@dataclass(frozen=True)
class Published:
    """Numbers of somebody else, to be shown with a table and to take no part in it.

    ``beside`` are those of the same placement on the same dataset under the same metric as a cell;
    ``table`` is all of them; ``source`` says whose they are.
    """

    source: str
    beside: Mapping[tuple[Row, Column], Cell]
    table: StudyTable

    def has(self, column: Column) -> bool:
        """Whether any row has a number beside it in the column."""
        return any(at == column for _, at in self.beside)


def build_table(
    scores: pd.DataFrame,
    *,
    metrics: Sequence[str] = (),
    baseline: str = "",
    items: TestItems = NO_ITEMS,
) -> StudyTable:
    """The table of a study.

    ``scores`` has :data:`backend.study.runs.SCORE_COLUMNS`. ``metrics`` names the metrics to show;
    by default every task is shown under the one by which it is judged. ``baseline`` names the
    placement that the others are compared with, seed by seed, and over the test samples of the
    runs that ``items`` has. All that ties with the best at the
    shown digits is marked best. InputError for a metric or a baseline that no run has, and for no
    scores at all.
    """
    if scores.empty:
        raise InputError(
            "no run has scores",
            hint="Scores come with a trained checkpoint: fusionscope train, then capture",
        )
    shown = _chosen(scores, metrics)
    placements = set(scores.loc[~scores["released"].astype(bool), "placement"])
    if baseline and baseline not in placements:
        raise InputError(
            f"no run has the placement {baseline!r}",
            field="baseline",
            hint=f"There are: {', '.join(sorted(placements, key=placement_order)) or 'none'}",
        )
    undefined = shown["value"].isna()
    notes = [
        f"{row.run_id}: {row.task} {row.metric} is undefined and does not count"
        for row in shown[undefined].itertuples()
    ]
    shown = shown[~undefined]
    rows = sorted(
        {
            Row(*names)
            for names in zip(shown["placement"], shown["setting"], shown["released"], strict=True)
        },
        key=lambda row: (row.released, placement_order(row.placement), row.setting),
    )
    kinds = dict.fromkeys(zip(shown["dataset"], shown["task"], shown["metric"], strict=True))
    columns = sorted((Column(*kind) for kind in kinds), key=lambda column: column.dataset)
    cells: dict[tuple[Row, Column], Cell] = {}
    differences: dict[tuple[Row, Column], Difference] = {}
    for column in columns:
        mine = shown[
            shown["dataset"].eq(column.dataset)
            & shown["task"].eq(column.task)
            & shown["metric"].eq(column.metric)
        ]
        notes += _said(mine, column)
        values = {row: _values(mine, row) for row in rows}
        cells |= {(row, column): cell for row, cell in _cells(values, column).items()}
        if baseline:
            differences |= {
                (row, column): one
                for row, one in _differences(mine, list(values), baseline, items).items()
            }
    return StudyTable(
        tuple(rows), tuple(columns), cells, differences, baseline, tuple(dict.fromkeys(notes))
    )


def _values(rows: pd.DataFrame, row: Row) -> dict[int, float]:
    """{seed: score} of a row; {0, 1, ...: score} of a released model's runs, which have no seed."""
    mine = rows[rows["setting"].eq(row.setting) & rows["released"].eq(row.released)]
    if row.released:
        return dict(enumerate(mine.loc[mine["placement"].eq(row.placement), "value"].tolist()))
    return seed_scores(mine, row.placement)


def _chosen(scores: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    if not metrics:
        return scores[scores["judged"].astype(bool)]
    have = list(dict.fromkeys(scores["metric"]))
    for metric in metrics:
        if metric not in have:
            raise InputError(
                f"no run has a score called {metric!r}",
                field="metric",
                hint=f"There are: {', '.join(have)}",
            )
    return scores[scores["metric"].isin(list(metrics))]


def _said(rows: pd.DataFrame, column: Column) -> list[str]:
    """What a reader of the column should know: mixed splits, and seeds that were run twice."""
    notes = []
    splits = list(dict.fromkeys(rows["split"]))
    if len(splits) > 1:
        notes.append(
            f"{column.dataset}, {column.task} {column.metric}: scores of several splits "
            f"({', '.join(map(str, splits))}) stand in one column"
        )
    seeded = rows[rows["seed"].notna()]
    twice = seeded[seeded.duplicated(["placement", "setting", "seed"], keep=False)]
    for placement, seed in dict.fromkeys(zip(twice["placement"], twice["seed"], strict=True)):
        notes.append(
            f"{column.dataset}: {placement} has several runs of seed {seed}; their mean counts once"
        )
    return notes


def _cells(values: dict[Row, dict[int, float]], column: Column) -> dict[Row, Cell]:
    means = {
        row: mean_over_seeds(list(by_seed.values())) for row, by_seed in values.items() if by_seed
    }
    pick = min if column.metric in LOWER_IS_BETTER else max
    best = pick((one.mean for one in means.values()), default=math.nan)
    return {
        row: Cell(one.mean, one.sd, one.seeds, f"{one.mean:.{DIGITS}f}" == f"{best:.{DIGITS}f}")
        for row, one in means.items()
    }


def _differences(
    scores: pd.DataFrame, rows: Sequence[Row], baseline: str, items: TestItems
) -> dict[Row, Difference]:
    """Each row against the baseline of its own setting; ``scores`` are those of one column."""
    compared = {
        row: paired(scores[scores["setting"].eq(row.setting)], row.placement, baseline, items)
        for row in rows
        if row.placement != baseline and not row.released and _values(scores, row)
    }
    corrected = holm([one.estimate.p for one in compared.values()]).tolist()
    return {
        row: Difference(
            one.estimate.value,
            one.estimate.low,
            one.estimate.high,
            one.estimate.n,
            one.estimate.p,
            p,
            one.lacking,
        )
        for (row, one), p in zip(compared.items(), corrected, strict=True)
    }
