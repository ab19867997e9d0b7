"""The Trace page on a tiny model of every kind, served from a directory, and of a run."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

from backend.data.macros.draw import draw
from backend.data.macros.grammar import compose
from backend.data.sample import Sample
from backend.inference.models import Catalogue, named_models
from backend.store import Store
from dashboard.trace import jobs
from tests.models.saved import save_tiny, tiny
from tests.pages.harness import alts, charts, open_trace, tables
from tests.paths.made import MACROS, command
from tests.tiny import tiny_checkpoint

CAPTION = "worst day ever a cat and a thing"
CURVES = ("norm", "step", "angle")
OURS = "ours"
REGIONS = "regions that a detector found"
OF_NO_PICTURE = {"lxmert": REGIONS, "visual_bert": REGIONS, "whisper": "a recording"}
OF_PICTURES = (
    *("clip", "side_by_side", "vilt", "florence2", "stable_diffusion_3", "llava"),
    *("blip2", "idefics", "qwen2_vl", "mllama", "captioner"),
)
"""One of each kind; that every family's trace holds what it has is asserted in test_tracing."""
APART = {"clip", "side_by_side"}
FUSING = {*OF_PICTURES, OURS} - APART
GOING_ON = FUSING - {"vilt", "stable_diffusion_3", OURS}

Trace = Callable[..., AppTest]


