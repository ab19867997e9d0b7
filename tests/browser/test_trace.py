"""Trace in a real browser: an uploaded picture, the layer strip, and what it moves."""

import io
from urllib.parse import parse_qs, urlsplit

import pytest

from backend.data.macros.draw import draw
from backend.data.macros.grammar import compose
from tests.browser.conftest import settle

pytestmark = pytest.mark.browser

HEAD = "plot => { const [head] = plot.calcdata[2]; return [head.x, head.y]; }"
LINE = "plot => plot._fullLayout.shapes.at(-1).x0"


def test_an_uploaded_macro_is_traced_and_the_strip_moves_every_panel(demo, open_at, pictures):
    page = open_at(f"{demo}/trace", height=2_200)
    page.get_by_role("radiogroup", name="Pair").get_by_text("Upload", exact=True).click()
    file = io.BytesIO()
    draw(compose(happy_face=True, cheerful_caption=False, thing="fish")).save(file, "PNG")
    name = "<img src=x onerror=alert(1)>.png"
    page.locator("input[type=file]").set_input_files(
        {"name": name, "mimeType": "image/png", "buffer": file.getvalue()}
    )
    page.get_by_label("Text", exact=True).fill("<b>worst</b> day ever a fish")
    page.get_by_role("button", name="Trace", exact=True).click()
    strip = page.get_by_role("slider", name="Layer of the vision stream")
    strip.wait_for(timeout=180_000)
    path = page.locator(".st-key-trace-vision-path .js-plotly-plot")
    page.locator(".st-key-trace-vision-path").scroll_into_view_if_needed()
    path.locator(".main-svg").first.wait_for()
    settle(page)
    page.get_by_text("<b>worst</b> day ever a fish", exact=True).wait_for()
    assert strip.get_attribute("aria-valuetext") == "vision layer 12.norm (after the final norm)"
    strip.focus()
    page.keyboard.press("ArrowLeft")
    assert strip.get_attribute("aria-valuetext") == "vision layer 12 (◆ fusion)"
    page.wait_for_function("() => location.search.includes('layer=12')")
    settle(page)
    last, rows = path.evaluate(HEAD), page.locator(".st-key-trace-neighbours .cards-title")
    assert rows.all_text_contents() == ["vision, layer 12", "text, layer 12"]

    for _ in range(7):
        page.keyboard.press("ArrowLeft")
    assert strip.get_attribute("aria-valuetext") == "vision layer 8"
    page.wait_for_function("() => location.search.includes('layer=8')")
    assert rows.all_text_contents() == ["vision, layer 8", "text, layer 8"]
    assert path.evaluate(HEAD) != last
    page.locator(".st-key-trace-vision-norm").scroll_into_view_if_needed()
    norm = page.locator(".st-key-trace-vision-norm .js-plotly-plot")
    norm.locator(".main-svg").first.wait_for()
    assert norm.evaluate(LINE) == 8
    asked = parse_qs(urlsplit(page.url).query)
    assert set(asked) <= {"layer", "stream", "model"}, "nothing of the upload is in the link"
    page.screenshot(path=pictures / "trace.png")
    page.get_by_role("button", name="Forget my picture").click()
    strip.wait_for(state="detached")


def test_a_file_that_is_no_picture_gets_one_sentence(demo, open_at):
    page = open_at(f"{demo}/trace")
    page.get_by_role("radiogroup", name="Pair").get_by_text("Upload", exact=True).click()
    page.locator("input[type=file]").set_input_files(
        {"name": "a.png", "mimeType": "image/png", "buffer": b"<svg onload='alert(1)'/>"}
    )
    page.get_by_test_id("stAlertContentError").wait_for()
    assert page.get_by_test_id("stException").count() == 0


@pytest.mark.parametrize(("width", "scheme"), [(820, "dark"), (390, "light")])
def test_nothing_is_wider_than_the_window(demo, open_at, width, scheme):
    page = open_at(f"{demo}/trace", width=width, scheme=scheme)
    page.get_by_role("button", name="Trace", exact=True).click()
    page.get_by_role("slider").first.wait_for(timeout=180_000)
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") == width
