"""The card on what a fusion needs: its figure where runs were asked, else how to ask them."""

from __future__ import annotations

from pathlib import Path

from streamlit.testing.v1 import AppTest

from tests.interventions.frames import add_to, cka_table
from tests.make_store import make_store
from tests.pages.harness import charts


def page(path: str) -> None:
    from backend.views.interventions import interventions
    from backend.views.store_access import look, overview
    from backend.views.study import described
    from dashboard.partners_card import show_partners

    seen = overview(path)
    dataset = described(seen.runs)[0].dataset
    asked = interventions(look(path), seen.groups)
    show_partners(look(path), seen.runs, dataset, asked, "cls")


def test_a_store_that_was_asked_has_a_figure_and_one_that_was_not_the_command(
    tmp_path: Path,
) -> None:
    placements = ("none", "early", "late")
    store = make_store(tmp_path / "s", placements, n=12, measures=False, projections=False)
    before = AppTest.from_function(page, args=(str(tmp_path / "s"),), default_timeout=60).run()
    assert not before.exception and not charts(before)
    assert before.code[0].value.startswith("fusionscope intervene ")
    assert "were not asked with other partners yet" in before.info[0].value
    add_to(store, cka_table(lambda w, partner, p, seed, k: 0.9 - 0.2 * (partner == "true")))
    after = AppTest.from_function(page, args=(str(tmp_path / "s"),), default_timeout=60).run()
    assert not after.exception and not after.code
    assert list(charts(after)) == ["partners"]
    assert "stands apart from “one partner for all”" in after.caption[0].value
