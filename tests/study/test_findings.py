"""The four claims on frames whose effects are known, and that they say no more than they can."""

import math
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from backend.study import (
    Finding,
    alignment_points,
    alignment_tracks_score,
    drops_at_fusion,
    examine,
    fusion_compresses_vision,
    late_wins,
)
from backend.study.findings import DIMENSION, SCORES, TRANSITIONS, ClaimResult, combine
from backend.study.judging import judge
from backend.study.transitions import contrast
from backend.types import StreamSpec
from tests.study.frames import curve, dimensions, last, measure, run, runs, scores

NAN = float("nan")
ROOT = Path(__file__).resolve().parents[2]


def finding(p: float, *, value: float = 1.0, expected: int = 1, **more) -> Finding:
    settings = {
        "claim": "scores", "dataset": "macros", "setting": "", "subject": "late – early",
        "quantity": "difference", "value": value, "low": value - 0.1, "high": value + 0.1, "n": 3,
        "unit": "pairs", "p": p, "expected": expected, "sentence": "…", **more,
    }  # fmt: skip
    return Finding(**settings)


def judged(*findings: Finding) -> tuple[Finding, ...]:
    return judge([ClaimResult(SCORES, findings)])[0].findings


def asked(result: ClaimResult) -> ClaimResult:
    return judge([result])[0]


# Verdicts


def test_a_verdict_needs_the_corrected_p_and_the_side_that_the_claim_names():
    found = judged(finding(0.001), finding(0.002, value=-1.0), finding(0.2), finding(0.03))
    assert [one.verdict for one in found] == [
        "supported", "contradicted", "underpowered", "underpowered",
    ]  # fmt: skip
    # Holm over 4: 4, 3, 2 and 1 times, in the order of size.
    assert [one.p_corrected for one in found] == pytest.approx([0.004, 0.006, 0.2, 0.06])


def test_what_is_clear_on_its_own_only_says_so():
    found = judged(finding(0.03), finding(0.9))
    assert found[0].verdict == "underpowered"
    assert found[0].notes == (
        "On its own it would be clear (p = 0.030); not after correction for 2 effects (p = 0.06).",
    )
    assert judged(finding(0.03))[0].verdict == "supported"


def test_a_dataset_is_a_family_over_all_its_claims_and_models():
    found = judged(finding(0.03), finding(0.03, dataset="memes"), finding(0.03, setting="big"))
    assert [one.tested for one in found] == [2, 1, 2]
    assert [one.verdict for one in found] == ["underpowered", "supported", "underpowered"]
    two = judge(
        [
            ClaimResult(SCORES, (finding(0.03),)),
            ClaimResult(TRANSITIONS, (finding(0.04, claim="transitions"),)),
        ]
    )
    assert [one.findings[0].p_corrected for one in two] == pytest.approx([0.06, 0.06])


def test_what_is_described_has_no_verdict_and_costs_the_others_nothing():
    found = judged(finding(0.03), finding(NAN, verdict="described"), finding(NAN, low=NAN))
    assert [one.verdict for one in found] == ["supported", "described", "not enough runs"]
    assert [one.tested for one in found] == [1, 0, 1]
    said = "1 supported, 1 not enough runs (of 2); 1 described"
    assert asked(ClaimResult(SCORES, found)).summary == said
    alone = ClaimResult(SCORES, (finding(NAN, verdict="described"),))
    assert asked(alone).summary == "described, not judged"
    assert ClaimResult(SCORES, ()).summary == "not enough runs"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.019, 0.019, "no clear difference"),
        (-0.021, 0.019, "underpowered"),
        (-0.019, 0.021, "underpowered"),
    ],
)
def test_what_would_matter_must_lie_outside_the_interval_to_be_ruled_out(low, high, verdict):
    assert judged(finding(0.5, value=0.0, low=low, high=high))[0].verdict == verdict


