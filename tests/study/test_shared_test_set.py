"""The test set is a sample, too: seeds and items drawn together, and what cannot be asked."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from backend.study import build_table, late_wins
from backend.study.convergence import DevCurve
from backend.study.findings import SCORES, ClaimResult
from backend.study.formats import difference_method
from backend.study.items import Jackknife, TestItems, auroc
from backend.study.judging import judge
from backend.study.scores import GIVEN
from backend.study.statistics import crossed_estimate, mean_estimate
from tests.study.frames import scores

CLEAR = ("supported", "contradicted")


def means(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of (S, G) numbers the mean of each row, and what each column adds to it."""
    centred = values - values.mean(axis=1, keepdims=True)
    return values.mean(axis=1), centred


def test_the_variance_is_that_of_seeds_plus_that_of_items_less_what_both_hold():
    values = np.array([[0.1, 0.9, 0.2, 0.4], [0.2, 1.0, 0.1, 0.7], [0.5, 0.8, 0.6, 0.5]])
    over_seeds, influences = means(values)
    found = crossed_estimate(over_seeds, influences)
    # A two-way analysis of variance without replication, by its sums of squares.
    grand = values.mean()
    seed, item = values.mean(axis=1) - grand, values.mean(axis=0) - grand
    rest = values - grand - seed[:, None] - item
    of_seeds, of_items = 4 * (seed**2).sum() / 2, 3 * (item**2).sum() / 3
    of_rest = (rest**2).sum() / 6
    assert of_items > of_rest
    variance = (of_seeds + of_items - of_rest) / 12
    share = (of_items - of_rest) / 12 / variance
    assert (found.value, found.n) == (pytest.approx(grand), 3)
    assert found.se == pytest.approx(math.sqrt(variance))
    assert found.from_items == pytest.approx(share)
    reach = (1 - share) * stats.t.ppf(0.975, 2) + share * stats.t.ppf(0.975, 3)
    assert found.high - found.value == pytest.approx(reach * found.se)
    assert stats.t.ppf(0.975, found.freedom) == pytest.approx(reach)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(grand) / found.se, found.freedom))


def test_items_that_add_no_more_than_noise_leave_the_test_over_seeds():
    rng = np.random.default_rng(0)
    over_seeds, influences = means(rng.normal(size=(3, 40)))
    influences -= influences.mean(axis=0)  # nothing is common to the seeds
    found, alone = crossed_estimate(over_seeds, influences), mean_estimate(over_seeds)
    assert found.from_items == 0
    assert (found.se, found.freedom) == (pytest.approx(alone.se), pytest.approx(2, abs=1e-3))
    assert (found.low, found.p) == (pytest.approx(alone.low), pytest.approx(alone.p, abs=1e-3))


def test_with_a_common_item_effect_the_interval_is_that_over_items():
    # All seeds say the same: only the test set is uncertain.
    row = np.random.default_rng(1).normal(size=50)
    found = crossed_estimate(*means(np.stack([row, row, row])))
    oracle = stats.ttest_1samp(row, 0.0)
    assert found.from_items == pytest.approx(1)
    assert (found.p, found.freedom) == (pytest.approx(oracle.pvalue), pytest.approx(49, rel=1e-4))


def test_one_seed_and_no_spread_at_all_have_no_p():
    assert math.isnan(crossed_estimate([0.1], np.zeros((1, 5))).p)
    assert math.isnan(crossed_estimate([0.1, 0.1], np.zeros((2, 5))).p)


def test_equal_placements_on_one_test_set_are_rarely_told_apart():
    """100 items, 5 seeds; the truth is no difference. The long run is in benchmarks."""
    rng = np.random.default_rng(0)
    of = np.arange(100)
    wrong, given = 0, 0
    for _ in range(200):
        target = rng.random(100) < 0.5
        hard = rng.normal(size=100)

        def placement(target=target, hard=hard):
            taken = rng.normal(0, 0.7, 100)
            logits = [2.0 * target - 1 + hard + taken + rng.normal(0, 0.4, 100) for _ in range(5)]
            found = [auroc(target, one, of) for one in logits]
            return np.array([whole for whole, _ in found]), np.array(
                [99 * (whole - without) for whole, without in found]
            )

        (a, a_items), (b, b_items) = placement(), placement()
        wrong += crossed_estimate(a - b, a_items - b_items).p < 0.05
        given += mean_estimate(a - b).p < 0.05
    assert wrong <= 14 and given >= 60


