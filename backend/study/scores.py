"""Does late fusion score higher than no fusion and than early, middle and full fusion?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from backend.study.convergence import NO_CURVES, DevCurve, Key, what_was_compared
from backend.study.effects import found
from backend.study.findings import SCORES, ClaimResult, Finding, interval, signed
from backend.study.items import NO_ITEMS, TestItems
from backend.study.paired import Paired, paired
from backend.study.runs import where
from backend.study.statistics import Estimate
from backend.words import metric_name

WINNER = "late"
OTHERS = ("none", "early", "middle", "full")
LOWER_IS_BETTER = ("loss",)
GIVEN = (
    "Where the test set is taken as given, a difference is one on these very samples: others might "
    "not show it. Predictions of all runs on the same samples would tell; training again writes "
    "them (fusionscope train --out DIR, then fusionscope capture)."
)


def late_wins(
    scores: pd.DataFrame, items: TestItems = NO_ITEMS, curves: Mapping[Key, DevCurve] = NO_CURVES
) -> ClaimResult:
    """The task's own metric of late minus that of each other placement, paired by seed.

    ``scores`` has :data:`backend.study.runs.SCORE_COLUMNS`. Runs that ``items`` has nothing of are
    compared on their test set as it is; of those with ``curves`` it is said how training ended.
    """
    findings: list[Finding] = []
    notes: list[str] = []
    judged = scores[scores["judged"].astype(bool) & ~scores["released"].astype(bool)]
    if judged.empty:
        notes.append("No run has scores.")
    for key, rows in judged.groupby(["dataset", "setting"], sort=False):
        dataset, setting = map(str, key)
        held = set(rows["placement"])
        rivals = [name for name in OTHERS if name in held]
        if WINNER not in held or not rivals:
            notes.append(
                f"{where(dataset, setting)}: it takes runs of {WINNER} and of one of "
                f"{', '.join(OTHERS)}."
            )
            continue
        for task, metric in dict.fromkeys(zip(rows["task"], rows["metric"], strict=True)):
            mine = rows[rows["task"].eq(task) & rows["metric"].eq(metric)]
            for rival in rivals:
                compared = paired(mine, WINNER, rival, items)
                one = _finding((dataset, setting), (task, metric), rival, compared)
                ended = what_was_compared(_runs_of(mine, rival), task, metric, curves)
                said = (f"Compared: {ended}." if ended else "", compared.note)
                findings.append(replace(one, notes=tuple(filter(None, said))))
                if compared.note and compared.lacking:
                    notes.append(GIVEN)
    return ClaimResult(SCORES, tuple(findings), tuple(dict.fromkeys(notes)))


def _finding(
    place: tuple[str, str], score: tuple[str, str], rival: str, compared: Paired
) -> Finding:
    unit = "pairs of runs with the same seed"
    if compared.samples:
        unit += f", {compared.samples}"
    one = advantage(place, score, rival, compared.estimate, unit)
    if not compared.apart:
        return one
    sentence = (
        f"On {where(*place)}, {WINNER} fusion and {_in_words(rival)} cannot be compared: "
        f"{compared.lacking}."
    )
    return replace(one, sentence=sentence)


def _in_words(rival: str) -> str:
    return "no fusion" if rival == "none" else f"{rival} fusion"


def _runs_of(rows: pd.DataFrame, rival: str) -> dict[str, list[str]]:
    """{placement: its runs} of late and a rival."""
    return {
        name: rows.loc[rows["placement"].eq(name), "run_id"].tolist() for name in (WINNER, rival)
    }


def advantage(
    place: tuple[str, str], score: tuple[str, str], rival: str, estimate: Estimate, unit: str
) -> Finding:
    """The finding that late beats ``rival`` on one task.

    ``place`` is dataset and setting, ``score`` task and metric; ``unit`` says what there are n of.
    """
    on, (task, metric) = where(*place), score
    other = _in_words(rival)
    name = f"{task} {metric_name(metric)}".strip()
    if math.isnan(estimate.low):
        sentence = (
            f"On {on}, not enough runs to compare {WINNER} fusion with {other} on {name}: it takes "
            f"two seeds that both have; there {'is' if estimate.n == 1 else 'are'} {estimate.n}."
        )
    else:
        difference = estimate.value
        word = (
            "as high as" if difference == 0 else ("higher than" if difference > 0 else "lower than")
        )
        size = "" if difference == 0 else f"{abs(difference):.3f} "
        sentence = (
            f"On {on}, {WINNER} fusion scores {size}{word} {other} in {name} "
            f"({interval(estimate.low, estimate.high, signed)}; {estimate.n} {unit})."
        )
    one = found(
        SCORES,
        place,
        estimate,
        subject=f"{WINNER} – {rival}",
        quantity="difference of the score",
        unit=unit,
        expected=-1 if metric in LOWER_IS_BETTER else 1,
        task=task,
        metric=metric,
    )
    return replace(one, sentence=sentence)
