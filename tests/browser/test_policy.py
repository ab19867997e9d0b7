"""No page needs what the content policy forbids: every chart, font and picture comes from here."""

import pytest

from tests.browser.conftest import settle

pytestmark = pytest.mark.browser

PAGES = (
    *("", "transitions", "alignment", "dimensionality", "projection", "probes", "training"),
    *("compare", "study", "trace"),
)
HEARD = """
window.refused = [];
addEventListener('securitypolicyviolation', event => {
    refused.push(`${event.violatedDirective} ${event.blockedURI}`);
});
"""


def test_every_page_of_the_demo_is_drawn_and_within_the_policy(demo, open_at, pictures) -> None:
    page = open_at(demo, height=1600)
    page.add_init_script(HEARD)
    for name in PAGES:
        page.goto(f"{demo}/{name}")
        settle(page)
        if name != "trace":
            page.locator(".figure .main-svg").first.wait_for()
        page.screenshot(path=pictures / f"demo-{name or 'runs'}.png", full_page=True)
        assert page.evaluate("refused") == [], name


def test_a_script_that_slipped_in_would_not_run(demo, browser) -> None:
    page = browser.new_page()
    page.add_init_script(HEARD)
    page.goto(demo)
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), "
        "{textContent: 'window.ran = 1'}))"
    )
    assert page.evaluate("window.ran") is None
    assert "script-src" in page.evaluate("refused")[0]
    page.close()


def test_another_site_cannot_frame_a_page(demo, browser) -> None:
    page = browser.new_page()
    page.set_content(f"<iframe src='{demo}/' onload=\"window.loaded = 1\"></iframe>")
    page.wait_for_function("() => window.loaded")
    assert page.frames[1].url.startswith("chrome-error://")
    page.close()