def held(table: pd.DataFrame, *, groups: int = 30, spread: float = 0.0, **more) -> TestItems:
    """Jackknives that give the scores of a table; ``spread`` is the same for all seeds."""
    rng = np.random.default_rng(0)
    common = {name: rng.normal(0, spread, groups) for name in sorted(set(table["placement"]))}
    settings = {"n": groups, "items": "shared", **more}
    return TestItems(
        {
            (row.run_id, row.task, row.split, row.metric): Jackknife(
                row.value, row.value - common[row.placement], **settings
            )
            for row in table.itertuples()
        }
    )


TABLE = scores({"late": [0.9, 0.91, 0.92], "early": [0.7, 0.72, 0.71]})


def asked(items: TestItems, table: pd.DataFrame = TABLE):
    result = judge([late_wins(table, items)])[0]
    return result.findings[0], result


def test_an_item_effect_that_all_seeds_share_widens_the_interval_of_a_difference():
    alone, _ = asked(held(TABLE))
    wide, result = asked(held(TABLE, spread=0.05))
    assert alone.value == wide.value == pytest.approx(0.2)
    assert alone.verdict == "supported" and wide.verdict == "underpowered"
    assert wide.low < 0 < alone.low
    assert wide.unit == "pairs of runs with the same seed, 30 test samples"
    assert wide.notes[0] == (
        "100 % of the uncertainty comes from the choice of test samples; more seeds alone would "
        "hardly narrow it."
    )
    assert alone.notes[0].startswith("0 % of the uncertainty") and GIVEN not in result.notes
    assert asked(held(TABLE, n=90))[0].unit.endswith("90 test samples in 30 groups")


def test_each_seeds_runs_are_subtracted_from_each_other_item_by_item():
    rng = np.random.default_rng(2)
    added = {run: rng.normal(0, 0.05, 30) for run in sorted(TABLE["run_id"])}
    items = {
        key: Jackknife(one.whole, one.whole - added[key[0]], 30, "shared")
        for key, one in ITEMS.jackknives.items()
    }
    one, _ = asked(TestItems(items))
    influences = [
        29 * (added[f"macros-late-{seed}"] - added[f"macros-early-{seed}"]) for seed in range(3)
    ]
    oracle = crossed_estimate([0.2, 0.19, 0.21], np.stack(influences))
    assert 0 < oracle.from_items < 1
    assert (one.se, one.freedom) == (pytest.approx(oracle.se), pytest.approx(oracle.freedom))


def test_what_the_test_set_adds_to_both_placements_alike_cancels():
    row = np.random.default_rng(0).normal(0, 0.05, 30)
    same = {key: one.whole - row for key, one in ITEMS.jackknives.items()}
    items = {key: Jackknife(one.whole, same[key], 30, "shared")
             for key, one in ITEMS.jackknives.items()}  # fmt: skip
    one, _ = asked(TestItems(items))
    assert one.verdict == "supported" and one.notes[0].startswith("0 % of the uncertainty")


def test_the_differences_of_the_table_hold_the_test_set_too():
    def difference(**more):
        table = build_table(TABLE, baseline="early", **more)
        return table.difference(table.rows[-1], table.columns[0])

    wide, given = difference(items=held(TABLE, spread=0.05)), difference()
    assert wide.low < 0 < given.low
    assert (wide.lacking, given.lacking) == ("", "run macros-early-0 keeps no predictions")


def test_the_table_says_whether_its_intervals_hold_the_test_set():
    def method(items, table=TABLE):
        return difference_method(build_table(table, baseline="early", items=items))

    assert "The choice of test samples is in the intervals, too." in method(ITEMS)
    assert "The test set is taken as given: other samples may not" in method(TestItems())
    more = pd.concat([TABLE, scores({"middle": [0.5, 0.6, 0.7]})])
    partly = method(ITEMS, more)
    assert "The test set is taken as given in 1 of 2: " in partly and "Of 2 intervals" in partly


