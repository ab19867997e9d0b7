"""The causal test from a store to the page: what is asked for, drawn, and told to be done."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.study.interventions import needs_of_a_fusion
from backend.views.interventions import (
    condition_drawing,
    conditions_of,
    intervene_command,
    interventions,
)
from backend.views.store_access import look, overview
from backend.views.study import described
from tests.interventions.frames import add_to, cka_table
from tests.make_store import make_store


def drop(weights: str, partner: str, placement: str, seed: int, k: int) -> float:
    return 0.9 - (0.3 + 0.01 * seed) * (partner != "constant")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("causal") / "store"
    placements = ("none", "early", "late")
    store = make_store(place, placements, n=12, measures=False, projections=False)
    add_to(store, cka_table(drop))
    return place


def test_rows_of_all_runs_come_back_and_are_judged(path: Path) -> None:
    seen = overview(str(path))
    asked = interventions(look(str(path)), seen.groups)
    table = asked.answer()
    assert not table.problems and table.frame["run_id"].nunique() == 6
    assert set(table.frame["key"]) == {"key"} and len(table.frame) == 2 * 3 * 2 * 3 * 4
    assert hash(asked) == hash(interventions(look(str(path)), seen.groups))
    result = needs_of_a_fusion(described(seen.runs), table.frame)
    found = {one.subject: one for one in result.findings}
    assert found["vision CKA: a partner that varies"].value == pytest.approx(-0.31)
    assert not result.notes


def test_the_figure_has_a_row_a_condition_in_words(path: Path) -> None:
    seen = overview(str(path))
    rows = interventions(look(str(path)), seen.groups).answer().frame
    dataset = described(seen.runs)[0].dataset
    shown = conditions_of(seen.runs, dataset, rows, "cls")
    assert shown["seed"].nunique() == 3 and set(shown["placement"]) == {"early", "late"}
    assert conditions_of(seen.runs, "other", rows, "cls").empty
    figure = condition_drawing(seen.runs, dataset, rows, "cls")
    assert list(figure.layout.yaxis.categoryarray) == [
        "its own partner, before training",
        "one partner for all",
        "another sample's partner",
        "its own partner",
    ]
    by_name = {trace.name: trace for trace in figure.data}
    dots, mean = by_name["its own partner, each run"], by_name["its own partner, mean"]
    assert sorted(dots.x) == pytest.approx([0.58, 0.58, 0.59, 0.59, 0.6, 0.6])
    assert "early, seed 0" in dots.hovertext[0] and "0.600" in dots.hovertext[0]
    assert list(mean.x) == pytest.approx([0.59])
    # 0.59 ± t(2) * 0.01 / sqrt(3) on the logit scale: within a thousandth of Student's own.
    assert mean.error_x.array[0] == pytest.approx(0.0248, abs=1e-3)
    assert "3 seeds" in mean.hovertext[0]


def test_the_command_names_store_and_data(path: Path) -> None:
    seen = overview(str(path))
    command = intervene_command("my store", seen.runs)
    assert command.startswith("fusionscope intervene 'my store' --data ")
    assert intervene_command("s", ()) == "fusionscope intervene s --data LAYOUT:PATH"
