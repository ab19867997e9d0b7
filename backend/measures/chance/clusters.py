"""Intervals and chance of plain statistics when samples come in groups: the groups are the sample.

A share is told by Wilson's interval at its effective number of samples (Kish 1965; Korn & Graubard
1998), a smooth statistic by the jackknife that leaves out one group at a time (Efron 1982), an area
under a curve by the sums of its influence values over the groups (DeLong et al. 1988; Obuchowski
1997). Chance is what exchanges of whole groups of one size give.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from backend.measures.chance.bootstrap import LEAST_GROUPS, LEVEL
from backend.measures.chance.shuffles import NULL_ORDERS, few_exchanges
from backend.measures.core.base import Float64
from backend.measures.core.groups import Groups, exchange_orders
from backend.measures.core.result import NAN
from backend.remarks import Remark

Interval = tuple[float, float]
NONE: Interval = (NAN, NAN)


def share_interval(hits: Float64, sizes: Float64) -> Interval:
    """The 95 % interval of Σ hits / Σ sizes over independent groups; both are (g,).

    Wilson's, with Student's t at g - 1, and n / deff in place of n: deff is how much more the share
    varies between groups than one of n independent samples would, at least 1. Where none or all are
    hits that is not known, and every group counts as one sample. NaN for fewer than
    ``LEAST_GROUPS`` groups.
    """
    count, n = len(sizes), float(sizes.sum())
    if count < LEAST_GROUPS:
        return NONE
    p = float(hits.sum()) / n
    if 0 < p < 1:
        apart = hits - p * sizes
        variance = count / (count - 1) * float(apart @ apart) / n**2
        if variance > 0:  # else every group has the same share
            n = min(n, p * (1 - p) / variance)
    else:
        n = float(count)
    t = _t(count)
    middle = (p + t**2 / (2 * n)) / (1 + t**2 / n)
    half = t / (1 + t**2 / n) * math.sqrt(p * (1 - p) / n + t**2 / (4 * n**2))
    return middle - half, middle + half


def jackknife_interval(value: float, without: Float64) -> Interval:
    """``value`` ± t times its jackknife error; ``without`` (g,) are those without each group.

    NaN for fewer than ``LEAST_GROUPS`` groups.
    """
    count = len(without)
    if count < LEAST_GROUPS:
        return NONE
    spread = without - without.mean()
    half = _t(count) * math.sqrt((count - 1) / count * float(spread @ spread))
    return value - half, value + half


def area_interval(area: float, influences: Float64) -> Interval:
    """The interval of an area under the ROC curve, on the scale of its logit, so within 0..1.

    ``influences`` (g,) are the sums over each group of what a sample moves the area by. NaN for an
    area of 0 or 1, where no sample moves it, and for fewer than ``LEAST_GROUPS`` groups.
    """
    count = len(influences)
    if count < LEAST_GROUPS or not 0 < area < 1 or not influences.any():
        return NONE
    error = math.sqrt(count / (count - 1) * float(influences @ influences))
    half = _t(count) * error / (area * (1 - area))
    logit = math.log(area / (1 - area))
    return _share(logit - half), _share(logit + half)


def exchanged(
    statistic: Callable[[Groups], float], own: Groups
) -> tuple[float, float, Remark | None]:
    """(mean, sd) of ``statistic(order)`` when whole groups of one size are exchanged.

    ``own`` (n,) are the samples' groups from 0. NaN with a remark where they can be exchanged in
    too few ways.
    """
    few = few_exchanges(own, len(own))
    if few is not None:
        return NAN, NAN, few
    orders, _ = exchange_orders(own, NULL_ORDERS)
    values = np.array([statistic(order) for order in orders])
    return float(values.mean()), float(values.std(ddof=1)), None


def _t(count: int) -> float:
    from scipy.stats import t

    return float(t.ppf(0.5 + LEVEL / 2, count - 1))


def _share(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))
