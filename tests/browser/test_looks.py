"""Trace in a real browser: a word and its patches, a patch and its words, and what hiding does."""

import io

import pytest

from backend.data.macros.draw import draw
from backend.data.macros.grammar import compose
from tests.browser.conftest import ROOT, drawn, serving, settle

pytestmark = pytest.mark.browser

SIZE = (300, 200)
SHAPES = "plot => plot._fullLayout.shapes.map(s => s.path ?? [s.x0, s.x1, s.y0, s.y1].join())"
LINE = "plot => plot._fullLayout.shapes.find(s => s.label.text).label.text"
CHOSEN = """plot => plot._fullLayout.shapes.filter(s => s.name === 'selected')
    .map(s => [s.x0, s.x1, s.y0, s.y1])[0] ?? null"""


@pytest.fixture(scope="module")
def demo(browser, tmp_path_factory):
    with serving(ROOT / "cache" / "demo", tmp_path_factory.mktemp("looks")) as address:
        yield address


@pytest.fixture
def traced(demo, open_at):
    """The page with a traced picture that is wider than high."""

    def go(width=1440, scheme="light"):
        page = open_at(f"{demo}/trace", width=width, height=1_400, scheme=scheme)
        page.get_by_text("Upload", exact=True).first.click()
        file = io.BytesIO()
        scene = compose(happy_face=True, cheerful_caption=False, thing="fish")
        draw(scene).resize(SIZE).save(file, "PNG")
        page.locator("input[type=file]").first.set_input_files(
            {"name": "a.png", "mimeType": "image/png", "buffer": file.getvalue()}
        )
        page.get_by_label("Text", exact=True).first.fill("a day ever a <b>fish</b>")
        page.get_by_role("button", name="Trace", exact=True).click()
        page.locator(".st-key-trace-word").wait_for(timeout=300_000)
        return page

    return go


def click_at(page, key, x, y):
    """Click a place of the original picture, in its pixels."""
    place = drawn(page, key).evaluate(
        """(plot, [x, y]) => {
            const {xaxis, yaxis} = plot._fullLayout;
            const frame = plot.getBoundingClientRect();
            return [frame.left + xaxis._offset + xaxis.d2p(x),
                    frame.top + yaxis._offset + yaxis.d2p(y)];
        }""",
        [x, y],
    )
    page.mouse.move(*place)
    page.mouse.click(*place)
    page.wait_for_timeout(300)
    settle(page)


def test_words_and_patches_find_each_other_and_hiding_says_what_counts(traced, pictures):
    page = traced()
    picture = drawn(page, "trace-attention")
    every = picture.evaluate(SHAPES)
    assert "12.fusion" in picture.evaluate(LINE)
    words = page.locator(".st-key-trace-word button")
    print(words.all_inner_texts(), page.locator(".st-key-trace-word").inner_html()[:1500])
    page.screenshot(path=pictures / "looks0.png", full_page=True)
    page.locator(".st-key-trace-word").get_by_role("radio", name="fish").or_(page.locator(".st-key-trace-word").get_by_role("button", name="fish")).first.click()
    page.get_by_text("Attention of fish").wait_for()
    settle(page)
    assert picture.evaluate(SHAPES) != every

    click_at(page, "trace-attention", 280, 190)  # the lower right corner
    left, right, top, bottom = picture.evaluate(CHOSEN)
    assert left < 280 < right == SIZE[0] and top < 190 < bottom == SIZE[1]
    page.get_by_text("Words of patch").wait_for()
    page.screenshot(path=pictures / "looks.png", full_page=True)
    page.locator(".st-key-trace-attention .figure").focus()
    for key in ("ArrowLeft", "ArrowLeft", "Enter"):
        page.keyboard.press(key)
    page.wait_for_timeout(500)
    settle(page)
    print(picture.evaluate(CHOSEN))

    page.get_by_role("button", name="Hide each patch and see what it does").click()
    page.get_by_text("Rank correlation of attention and effect").first.wait_for(timeout=120_000)
    settle(page)
    drawn(page, "trace-effect")
    drawn(page, "trace-agreement")
    page.screenshot(path=pictures / "looks-effect.png")
    page.get_by_role("button", name="Leave out each word and see what it does").click()
    drawn(page, "trace-effect-of-words")
    settle(page)
    page.screenshot(path=pictures / "looks-words.png")
