"""The page Tokens: a picture is read, a patch chosen, and its words stand by layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from backend.capture.options import CaptureOptions
from backend.inference.image_words import image_words
from backend.inference.values import CONTEXT, INPUT, NEXT
from backend.jobs.capture import CaptureRequest, open_request, run_capture
from backend.models.registry import open_model
from backend.views import tokens as views
from tests.models.saved import save_tiny, tiny
from tests.pages.harness import charts, marks, open_page


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of a tiny LLaVA and of a CLIP, whose image tokens are among no words."""
    folder = tmp_path_factory.mktemp("tokens")
    for name in ("llava", "clip"):
        options = CaptureOptions(limit=6, device="cpu", with_checkpoint=True)
        request = CaptureRequest(
            model=str(save_tiny(folder / name, name)),
            data="macros:n=120",
            store=str(folder / "store"),
            run_id=name,
            options=options,
        )
        run_capture(request, open_request(request))
    return folder / "store"


def visit(monkeypatch: pytest.MonkeyPatch, path: Path) -> AppTest:
    return open_page(monkeypatch, path, "tokens")


def cell(at: AppTest, layer: int) -> str:
    """The first word of the chosen token at a layer."""
    return str(charts(at)["tokens-words"]["data"][0]["text"][0][layer])


def test_a_picture_is_read_and_the_words_of_a_patch_stand_by_layer(
    monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    at = visit(monkeypatch, path)
    assert not at.exception
    next(button for button in at.button if button.label == "Read").click()
    at.run()
    assert not at.exception and not at.error
    drawn = charts(at)
    assert set(drawn) == {"tokens-picture", "tokens-words"}
    grid = drawn["tokens-words"]
    depth = tiny("llava").adapter.stream("image").depth
    assert np.shape(grid["data"][0]["text"]) == (5, depth + 1)
    assert grid["layout"]["xaxis"]["title"]["text"].startswith("image layer")
    assert marks(at)["tokens-picture"], "the chosen patch is outlined"
    assert "@" in cell(at, 0), "words in a text say at which layer they are nearest"
    for reading in (NEXT, INPUT):
        at.get_by_key("tokens-reading").set_value(reading).run()
        assert not at.exception and "@" not in cell(at, 0)
    before = [cell(at, layer) for layer in range(depth + 1)]
    at.get_by_key("tokens-patch").set_value(0).run()
    assert [cell(at, layer) for layer in range(depth + 1)] != before
    next(button for button in at.button if button.label == "Forget my picture").click()
    at.run()
    assert not charts(at)


def test_a_model_without_image_tokens_among_words_says_so_in_a_line(
    monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    at = visit(monkeypatch, path)
    choice = at.get_by_key("view_model")
    at.get_by_key("view_model").set_value(
        next(key for key in choice.options if key == "clip")
    ).run()
    assert not at.exception
    assert any("put no image tokens among the words" in item.value for item in at.info)
    assert not [button for button in at.button if button.label == "Read"]


def test_cells_are_the_readings_of_a_token(path: Path) -> None:
    adapter = open_model(str(path / "runs/llava/checkpoint"))
    words = image_words(adapter, tiny("llava").samples[0], ("best day", "red pizza today"))
    for name, most in ((NEXT, 5), (INPUT, 5), (CONTEXT, 5)):
        table = views.cells(words, name, 2)
        assert table["rank"].max() <= most and set(table["layer"]) == {
            *range(words.stream.depth + 1)
        }
        first = table[table["rank"].eq(1)]
        reading = words.readings[name]
        assert first["score"].tolist() == pytest.approx(reading.scores[2, :, 0].tolist())
        assert first["word"].tolist() == [reading.said[k].strip() for k in reading.words[2, :, 0]]
    patches = views.patches(words, NEXT)
    assert list(patches.tokens) == list(range(len(words.tokens)))
    assert views.chosen_texts([str(at % 100) for at in range(1000)])[0] == "0"
    assert len(views.chosen_texts([str(at) for at in range(1000)])) == views.MOST_TEXTS
