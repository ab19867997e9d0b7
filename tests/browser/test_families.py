"""Tiny models of real classes in a real browser: their charts, in both themes and two widths."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.conftest import serving, settle
from tests.paths.made import Made, make

pytestmark = pytest.mark.browser
STREAMS = {"clip": ("vision", "text"), "llava": ("vision", "image", "text")}
DRAWN = {
    "Transitions": ["heatmap"],
    "Alignment": ["matching", "retrieval-image_to_text", "retrieval-text_to_image", "heatmap"],
}
NOT_ASKED = ("clip", "Alignment")  # `fusionscope shared-space` was not run, and is named


@pytest.fixture(scope="module")
def made(browser, tmp_path_factory) -> Made:
    return make(tmp_path_factory.mktemp("families"), [*STREAMS], {})


@pytest.fixture(scope="module")
def families(made, tmp_path_factory) -> Iterator[str]:
    """A server on a CLIP and a LLaVA."""
    with serving(made.released, tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (820, "dark")])
@pytest.mark.parametrize("family", STREAMS)
def test_a_familys_charts_are_drawn_and_fit(
    families, made, open_at, pictures, family, width, scheme
):
    page = open_at(f"{families}/?runs={made.runs[family]}", width=width, height=2400, scheme=scheme)
    charts = page.locator(".figure")
    for title in ("Runs", *DRAWN):
        page.get_by_role("link", name=title).click()
        page.get_by_role("heading", name=title, exact=True).wait_for()
        charts.locator(".main-svg").first.wait_for()
        settle(page)
        page.screenshot(path=pictures / f"{family}-{title.lower()}-{scheme}-{width}.png")
        if title == "Runs":
            assert charts.count() == len(STREAMS)
            assert page.get_by_role("heading", name=f"tiny-{family}").count() == 1
        else:
            curves = [f"curve-{stream}" for stream in STREAMS[family]]
            keys = [*(curves if title == "Transitions" else ()), *DRAWN[title]]
            assert charts.count() == len(keys)
            for key in keys:
                assert page.locator(f".st-key-{key}").locator("path.js-line, .hm image").count()
        said = page.locator("[data-testid=stAlert]").all_inner_texts()
        lacking = ["no search and classes by layer"] if (family, title) == NOT_ASKED else []
        assert len(said) == len(lacking) and all(map(str.__contains__, said, lacking))
        main = page.locator("[data-testid=stMain]")
        assert main.evaluate("node => node.scrollWidth - node.clientWidth") <= 0