def test_how_training_ended_is_said_before_all_else():
    curve = DevCurve((0.5, 0.62, 0.9), 3)
    curves = {(run, "irony", "auroc"): curve for run in TABLE["run_id"] if "late" in run}
    one = late_wins(TABLE, ITEMS, curves).findings[0]
    assert one.notes[0] == (
        "Compared: best of 3 epochs, still improving at the last: late in 3 of 3 runs; of early "
        "not every run tells."
    )  # fmt: skip
    assert one.notes[1:] == asked(ITEMS)[0].notes[:1]


def without_run(items: TestItems, run: str) -> TestItems:
    return TestItems({key: one for key, one in items.jackknives.items() if key[0] != run})


def changed(items: TestItems, run: str, one: Jackknife) -> TestItems:
    key = next(key for key in items.jackknives if key[0] == run)
    return TestItems({**items.jackknives, key: one})


ITEMS = held(TABLE, spread=0.05)
RUN = "macros-late-1"


@pytest.mark.parametrize(
    ("items", "why"),
    [
        (TestItems(), "run macros-early-0 keeps no predictions"),
        (without_run(ITEMS, RUN), f"run {RUN} keeps no predictions"),
        (TestItems(problems={"macros-early-0": "they are broken"}), "they are broken"),
        (
            changed(ITEMS, RUN, Jackknife(0.91, np.full(30, 0.9), 30, "shared", "others")),
            f"run {RUN} groups its test samples in another way",
        ),
        (
            changed(ITEMS, RUN, Jackknife(0.8, np.full(30, 0.9), 30, "shared")),
            f"the predictions of run {RUN} give 0.800 where its score is 0.910",
        ),
        (held(TABLE, groups=1), "all test samples belong to one group"),
        (
            changed(ITEMS, RUN, Jackknife(0.91, np.full(30, math.nan), 30, "shared")),
            "without one of the groups of test samples the score is not defined",
        ),
    ],
)
def test_where_the_test_set_cannot_be_a_sample_it_is_taken_as_given_and_the_finding_says_why(
    items, why
):
    one, result = asked(items)
    assert (one.low, one.p) == (asked(TestItems())[0].low, asked(TestItems())[0].p)
    assert one.notes[0].startswith(f"The test set is taken as given: {why}")
    assert GIVEN in result.notes and "fusionscope train" in GIVEN


def test_scores_on_other_test_samples_are_not_compared():
    one, _ = asked(changed(ITEMS, RUN, Jackknife(0.91, np.full(30, 0.9), 30, "others")))
    assert (one.verdict, one.n) == ("not enough runs", 0) and math.isnan(one.p)
    assert f"cannot be compared: run {RUN} was scored on other test samples" in one.sentence


def test_predictions_of_another_split_are_not_those_of_the_score():
    one, _ = asked(held(TABLE.assign(split="dev")))
    assert "macros-early-0 keeps no predictions" in one.notes[0]


def test_runs_of_seeds_that_are_not_compared_need_no_predictions():
    table = pd.concat([TABLE, scores({"late": [math.nan] * 3 + [0.99]})])
    assert asked(held(TABLE, spread=0.05), table)[0].notes == asked(ITEMS)[0].notes
    one, result = asked(TestItems(), scores({"late": [0.9], "early": [0.7]}))
    assert (one.verdict, one.notes, result.notes) == ("not enough runs", (), ())


def test_two_runs_of_a_seed_count_as_their_mean():
    twice = TABLE[TABLE["run_id"].eq(RUN)].assign(run_id="again", value=0.93)
    table = pd.concat([TABLE, twice])
    items = held(table, spread=0.05)
    plain = Jackknife(0.93, np.full(30, 0.93), 30, "shared")
    one, _ = asked(changed(items, "again", plain), table)
    assert one.value == pytest.approx((0.2 + (0.92 - 0.72) + 0.21) / 3)
    assert one.freedom != asked(ITEMS)[0].freedom


def test_the_page_filter_for_a_task_does_not_change_what_was_corrected():
    from backend.views.claims import of_task

    both = pd.concat([TABLE, scores({"late": [0.5, 0.6], "early": [0.5, 0.51]}, task="dish")])
    every = judge([late_wins(both), ClaimResult(SCORES, ())])
    shown, _ = of_task(every, pd.DataFrame({"task": []}), "irony")
    assert [one.task for one in shown[0].findings] == ["irony"]
    assert shown[0].findings[0] == every[0].findings[0]
    assert shown[0].findings[0].tested == 2
