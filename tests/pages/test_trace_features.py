"""The features of a traced pair on the page: read when asked for, only where there are any."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from backend.inference.models import Catalogue
from backend.store import Store
from backend.store.kinds import SAE
from dashboard.trace import jobs
from tests.models.saved import save_tiny
from tests.pages.harness import APP, charts, open_trace, steps
from tests.paths.made import MACROS, command
from tests.sae.saved import save_sae, save_saes
from tests.sae.test_reading import LAYERS

Visit = Callable[..., AppTest]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of a tiny LLaVA, read by autoencoders, of the same one unread, and of a tiny CLIP."""
    folder = tmp_path_factory.mktemp("made")
    for name, family in (("read", "llava"), ("unread", "llava"), ("apart", "clip")):
        model = folder / family
        if not model.is_dir():
            save_tiny(model, family)
        command(
            *("capture", "--model", model, "--data", MACROS, "--split", "test", "--device", "cpu"),
            *("--store", folder / "store", "--run-id", name, "--with-checkpoint"),
        )
    save_saes(folder / "saes", LAYERS)
    command(
        *("read-saes", "--store", folder / "store", "--run", "read", "--data", MACROS),
        *("--saes", folder / "saes", "--samples", 8, "--loss-samples", 4, "--device", "cpu"),
    )
    return folder


@pytest.fixture
def visit(made: Path, monkeypatch: pytest.MonkeyPatch) -> Visit:
    """Traces a pair of the store through a run's model."""

    def go(run: str, *words: str) -> AppTest:
        monkeypatch.setattr(sys, "argv", ["app.py", *words])
        jobs._catalogue.cache_clear()  # of a server whose words stay the same
        key = Catalogue(Store(made / "store")).run(run).key
        at = open_trace(monkeypatch, made / "store", model=key)
        next(button for button in at.button if button.label == "Trace").click()
        at.run()
        assert not at.exception and not at.error
        return at

    return go


def headers(at: AppTest) -> list[str]:
    return [header.value for header in at.header]


def commands(at: AppTest) -> list[str]:
    return [code.value for code in at.code if code.value.startswith("fusionscope ")]


def marked(at: AppTest) -> set[float]:
    """The left edge of the cell that is outlined, wherever the strip stands."""
    return {step["marks"][0]["x0"] for step in steps(at)["trace-features"].values()}


def test_without_autoencoders_there_is_no_panel_or_one_command(visit: Visit, made: Path) -> None:
    assert "Features" not in headers(visit("apart", "--saes", str(made / "saes")))
    at = visit("unread", "--saes", str(made / "saes"))
    assert "Features" in headers(at)
    assert [line for line in commands(at) if "read-saes" in line] == [
        f"fusionscope read-saes --store {made / 'store'} --run unread --data {MACROS} --saes DIR"
    ]
    at = visit("read")
    assert [line for line in commands(at) if "--saes" in line] == [
        f"fusionscope serve --store {made / 'store'} --saes DIR"
    ]


def test_the_page_offers_to_read_only_what_can_be_read(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("unread", "apart"):
        shutil.copytree(made / "store" / "runs" / name, tmp_path / "runs" / name)
    monkeypatch.setenv("FUSIONSCOPE_STORE", str(tmp_path))
    at = AppTest.from_file(str(APP), default_timeout=120).run()
    at.switch_page("pages/sae.py").run()
    assert not at.exception
    assert commands(at) == [
        f"fusionscope read-saes --store {tmp_path} --run unread --data {MACROS} --saes DIR"
    ]


def test_the_strongest_features_are_shown_and_a_chosen_one_in_picture_and_words(
    visit: Visit, made: Path
) -> None:
    at = visit("read", "--saes", str(made / "saes"))
    assert "trace-features" not in charts(at), "it is not read unasked"
    next(button for button in at.button if button.label == "Read its features").click()
    at.run()
    assert not at.exception and not at.error
    (grid,) = charts(at)["trace-features"]["data"]
    numbers = [hover.split("feature ")[1].split("<")[0] for hover in grid["hovertext"][0]]
    assert grid["text"][0] == [f"#{number}" for number in numbers]
    assert charts(at)["trace-features"]["layout"]["xaxis"]["ticktext"] == ["1", "3"]
    picker = at.selectbox(key="trace-image-feature")
    assert picker.value.startswith("layer 3 · #")
    assert marked(at) == {0.5}, "the second column"
    picture = charts(at)["trace-feature-in-the-picture"]
    assert picture["layout"]["shapes"][-1]["label"]["text"].startswith("reddest: ")
    assert any("Samples of the run" in text.value for text in at.markdown)
    picker.set_value(picker.options[0]).run()
    assert marked(at) == {-0.5}
    at.get_by_key("trace-lit-tokens").set_value("text").run()
    words = charts(at)["trace-feature-in-the-text"]["data"][0]["meta"]["x"]
    assert words and not at.exception


def test_autoencoders_that_are_not_those_of_the_reading_are_said(
    visit: Visit, made: Path, tmp_path: Path
) -> None:
    save_sae(tmp_path / "saes" / "text-1", 1, seed=7)
    at = visit("read", "--saes", str(tmp_path / "saes"))
    next(button for button in at.button if button.label == "Read its features").click()
    at.run()
    assert not at.exception
    (error,) = at.error
    assert "layers 1 and 3" in error.value and str(tmp_path) not in error.value
    assert Store(made / "store").run("read").keys(SAE)