def test_the_smallest_effect_that_such_runs_would_show_stands_beside_the_verdict():
    # 3 pairs with sd 0.01, 9 tests: 9.823 sd (noncentral t; see test_power).
    nine = [finding(0.2, value=0.01, se=0.01 / math.sqrt(3), freedom=2) for _ in range(9)]
    one = judged(*nine)[0]
    assert one.detectable == pytest.approx(0.0982, abs=1e-4)
    assert one.notes == ("Such runs would show +0.098 in 4 of 5 studies; +0.020 would matter.",)


def test_what_no_runs_could_show_is_said_in_words():
    one = judged(finding(0.2, value=0.3, se=0.5, freedom=2))[0]
    assert one.detectable > 1
    assert one.notes == (
        "Even the largest possible effect would be found in fewer than 4 of 5 such studies.",
    )
    wide = finding(0.5, value=0.0, low=-0.9, high=9.0, expected=0, se=2.0, freedom=2)
    text = judge([ClaimResult(DIMENSION, (wide,))])[0].findings[0]
    assert text.notes == (
        "Such runs would not even show that it stays within a factor of 10.",
    )  # fmt: skip


def test_without_an_interval_there_are_not_enough_runs_and_equal_values_decide_nothing():
    found = judged(finding(NAN, low=NAN, high=NAN, n=1), finding(NAN))
    assert [one.verdict for one in found] == ["not enough runs", "underpowered"]
    assert "All values are equal" in found[1].notes[0]


def test_a_condition_that_is_not_met_keeps_a_finding_from_a_verdict():
    assert judged(finding(0.0001, robust=False))[0].verdict == "underpowered"


def test_seeds_are_the_unit_and_placements_do_not_replicate():
    # Seed means over both placements: 2, 3, 4. Nine runs would pretend more.
    estimate, parts, notes = combine(
        {"early": {0: 1.0, 1: 2.0, 2: 3.0}, "late": {0: 3.0, 1: 4.0, 2: 5.0}}
    )
    assert (estimate.value, estimate.n) == (3.0, 3)
    assert estimate.high == pytest.approx(3 + 4.30265273 / math.sqrt(3))
    assert [(part.label, part.value, part.n) for part in parts] == [("early", 2, 3), ("late", 4, 3)]
    assert notes == ()


def test_seeds_and_placements_that_are_not_complete_are_left_out_and_named():
    estimate, _, notes = combine(
        {"early": {0: 1.0, 1: 2.0, 2: 9.0}, "late": {0: 3.0, 1: 4.0}, "middle": {0: 7.0}}
    )
    assert (estimate.value, estimate.n) == (2.5, 2)
    assert notes == (
        "middle: fewer than two seeds, not part of the mean.",
        "Seeds that not every placement has are left out: 2.",
    )
    assert combine({"early": {0: 1.0}, "late": {0: 2.0}})[0].n == 1
    assert combine({})[0].n == 0


# CKA drops at transitions that cross a fusion


def test_the_contrast_is_crossing_minus_not_crossing():
    assert contrast({1: 0.9, 2: 0.8, 3: 0.4, 4: 0.7}, (3,)) == pytest.approx(0.4 - 0.8)
    assert math.isnan(contrast({1: 0.9, 2: 0.8}, (1, 2)))
    assert math.isnan(contrast({1: 0.9}, (4,)))


def cka_rows(*, fused: list[float], plain: list[float], shift: float = 0.0):
    """``late`` fuses at 4; a little of each seed's own, so that there is a spread."""
    rows = []
    for one in runs("none", "late"):
        noise = 0.01 * one.seed * (1 if one.placement == "late" else 0.5)
        values = fused if one.placement == "late" else plain
        for stream in ("vision", "text"):
            rows += curve(one, stream, [NAN, *values[:-1], values[-1] - noise + shift])
    return pd.DataFrame(rows)