@dataclass(frozen=True)
class Served:
    """A directory of checkpoints, and a store with a run of the tiny CLIP's ``mean`` vectors."""

    models: Path
    store: Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A tiny model of every kind, and our own."""
    folder = tmp_path_factory.mktemp("served")
    models = folder / "models"
    for family in (*OF_PICTURES, *OF_NO_PICTURE):
        save_tiny(models / family, family)
    tiny_checkpoint(models / OURS, (4,), (4,))
    return Served(models, captured(folder / "store", models / "clip", "--pooling", "mean"))


@pytest.fixture
def trace(served: Served, monkeypatch: pytest.MonkeyPatch) -> Trace:
    """Uploads a picture, types a caption and presses Trace."""

    def go(label: str, store: Path = served.store) -> AppTest:
        monkeypatch.setattr(sys, "argv", ["app.py", "--models", str(served.models)])
        offers = Catalogue(Store(store), named_models()).offers()
        model = next(one.key for one in offers if one.label.endswith(label))
        at = open_trace(monkeypatch, store, model=model)
        at.get_by_key("trace-source").set_value("Upload").run()
        at.file_uploader[0].set_value(("a.png", png(), "image/png")).run()
        next(field for field in at.text_input if field.label == "Text").set_value(CAPTION)
        next(button for button in at.button if button.label == "Trace").click()
        at.run()
        assert not at.exception
        return at

    return go


def captured(store: Path, model: Path, *flags: str) -> Path:
    command(*("capture", "--model", model, "--data", MACROS, "--store", store), *flags)
    return store


def picture() -> Image.Image:
    return draw(compose(happy_face=True, cheerful_caption=False, thing="fish"))


def png() -> bytes:
    file = io.BytesIO()
    picture().save(file, "PNG")
    return file.getvalue()


def said(at: AppTest) -> str:
    return "\n".join(item.value for item in at.caption).replace("\\", "").replace("\u2060", "")


def commands(at: AppTest) -> list[str]:
    return [item.value for item in at.code if item.value.startswith("fusionscope ")]


def next_words(at: AppTest) -> list[list[str]]:
    """The table of next words, its first column the layer; none without one."""
    return tables(at).get("trace-next-words-by-layer", [[]])[1:]


@pytest.mark.parametrize("family", [*OF_PICTURES, OURS])
def test_a_picture_is_traced_through_every_kind_of_model(served: Served, trace: Trace, family: str):
    at = trace(f"models/{family}")
    assert not at.error, [item.value for item in at.error]
    assert [header.value for header in at.header] == [
        "What is looked at",
        "Where it stands",
        "What the model believes",
    ]
    assert any(element.key == "trace-strip" for element in at.get("bidi_component"))
    stream = at.get_by_key("view_stream").value
    figures = charts(at)
    for curve in CURVES:
        lines = [line for line in figures[f"trace-{stream}-{curve}"]["data"] if line.get("name")]
        assert lines, "the pair"
        assert "band" not in alts(at)[f"trace-{stream}-{curve}"]
    assert ("trace-where-attention-goes" in figures) == (family in FUSING)
    assert bool(next_words(at)) == (family in GOING_ON)
    shown = said(at)
    assert shown.count("Not shown") == 1
    assert ("next words (" in shown) == (family not in GOING_ON)
    assert ("outputs (" in shown) == (family != OURS)
    assert ("without fusion (" in shown) == (family not in FUSING)
    assert ("without fusion parts from the pair" in shown) == (family in FUSING)
    assert commands(at)[0].split()[:2] == ["fusionscope", "capture"]


def test_the_last_layers_next_words_are_the_models_own(served: Served, trace: Trace):
    *_, last = next_words(trace("models/llava"))
    adapter = tiny("llava").adapter
    tensors = adapter.encode([Sample(CAPTION, (picture(),))]).tensors
    with torch.inference_mode():
        chances = adapter.module(**tensors).logits[0, -1].softmax(dim=0)
    five = chances.topk(5)
    words = [adapter.tokenizer.decode([token]) for token in five.indices.tolist()]
    assert [cell.replace("\\", "") for cell in last[1:]] == [
        f"{word} {100 * chance:.0f} %"
        for word, chance in zip(words, five.values.tolist(), strict=True)
    ]


@pytest.mark.parametrize("family", OF_NO_PICTURE)
def test_a_model_of_more_than_pictures_says_why_and_what_shows_it(trace: Trace, family: str):
    at = trace(f"models/{family}")
    (error,) = at.error
    assert OF_NO_PICTURE[family] in error.value
    assert "Capture shows its layers" in error.value
    assert not at.header


def test_a_runs_pair_begins_with_the_vectors_that_the_run_keeps(served: Served, trace: Trace):
    (run,) = Store(served.store).run_ids()
    at = trace(run)
    assert not at.error
    assert at.get_by_key("view_pooling").value == "mean"
    assert "Neighbours" in [header.value for header in at.header]
    assert "on the band of the reference pairs" in alts(at)["trace-vision-norm"]
    assert [line.split()[1] for line in commands(at)] == ["project", "measure"]
    at.get_by_key("view_pooling").set_value("cls").run()
    assert "keeps no cls vectors" in said(at)
    assert "--pooling cls,mean" in commands(at)[0]
    assert "Neighbours" not in [header.value for header in at.header]


def test_a_stream_that_has_no_maps_under_the_pooling_that_is_shown_is_named(
    served: Served, trace: Trace, tmp_path: Path
):
    model = served.models / "stable_diffusion_3"
    store = captured(tmp_path / "store", model, "--pooling", "cls,mean", "--limit", "16")
    command("project", "--store", store, "--method", "pca")
    at = trace(*Store(store).run_ids(), store)
    assert "Not drawn: pooled. The run keeps no maps of it by the pooling that is shown" in said(at)


def test_a_run_without_vectors_is_traced_without_bands_and_says_what_makes_them(
    served: Served, trace: Trace, tmp_path: Path
):
    store = captured(tmp_path / "store", served.models / "clip", "--streaming")
    (run,) = Store(store).run_ids()
    at = trace(run, store)
    assert not at.error
    (line,) = commands(at)
    assert line.startswith("fusionscope capture") and "--streaming" not in line
    assert "neither probes nor the vectors" in said(at)
    assert "band" not in alts(at)["trace-vision-norm"]


def test_no_request_is_handed_on_while_what_models_need_is_imported(monkeypatch):
    handed = []
    service = SimpleNamespace(submit=handed.append)
    monkeypatch.setattr(jobs, "_service", lambda _catalogue: service)
    monkeypatch.setattr(jobs, "catalogue", lambda _store: None)
    asking = threading.Thread(target=jobs.submit, args=(None, "request", print))
    with jobs._LOADING:
        asking.start()
        asking.join(0.2)
        assert not handed
    asking.join()
    assert handed == ["request"]


def test_a_run_whose_classes_are_too_small_for_probes_says_so(
    served: Served, trace: Trace, tmp_path: Path
) -> None:
    """And does not name the command that was run already."""
    store = captured(tmp_path / "few", served.models / "clip", "--limit", "4")
    command("measure", "--store", store)
    at = trace(*Store(store).run_ids(), store)
    assert "No probe could be fitted on this run's labels" in said(at)
    assert not any(line.startswith("fusionscope measure") for line in commands(at))
