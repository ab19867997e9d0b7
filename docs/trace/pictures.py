"""The pictures of docs/trace.md: ``PYTHONPATH=benchmarks uv run python docs/trace/pictures.py``.

An ironic macro is drawn on the Trace page of the demo, its caption is swapped, and the page is
pictured from the strip to the maps, for a model that fuses late, one that fuses early, and one that
never does. Prints what the page says of each.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import FloatRect, Page, sync_playwright
from watching import ROOT, WATCH, chromium, serving, waited_ms

HERE = Path(__file__).parent
PLACEMENTS = ("late", "early", "none")
WIDTH, HEIGHT = 1440, 2600
COLOURS = 128
PLACE = "element => element.getBoundingClientRect().toJSON()"


def traced(page: Page, address: str, placement: str) -> None:
    """Trace the macro with its caption swapped, on the first seed of a placement."""
    page.goto(f"{address}/trace?stream=vision")
    page.wait_for_function("bench.stands()", timeout=180_000)
    page.get_by_role("combobox", name="Model").click()
    page.get_by_role("option", name=re.compile(placement)).first.click()
    page.wait_for_timeout(1000)
    page.wait_for_function("bench.stands()")
    page.get_by_role("radiogroup", name="Pair").get_by_text("Draw one").click()
    page.get_by_role("combobox", name="Object").wait_for()
    page.wait_for_function("bench.stands()")
    if page.get_by_role("combobox", name="Cut the fusion").count():
        page.get_by_role("combobox", name="Cut the fusion").click()
        page.get_by_role("option", name="nowhere", exact=True).click()
    waited_ms(page, page.get_by_role("button", name="Swap the caption").click)


def picture(page: Page) -> Image.Image:
    """The page from the strip to the end of its first panel."""
    whole = page.get_by_test_id("stMainBlockContainer")
    strip, end = (
        page.get_by_role("slider").first,
        page.get_by_role("heading", name="What is looked"),
    )
    top, below, frame = (one.evaluate(PLACE) for one in (strip, end, whole))
    clip: FloatRect = {
        "x": frame["x"] + 20,
        "y": top["y"] - 12,
        "width": frame["width"] - 40,
        "height": below["y"] - top["y"] - 4,
    }
    return Image.open(io.BytesIO(page.screenshot(clip=clip)))


def main() -> None:
    """Write the pictures and print the sentences."""
    with serving(ROOT / "cache" / "demo") as (address, _), sync_playwright() as run:
        browser = run.chromium.launch(**chromium())
        page = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}).new_page()
        page.add_init_script(WATCH)
        for placement in PLACEMENTS:
            traced(page, address, placement)
            shown = picture(page).convert("RGB").quantize(COLOURS)
            shown.save(HERE / f"{placement}.png", optimize=True)
            (said,) = page.get_by_text(re.compile("parts from the pair")).all_inner_texts()
            table = page.locator(".st-key-trace-predictions-of-irony")
            table.scroll_into_view_if_needed()
            sys.stdout.write(f"{placement}: {said}\n{table.inner_text()}\n")
        browser.close()


if __name__ == "__main__":
    main()
