"""Verdicts: corrected over all claims of a dataset, with what could have been seen beside each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from backend.measures.chance.pvalues import holm
from backend.study.findings import ALPHA, Claim, ClaimResult, Finding
from backend.study.power import detectable_correlation, detectable_margin, detectable_mean
from backend.study.statistics import NAN

_POSSIBLE = 0.995
"""Differences of scores and of CKA, and correlations, lie between -1 and 1."""
_FACTOR = 10.0


def judge(results: Sequence[ClaimResult]) -> tuple[ClaimResult, ...]:
    """The results with corrected p-values and verdicts.

    Holm's correction goes over everything that is tested on a dataset, whatever the claim and the
    model: that is what one page shows.
    """
    families: dict[str, list[tuple[int, int]]] = {}
    findings = [list(result.findings) for result in results]
    for at, members in enumerate(findings):
        for place, one in enumerate(members):
            if one.verdict != "described":
                families.setdefault(one.dataset, []).append((at, place))
    for places in families.values():
        p = [findings[at][place].p for at, place in places]
        tested = sum(map(math.isfinite, p))
        for (at, place), corrected in zip(places, holm(p).tolist(), strict=True):
            one = replace(findings[at][place], p_corrected=corrected, tested=tested)
            findings[at][place] = _decide(one, results[at].claim)
    return tuple(
        replace(result, findings=tuple(members))
        for result, members in zip(results, findings, strict=True)
    )


def _decide(one: Finding, claim: Claim) -> Finding:
    if math.isnan(one.low) or math.isnan(one.high):
        return replace(one, verdict="not enough runs")
    smallest, biggest = claim.negligible
    clear = one.p_corrected < ALPHA
    notes = list(one.notes)
    if math.isnan(one.p):
        notes.append("All values are equal: their spread, and so chance, cannot be judged.")
    elif not clear and one.p < ALPHA:
        notes.append(
            f"On its own it would be clear (p = {one.p:.3f}); not after correction for "
            f"{one.tested} effects (p = {one.p_corrected:.2f})."
        )
    detectable = _detectable(one, claim)
    if math.isfinite(detectable):
        notes.append(_could_be_seen(one, claim, detectable))
    one = replace(one, detectable=detectable, notes=tuple(notes))
    small = smallest < one.low and one.high < biggest
    if clear and one.expected and small:
        said = f"All of the interval is closer to 0 than {_shown(biggest, claim).lstrip('+')}: "
        notes.append(f"{said}too small to matter.")
        one = replace(one, robust=False, notes=tuple(notes))
    if clear and one.robust:
        within = smallest < one.value < biggest
        as_claimed = one.value * one.expected > 0 if one.expected else within
        return replace(one, verdict="supported" if as_claimed else "contradicted")
    # An interval that lies within what is negligible has ruled out all that would matter, but for
    # one without any width: it says nothing of a seed that would differ.
    ruled_out = one.expected != 0 and small and not math.isnan(one.p)
    return replace(one, verdict="no clear difference" if ruled_out else "underpowered")


def _detectable(one: Finding, claim: Claim) -> float:
    """On the scale that is shown, with the sign of the side that the claim names."""
    if math.isnan(one.p) or math.isnan(one.se):
        return NAN
    level = ALPHA / one.tested
    if claim.scale == "correlation":
        return one.expected * detectable_correlation(one.n, level)
    if one.expected == 0:
        size = detectable_margin(one.se, one.freedom, level)
    else:
        size = one.expected * detectable_mean(one.se, one.freedom, level)
    return math.expm1(size) if claim.scale == "relative" else size


def _could_be_seen(one: Finding, claim: Claim, detectable: float) -> str:
    if one.expected == 0:
        if claim.scale == "relative" and detectable > _FACTOR - 1:
            return f"Such runs would not even show that it stays within a factor of {_FACTOR:.0f}."
        size = _shown(detectable, claim).replace("+", "±")
        return f"Within {size} is the least that such runs would show."
    if claim.scale != "relative" and abs(detectable) > _POSSIBLE:
        return "Even the largest possible effect would be found in fewer than 4 of 5 such studies."
    side = claim.negligible[1] if one.expected > 0 else claim.negligible[0]
    return (
        f"Such runs would show {_shown(detectable, claim)} in 4 of 5 studies; "
        f"{_shown(side, claim)} would matter."
    )


def _shown(value: float, claim: Claim) -> str:
    if claim.scale == "relative":
        return f"{100 * value:+,.0f} %"
    return f"{value:+.2f}" if claim.scale == "correlation" else f"{value:+.3f}"
