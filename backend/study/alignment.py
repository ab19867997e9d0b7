"""Do placements whose modalities are more alike in the last layer score higher?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from backend.pairing import Pair, paired
from backend.study.effects import found
from backend.study.findings import (
    ALIGNMENT,
    MIN_PLACEMENTS,
    SCORES,
    ClaimResult,
    Finding,
    interval,
)
from backend.study.runs import StudyRun, blocks, placement_order, where
from backend.study.statistics import leave_one_out, pearson, spearman
from backend.words import metric_name

NAMES = {
    "cka": "CKA",
    "svcca": "SVCCA",
    "mutual_knn": "mutual kNN",
    "procrustes": "Procrustes distance",
}
"""The measures that the thesis correlates with the score."""
DISTANCES = ("procrustes",)
POINT_COLUMNS = (
    "dataset",
    "setting",
    "task",
    "metric",
    "measure",
    "placement",
    "alignment",
    "score",
    "seeds",
    "fuses",
)


def alignment_points(
    runs: Sequence[StudyRun],
    scores: pd.DataFrame,
    measures: pd.DataFrame,
    pair: Pair | None = None,
) -> pd.DataFrame:
    """One row a placement, task and measure: mean alignment and mean score over its seeds.

    ``fuses`` says whether the placement has any fusion.

    Alignment is the measure between the last layers of the two streams of ``pair``; without one, of
    each run's default pair. Only runs that have both count, on the samples that most runs share.
    """
    at_end = last_alignment(measures, runs, pair)
    judged = scores[scores["judged"].astype(bool)]
    compared = {run.run_id for block in blocks(runs) for run in block.runs}
    rows = judged[judged["run_id"].isin(compared)].merge(at_end, on="run_id", how="inner")
    keys = ["dataset", "setting", "task", "metric", "measure", "placement"]
    if rows.empty:
        return pd.DataFrame(columns=list(POINT_COLUMNS))
    # Two runs of one seed count once.
    by_seed = rows.groupby([*keys, "seed"], sort=False)[["alignment", "value"]].mean()
    points = by_seed.groupby(keys, sort=False).agg(
        alignment=("alignment", "mean"), score=("value", "mean"), seeds=("value", "size")
    )
    out = points.reset_index()
    fusing = {run.placement for run in runs if run.fuses}
    out["fuses"] = out["placement"].isin(fusing)
    return out[list(POINT_COLUMNS)].sort_values(
        "placement", key=lambda names: names.map(placement_order), kind="stable", ignore_index=True
    )


def last_alignment(
    measures: pd.DataFrame, runs: Sequence[StudyRun], pair: Pair | None = None
) -> pd.DataFrame:
    """``run_id``, ``measure``, ``alignment`` between the last layers of the two streams."""
    columns = ["run_id", "measure", "alignment"]
    if measures.empty:
        return pd.DataFrame(columns=columns)
    ends = []
    for run in runs:
        if both := paired(run.streams, pair):
            a, b = ((spec.name, spec.depth) for spec in both)
            ends += [(run.run_id, *a, *b), (run.run_id, *b, *a)]
    places = ["run_id", "stream_a", "layer_a", "stream_b", "layer_b"]
    wanted = pd.DataFrame(ends, columns=places)
    rows = measures[
        measures["measure"].isin(list(NAMES))
        & measures["site_a"].eq("block")
        & measures["site_b"].eq("block")
        & measures["value"].notna()
    ]
    if wanted.empty or rows.empty:
        return pd.DataFrame(columns=columns)
    last = rows.astype({"layer_a": "int64", "layer_b": "int64"}).merge(wanted, on=places)
    means = last.groupby(["run_id", "measure"], sort=False)["value"].mean()
    return means.reset_index().rename(columns={"value": "alignment"})


def alignment_tracks_score(points: pd.DataFrame) -> ClaimResult:
    """Pearson's and Spearman's correlation over placements that fuse, by task and measure.

    The others are left out: having no fusion at all, they differ in alignment and in score for
    reasons of their own, and one far point makes a correlation.
    """
    findings: list[Finding] = []
    order = list(NAMES)
    keys = ["dataset", "setting", "task", "metric", "measure"]
    left = sorted(set(points.loc[~points["fuses"].astype(bool), "placement"]))
    for key, rows in points[points["fuses"].astype(bool)].groupby(keys, sort=False):
        findings.append(_finding(*map(str, key), rows=rows))
    findings.sort(key=lambda one: order.index(one.measure))
    notes = [] if findings else ["No run that fuses has both scores and measures of alignment."]
    if left:
        notes.append(f"Left out, for they do not fuse: {', '.join(left)}.")
    return ClaimResult(ALIGNMENT, tuple(findings), tuple(notes))


def _finding(
    dataset: str, setting: str, task: str, metric: str, measure: str, *, rows: pd.DataFrame
) -> Finding:
    x, y = rows["alignment"].tolist(), rows["score"].tolist()
    names = rows["placement"].tolist()
    linear, ranked = pearson(x, y), spearman(x, y)
    expected = -1 if measure in DISTANCES else 1
    name, score, on = (
        NAMES[measure],
        f"{task} {metric_name(metric)}".strip(),
        where(dataset, setting),
    )
    notes: list[str] = []
    robust = judged = True
    if linear.n < MIN_PLACEMENTS:
        sentence = (
            f"On {on}, not enough runs to correlate {name} with {score}: it takes "
            f"{MIN_PLACEMENTS} placements that fuse and have both; there "
            f"{'is' if linear.n == 1 else 'are'} {linear.n}."
        )
    elif math.isnan(linear.value):
        sentence = (
            f"On {on}, {name} and {score} cannot be correlated: one of them is the same for all "
            f"{linear.n} placements."
        )
    else:
        sentence = (
            f"On {on}, over {linear.n} placements that fuse, {name} of the last layers and {score} "
            f"correlate with r = {linear.value:.2f} ({interval(linear.low, linear.high, _r)}); "
            f"Spearman's ρ = {ranked.value:.2f}{_spread(ranked.low, ranked.high)}."
        )
        left = [item for item in leave_one_out(x, y) if not math.isnan(item[1])]
        robust = bool(np.sign(ranked.value) == np.sign(linear.value))
        if left:
            weakest = min(left, key=lambda item: item[1] * np.sign(linear.value))
            notes.append(f"Without {names[weakest[0]]}, r = {weakest[1]:.2f}.")
            robust = robust and bool(np.sign(weakest[1]) == np.sign(linear.value))
        spread = max(y) - min(y)
        if spread < SCORES.negligible[1]:
            judged = False
            notes.append(
                f"Not judged: the scores differ by {spread:.3f} at most, which is too little to "
                "matter, so there is nothing that alignment could go with."
            )
    one = found(
        ALIGNMENT,
        (dataset, setting),
        linear,
        subject=name,
        quantity="Pearson's r",
        unit="placements",
        expected=expected,
        task=task,
        metric=metric,
        measure=measure,
        judged=judged,
        robust=robust,
    )
    return replace(one, sentence=sentence, notes=tuple(notes))


def _r(value: float) -> str:
    return f"{value:.2f}"


def _spread(low: float, high: float) -> str:
    return "" if math.isnan(low) else f" ({low:.2f} to {high:.2f})"
