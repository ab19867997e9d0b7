"""What is taken away, in a real browser: the report by itself, and the menu of a page."""

import io
import json
import zipfile
from xml.dom import minidom

import pytest
from PIL import Image

from backend.report.build import write_report
from backend.store import Store
from backend.views.state import ViewState
from tests.browser.conftest import drawn

pytestmark = pytest.mark.browser
DRAWN = "document.documentElement.dataset.drawn"


@pytest.fixture(scope="module")
def written(small_store, tmp_path_factory):
    out = tmp_path_factory.mktemp("sent") / "report.html"
    write_report(str(small_store), out, ViewState())
    return out


def saved(page, click):
    with page.expect_download() as download:
        click()
    return download.value.path().read_bytes()


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (820, "dark")])
def test_a_report_draws_every_figure_without_network_error_or_overflow(
    browser, written, pictures, width, scheme
):
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
    )
    page = context.new_page()
    said, asked = [], []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(written.as_uri())
    page.wait_for_function(DRAWN, timeout=120_000)
    figures = page.locator("[data-figure]").count()
    assert figures == page.locator("[data-figure] .main-svg:first-child").count() > 15
    assert said == []
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [written.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    # Plotly's text and the page's have the same colour, in light and in dark.
    colours = page.evaluate(
        """() => [getComputedStyle(document.querySelector('.main-svg .xtick text')).fill,
                  getComputedStyle(document.body).color]"""
    )
    assert colours[0] == colours[1]
    page.screenshot(path=pictures / f"report-{width}-{scheme}.png")
    context.close()


def test_pictures_saved_from_a_report_carry_its_provenance(browser, written, small_store):
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(written.as_uri())
    page.wait_for_function(DRAWN, timeout=120_000)
    place = page.locator("[data-figure]").nth(9)
    place.scroll_into_view_if_needed()
    place.hover()
    png = Image.open(io.BytesIO(saved(page, place.locator(".modebar-btn").nth(0).click)))
    png.load()
    place.hover()
    svg = minidom.parseString(saved(page, place.locator(".modebar-btn").nth(1).click))  # noqa: S318
    (metadata,) = svg.getElementsByTagName("metadata")
    said = [json.loads(png.text["fusionscope.provenance"]), json.loads(metadata.firstChild.data)]
    said.append(json.loads(saved(page, page.locator("#save-provenance").click)))
    store = Store(small_store)
    weights = {run_id: store.run(run_id).manifest.model.digest for run_id in store.run_ids()}
    for provenance in said:
        assert {run["run_id"]: run["weights"] for run in provenance["runs"]} == weights
    context.close()


def test_the_menu_of_a_page_gives_its_files(address, open_at):
    page = open_at(f"{address}/transitions")
    drawn(page, "heatmap")  # which moves the menu down
    page.get_by_test_id("stPopoverButton").click()
    button = page.get_by_role("button", name="Everything (zip)")
    button.wait_for()
    files = zipfile.ZipFile(io.BytesIO(saved(page, button.click))).namelist()
    assert {name.rpartition(".")[2] for name in files} == {"csv", "parquet", "html", "json"}
