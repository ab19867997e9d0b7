"""An estimate, as the finding of a claim that holds it."""

from __future__ import annotations

import math
from dataclasses import replace

from backend.study.findings import Claim, Finding, Part
from backend.study.statistics import NAN, Estimate


def found(
    claim: Claim,
    place: tuple[str, str],
    estimate: Estimate,
    *,
    subject: str,
    quantity: str,
    unit: str,
    expected: int,
    task: str = "",
    metric: str = "",
    measure: str = "",
    judged: bool = True,
    robust: bool = True,
    parts: tuple[Part, ...] = (),
) -> Finding:
    """The estimate as a finding on ``place``, a dataset and a setting; without words yet.

    Values of a ``"relative"`` claim are log ratios, and shown as relative changes. One that is not
    ``judged`` describes, whatever its p.
    """

    def shown(value: float) -> float:
        return math.expm1(value) if claim.scale == "relative" else value

    return Finding(
        claim=claim.key,
        dataset=place[0],
        setting=place[1],
        subject=subject,
        quantity=quantity,
        value=shown(estimate.value),
        low=shown(estimate.low),
        high=shown(estimate.high),
        n=estimate.n,
        unit=unit,
        p=estimate.p if judged else NAN,
        expected=expected,
        task=task,
        metric=metric,
        measure=measure,
        se=estimate.se,
        freedom=estimate.freedom,
        robust=robust,
        verdict="described"
        if estimate.value == estimate.value and not judged
        else "not enough runs",
        parts=tuple(
            replace(part, value=shown(part.value), low=shown(part.low), high=shown(part.high))
            for part in parts
        ),
    )
