"""Playing a training in a real browser: the curve moves, and holds still when told to."""

import pytest

from tests.browser.conftest import serving

pytestmark = pytest.mark.browser
EPOCHS = tuple((epoch, 10 * epoch) for epoch in range(5))

LINE = """() => [...document.querySelectorAll('.st-key-played .js-plotly-plot path.js-line')]
    .map(path => path.getAttribute('d')).join()"""
FIRST = """() => document.querySelector('.st-key-played .js-plotly-plot').calcdata
    .find(([{trace}]) => trace.name === 'early').at(-1).y"""
SHOWN = (
    """() => document.querySelector('.st-key-played .js-plotly-plot .slider-label').textContent"""
)


def test_play_moves_the_curve_and_pause_holds_it(
    browser, tmp_path, store_factory, open_at, pictures
):
    store_factory.make_store(
        tmp_path / "s", ("early", "late"), (0,), n=16, depth=4, width=6, poolings=("cls",),
        keep_activations="none", training=lambda *_: EPOCHS,
    )  # fmt: skip
    with serving(tmp_path / "s", tmp_path) as url:
        page = open_at(f"{url}/training?stream=text", height=1500)
        plot = page.locator(".st-key-played .js-plotly-plot")
        plot.locator(".slider-label").first.wait_for(timeout=60_000)
        last = page.evaluate(LINE)
        assert page.evaluate(SHOWN) == "epoch 4"
        page.screenshot(path=pictures / "training.png")
        plot.get_by_text("▶ Play").click()
        page.wait_for_function(f"() => ({SHOWN})() === 'epoch 1'")
        page.wait_for_function(f"before => ({LINE})() !== before", arg=last)
        plot.get_by_text("❚❚ Pause").click()
        page.wait_for_timeout(1200)  # a frame that was under way may still be drawn
        held, moved = page.evaluate(SHOWN), page.evaluate(LINE)
        page.wait_for_timeout(1200)
        assert (page.evaluate(SHOWN), page.evaluate(LINE)) == (held, moved)
        page.screenshot(path=pictures / "training-played.png")
        page.locator(".st-key-played .figure").focus()
        for key, step in (("Home", "epoch 0"), ("ArrowRight", "epoch 1")):
            page.keyboard.press(key)
            page.wait_for_function(f"step => ({SHOWN})() === step", arg=step)
        shown = page.evaluate(FIRST)
        page.locator(".st-key-played").get_by_role("button", name="Table").click()
        table = page.locator(".st-key-played table").first
        assert table.locator("tbody tr").last.locator("td").first.inner_text() == f"{shown:.3f}"
        page.locator(".st-key-played .figure-note").get_by_text("epoch 1", exact=True).wait_for()
        page.context.close()
