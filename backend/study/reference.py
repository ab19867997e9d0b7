"""The numbers that the thesis published, read-only, and its claims asked of them.

Source: the bachelor thesis "Probing Layer-wise Alignment Depth in Multimodal Transformers"
(BERT-base + ViT-B/16, pretrained on Conceptual Captions, fine-tuned with three seeds). Layers are
counted from 1. Only figures are kept: ``data/thesis_scores.csv`` and ``data/thesis_curves.csv``.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import pandas as pd

from backend.study.alignment import NAMES, POINT_COLUMNS, alignment_tracks_score
from backend.study.findings import ALIGNMENT, CLAIMS, SCORES, ClaimResult
from backend.study.judging import judge
from backend.study.scores import OTHERS, WINNER, advantage
from backend.study.statistics import welch_estimate
from backend.study.table import DIGITS, Cell, Column, Published, Row, StudyTable

SOURCE = (
    'Bachelor thesis "Probing Layer-wise Alignment Depth in Multimodal Transformers": BERT-base + '
    "ViT-B/16, pretrained on Conceptual Captions, three seeds."
)
DATASETS = {
    "hateful_memes": "Hateful Memes",
    "mm_imdb": "MM-IMDb",
    "upmc_food": "UPMC Food-101",
}
"""The thesis's datasets and how they are written."""

_OF_LAYOUT = {"hateful_memes": "hateful_memes", "mmimdb": "mm_imdb", "food101": "upmc_food"}
QUANTITIES = ("cka", "mutual_knn", "svcca", "procrustes", "probe_score", "probe_loss")
LAST_LAYER = 12
ALIGNMENT_TRAINED = "late + CKA loss"
"""Trained to be aligned: its alignment is a cause, so it is no point of a correlation."""

_HALF_DIGIT = 0.0005


@dataclass(frozen=True)
class PublishedScore:
    """One cell of the thesis's table. ``sd`` is NaN and ``seeds`` 0 where it gives none."""

    placement: str
    text_layers: tuple[int, ...]
    vision_layers: tuple[int, ...]
    pretrained: bool
    dataset: str
    metric: str
    mean: float
    sd: float
    seeds: int

    @property
    def spread(self) -> float:
        """The sd, where it was rounded to 0 half a digit instead: it is not known to be less."""
        return self.sd if math.isnan(self.sd) else max(self.sd, _HALF_DIGIT)


@cache
def published_scores(pretrained: bool | None = True) -> tuple[PublishedScore, ...]:
    """The table of task scores, in its order; ``pretrained`` None also gives the ablation."""
    with (files(__package__) / "data" / "thesis_scores.csv").open(encoding="utf-8") as file:
        rows = [_score(row) for row in csv.DictReader(file)]
    return tuple(one for one in rows if pretrained is None or one.pretrained is pretrained)


def published_curves(quantity: str, dataset: str) -> pd.DataFrame:
    """``placement``, ``layer`` (1 to 12), ``mean``, ``sd`` of one quantity on one dataset.

    ``quantity`` is one of :data:`QUANTITIES` (similarities are between vision and text, under the
    thesis's conventions), ``dataset`` one of :data:`DATASETS`; ValueError for another.
    """
    if quantity not in QUANTITIES or dataset not in DATASETS:
        raise ValueError(f"the thesis published no {quantity} on {dataset}")
    frame = _curves()
    rows = frame[frame["dataset"].eq(dataset)]
    return pd.DataFrame(
        {
            "placement": rows["placement"],
            "layer": rows["layer"],
            "mean": rows[quantity],
            "sd": rows[f"{quantity}_sd"],
        }
    ).reset_index(drop=True)


def published_dataset(layout: str) -> str | None:
    """The thesis's name of the dataset that a layout reads, or None."""
    return _OF_LAYOUT.get(layout)


def published_cell(layout: str, metric: str, placement: str) -> Cell | None:
    """The thesis's score of a placement under the same metric on the same dataset, or None."""
    dataset, name = published_dataset(layout), _as_written(placement)
    return next(
        (
            Cell(one.mean, one.sd, one.seeds)
            for one in published_scores()
            if (one.dataset, one.metric, _as_written(one.placement)) == (dataset, metric, name)
        ),
        None,
    )