def test_a_drop_at_the_fusion_is_supported_and_the_constant_first_transition_does_not_count():
    result = asked(
        drops_at_fusion(
            runs("none", "late"), cka_rows(fused=[0.9, 0.9, 0.5], plain=[0.9, 0.9, 0.8])
        )
    )
    by = {one.subject: one for one in result.findings}
    assert set(by) == {
        "vision", "text", "vision, beyond no fusion", "text, beyond no fusion",
    }  # fmt: skip
    vision = by["vision"]
    # 0.5 - noise - 0.9, noise 0, 0.01, 0.02.
    assert (vision.value, vision.n, vision.verdict) == (pytest.approx(-0.41), 3, "described")
    assert math.isnan(vision.p) and vision.tested == 0
    assert vision.sentence == (
        "On macros, CKA of consecutive vision layers is 0.410 lower at transitions that cross a "
        "fusion than at the others (95 % interval -0.435 to -0.385; 3 seeds of late)."
    )
    # Without fusion the same transition is 0.1 lower anyway, with half the noise.
    beyond = by["vision, beyond no fusion"]
    assert (beyond.value, beyond.verdict) == (pytest.approx(-0.305), "supported")


def test_a_rise_at_the_fusion_contradicts():
    result = asked(
        drops_at_fusion(
            runs("none", "late"), cka_rows(fused=[0.5, 0.5, 0.9], plain=[0.5, 0.5, 0.5])
        )
    )
    assert result.findings[1].verdict == "contradicted"


def test_one_seed_or_no_measures_are_not_enough_runs():
    rows = cka_rows(fused=[0.9, 0.9, 0.5], plain=[0.9, 0.9, 0.8])
    one = asked(drops_at_fusion(runs("none", "late", seeds=(0,)), rows))
    none = asked(drops_at_fusion(runs("none", "late"), pd.DataFrame()))
    both = {"not enough runs", "described"}
    for result, verdicts, beside in ((one, both, "; 2 described"), (none, {"not enough runs"}, "")):
        assert {found.verdict for found in result.findings} == verdicts
        assert "not enough runs" in result.findings[1].sentence
        assert result.summary == f"not enough runs{beside}"


def test_full_fusion_has_nothing_to_compare_and_says_so():
    rows = [row for one in runs("full") for row in curve(one, "vision", [0.9, 0.8, 0.7, 0.6])]
    result = asked(drops_at_fusion(runs("full"), pd.DataFrame(rows)))
    assert "full: fusion transitions of vision and others are not both there" in result.notes[0]
    assert result.findings[1].verdict == "not enough runs"


def test_without_a_run_without_fusion_nothing_is_judged_and_the_missing_run_is_named():
    rows = cka_rows(fused=[0.9, 0.9, 0.5], plain=[0.9] * 3)
    raw, beyond = asked(drops_at_fusion(runs("late"), rows)).findings[:2]
    assert (raw.verdict, beyond.verdict) == ("described", "not enough runs")
    assert "placement none) is missing for seeds 0, 1, 2" in beyond.sentence


def test_a_slope_with_depth_and_no_effect_of_fusion_supports_nothing():
    # CKA falls with depth in every run alike: late fusion sits where it is low.
    rows = cka_rows(fused=[0.9, 0.7, 0.5], plain=[0.9, 0.7, 0.5])
    raw, beyond = asked(drops_at_fusion(runs("none", "late"), rows)).findings[:2]
    assert raw.value < -0.3 and abs(beyond.value) < 0.02
    assert beyond.verdict == "no clear difference"


def test_the_control_is_the_run_of_the_same_seed():
    members, rows = runs("none", "late"), []
    for one in members:
        fused = 0.3 + 0.001 * one.seed if one.placement == "late" else 0.0
        # 0.1 a seed of its own in both of its runs.
        rows += curve(one, "vision", [NAN, 0.9, 0.9, 0.9 - 0.1 * one.seed - fused])
    beyond = asked(drops_at_fusion(members, pd.DataFrame(rows))).findings[1]
    assert beyond.value == pytest.approx(-0.301) and beyond.verdict == "supported"
    # Runs of other seeds are no control: nothing is left.
    apart = (*runs("none", seeds=(7, 8, 9)), *runs("late"))
    for one in apart[:3]:
        rows += curve(one, "vision", [NAN, 0.9, 0.9, 0.9])
    assert asked(drops_at_fusion(apart, pd.DataFrame(rows))).findings[1].n == 0


