"""No page needs what the content policy forbids: every chart, font and picture comes from here."""

import pytest

from tests.browser.conftest import ROOT, serving

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


@pytest.fixture(scope="module")
def demo(browser, tmp_path_factory):
    with serving(ROOT / "cache" / "demo", tmp_path_factory.mktemp("policy")) as address:
        yield address


def test_pages_and_their_charts_are_within_the_policy(demo, browser) -> None:
    page = browser.new_page(viewport={"width": 1440, "height": 1600})
    page.add_init_script(HEARD)
    for name in PAGES:
        page.goto(f"{demo}/{name}")
        app = page.locator("[data-testid=stApp][data-test-script-state=notRunning]")
        app.wait_for(timeout=120_000)
        if name not in ("", "trace"):
            page.locator(".js-plotly-plot .main-svg").first.wait_for(timeout=60_000)
        assert page.evaluate("refused") == [], name
    # Another page's script, had one slipped in, would not run.
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
