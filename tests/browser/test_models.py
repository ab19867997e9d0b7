"""Released models in a real browser: a drawing, named sites, the chosen pair."""

import pytest

from tests.browser.conftest import serving, settle


@pytest.fixture(scope="module")
def models(browser, tmp_path_factory, store_factory):
    """A server on a store of models of one, two and three streams."""
    path = tmp_path_factory.mktemp("models") / "store"
    store_factory.make_released_store(path, n=60)
    with serving(path, tmp_path_factory.mktemp("server")) as url:
        yield url


def test_models_without_placements_are_drawn(models, open_at, pictures):
    page = open_at(models, height=1400)
    page.get_by_role("heading", name="tiny-two").wait_for()
    settle(page)
    assert page.get_by_text("Placements").count() == 0
    assert page.locator(".figure").count() == 3
    page.screenshot(path=pictures / "models-runs.png")


def test_the_chosen_pair_changes_the_address_and_the_chart(models, open_at, pictures):
    page = open_at(f"{models}/alignment?runs=tiny-three&pooling=mean")
    page.locator(".st-key-view_pair input").click()
    page.get_by_role("option", name="vision and text_decoder").click()
    page.wait_for_url(lambda url: "pair=vision" in url and "text_decoder" in url)
    settle(page)
    assert page.get_by_text("with its matching text_decoder layer").count() == 1
    page.screenshot(path=pictures / "models-pair.png")
