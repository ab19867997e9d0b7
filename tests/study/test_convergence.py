"""Was a training over when its score was compared? The rule, and the words for it."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from backend.study.convergence import GAIN, DevCurve, dev_curves, what_was_compared

# The demo's own dev AUROC of irony, seed 0.
LATE = DevCurve((0.496, 0.489, 0.484, 0.504, 0.722, 0.998), 6)
FULL = DevCurve((0.497, 0.500, 0.491, 0.481, 0.501, 0.535), 6)
MIDDLE = DevCurve((0.485, 0.484, 0.496, 0.939, 0.9997, 1.0), 6)


@pytest.mark.parametrize(
    ("curve", "improving"),
    [
        (LATE, True),
        (FULL, True),
        (MIDDLE, False),  # the last is the best one, by nothing that matters
        (DevCurve((0.5, 0.9, 0.8), 2), False),
        (DevCurve((0.5, 0.5 + GAIN / 2), 2), False),
        (DevCurve((0.25, 0.25 + 2 * GAIN), 2), True),
        (DevCurve((0.9, 0.5, 0.905), 3), False),  # better than the one before, not than all
        (DevCurve((0.5,), 1), True),
        (DevCurve((math.nan, 0.5), 2), True),
        (DevCurve((0.5, math.nan), 2), False),
        (DevCurve((math.nan, math.nan), 2), False),
        (DevCurve((0.5, 0.7, 0.9), 2), False),  # kept by the mean over tasks, before this rise
    ],
)
def test_the_rule(curve: DevCurve, improving: bool) -> None:
    assert curve.improving is improving


def test_curves_come_from_the_runs_rows_in_order_of_epoch() -> None:
    rows = pd.DataFrame(
        [
            (2, "irony", "auroc", 0.7, True),
            (1, "irony", "auroc", 0.6, False),
            (1, "object", "accuracy", 0.3, False),
            (2, "object", "accuracy", 0.2, True),
        ],
        columns=["epoch", "task", "metric", "value", "kept"],
    )
    curves = dev_curves(rows, "run")
    assert curves["run", "irony", "auroc"] == DevCurve((0.6, 0.7), 2)
    assert curves["run", "object", "accuracy"] == DevCurve((0.3, 0.2), 2)
    assert dev_curves(rows.iloc[:0], "run") == {}


def said(late: list[DevCurve | None], full: list[DevCurve | None]) -> str:
    runs = {
        f"{name}{at}": curve
        for name, own in (("late", late), ("full", full))
        for at, curve in enumerate(own)
    }
    known = {(run, "irony", "auroc"): curve for run, curve in runs.items() if curve}
    of = {name: [run for run in runs if run.startswith(name)] for name in ("late", "full")}
    return what_was_compared(of, "irony", "auroc", known)


def test_what_was_compared_in_words() -> None:
    assert said([LATE, LATE, MIDDLE], [FULL] * 3) == (
        "best of 6 epochs, still improving at the last: late in 2 of 3 and full in 3 of 3 runs"
    )
    assert said([MIDDLE], [FULL]) == (
        "best of 6 epochs, still improving at the last: full in 1 of 1 runs"
    )
    assert said([MIDDLE], [MIDDLE]) == "best of 6 epochs, none still improving at the last"
    assert said([DevCurve((0.5,), 1)], [DevCurve((0.5, 0.4), 1)]).startswith(
        "best of 1 to 2 epochs"
    )


def test_runs_without_a_record_are_not_said_to_have_converged() -> None:
    assert said([None, None], [None]) == ""
    assert said([MIDDLE, None], [MIDDLE]) == "best of 6 epochs; of late not every run tells"
    assert said([LATE, None], [None]) == (
        "best of 6 epochs, still improving at the last: late in 1 of 1 runs; "
        "of late and full not every run tells"
    )