def test_a_fusion_site_is_no_layer():
    rows = cka_rows(fused=[0.9, 0.9, 0.5], plain=[0.9, 0.9, 0.8])
    for side in ("site_a", "site_b"):
        sites = rows.assign(value=0.123, **{side: "fusion"})
        found = drops_at_fusion(runs("none", "late"), pd.concat([rows, sites])).findings
        assert found[0].value == pytest.approx(-0.41)
    sizes = dimension_rows(0.2, 1.05)
    sites = sizes.assign(site_a="fusion", value=7777.0)
    found = fusion_compresses_vision(runs("none", "early"), pd.concat([sizes, sites])).findings
    assert found[0].value == pytest.approx(0.2 * (1.01 * 1.02) ** (1 / 3) - 1)


def test_runs_on_other_samples_are_left_out_and_named():
    members = (*runs("none", "late"), run("late", 7, samples="b"))
    rows = cka_rows(fused=[0.9, 0.9, 0.5], plain=[0.9, 0.9, 0.8])
    odd = pd.DataFrame(curve(members[-1], "vision", [NAN, 0.1, 0.1, 0.9]))
    result = asked(drops_at_fusion(members, pd.concat([rows, odd])))
    assert result.findings[0].value == pytest.approx(-0.41)
    assert result.notes == ("macros-late-7: other samples than most runs, left out",)


# Early fusion compresses vision, not text


def dimension_rows(vision: float, text: float) -> pd.DataFrame:
    """``early`` fuses at 1 and 2; its dimensions from layer 1 on are these parts of none's 100."""
    rows = []
    for one in runs("none", "early"):
        wobble = 1 + 0.01 * one.seed
        for stream, part in (("vision", vision), ("text", text)):
            value = 100.0 * (part * wobble if one.placement == "early" else 1.0)
            rows += dimensions(one, stream, [1.0, value, value, value, value])
    return pd.DataFrame(rows)


def test_a_fall_of_vision_alone_supports_both_halves_of_the_claim():
    result = asked(fusion_compresses_vision(runs("none", "early"), dimension_rows(0.2, 1.05)))
    vision, text = result.findings
    assert (vision.subject, vision.verdict, vision.n) == ("vision, early", "supported", 3)
    # The geometric mean of 1, 1.01 and 1.02 times 0.2.
    assert vision.value == pytest.approx(0.2 * (1.01 * 1.02) ** (1 / 3) - 1)
    assert -1 < vision.low < vision.value < vision.high < 0
    assert "80 % lower than without fusion, from layer 1 on" in vision.sentence
    assert (text.expected, text.verdict) == (0, "supported")


def test_a_rise_of_vision_and_a_fall_of_text_contradict():
    result = asked(fusion_compresses_vision(runs("none", "early"), dimension_rows(2.0, 0.5)))
    assert [one.verdict for one in result.findings] == ["contradicted", "contradicted"]


def test_a_rise_of_text_by_61_percent_is_not_unchanged():
    rows = dimension_rows(0.2, 1.61)
    text = asked(fusion_compresses_vision(runs("none", "early"), rows)).findings[1]
    assert text.verdict == "contradicted" and text.value > 0.6


@pytest.mark.parametrize(
    ("part", "verdict"),
    # The seeds spread by 2 %, their interval by 5 %: that of 1.07 to 1.09 crosses 1.10.
    [(1.04, "supported"), (1.07, "underpowered"), (1.14, "contradicted")],
)
def test_the_margin_of_unchanged_text_is_ten_percent(part, verdict):
    rows = dimension_rows(0.2, part)
    found = asked(fusion_compresses_vision(runs("none", "early"), rows)).findings[1]
    assert found.verdict == verdict