def _as_written(placement: str) -> str:
    """``searched_1``, which the thesis writes as two words."""
    return placement.replace(" ", "_")


def published_beside(table: StudyTable, layouts: Mapping[str, str]) -> Published:
    """The thesis's numbers for a table; ``layouts`` is {dataset as the table calls it: layout}."""
    cells = {
        (row, column): cell
        for row in table.rows
        for column in table.columns
        if (cell := published_cell(layouts.get(column.dataset, ""), column.metric, row.placement))
    }
    return Published(SOURCE, cells, published_table())


def published_table() -> StudyTable:
    """The thesis's table in the form of one's own."""
    scores = published_scores()
    columns = {
        (one.dataset, one.metric): Column(DATASETS[one.dataset], "", one.metric) for one in scores
    }
    best = {
        key: max(one.mean for one in scores if (one.dataset, one.metric) == key) for key in columns
    }
    cells = {}
    for one in scores:
        key = (one.dataset, one.metric)
        shown = f"{one.mean:.{DIGITS}f}" == f"{best[key]:.{DIGITS}f}"
        cells[Row(one.placement), columns[key]] = Cell(one.mean, one.sd, one.seeds, shown)
    rows = tuple(dict.fromkeys(Row(one.placement) for one in scores))
    return StudyTable(rows, tuple(columns.values()), cells, {}, notes=(SOURCE,))


@cache
def published_claims() -> tuple[ClaimResult, ...]:
    """The claims asked of the published numbers, in the order of CLAIMS.

    Its seeds are not published one by one, so scores are compared unpaired (Welch), and what needs
    curves within a stream cannot be asked.
    """
    asked = {SCORES.key: _late_wins(), ALIGNMENT.key: _alignment()}
    return judge(
        [asked.get(claim.key) or ClaimResult(claim, (), (claim.published,)) for claim in CLAIMS]
    )


def published_points() -> pd.DataFrame:
    """Alignment in layer 12 and score by placement, in the form of ``alignment_points``."""
    rows: list[tuple[object, ...]] = []
    for measure in NAMES:
        for dataset, name in DATASETS.items():
            curve = published_curves(measure, dataset)
            last = curve[curve["layer"].eq(LAST_LAYER)].set_index("placement")["mean"]
            for one in published_scores():
                known = one.placement in last.index and one.placement != ALIGNMENT_TRAINED
                if one.dataset == dataset and known:
                    fuses = bool(one.text_layers or one.vision_layers)
                    point = (float(last[one.placement]), one.mean, one.seeds)
                    rows.append((name, "", "", one.metric, measure, one.placement, *point, fuses))
    return pd.DataFrame(rows, columns=list(POINT_COLUMNS))


def _late_wins() -> ClaimResult:
    findings = []
    scores = published_scores()
    for dataset, name in DATASETS.items():
        by = {one.placement: one for one in scores if one.dataset == dataset}
        late = by[WINNER]
        for rival in OTHERS:
            other = by[rival]
            estimate = welch_estimate(
                late.mean, late.spread, late.seeds, other.mean, other.spread, other.seeds
            )
            findings.append(
                advantage((name, ""), ("", late.metric), rival, estimate, "seeds each, not paired")
            )
    note = (
        "From published means and sds; an sd that was rounded to 0 counts as half a digit. The "
        "test sets are taken as given: predictions are not published."
    )
    return ClaimResult(SCORES, tuple(findings), (note,))


def _alignment() -> ClaimResult:
    found = alignment_tracks_score(published_points())
    note = f"{ALIGNMENT_TRAINED} is left out: it was trained to be aligned."
    return ClaimResult(ALIGNMENT, found.findings, (*found.notes, note))


@cache
def _curves() -> pd.DataFrame:
    with (files(__package__) / "data" / "thesis_curves.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file)


def _score(row: dict[str, str]) -> PublishedScore:
    return PublishedScore(
        placement=row["placement"],
        text_layers=tuple(map(int, row["text_layers"].split())),
        vision_layers=tuple(map(int, row["vision_layers"].split())),
        pretrained=row["pretrained"] == "True",
        dataset=row["dataset"],
        metric=row["metric"],
        mean=float(row["mean"]),
        sd=float(row["sd"] or "nan"),
        seeds=int(row["seeds"] or 0),
    )
