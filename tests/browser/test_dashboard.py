"""The dashboard in a real browser: pages, clicks on charts, the stepper, links, both themes."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.browser.conftest import click_point, serving, settle

pytestmark = pytest.mark.browser
PAGES = ("Runs", "Transitions", "Alignment", "Dimensionality", "Projection", "Study", "Compare")


def query(page):
    return parse_qs(urlsplit(page.url).query)


def charts(page):
    return page.locator(".figure")


def test_every_page_is_reached_by_the_menu_and_draws_its_charts(address, open_at, pictures):
    page = open_at(address)
    for title, least in zip(PAGES, (8, 3, 2, 4, 1, 4, 14), strict=True):
        page.get_by_role("link", name=title).click()
        page.get_by_role("heading", name=title, exact=True).wait_for()
        settle(page)
        assert charts(page).count() >= least
        assert page.locator(".figure[aria-label]").count() == charts(page).count()
        page.screenshot(path=pictures / f"{title.lower()}.png")


def test_a_click_on_a_heatmap_cell_shows_that_cell_and_writes_the_link(address, open_at, pictures):
    page = open_at(
        f"{address}/transitions?block=vision~text&runs=late,early&focus=late~macros~tiny-late"
    )
    page.get_by_text("Where the streams are most alike").wait_for()
    x_by_y = 3 * 7 + 2
    click_point(page, "heatmap", "cells", x_by_y)
    page.get_by_role("heading", name="Vision layer 3 and text layer 2").wait_for()
    settle(page)
    assert query(page)["cell"] == ["vision:3~text:2"]
    page.screenshot(path=pictures / "cell.png")
    again = open_at(page.url)
    again.get_by_role("heading", name="Vision layer 3 and text layer 2").wait_for()
    click_point(page, "heatmap", "cells", 4 * 7 + 5)
    page.get_by_role("heading", name="Vision layer 4 and text layer 5").wait_for()


def test_a_clicked_sample_stays_selected_while_stepping_through_the_layers(
    address, open_at, pictures
):
    page = open_at(f"{address}/projection?layer=1&colour=object")
    page.get_by_text("First sample. Click any point.").wait_for()
    click_point(page, "map", "dog", 3)
    page.get_by_text("food with a").or_(page.get_by_text("work with a dog")).wait_for()
    page.get_by_text("Chosen sample").wait_for()
    settle(page)
    text = page.locator("[data-testid=stText]").first.inner_text()
    assert "dog" in text
    for way in ("button", "keyboard"):
        before = page.url
        if way == "button":
            page.get_by_role("button", name="Next").click()
        else:
            page.locator("body").press("n")
        page.wait_for_function("before => location.href !== before", arg=before)
        settle(page)
        assert page.locator("[data-testid=stText]").first.inner_text() == text
    page.wait_for_function("() => location.search.includes('layer=3')")
    page.get_by_text("vision layer 3, PCA 1").wait_for()
    page.screenshot(path=pictures / "sample.png")


def test_a_link_opens_its_page_on_a_server_that_nobody_visited_yet(
    browser, small_store, tmp_path, open_at
):
    with serving(small_store, tmp_path) as fresh:
        page = open_at(f"{fresh}/transitions?cell=text:3~text:1&runs=early")
        page.get_by_role("heading", name="Text layer 3 and text layer 1").wait_for()
        assert "cell=" in page.url
        assert page.get_by_role("link", name="Projection").count() == 1
        page.context.close()


def test_the_choice_of_placements_and_the_back_button(address, open_at):
    page = open_at(f"{address}/transitions")
    page.get_by_role("button", name="full", exact=True).first.click()
    page.wait_for_function("() => location.search.includes('runs=')")
    settle(page)
    assert "full" not in query(page)["runs"][0]
    page.get_by_role("link", name="Dimensionality").click()
    page.get_by_role("heading", name="Dimensionality", exact=True).wait_for()
    page.wait_for_function("() => location.search.includes('runs=')")
    settle(page)
    # One step back may be the page's address before its link was filled in, not more.
    for _ in range(2):
        page.go_back()
        settle(page)
        page.wait_for_timeout(500)
        if "/transitions" in page.url:
            break
    page.get_by_role("heading", name="Transitions", exact=True).wait_for()
    assert "full" not in query(page)["runs"][0]
    page.go_back()
    page.wait_for_function("() => !location.search.includes('runs=')")
    settle(page)
    assert page.url.endswith("/transitions")


@pytest.mark.parametrize(("width", "height", "scheme"), [(820, 1180, "light"), (1440, 900, "dark")])
def test_nothing_is_wider_than_the_window(address, open_at, pictures, width, height, scheme):
    for title in PAGES:
        path = "" if title == "Runs" else title.lower()
        page = open_at(f"{address}/{path}", width=width, height=height, scheme=scheme)
        page.get_by_role("heading", name=title, exact=True).wait_for()
        main = page.locator("[data-testid=stMain]")
        assert main.evaluate("node => node.scrollWidth - node.clientWidth") <= 0
        page.screenshot(path=pictures / f"{title.lower()}-{scheme}-{width}.png")
        page.context.close()


def test_a_chart_that_was_drawn_is_put_back_and_not_drawn_again(address, open_at):
    page = open_at(f"{address}/transitions")
    plot = page.locator(".st-key-curve-vision .js-plotly-plot")
    plot.locator(".main-svg").first.wait_for()
    plot.evaluate("node => { node.drawnBefore = true; }")
    page.get_by_role("link", name="Probes").click()
    page.get_by_role("heading", name="Probes", exact=True).wait_for()
    settle(page)
    assert plot.count() == 0
    page.get_by_role("link", name="Transitions").click()
    plot.locator(".main-svg").first.wait_for()
    assert plot.evaluate("node => node.drawnBefore")


def test_a_click_runs_only_its_part_of_the_page_and_what_is_taken_away_follows_it(address, open_at):
    page = open_at(f"{address}/transitions?block=vision~text")
    plot = page.locator(".st-key-heatmap .js-plotly-plot")
    plot.locator(".main-svg").first.wait_for()
    settle(page)
    asked = plot.evaluate(
        "plot => { plot.drawnBefore = true; return plot._fullLayout.shapes.length; }"
    )
    click_point(page, "heatmap", "cells", 3 * 7 + 2)
    page.get_by_role("heading", name="Vision layer 3 and text layer 2").wait_for()
    settle(page)
    shapes = plot.evaluate("plot => plot._fullLayout.shapes.map(one => [one.name, one.x0, one.y0])")
    assert asked and shapes[-2:] == [["selected", 1.5, 2.5]] * 2
    assert plot.evaluate("plot => plot.drawnBefore"), "the heatmap itself is not drawn again"
    page.get_by_role("button", name="Download", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Provenance (JSON)").click()
    made = json.loads(download.value.path().read_bytes())
    assert made["views"][0]["settings"]["cell"] == "vision:3~text:2"


def test_a_chart_below_the_screen_waits_and_a_focused_one_offers_png_and_svg(address, open_at):
    page = open_at(f"{address}/compare", height=700)
    last = page.locator(".st-key-difference-matrix .figure")
    assert last.locator(".main-svg").count() == 0 and last.get_attribute("aria-label")
    last.scroll_into_view_if_needed()
    last.locator(".main-svg").first.wait_for()
    for kind in ("PNG", "SVG"):
        with page.expect_download() as download:
            page.locator(".st-key-difference-matrix").get_by_role("button", name=kind).click()
        assert download.value.suggested_filename == f"difference-matrix.{kind.lower()}"