def test_text_that_hardly_changes_is_supported_though_it_does_not_differ_from_no_change():
    # 0, 1 and 2 % more: p of no change is 0.22, p of a change by 10 % is 0.004.
    rows = dimension_rows(0.2, 1.0)
    text = asked(fusion_compresses_vision(runs("none", "early"), rows)).findings[1]
    assert text.p < 0.01 and text.verdict == "supported"


def test_early_fusion_is_compared_with_the_run_of_the_same_seed_only():
    apart = (*runs("none", seeds=(7, 8, 9)), *runs("early"))
    rows = [row for one in apart for row in dimensions(one, "vision", [1.0, 9, 9, 9, 9])]
    found = fusion_compresses_vision(apart, pd.DataFrame(rows)).findings[0]
    assert found.n == 0 and "missing for seeds 0, 1, 2" in found.sentence


def test_scores_and_cross_attentions_are_compared_within_a_seed():
    found = late_wins(scores({"late": [NAN, 0.8, 0.9], "early": [0.1, 0.7, 0.8]})).findings[0]
    assert (found.n, found.value) == (2, pytest.approx(0.1))
    apart = (*runs("none", seeds=(7, 8, 9)), *runs("late"))
    rows = [row for one in apart[:3] for row in dimensions(one, "vision", [1.0, 9, 9, 9, 9])]
    both = pd.concat([pd.DataFrame(rows), cross_rows(before=100, after=20, plain=80)])
    assert fusion_compresses_vision(apart, both).findings[1].n == 0


def test_layers_from_the_first_fusion_on_count_with_it():
    rows = dimension_rows(0.2, 1.05)
    first = rows["layer_a"].eq(1) & rows["run_id"].str.contains("early")
    rows.loc[first, "value"] *= 16.0
    found = fusion_compresses_vision(runs("none", "early"), rows).findings[0]
    # One of four layers is 16 times as large: the geometric mean doubles.
    assert found.value == pytest.approx(2 * 0.2 * (1.01 * 1.02) ** (1 / 3) - 1)


def cross_rows(*, before: float, after: float, plain: float) -> pd.DataFrame:
    """``late`` fuses at 4: its layer 3, its 4.fusion, and the step of no fusion from 3 to 4."""
    rows = []
    for one in runs("none", "late"):
        if one.placement == "late":
            size = after * (1 + 0.01 * one.seed)
            place = (("vision", 4), ("", -1), size)
            rows.append(measure(one.run_id, "effective_dimension", *place, site="fusion"))
        end = plain if one.placement == "none" else 5.0
        rows += dimensions(one, "vision", [1.0, before, before, before, end])
    return pd.DataFrame(rows)


def test_a_cross_attention_is_compared_with_the_block_at_its_depth_without_fusion():
    rows = cross_rows(before=100, after=20, plain=80)
    raw, beyond = asked(fusion_compresses_vision(runs("none", "late"), rows)).findings
    grown = (1.01 * 1.02) ** (1 / 3)
    assert (raw.value, raw.verdict) == (pytest.approx(0.2 * grown - 1), "described")
    assert (beyond.value, beyond.verdict) == (pytest.approx(0.25 * grown - 1), "supported")
    assert "75 % lower than what a block at that depth" in beyond.sentence
    alone = fusion_compresses_vision(runs("late"), rows).findings[1]
    assert "is missing for seeds 0, 1, 2" in alone.sentence


def test_a_small_change_of_text_counts_as_none_and_layer_0_does_not_count():
    result = asked(fusion_compresses_vision(runs("none", "early"), dimension_rows(0.2, 0.96)))
    assert result.findings[1].verdict == "supported"
    assert result.findings[1].value == pytest.approx(0.96 * (1.01 * 1.02) ** (1 / 3) - 1)


def test_only_placements_that_fuse_in_the_first_half_alone_are_early():
    result = asked(fusion_compresses_vision(runs("none", "full", "late"), dimension_rows(1, 1)))
    assert result.findings == ()
    assert result.notes == ("macros: no placement fuses in the first half only.",)
    assert result.summary == "not enough runs"


