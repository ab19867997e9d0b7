"""A trace that was taken away, opened offline: it is drawn, and its strip moves everything."""

import pytest

from tests.report.traced import NEAREST, PATCHES, PATH, POSITION, trace_file

pytestmark = pytest.mark.browser

HEAD = "plot => { const [head] = plot.calcdata[2]; return [head.x, head.y]; }"
SHAPES = "plot => plot._fullLayout.shapes.map(shape => [shape.x0, shape.x1, shape.fillcolor])"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("taken") / "trace-late.html"
    out.write_bytes(trace_file("2"))
    return out


@pytest.fixture
def opened(browser, written):
    """Opens the file without a network; at the end nothing was asked for and nothing went wrong."""
    contexts, asked, errors = [], [], []

    def go(width, scheme):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
        )
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text))
        page.on("dialog", lambda dialog: errors.append(dialog.message))
        page.goto(written.as_uri())
        page.wait_for_function("document.documentElement.dataset.drawn === '3'")
        return page

    yield go
    for context in contexts:
        context.close()
    assert errors == []
    assert {url for url in asked if not url.startswith(("data:", "blob:"))} == {written.as_uri()}


def card(page):
    return page.locator(".cards .note").locator("..")


def test_the_strip_moves_marks_frames_and_cards(opened, pictures):
    page = opened(1440, "light")
    way, norm, picture = (page.locator("[data-figure]").nth(at) for at in range(3))
    slider = page.get_by_role("slider")
    assert slider.get_attribute("aria-valuetext") == "vision layer 2 (◆ fusion)"
    assert way.evaluate(HEAD) == PATH[3].tolist(), "the frame of the layer it starts at"
    assert [x for x, *_ in norm.evaluate(SHAPES)] == [1, POSITION["2"]], "shading, then the line"
    assert [[x, colour] for x, _, colour in picture.evaluate(SHAPES)] == list(map(list, PATCHES))
    page.screenshot(path=pictures / "trace-taken-away.png", full_page=True)

    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert slider.get_attribute("aria-valuetext") == "vision layer 1"
    page.wait_for_function(f"({HEAD})(document.querySelector('[data-figure]'))[1] === 2")
    assert [x for x, *_ in norm.evaluate(SHAPES)] == [1, 1]
    assert picture.evaluate(SHAPES) == [], "nothing is looked at there"
    assert card(page).locator("img").get_attribute("alt") == f"Image of sample {NEAREST['1']}"
    slider.focus()
    page.keyboard.press("End")
    assert [x for x, *_ in norm.evaluate(SHAPES)] == [1, 3]
    assert card(page).locator(".none").inner_text() == "no image"
    page.locator("[data-label='0']").click()
    assert [x for x, *_ in norm.evaluate(SHAPES)] == [1, 0]
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("document.querySelector('[role=slider]').ariaValueNow === '4'")
    assert way.evaluate("plot => plot.calcdata[1].length") == len(PATH), "the whole trail"


@pytest.mark.parametrize(("width", "scheme"), [(820, "dark"), (390, "light")])
def test_nothing_is_wider_than_the_window_and_figures_have_the_colours_of_the_page(
    opened, pictures, width, scheme
):
    page = opened(width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    colours = page.evaluate(
        """() => [getComputedStyle(document.querySelector('.main-svg .xtick text')).fill,
                  getComputedStyle(document.body).color]"""
    )
    assert colours[0] == colours[1]
    page.screenshot(path=pictures / f"trace-taken-away-{width}.png", full_page=True)
