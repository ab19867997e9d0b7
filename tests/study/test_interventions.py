"""What a fusion needs: differences, intervals, verdicts and sentences that are known beforehand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from backend.study import ClaimResult, Finding, judge
from backend.study.conditions import condition_means, conditions
from backend.study.interventions import INTERVENTIONS, needs_of_a_fusion
from tests.interventions.frames import FUSED, cka_table, runs_of

DROP = {"early": 0.10, "late": 0.20}
VARYING, RIGHT, LEARNING = (
    f"vision CKA: {name}" for name in ("a partner that varies", "the right partner", "learning")
)


def needs_any_partner(weights: str, partner: str, placement: str, seed: int, k: int) -> float:
    """A drop under every partner that varies, twice as large in the untrained model."""
    depth = 0.9 + 0.01 * k
    if k not in FUSED[placement] or partner == "constant":
        return depth
    own = 0.001 * (seed - 1) if partner == "true" else 0.0
    return depth - DROP[placement] * (2 if weights == "untrained" else 1) - 0.01 * seed + own


def asked(table: pd.DataFrame) -> ClaimResult:
    (result,) = judge([needs_of_a_fusion(runs_of(table), table)])
    return result


def by_subject(table: pd.DataFrame) -> dict[str, Finding]:
    return {one.subject: one for one in asked(table).findings}


def test_a_drop_that_any_varying_partner_makes_is_said_to_be_one() -> None:
    table = cka_table(needs_any_partner, seeds=range(5))
    found = by_subject(table)
    assert list(found) == [VARYING, RIGHT, LEARNING]
    varying = found[VARYING]
    values = [-0.15 - 0.01 * seed + 0.001 * (seed - 1) for seed in range(5)]
    low, high = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert varying.value == pytest.approx(np.mean(values))
    assert (varying.low, varying.high) == pytest.approx((low, high), abs=1e-6)
    assert varying.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    assert varying.tested == 2  # learning has no spread, and so no p
    smaller = min(varying.p, found[RIGHT].p)
    assert min(one.p_corrected for one in (varying, found[RIGHT])) == pytest.approx(2 * smaller)
    assert varying.n == 5 and varying.verdict == "supported"
    assert [(part.label, round(part.value, 6)) for part in varying.parts] == [
        ("early", -0.119),
        ("late", -0.219),
    ]
    assert varying.sentence.startswith("“A partner that varies makes CKA lower”: on macros, CKA of")
    assert "0.169 lower with each sample's own partner than with one partner" in varying.sentence
    assert "5 seeds of early, late" in varying.sentence
    learning = found[LEARNING]
    assert learning.value == pytest.approx(0.15) and learning.verdict == "underpowered"
    assert "by -0.169 after training and by -0.319 before it: +0.150" in learning.sentence
    assert any("All values are equal" in note for note in learning.notes)


def test_the_right_partner_is_a_test_of_equivalence() -> None:
    table = cka_table(needs_any_partner, seeds=range(5))
    right = by_subject(table)[RIGHT]
    values = np.array([0.001 * (seed - 1) for seed in range(5)])
    se, t = stats.sem(values), stats.t(4)
    larger = max(t.cdf((-0.02 - values.mean()) / se), t.cdf((values.mean() - 0.02) / se))
    assert right.expected == 0 and right.p == pytest.approx(2 * larger)
    assert right.verdict == "supported"

    def apart(weights: str, partner: str, placement: str, seed: int, k: int) -> float:
        lower = 0.1 + 0.001 * seed if partner == "true" and k in FUSED[placement] else 0.0
        return 0.9 - lower

    found = by_subject(cka_table(apart, seeds=range(5)))
    assert found[RIGHT].verdict == "contradicted"
    assert found[RIGHT].value == pytest.approx(-0.102)
    noise = [0.05, -0.06, 0.02, -0.03, 0.04]

    def scattered(weights: str, partner: str, placement: str, seed: int, k: int) -> float:
        return 0.9 + (noise[seed] if partner == "true" else 0.0)

    open_ = by_subject(cka_table(scattered, seeds=range(5)))
    assert open_[RIGHT].verdict == open_[VARYING].verdict == "underpowered"


def test_training_that_shrinks_the_drop_contradicts_and_one_that_grows_it_supports() -> None:
    def trained(factor: float) -> Callable[[str, str, str, int, int], float]:
        def value(weights: str, partner: str, placement: str, seed: int, k: int) -> float:
            if k not in FUSED[placement] or partner == "constant":
                return 0.9
            size = 0.2 * factor if weights == "trained" else 0.2
            return 0.9 - size - 0.002 * seed * (weights == "trained")

        return value

    less, more = (
        by_subject(cka_table(trained(factor), seeds=range(5)))[LEARNING] for factor in (0.3, 2.0)
    )
    assert less.value == pytest.approx(0.14 - 0.004) and less.verdict == "contradicted"
    assert more.value == pytest.approx(-0.2 - 0.004) and more.verdict == "supported"


def test_an_effect_that_is_clear_and_too_small_to_matter_is_no_clear_difference() -> None:
    def small(weights: str, partner: str, placement: str, seed: int, k: int) -> float:
        return 0.9 - (0.005 + 0.0001 * seed) * (partner != "constant" and k in FUSED[placement])

    varying = by_subject(cka_table(small, seeds=range(5)))[VARYING]
    assert varying.p_corrected < 0.001 and varying.verdict == "no clear difference"
    assert any("too small to matter" in note for note in varying.notes)


def test_with_one_seed_numbers_are_shown_and_nothing_is_judged() -> None:
    alone = by_subject(cka_table(needs_any_partner, seeds=(1,)))[VARYING]
    assert alone.verdict == "not enough runs" and math.isnan(alone.low) and alone.n == 1
    assert alone.value == pytest.approx(-0.16)
    assert "one seed of early, late, so nothing is judged: it takes two" in alone.sentence


def test_seeds_are_paired_and_only_those_of_every_placement_count() -> None:
    table = cka_table(needs_any_partner)
    table = table[~(table["placement"].eq("late") & table["seed"].eq(2))]
    varying = by_subject(table)[VARYING]
    assert varying.n == 2 and varying.value == pytest.approx(-0.1555)
    apart = pd.concat(
        [
            table[table["placement"].eq("early") & table["seed"].eq(0)],
            table[table["placement"].eq("late") & table["seed"].eq(1)],
        ]
    )
    right = by_subject(apart)[RIGHT]
    assert right.n == 0 and "no seed has all placements" in right.sentence


def test_a_layer_without_a_value_in_one_state_counts_in_none() -> None:
    FUSED["full"] = (1, 3)
    try:
        table = cka_table(needs_any_partner_everywhere, seeds=(0, 1))
        lost = table["placement"].eq("full") & table["layer"].eq(1) & table["partner"].eq("true")
        table.loc[lost, "value"] = math.nan
        varying = by_subject(table[table["placement"].eq("full")])[VARYING]
        drawn = conditions(runs_of(table), table)
    finally:
        del FUSED["full"]
    assert varying.value == pytest.approx(-0.27)  # of layer 3 alone
    own = drawn[drawn["placement"].eq("full") & drawn["partner"].eq("constant")]
    assert own["value"].tolist() == pytest.approx([0.87] * 4)


def needs_any_partner_everywhere(
    weights: str, partner: str, placement: str, seed: int, k: int
) -> float:
    return 0.9 - 0.1 * k if partner == "true" else 0.9 - 0.01 * k


def test_what_training_changes_is_of_the_same_layers_before_and_after() -> None:
    FUSED["full"] = (1, 3)
    try:
        table = cka_table(needs_any_partner_everywhere, seeds=(0, 1))
        table = table[table["placement"].eq("full")]
        lost = table["layer"].eq(1) & table["partner"].eq("true") & table["weights"].ne("trained")
        table.loc[lost, "value"] = math.nan
        learning = by_subject(table)[LEARNING]
    finally:
        del FUSED["full"]
    assert "by -0.270 after training and by -0.270 before it: +0.000" in learning.sentence


def test_what_was_not_asked_is_a_note() -> None:
    table = cka_table(needs_any_partner)
    result = asked(table[table["weights"].eq("trained")])
    assert [one.subject for one in result.findings] == [VARYING, RIGHT]
    assert result.notes == (
        "macros: the weights before training are not known, so what training changes cannot be "
        "asked.",
    )
    some = needs_of_a_fusion(runs_of(table), table[table["run_id"].ne("late-seed2")])
    assert some.notes == ("late-seed2: not asked with other partners, left out.",)
    nothing = needs_of_a_fusion(runs_of(table), pd.DataFrame())
    assert not nothing.findings and nothing.claim is INTERVENTIONS
    assert nothing.notes == ("macros: no run was asked with other partners.",)
    assert nothing.summary == "not enough runs"


def test_runs_are_compared_on_the_same_samples_and_one_pooling() -> None:
    table = cka_table(needs_any_partner)
    table.loc[table["run_id"].eq("late-seed0"), "key"] = "other"
    result = needs_of_a_fusion(runs_of(table), table)
    assert result.findings[0].n == 2
    assert any("late-seed0: asked in another way than most" in note for note in result.notes)
    mean = needs_of_a_fusion(runs_of(table), table, "mean")
    assert not mean.findings
    assert "macros: other partners were asked with cls vectors only." in mean.notes
    both = table.assign(params=json.dumps({"pooling": "mean"}), key="mean", value=0.5)
    again = needs_of_a_fusion(runs_of(table), pd.concat([table, both]))
    assert again.findings == result.findings


def test_models_without_a_seed_take_no_part() -> None:
    table = cka_table(needs_any_partner)
    released = table[table["seed"].eq(0)].assign(seed=pd.NA, run_id="released")
    both = pd.concat([table, released.astype({"seed": "Int64"})])
    assert asked(both).findings[:2] == asked(table).findings[:2]  # NaN equals nothing


def other_rows(measure: str, transition: str, stream: str, change: float) -> pd.DataFrame:
    """Rows in which the own partner adds ``change``, in all seeds of early alike but for 0.001."""

    def value(weights: str, partner: str, placement: str, seed: int, k: int) -> float:
        return 0.5 + (change + 0.001 * seed) * (partner == "true")

    table = cka_table(value, stream=stream)
    table = table[table["placement"].eq("early") & table["layer"].eq(2)]
    return table.assign(measure=measure, transition=transition)


def test_alignment_is_judged_once_and_dimension_and_scores_are_described() -> None:
    parts = [
        other_rows(measure, transition, stream, change)
        for stream in ("vision", "text")
        for measure, transition, change in (
            ("alignment_cka", "last layers", 0.2),
            ("dimension_change", "k-1 to k.fusion", math.log(0.8)),
            ("cka", "k-1 to k.fusion", -0.3),
            ("cka", "k.fusion to k", -0.1),
            ("score:irony", "last layers", 0.25),
        )
    ]
    table = pd.concat(parts)
    score = table["measure"].eq("score:irony")
    table = table.assign(estimator=table["estimator"].where(~score, "auroc"))
    table = table[~score | table["weights"].eq("trained")]
    found = {one.subject: one for one in asked(table).findings}
    judged = [name for name, one in found.items() if one.verdict != "described"]
    assert judged == ["alignment of the ends: the right partner", "alignment of the ends: learning"]
    assert found[judged[0]].value == pytest.approx(0.201)
    assert found[judged[0]].verdict == "supported" and found[judged[0]].tested == 1
    assert found[judged[1]].value == 0
    dimension = found["text dimension up to the fusion's output: a partner that varies"]
    assert dimension.value == pytest.approx(math.expm1(math.log(0.8) + 0.001))
    assert "20 % lower with each sample's own partner" in dimension.sentence
    assert dimension.notes[-1].startswith(f"{table['n'].min()} samples resolve up to ")
    entry = found["vision CKA up to the fusion's output: a partner that varies"]
    block = found["vision CKA from the fusion's output on: a partner that varies"]
    assert (entry.value, block.value) == (pytest.approx(-0.299), pytest.approx(-0.099))
    assert "from the layer before a fusion to the fusion's output" in entry.sentence
    irony = found["score by text's samples: the right partner"]
    assert irony.task == "irony" and irony.metric == "auroc" and math.isnan(irony.p)
    assert "AUROC on irony (labels of text's samples) is 0.251 higher" in irony.sentence


def test_conditions_are_means_over_fusions_and_their_intervals_stay_in_range() -> None:
    def near_one(weights: str, partner: str, placement: str, seed: int, k: int) -> float:
        return (0.80, 0.97, 0.99)[seed] if partner == "true" else 0.5

    table = cka_table(near_one)
    rows = conditions(runs_of(table), table)
    assert len(rows) == 2 * 3 * 2 * 3 and set(rows["where"]) == {"macros"}
    assert list(dict.fromkeys(rows["placement"])) == ["early", "late"]
    means = condition_means(rows).set_index(["weights", "partner"])
    own = means.loc[("trained", "true")]
    assert own["value"] == pytest.approx(0.92) and own["seeds"] == 3
    assert 0 < own["low"] < 0.92 < own["high"] < 1
    # Student's interval on the scale of log(m / (1 - m)), by the delta method.
    half = stats.t.ppf(0.975, 2) * stats.sem([0.80, 0.97, 0.99]) / (0.92 * 0.08)
    ends = 1 / (1 + np.exp(-(math.log(0.92 / 0.08) + np.array([-half, half]))))
    floor = min(0.0, 0.92 - 2 * np.std([0.80, 0.97, 0.99], ddof=1))
    assert floor == 0 and (own["low"], own["high"]) == pytest.approx(tuple(ends), abs=1e-6)
    constant = means.loc[("trained", "constant")]
    assert constant["low"] == constant["high"] == pytest.approx(0.5)
