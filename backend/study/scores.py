"""Does late fusion score higher than no fusion and than early, middle and full fusion?"""

from __future__ import annotations

import math

import pandas as pd

from backend.figures.scores import metric_name
from backend.study.findings import SCORES, ClaimResult, Finding, interval, per_seed
from backend.study.runs import where
from backend.study.statistics import NOTHING, Estimate, mean_estimate

WINNER = "late"
OTHERS = ("none", "early", "middle", "full")
LOWER_IS_BETTER = ("loss",)


def late_wins(scores: pd.DataFrame) -> ClaimResult:
    """The task's own metric of late minus that of each other placement, paired by seed.

    ``scores`` has :data:`backend.study.runs.SCORE_COLUMNS`.
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
            by = {name: seed_scores(mine, name) for name in (WINNER, *rivals)}
            for rival in rivals:
                estimate = paired(by[WINNER], by[rival])
                findings.append(
                    advantage(
                        dataset,
                        setting,
                        task,
                        metric, rival, estimate,
                        "pairs of runs with the same seed",
                    )
                )  # fmt: skip
    return ClaimResult(SCORES, tuple(findings), tuple(notes))


def seed_scores(rows: pd.DataFrame, placement: str) -> dict[int, float]:
    """{seed: score} of a placement."""
    mine = rows[rows["placement"].eq(placement) & rows["seed"].notna()]
    return per_seed(zip(mine["seed"].tolist(), mine["value"].tolist(), strict=True))


def paired(a: dict[int, float], b: dict[int, float]) -> Estimate:
    """Mean of ``a - b`` over the seeds that both have, with its t interval and test."""
    differences = [a[seed] - b[seed] for seed in sorted(set(a) & set(b))]
    return mean_estimate(differences) if differences else NOTHING


def advantage(
    dataset: str,
    setting: str,
    task: str,
    metric: str,
    rival: str,
    estimate: Estimate,
    unit: str,
) -> Finding:
    """The finding that late beats ``rival`` on one task."""
    on = where(dataset, setting)
    other = "no fusion" if rival == "none" else f"{rival} fusion"
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
            f"({interval(estimate.low, estimate.high, _signed)}; {estimate.n} {unit})."
        )
    return Finding(
        claim=SCORES.key,
        dataset=dataset,
        setting=setting,
        subject=f"{WINNER} – {rival}",
        quantity="difference of the score",
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        n=estimate.n,
        unit=unit,
        p=estimate.p,
        se=estimate.se,
        freedom=estimate.freedom,
        expected=-1 if metric in LOWER_IS_BETTER else 1,
        task=task,
        metric=metric,
        sentence=sentence,
    )


def _signed(value: float) -> str:
    return f"{value:+.3f}"
