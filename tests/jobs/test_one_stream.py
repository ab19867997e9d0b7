"""Texts alone and images alone: captured, measured and shown, with one encoder."""

from __future__ import annotations

import pytest
from PIL import Image

from backend.capture.options import CaptureOptions
from backend.inference.models import Catalogue
from backend.jobs.capture import CaptureRequest, open_request, run_capture
from backend.jobs.measure import measure_store
from backend.jobs.project import project_run
from backend.models.encoders import Encoders
from backend.store import Store, verify
from tests.models.encoder_files import PIXELS, save_text, save_vision
from tests.pages.harness import open_page

PAGES = ("transitions", "alignment", "dimensionality", "projection", "compare", "study")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A run of texts and a run of images."""
    folder = tmp_path_factory.mktemp("one")
    words = ["cat", "dog", "cup", "pizza", "red", "blue", "green", "large"]
    texts, images = folder / "texts", folder / "images"
    for path in (texts, images):
        path.mkdir()
    rows = [f"{at},{words[at % 8]} and {words[at // 2 % 8]} {at}" for at in range(12)]
    (texts / "captions.csv").write_text("\n".join(["id,text", *rows]), encoding="utf-8")
    for at in range(12):
        Image.new("RGB", (24, 24), (20 * at, 200 - 10 * at, 90)).save(images / f"{at}.png")
    rows = [f"{at},{at}.png" for at in range(12)]
    (images / "captions.csv").write_text("\n".join(["id,image", *rows]), encoding="utf-8")
    named = {
        "texts": (texts, Encoders(str(save_text(folder / "bert")))),
        "images": (images, Encoders("", save_vision(folder / "vit.safetensors"), PIXELS)),
    }
    for run_id, (path, encoders) in named.items():
        request = CaptureRequest(
            model=encoders.word,
            data=f"folder:{path}",
            store=str(folder / "store"),
            run_id=run_id,
            options=CaptureOptions(split="all", device="cpu"),
        )
        run_capture(request, open_request(request))
    made = Store(folder / "store")
    measure_store(made, workers=1)
    for run in map(made.run, made.run_ids()):
        project_run(run, method="pca")
    return made


def test_a_run_of_one_stream_is_whole_and_measured(store: Store) -> None:
    assert verify(store) == []
    for run_id, stream in (("texts", "text"), ("images", "vision")):
        run = store.run(run_id)
        assert [spec.name for spec in run.streams] == [stream]
        assert run.manifest.dataset.n == 12
        rows = run.measures(["cka", "participation_ratio"])
        assert set(rows["stream_a"]) == {stream}
        assert len(rows[rows["measure"].eq("cka")])


def test_encoders_that_were_not_kept_are_captured_again_to_be_traced(store: Store) -> None:
    offers = Catalogue(store).offers()
    assert len(offers) == 2
    for offer in offers:
        assert "not kept" in offer.problem
        assert f"--run-id {offer.run_id} --replace --with-checkpoint" in offer.hint


@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_runs_with_one_stream_is_shown(
    store: Store, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = open_page(monkeypatch, store.path, page)
    assert not at.exception, at.exception[0].message
