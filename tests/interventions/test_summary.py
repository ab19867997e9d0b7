"""Answers over seeds: differences, intervals, verdicts and sentences that are known beforehand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from backend.errors import InputError
from backend.figures.causal import intervention_figure
from backend.interventions.files import read_interventions, write_interventions
from backend.interventions.run import Interventions
from backend.interventions.summary import (
    Answer,
    answers,
    at_fusions,
    contrasts,
    over_seeds,
    sentences,
)
from tests.interventions.frames import FUSED, cka_table

DROP = {"early": 0.10, "late": 0.20}


def needs_any_partner(weights: str, partner: str, placement: str, seed: int, k: int) -> float:
    """A drop under every partner that varies, twice as large in the untrained model."""
    depth = 0.9 + 0.01 * k
    if k not in FUSED[placement] or partner == "constant":
        return depth
    return depth - DROP[placement] * (2 if weights == "untrained" else 1) - 0.01 * seed


def by_question(table: pd.DataFrame) -> dict[str, Answer]:
    return {one.question: one for one in answers(table)}


def test_a_drop_that_any_varying_partner_makes_is_said_to_be_one() -> None:
    found = by_question(cka_table(needs_any_partner))
    varying = found["a partner that varies"]
    values = [-0.15, -0.16, -0.17]  # the mean of both placements, seed by seed
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert varying.value == pytest.approx(-0.16)
    assert (varying.low, varying.high) == pytest.approx((low, high), abs=1e-6)
    assert varying.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    assert varying.n == 3 and varying.verdict == "yes"
    assert [(part.label, round(part.value, 6)) for part in varying.parts] == [
        ("early", -0.11),
        ("late", -0.21),
    ]
    right = found["the right partner"]
    assert right.value == 0 and right.verdict == "no"
    training = found["training"]
    assert training.value == pytest.approx(0.15) and training.verdict == "yes"
    said = list(sentences(found.values()))
    assert said[0].endswith("3 seeds of early, late): a partner that varies makes it.")
    assert "0.160 lower with its own partner than with one partner that is the same" in said[0]
    assert said[1].endswith("which partner it is makes no difference of 0.02 or more.")
    assert said[2].endswith("training changes it.")


def test_what_scatters_about_nothing_is_open_and_one_seed_is_not_judged() -> None:
    noise = {0: 0.05, 1: -0.06, 2: 0.02}

    def scattered(weights: str, partner: str, placement: str, seed: int, k: int) -> float:
        return 0.9 + (noise[seed] if partner == "true" else 0.0)

    varying = by_question(cka_table(scattered))["a partner that varies"]
    assert varying.verdict == "open" and "too uncertain to tell" in varying.sentence
    alone = by_question(cka_table(needs_any_partner, seeds=(1,)))["a partner that varies"]
    assert alone.verdict == "one seed" and math.isnan(alone.low) and alone.n == 1
    assert "one seed of early, late: described, not judged" in alone.sentence


def test_seeds_are_paired_and_only_those_of_every_placement_count() -> None:
    table = cka_table(needs_any_partner)
    table = table[~(table["placement"].eq("late") & table["seed"].eq(2))]
    varying = by_question(table)["a partner that varies"]
    assert varying.n == 2 and varying.value == pytest.approx(-0.155)
    nothing = table[~(table["placement"].eq("late") & table["seed"].ne(2))]
    nothing = nothing[nothing["placement"].ne("early")]
    assert not answers(nothing)
    apart = pd.concat(
        [
            table[table["placement"].eq("early") & table["seed"].eq(0)],
            table[table["placement"].eq("late") & table["seed"].eq(1)],
        ]
    )
    assert by_question(apart)["the right partner"].n == 0
    assert "no seed has all placements" in by_question(apart)["the right partner"].sentence


def test_a_missing_state_of_the_weights_takes_its_question_away() -> None:
    table = cka_table(needs_any_partner)
    assert set(by_question(table[table["weights"].eq("trained")])) == {
        "a partner that varies",
        "the right partner",
    }


def test_models_without_a_seed_take_no_part() -> None:
    table = cka_table(needs_any_partner)
    released = table[table["seed"].eq(0)].assign(seed=pd.NA, placement="released")
    both = pd.concat([table, released.astype({"seed": "Int64"})])
    assert answers(both) == answers(table)


def test_contrasts_are_crossing_minus_others_and_their_figure_has_a_marker_each() -> None:
    table = cka_table(needs_any_partner)
    rows = contrasts(table)
    own = rows[rows["placement"].eq("early") & rows["seed"].eq(1)]
    value = own.set_index(["weights", "partner"])["value"]
    others = np.mean([0.91, 0.93, 0.94])
    assert value["trained", "true"] == pytest.approx(0.92 - 0.11 - others)
    assert value["untrained", "shuffled"] == pytest.approx(0.92 - 0.21 - others)
    assert value["trained", "constant"] == pytest.approx(0.92 - others)
    means = over_seeds(rows)
    assert means["seeds"].eq(3).all() and len(means) == 2 * 2 * 3
    figure = intervention_figure(means)
    assert [trace.name for trace in figure.data] == [
        "own partner",
        "another sample's partner",
        "one partner for all",
    ]
    assert len(figure.data[0].x) == 4 and "early, trained" in figure.data[0].hovertext[0]
    assert at_fusions(table)["value"].size == 2 * 3 * 2 * 3


def test_a_table_comes_back_from_its_file_with_what_it_was_made_from(tmp_path: Path) -> None:
    table = cka_table(needs_any_partner)
    made = Interventions(table, ("x: is gone",), {"data": "macros", "samples": 64})
    write_interventions(made, tmp_path / "out")
    read = read_interventions(tmp_path / "out" / "interventions.parquet")
    pd.testing.assert_frame_equal(read.table, table, check_dtype=False)
    assert read.problems == made.problems and read.about["samples"] == 64
    assert read.about["versions"]["torch"]
    with pytest.raises(InputError, match="cannot be made"):
        write_interventions(made, tmp_path / "out")
    with pytest.raises(InputError, match="not a table of interventions"):
        read_interventions(tmp_path / "out" / "contrasts.csv")