def test_runs_without_a_partner_of_their_seed_are_not_compared():
    members = (run("none", 0), run("none", 1), run("early", 2), run("early", 3))
    result = asked(fusion_compresses_vision(members, dimension_rows(0.2, 1.0)))
    assert {one.verdict for one in result.findings} == {"not enough runs"}


# Late wins


def test_late_is_compared_with_each_rival_by_seed():
    result = asked(
        late_wins(
            scores(
                {
                    "none": [0.1, 0.1, 0.1],
                    "early": [0.5, 0.6, 0.7],
                    "middle": [0.9, 0.9, 0.9],
                    "late": [0.7, 0.81, 0.92],
                }
            )
        )
    )
    none, early, middle = result.findings
    assert (none.subject, none.value) == ("late – none", pytest.approx(0.71))
    # Differences 0.2, 0.21, 0.22: t = 0.21 / (0.01 / sqrt 3) = 36.37, df 2.
    assert (early.subject, early.value, early.n) == ("late – early", pytest.approx(0.21), 3)
    assert early.verdict == "supported"
    assert early.sentence == (
        "On macros, late fusion scores 0.210 higher than early fusion in irony AUROC (95 % "
        "interval +0.185 to +0.235; 3 pairs of runs with the same seed)."
    )
    assert middle.verdict == "underpowered"
    assert (middle.value, middle.tested) == (pytest.approx(-0.09), 3)


def test_a_seed_that_only_one_of_them_has_does_not_count():
    result = asked(late_wins(scores({"late": [0.9, 0.8, 0.1], "early": [0.7, 0.7, NAN]})))
    assert (result.findings[0].n, result.findings[0].value) == (2, pytest.approx(0.15))
    result = asked(late_wins(scores({"late": [0.9], "early": [0.7]})))
    assert result.findings[0].verdict == "not enough runs"
    assert "there is 1" in result.findings[0].sentence


def test_without_late_or_without_rivals_nothing_is_claimed():
    for held in ({"none": [0.1, 0.2]}, {"late": [0.1, 0.2], "searched": [0.3, 0.1]}):
        result = asked(late_wins(scores(held)))
        assert result.findings == () and "it takes runs of late" in result.notes[0]
    assert asked(late_wins(scores({}))).notes == ("No run has scores.",)


# Alignment and score

FIVE = ("full", "early", "earliest", "middle", "late")


def points_of(alignment: dict[str, float], score: dict[str, float], name: str = "cka"):
    members = runs(*alignment, seeds=(0, 1))
    rows = [
        last(one, name, alignment[one.placement] + 0.01 * one.seed, "debiased") for one in members
    ]
    return alignment_points(
        members, scores({key: [value, value + 0.02] for key, value in score.items()}),
        pd.DataFrame(rows),
    )  # fmt: skip


def test_points_are_means_over_seeds_of_the_last_layers():
    members = runs("none", "late", seeds=(0, 1))
    rows = [last(one, "cka", 0.5 + 0.1 * one.seed) for one in members]
    rows += [measure(one.run_id, "cka", ("vision", 3), ("text", 4), 9.0) for one in members]
    rows += [measure(one.run_id, "cka", ("vision", 4), ("vision", 4), 9.0) for one in members]
    points = alignment_points(
        members, scores({"late": [0.9, 0.7], "none": [0.5, 0.5]}), pd.DataFrame(rows)
    )
    assert points["placement"].tolist() == ["none", "late"]
    assert points["alignment"].tolist() == pytest.approx([0.55, 0.55])
    assert points["score"].tolist() == pytest.approx([0.5, 0.8])
    assert points["seeds"].tolist() == [2, 2]


