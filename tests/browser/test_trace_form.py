"""The form of Trace in a real browser: an image that is pasted, or dropped on the page."""

import pytest

from tests.browser.conftest import settle

pytestmark = pytest.mark.browser

MADE = """async ([colour, width]) => {
    const canvas = new OffscreenCanvas(width, 16), pen = canvas.getContext("2d");
    pen.fillStyle = colour;
    pen.fillRect(0, 0, width, 16);
    return canvas.convertToBlob({ type: "image/png" });
}"""
COPY = f"""async wanted => {{
    const image = await ({MADE})(wanted);
    await navigator.clipboard.write([new ClipboardItem({{ "image/png": image }})]);
}}"""
DROP = f"""async wanted => {{
    const held = new DataTransfer();
    held.items.add(new File([await ({MADE})(wanted)], "a.png", {{ type: "image/png" }}));
    for (const kind of ["dragover", "drop"]) {{
        const event = new DragEvent(kind,
            {{ dataTransfer: held, bubbles: true, cancelable: true }});
        document.querySelector("h1").dispatchEvent(event);
        if (!event.defaultPrevented) throw new Error(kind);
    }}
}}"""
PASTE_BOTH = f"""async wanted => {{
    const held = new DataTransfer();
    held.items.add(new File([await ({MADE})(wanted)], "a.png", {{ type: "image/png" }}));
    held.setData("text/plain", "from a table");
    const event = new ClipboardEvent("paste",
        {{ clipboardData: held, bubbles: true, cancelable: true }});
    document.activeElement.dispatchEvent(event);
    return event.defaultPrevented;
}}"""
SHOWN = "[alt='The picture that will be traced']"


def uploading(page):
    page.get_by_text("Upload", exact=True).first.click()
    page.get_by_role("button", name="Paste").wait_for()
    settle(page)


def wait_for_picture(page, width):
    page.wait_for_function(
        f"() => document.querySelector({SHOWN!r})?.naturalWidth === {width}", timeout=20_000
    )


def test_an_image_on_the_clipboard_is_pasted_by_the_keyboard_and_by_the_button(demo, open_at):
    page = open_at(f"{demo}/trace")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    uploading(page)
    page.evaluate(COPY, ["red", 24])
    page.keyboard.press("Control+V")
    wait_for_picture(page, 24)
    page.evaluate(COPY, ["blue", 40])
    page.get_by_role("button", name="Paste").click()
    wait_for_picture(page, 40)
    assert page.evaluate(PASTE_BOTH, ["green", 56]), "outside of a field it is the image"
    wait_for_picture(page, 56)
    page.get_by_label("Text", exact=True).focus()
    assert not page.evaluate(PASTE_BOTH, ["red", 24]), "in a field it is the text"
    page.evaluate("navigator.clipboard.writeText('words')")
    page.get_by_role("button", name="Paste").click()
    page.get_by_text("There is no image on the clipboard.").wait_for()
    assert "sample" not in page.url and "image" not in page.url
    page.get_by_text("Draw one", exact=True).click()
    settle(page)
    page.evaluate(COPY, ["red", 24])
    page.keyboard.press("Control+V")
    settle(page)
    assert page.locator(SHOWN).evaluate("image => image.naturalWidth") != 24, "no one listens"


def test_a_file_that_is_dropped_anywhere_is_taken_by_the_first_picture(demo, open_at):
    page = open_at(f"{demo}/trace")
    uploading(page)
    page.evaluate(DROP, ["red", 24])
    wait_for_picture(page, 24)
    page.get_by_text("Upload", exact=True).last.click()
    page.locator(".st-key-trace-other-file").wait_for()
    page.get_by_label("Text", exact=True).fill("words of mine")
    page.keyboard.press("Tab")
    settle(page)
    page.evaluate(DROP, ["blue", 40])
    wait_for_picture(page, 40)
    settle(page)
    assert page.get_by_label("Text", exact=True).input_value() == "words of mine"
    page.get_by_role("button", name="Remove a.png").click()
    page.locator(SHOWN).wait_for(state="detached")
    settle(page)  # without a picture, too
    assert page.get_by_label("Text", exact=True).input_value() == "words of mine"
    assert page.get_by_role("button", name="Trace", exact=True).is_disabled()
    page.evaluate(DROP, ["blue", 40])
    wait_for_picture(page, 40)
    assert page.get_by_label("Text", exact=True).input_value() == "words of mine"
    assert page.get_by_alt_text("The picture beside it").count() == 0
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate(COPY, ["red", 24])
    page.locator(".st-key-trace-other-file-paste").get_by_role("button", name="Paste").click()
    page.get_by_alt_text("The picture beside it").wait_for()
    wait_for_picture(page, 40)


@pytest.mark.parametrize(
    ("without", "line"),
    [
        ("read", "This browser lets no page read the clipboard"),
        ("permission", "The browser did not allow it"),
    ],
)
def test_where_the_clipboard_cannot_be_read_a_line_says_what_to_do(demo, open_at, without, line):
    page = open_at(f"{demo}/trace")
    if without == "read":
        page.evaluate("() => { Clipboard.prototype.read = undefined; }")
    else:
        page.evaluate("() => { Clipboard.prototype.read = async () => { throw new Error(); }; }")
    uploading(page)
    page.get_by_role("button", name="Paste").click()
    said = page.get_by_role("status").filter(has_text=line)
    said.wait_for()
    assert "press Ctrl+V, or choose a file" in said.inner_text()


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (820, "dark"), (390, "light")])
def test_two_pictures_and_two_texts_fit_into_the_window(demo, open_at, pictures, width, scheme):
    page = open_at(f"{demo}/trace", width=width, scheme=scheme)
    page.get_by_text("The other face").click()
    page.get_by_alt_text("The picture beside it").wait_for()
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    field = page.get_by_label("Text", exact=True).bounding_box()
    assert field is not None and field["width"] > 200, "wide enough for a caption"
    page.screenshot(path=pictures / f"trace-form-{width}.png")
