"""Trace in a real browser: a word and its patches, a patch and its words, and what hiding does."""

import io

import pytest

from backend.data.macros.draw import draw
from backend.data.macros.grammar import compose
from tests.browser.conftest import drawn, settle

pytestmark = pytest.mark.browser

SIZE = (300, 200)
SHAPES = "plot => plot._fullLayout.shapes.map(s => s.path ?? [s.x0, s.x1, s.y0, s.y1].join())"
LINE = "plot => plot._fullLayout.shapes.find(s => s.label.text).label.text"
CHOSEN = """plot => plot._fullLayout.shapes.filter(s => s.name === 'selected')
    .map(s => [s.x0, s.x1, s.y0, s.y1])[0] ?? null"""


def trace(page):
    """Trace a picture that is wider than high."""
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
    settle(page)


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


def test_words_and_patches_find_each_other_and_hiding_says_what_counts(demo, open_at, pictures):
    page = open_at(f"{demo}/trace", height=1_400)
    trace(page)
    picture = drawn(page, "trace-attention")
    every = picture.evaluate(SHAPES)
    assert picture.evaluate(LINE).startswith("text layer 12.fusion; reddest: ")
    words = page.locator(".st-key-trace-word").get_by_role("radio")
    captions = ["a", "day", "ever", "a (2)", *"<b>", "fish", "< (2)", "/", "b (2)", "> (2)"]
    assert words.all_inner_texts() == captions
    words.nth(captions.index("fish")).focus()
    page.keyboard.press("Enter")
    page.get_by_text("Attention of fish", exact=True).wait_for()
    settle(page)
    assert picture.evaluate(SHAPES) != every

    click_at(page, "trace-attention", 280, 190)
    page.get_by_text("Words of patch 16 (88 % from the left, 88 % from the top)").wait_for()
    assert picture.evaluate(CHOSEN) == [225, 300, 150, 200], "its true footprint"
    page.screenshot(path=pictures / "looks.png")
    page.locator(".st-key-trace-attention .figure").focus()
    for key in ("ArrowLeft", "ArrowLeft", "Enter"):
        page.keyboard.press(key)
    page.get_by_text("Words of patch 15 (62 % from the left, 88 % from the top)").wait_for()
    settle(page)
    click_at(page, "trace-attention", 200, 160)
    page.get_by_text("Words of all patches").wait_for()

    page.get_by_role("slider", name="Layer of the vision stream").focus()
    page.keyboard.press("Home")
    assert picture.evaluate(LINE) == "Nothing is looked at before text layer 10.fusion."
    page.keyboard.press("End")

    page.get_by_role("button", name="Hide each patch and see what it does").click()
    page.get_by_text("Rank correlation of attention and effect at text").wait_for(timeout=120_000)
    settle(page)
    page.get_by_role("button", name="Leave out each word and see what it does").click()
    page.get_by_text("Rank correlation of attention and effect at vision").wait_for(timeout=120_000)
    settle(page)
    for key in ("effect", "agreement-of-patches", "effect-of-words", "agreement-of-words"):
        drawn(page, f"trace-{key}")
    drawn(page, "trace-attention")
    page.screenshot(path=pictures / "looks-effect.png")