def test_streams_of_different_depth_meet_at_their_own_last_layers():
    from dataclasses import replace

    one = replace(
        run("late", 0),
        streams=(
            StreamSpec.of("vision", "vision", 6, 8, (6,)),
            StreamSpec.of("text", "text", 4, 8, (4,)),
        ),
    )
    rows = [
        measure(one.run_id, "cka", ("vision", 4), ("text", 4), 0.1),
        measure(one.run_id, "cka", ("vision", 6), ("text", 4), 0.7),
    ]
    points = alignment_points([one], scores({"late": [0.9]}), pd.DataFrame(rows))
    assert points["alignment"].tolist() == [0.7]


def test_a_correlation_over_placements_is_supported_when_strong_and_steady():
    aligned = dict(zip(FIVE, (0.1, 0.3, 0.5, 0.7, 0.9), strict=True))
    score = dict(zip(FIVE, (0.50, 0.57, 0.66, 0.71, 0.80), strict=True))
    (one,) = asked(alignment_tracks_score(points_of(aligned, score))).findings
    assert (one.subject, one.n, one.unit, one.verdict) == ("CKA", 5, "placements", "supported")
    assert one.value > 0.99 and one.low > 0.9
    assert "Spearman's ρ = 1.00." in one.sentence


def test_a_distance_is_expected_to_fall():
    far = dict(zip(FIVE, (0.9, 0.7, 0.5, 0.3, 0.1), strict=True))
    score = dict(zip(FIVE, (0.50, 0.57, 0.66, 0.71, 0.80), strict=True))
    (one,) = asked(alignment_tracks_score(points_of(far, score, "procrustes"))).findings
    assert (one.expected, one.verdict) == (-1, "supported") and one.value < -0.99


def test_one_placement_that_carries_the_correlation_keeps_it_from_a_verdict():
    aligned = dict(zip(FIVE, (0.0, 0.9, 0.91, 0.92, 0.93), strict=True))
    score = dict(zip(FIVE, (0.1, 0.83, 0.82, 0.81, 0.80), strict=True))
    (one,) = asked(alignment_tracks_score(points_of(aligned, score))).findings
    assert one.value > 0.99 and one.p_corrected < 0.05
    assert one.verdict == "underpowered"
    assert one.notes[:1] == ("Without full, r = -1.00.",)


def test_ranks_that_say_the_opposite_keep_a_correlation_from_a_verdict():
    # Two points far off make r; the ten others fall, and ρ with them.
    points = pd.DataFrame(
        {
            **dict.fromkeys(("dataset", "setting", "task", "metric"), ""),
            "measure": "cka", "seeds": 2, "fuses": True,
            "placement": [f"p{at}" for at in range(12)],
            "alignment": [*(0.1 * at for at in range(10)), 90.0, 90.1],
            "score": [*(-0.1 * at for at in range(10)), 90.1, 90.0],
        }
    )  # fmt: skip
    (one,) = asked(alignment_tracks_score(points)).findings
    assert one.value > 0.99 and one.p_corrected < 0.05 and "ρ = -0.16" in one.sentence
    assert one.verdict == "underpowered"


@pytest.mark.parametrize(("step", "verdict"), [(0.0049, "described"), (0.0051, "supported")])
def test_scores_that_hardly_differ_are_not_correlated_for_a_verdict(step, verdict):
    aligned = dict(zip(FIVE, (0.1, 0.3, 0.5, 0.7, 0.9), strict=True))
    score = {name: 0.9 + step * at for at, name in enumerate(FIVE)}
    (one,) = asked(alignment_tracks_score(points_of(aligned, score))).findings
    assert one.value > 0.99 and one.verdict == verdict
    assert any("Not judged" in note for note in one.notes) == (verdict == "described")


def test_placements_without_fusion_are_left_out_of_a_correlation_and_named():
    aligned = dict(zip(FIVE, (0.1, 0.3, 0.5, 0.7, 0.9), strict=True)) | {"none": 0.0}
    score = dict(zip(FIVE, (0.50, 0.57, 0.66, 0.71, 0.80), strict=True)) | {"none": 0.99}
    points = points_of(aligned, score)
    assert "none" in set(points["placement"])
    result = asked(alignment_tracks_score(points))
    assert (result.findings[0].n, result.findings[0].verdict) == (5, "supported")
    assert result.notes == ("Left out, for they do not fuse: none.",)


