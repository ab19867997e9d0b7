"""Every claim, asked of a set of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from backend.pairing import Pair
from backend.study.alignment import alignment_points, alignment_tracks_score
from backend.study.convergence import NO_CURVES, DevCurve, Key
from backend.study.dimensions import fusion_compresses_vision
from backend.study.findings import ClaimResult
from backend.study.items import NO_ITEMS, TestItems
from backend.study.judging import judge
from backend.study.runs import StudyRun
from backend.study.scores import late_wins
from backend.study.transitions import drops_at_fusion


def examine(
    runs: Sequence[StudyRun],
    scores: pd.DataFrame,
    measures: pd.DataFrame,
    *,
    pooling: str = "cls",
    estimator: str = "debiased",
    pair: Pair | None = None,
    points: pd.DataFrame | None = None,
    items: TestItems = NO_ITEMS,
    curves: Mapping[Key, DevCurve] = NO_CURVES,
    also: Sequence[ClaimResult] = (),
) -> tuple[ClaimResult, ...]:
    """Every claim, asked of these runs.

    ``scores`` has :data:`backend.study.runs.SCORE_COLUMNS`; ``measures`` the store's columns plus
    ``run_id``, with what the claims need (:attr:`Claim.needs`). ``estimator`` is that of CKA.
    ``pair`` names the streams whose alignment is asked for (each run's default pair without one).
    ``points`` are the ``alignment_points`` of the same runs, where they are known already.
    ``items`` are the runs' scores without each test sample, ``curves`` those on dev by epoch.
    ``also`` are further claims that one
    page shows: verdicts are corrected over all of them.
    """
    rows = chosen(measures, pooling, estimator)
    if points is None:
        points = alignment_points(runs, scores, rows, pair)
    return judge(
        [
            drops_at_fusion(runs, rows),
            fusion_compresses_vision(runs, rows),
            late_wins(scores, items, curves),
            alignment_tracks_score(points),
            *also,
        ]
    )


def chosen(measures: pd.DataFrame, pooling: str, estimator: str) -> pd.DataFrame:
    """The rows of one pooling and, of CKA, one estimator (the other where it is the only one)."""
    if measures.empty:
        return measures
    rows = measures[measures["pooling"].eq(pooling)]
    cka = rows["measure"].eq("cka")
    has = (cka & rows["estimator"].eq(estimator)).any()
    return rows[~cka | rows["estimator"].eq(estimator)] if has else rows
