"""Compare in a real browser: one selection and one stepper for all maps, and a clickable matrix."""

from urllib.parse import unquote

import pytest

from backend.jobs.compare import compare_runs
from backend.store import Store
from tests.browser.conftest import click_point, drawn, serving, settle

pytestmark = pytest.mark.browser

RING = """
plot => {
    const ring = plot._fullLayout.shapes.find(shape => shape.name === 'selected');
    return [ring.xanchor, ring.yanchor];
}
"""
SAMPLE_AT = """
(plot, [x, y]) => {
    for (const trace of plot._fullData) {
        if (!trace.hovertext) continue;
        const at = [...trace.x].findIndex((value, i) => value === x && trace.y[i] === y);
        if (at >= 0) return trace.hovertext[at];
    }
    return null;
}
"""
FIRST_X = "plot => [plot._fullData[0].x[0], plot._fullLayout.xaxis.range[0]]"


def plot(page, key):
    return drawn(page, key)


def marked(page, key):
    """The id of the sample that is ringed in a map."""
    return plot(page, key).evaluate(SAMPLE_AT, plot(page, key).evaluate(RING))


def test_a_click_in_one_map_marks_the_sample_in_the_other_and_a_step_moves_both(
    address, open_at, pictures
):
    page = open_at(f"{address}/compare?runs=early,late&layer=5&colour=object")
    page.get_by_text("First sample. Click any point.").wait_for()
    before = {marked(page, key) for key in ("map-0", "map-1")}
    assert len(before) == 1
    click_point(page, "map-1", "dog", 4)
    page.get_by_text("Chosen sample").wait_for()
    settle(page)
    (after,) = {marked(page, key) for key in ("map-0", "map-1")}
    assert {after} != before and f"sample={after}" in page.url
    assert page.get_by_role("textbox", name="Sample id").input_value() == after
    page.screenshot(path=pictures / "compare-sample.png")

    places = {key: plot(page, key).evaluate(FIRST_X) for key in ("map-0", "map-1")}
    page.get_by_role("button", name="Next").click()
    page.wait_for_function("() => location.search.includes('layer=6')")
    page.get_by_text("late: vision layer 6, PCA 1").wait_for()
    page.get_by_text("early: vision layer 6, PCA 1").wait_for()
    settle(page)
    for key in ("map-0", "map-1"):
        x, low = plot(page, key).evaluate(FIRST_X)
        assert x != places[key][0] and low == places[key][1]
        assert marked(page, key) == after


def test_a_click_on_a_cell_between_two_runs_shows_it(
    browser, store_factory, tmp_path, open_at, pictures
):
    store = store_factory.make_store(
        tmp_path / "pair", ("early", "late"), seeds=(0,), n=30, depth=4
    )
    compare_runs(Store(store.path), ["late-seed0", "early-seed0"], poolings=["cls"])
    with serving(store.path, tmp_path) as url:
        page = open_at(f"{url}/compare?block=vision~text")
        page.get_by_text("The last layers of both. Click any cell.").wait_for()
        click_point(page, "cross", "cells", 3 * 5 + 2)
        page.get_by_role("heading", name="Late vision layer 3 and early text layer 2").wait_for()
        settle(page)
        assert "cell=vision:3~text:2" in unquote(page.url)
        page.screenshot(path=pictures / "compare-cell.png")
        page.context.close()