def test_three_placements_are_not_enough_and_equal_scores_cannot_be_correlated():
    aligned = dict(zip(FIVE, (0.1, 0.3, 0.5, 0.7, 0.9), strict=True))
    three = {name: aligned[name] for name in FIVE[:3]}
    (one,) = asked(alignment_tracks_score(points_of(three, dict.fromkeys(three, 0.5)))).findings
    assert one.verdict == "not enough runs" and "there are 3" in one.sentence
    (one,) = asked(alignment_tracks_score(points_of(aligned, dict.fromkeys(FIVE, 0.5)))).findings
    assert one.verdict == "not enough runs" and "cannot be correlated" in one.sentence


# All of them


def test_examine_asks_all_four_and_takes_one_pooling_and_one_estimator():
    members = runs("none", "late")
    rows = cka_rows(fused=[0.9, 0.9, 0.5], plain=[0.9, 0.9, 0.8])
    biased = rows.assign(estimator="biased", value=0.123)
    other = rows.assign(pooling="mean", value=0.456)
    results = examine(
        members, scores({"none": [0.5] * 3, "late": [0.6] * 3}), pd.concat([rows, biased, other])
    )
    assert [result.claim.key for result in results] == [
        "transitions", "dimension", "scores", "alignment",
    ]  # fmt: skip
    assert results[0].findings[0].value == pytest.approx(-0.41)


def test_further_claims_of_a_page_are_judged_with_the_others():
    other = ClaimResult(TRANSITIONS, (finding(0.03, claim="transitions"),))
    table = scores({"late": [0.9, 0.91, 0.92], "early": [0.7, 0.72, 0.71]})
    results = examine(runs("early", "late"), table, pd.DataFrame(), also=[other])
    assert len(results) == 5
    assert results[4].findings[0].p_corrected == pytest.approx(0.03)
    assert results[4].findings[0].tested == results[2].findings[0].tested == 2
    alone = examine(runs("early", "late"), table, pd.DataFrame())[2].findings[0]
    assert results[2].findings[0].p_corrected == pytest.approx(2 * alone.p_corrected)


def test_examine_without_anything_says_not_enough_runs_everywhere():
    results = examine(runs("late", seeds=(0,)), scores({}), pd.DataFrame())
    assert {result.summary for result in results} == {"not enough runs"}


def test_the_study_needs_neither_torch_nor_streamlit():
    code = (
        "import sys, backend.study; print([m for m in ('torch', 'streamlit') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr


def test_beyond_no_fusion_compares_the_transitions_that_both_runs_have():
    """CKA falls with depth, fusion does nothing, and a layer of the plain runs has collapsed."""
    members, rows = runs("none", "late"), []
    for one in members:
        values = [0.9 - 0.1 * k + 0.001 * one.seed for k in range(1, 5)]
        rows += curve(one, "vision", [NAN, *values[1:]] if one.placement == "none" else values)
    found = judge([drops_at_fusion(members, pd.DataFrame(rows))])[0].findings
    beyond = next(one for one in found if one.subject == "vision, beyond no fusion")
    assert abs(beyond.value) < 1e-9


def test_equal_values_rule_nothing_out():
    """Two seeds in which both placements are perfect say nothing of a seed that would differ."""
    table = scores({"late": [1.0, 1.0], "none": [1.0, 1.0]})
    (one,) = judge([late_wins(table)])[0].findings
    assert (one.low, one.high) == (0.0, 0.0) and one.verdict == "underpowered"


def test_an_effect_of_a_score_that_is_clear_and_too_small_to_matter_is_not_supported():
    late = [0.903 + 0.0001 * seed for seed in range(5)]
    table = scores({"late": late, "none": [0.9] * 5})
    (one,) = judge([late_wins(table)])[0].findings
    assert one.p_corrected < 0.05 and one.verdict == "no clear difference"
    assert "too small to matter" in " ".join(one.notes)
