"""The study's table: means, sds, the best, paired differences."""

import math

import pandas as pd
import pytest

from backend.errors import InputError
from backend.study import Column, Row, build_table
from tests.study.frames import scores

NAN = float("nan")
IRONY = Column("macros", "irony", "auroc")


def test_cells_hold_mean_sd_and_number_of_seeds_and_the_highest_mean_is_best():
    table = build_table(scores({"late": [0.9, 0.8, 1.0], "none": [0.7, 0.7, NAN]}))
    assert [row.label for row in table.rows] == ["none", "late"]
    assert table.columns == (IRONY,)
    late = table.cell(Row("late"), IRONY)
    assert (late.mean, late.sd, late.n, late.best) == (
        pytest.approx(0.9), pytest.approx(0.1), 3, True,
    )  # fmt: skip
    assert late.text == "0.900 ± 0.100"
    none = table.cell(Row("none"), IRONY)
    assert (none.n, none.sd, none.best) == (2, pytest.approx(0), False)
    assert table.seeds(Row("none")) == "2"


def test_what_ties_at_the_shown_digits_is_best_together_and_a_loss_is_best_when_low():
    table = build_table(scores({"late": [0.90001], "none": [0.90004], "full": [0.8]}))
    assert [table.cell(row, IRONY).best for row in table.rows] == [True, False, True]
    low = scores({"late": [0.3], "none": [0.2]}, metric="loss")
    table = build_table(low, metrics=["loss"])
    assert [table.cell(row, table.columns[0]).best for row in table.rows] == [True, False]


def test_differences_are_paired_by_the_seeds_that_both_have():
    # late - none: 0.2 and 0.1 on seeds 0 and 1; seed 2 has no partner.
    table = build_table(scores({"none": [0.7, 0.7, NAN], "late": [0.9, 0.8, 0.1]}), baseline="none")
    found = table.difference(Row("late"), IRONY)
    assert (found.mean, found.n) == (pytest.approx(0.15), 2)
    half = 12.7062047 * 0.0707106781 / math.sqrt(2)
    assert (found.low, found.high) == pytest.approx((0.15 - half, 0.15 + half))
    assert found.text == "+0.150 [-0.485, +0.785]"
    assert table.difference(Row("none"), IRONY) is None


def test_fewer_than_two_pairs_are_not_enough_runs():
    table = build_table(scores({"none": [0.7], "late": [0.9, 0.8]}), baseline="none")
    assert table.difference(Row("late"), IRONY).text == "not enough runs"
    table = build_table(scores({"none": [0.7, NAN], "late": [NAN, 0.8]}), baseline="none")
    found = table.difference(Row("late"), IRONY)
    assert found.n == 0 and found.text == "not enough runs"


def test_p_values_are_corrected_over_the_column():
    frame = scores({"none": [0.5, 0.51, 0.5], "late": [0.9, 0.92, 0.9], "early": [0.6, 0.5, 0.4]})
    table = build_table(frame, baseline="none")
    late = table.difference(Row("late"), IRONY)
    assert late.p_corrected == pytest.approx(2 * late.p)


def test_two_runs_of_one_seed_count_once_and_are_named():
    frame = scores({"late": [0.9, 0.7]})
    again = frame.iloc[[0]].assign(run_id="again", value=0.5)
    table = build_table(pd.concat([frame, again]))
    cell = table.cell(Row("late"), IRONY)
    assert (cell.mean, cell.n) == (pytest.approx(0.7), 2)
    assert table.notes == ("macros: late has several runs of seed 0; their mean counts once",)


def test_only_the_tasks_own_metric_is_shown_unless_others_are_named():
    frame = pd.concat(
        [
            scores({"late": [0.9]}),
            scores({"late": [0.8]}, metric="accuracy").assign(judged=False),
        ]
    )
    assert [c.metric for c in build_table(frame).columns] == ["auroc"]
    named = build_table(frame, metrics=["accuracy", "auroc"])
    assert {c.metric for c in named.columns} == {"auroc", "accuracy"}


def test_an_undefined_score_does_not_count_and_is_named():
    frame = scores({"late": [0.9, 0.7]})
    frame.loc[0, "value"] = NAN
    table = build_table(frame)
    assert table.cell(Row("late"), IRONY).n == 1
    assert "macros-late-0: irony auroc is undefined" in table.notes[0]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"metrics": ["speed"]}, "metric: no run has a score called 'speed'. There are: auroc"),
        (
            {"baseline": "best"},
            "baseline: no run has the placement 'best'. There are: none, late",
        ),
    ],
)
def test_bad_choices_are_named_with_what_there_is(settings, said):
    with pytest.raises(InputError, match=said):
        build_table(scores({"late": [0.9], "none": [0.8]}), **settings)


def test_no_scores_at_all_is_bad_input():
    with pytest.raises(InputError, match=r"no run has scores.*fusionscope train"):
        build_table(scores({}))


def test_models_are_told_apart_and_compared_each_with_its_own_baseline():
    frame = pd.concat(
        [
            scores({"none": [0.5, 0.6], "late": [0.7, 0.9]}).assign(setting="small"),
            scores({"none": [0.1, 0.2], "late": [0.4, 0.4]}).assign(setting="big"),
        ]
    )
    table = build_table(frame, baseline="none")
    assert table.difference(Row("late", "small"), IRONY).mean == pytest.approx(0.25)
    assert table.difference(Row("late", "big"), IRONY).mean == pytest.approx(0.25)
    assert table.cell(Row("late", "big"), IRONY).mean == pytest.approx(0.4)
    assert Row("late", "big").label == "late, big"
