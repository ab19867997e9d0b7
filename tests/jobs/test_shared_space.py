"""`fusionscope shared-space`: what a contrastive model says of a run, kept in it; bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.nn.functional import normalize

from backend.capture.options import CaptureOptions
from backend.data.registry import open_source
from backend.errors import InputError
from backend.jobs.capture import CaptureRequest, open_request, run_capture
from backend.jobs.shared_space import SharedSpaceOptions, add_shared_space, shared_space_key
from backend.measures.core.groups import half_of_groups
from backend.models.registry import open_model
from backend.store import Run, Store, kinds
from backend.store.tables import to_pandas
from backend.store.verify import verify
from tests.command_line import runner
from tests.models.saved import save_tiny
from tests.tiny import tiny_checkpoint

DATA = "macros:n=120"


def knows_the_classes(model: Path) -> None:
    """Words of a tiny vocabulary become names of classes, which would be unknown, all alike."""
    file = model / "tokenizer.json"
    told = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = told["model"]["vocab"]
    names = {name for task in open_source(DATA).tasks.values() for name in task.classes}
    kept = names | {"a", "photo", "of"}
    free = [word for word in vocabulary if word.isalpha() and word not in kept]
    for name, word in zip(sorted(names - vocabulary.keys()), free, strict=False):
        vocabulary[name] = vocabulary.pop(word)
    assert names <= vocabulary.keys()
    file.write_text(json.dumps(told), encoding="utf-8")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of a run of a tiny CLIP, and one of a model of ours."""
    folder = tmp_path_factory.mktemp("shared")
    models = {"clip": save_tiny(folder / "clip"), "fused": tiny_checkpoint(folder / "fused")}
    knows_the_classes(models["clip"])
    for name, model in models.items():
        options = CaptureOptions(limit=30, device="cpu", batch_size=7)
        request = CaptureRequest(
            model=str(model), data=DATA, store=str(folder / "store"), run_id=name, options=options
        )
        run_capture(request, open_request(request))
    return folder / "store"


@pytest.fixture(scope="module")
def run(path: Path) -> Run:
    asked = Store(path).run("clip")
    add_shared_space(asked, SharedSpaceOptions(device="cpu", batch_size=8))
    return asked


def test_at_the_last_layers_it_is_what_the_model_says_of_the_held_out_half(run: Run) -> None:
    rows = to_pandas(run.table(kinds.SHARED_SPACE))
    model = open_model(run.manifest.origin.model)
    source = open_source(DATA)
    by_id = {pair.record.sample_id: pair for pair in source.pairs("test")}
    samples = [by_id[sample_id].sample for sample_id in run.sample_ids()]
    gallery, _ = half_of_groups(None if run.groups() is None else run.groups(), 30, 0)
    chosen = [samples[at] for at in gallery]
    with torch.inference_mode():
        logits = model.forward(model.encode(chosen))["logits_per_image"]
    depth = {spec.name: spec.depth for spec in run.streams}
    last = rows[rows["layer_a"].eq(depth["vision"]) & rows["layer_b"].eq(depth["text"])]
    last = last[last["stream_b"].eq("text") & last["space"].eq("own")]
    ranks = 1 + (logits > logits.diag()[:, None]).sum(dim=1).numpy()
    for k in (1, 5, 10):
        found = last[last["measure"].eq(f"recall_at_{k}") & last["estimator"].eq("image_to_text")]
        assert found["value"].item() == pytest.approx((ranks <= k).mean())
    median = last[last["measure"].eq("median_rank") & last["estimator"].eq("image_to_text")]
    assert median["value"].item() == np.median(ranks)
    clip = model.module
    with torch.inference_mode():
        inputs = model.encode(chosen).tensors
        image = normalize(clip.get_image_features(inputs["pixel_values"]).pooler_output, dim=-1)
        for task, labels in run.labels().items():
            ids = model.tokenizer(
                [f"a photo of {name}." for name in task.classes], padding=True, return_tensors="pt"
            )
            text = normalize(
                clip.get_text_features(ids["input_ids"], ids["attention_mask"]).pooler_output,
                dim=-1,
            )
            cosines = (image @ text.T).numpy()
            found = last[last["measure"].eq("zero_shot") & last["estimator"].eq(task.name)]
            if task.kind == "multiclass":
                expected = (cosines.argmax(axis=1) == labels[gallery]).mean()
            elif task.kind == "binary":
                expected = roc_auc_score(labels[gallery], cosines[:, 1] - cosines[:, 0])
            else:
                truth = labels[gallery]
                mixed = [c for c in range(truth.shape[1]) if len({*truth[:, c]}) == 2]
                expected = roc_auc_score(truth[:, mixed], cosines[:, mixed])
            assert found["value"].item() == pytest.approx(expected), task.name


def test_the_rows_are_sound_and_are_not_made_twice(run: Run, path: Path) -> None:
    assert not verify(Store(path))
    assert add_shared_space(run, SharedSpaceOptions(device="cpu")) == ""
    assert run.keys(kinds.SHARED_SPACE) == (shared_space_key(("a photo of {class}.",)),)
    rows = to_pandas(run.table(kinds.SHARED_SPACE))
    assert {(s, m) for s, m in zip(rows["space"], rows["measure"], strict=True)} >= {
        ("own", "recall_at_1"), ("fitted", "recall_at_1"), ("own", "zero_shot"),
        ("fitted", "zero_shot"), ("own", "modality_gap"), ("own", "uniformity"),
    }  # fmt: skip
    # The summary token of layer 0 has not seen the image yet: no map can be fitted to it.
    first = rows[rows["layer_a"].eq(0) & rows["stream_a"].eq("vision") & rows["space"].eq("fitted")]
    assert first["reason"].str.contains("fitted_on_constant").all()


def test_what_cannot_be_asked_is_one_line(path: Path, tmp_path: Path) -> None:
    clip, fused = (Store(path).run(name) for name in ("clip", "fused"))
    other = SharedSpaceOptions(templates=("a picture of {class}",))
    siglip = str(save_tiny(tmp_path / "siglip", "siglip"))
    for run, options, said in (
        (clip, SharedSpaceOptions(templates=("a photo",)), "'a photo' has no place for the class"),
        (clip, SharedSpaceOptions(templates=("{class}", "{class}")), "is given twice"),
        (clip, SharedSpaceOptions(templates=()), "no prompt was given"),
        (fused, other, "fusionscope-fusion models have no space of their own"),
        (clip, SharedSpaceOptions(**vars(other) | {"data": "macros:n=120,seed=5"}), "it lacks"),
        (clip, SharedSpaceOptions(**vars(other) | {"model": siglip}), "the checkpoint is another"),
    ):
        with pytest.raises(InputError, match=said):
            add_shared_space(run, options)


def test_the_command_prints_a_table_and_names_the_runs_that_failed(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = runner(monkeypatch, capsys)
    words = ("shared-space", "--store", path, "--device", "cpu")
    code, out, err = command(*words)
    assert code == 2 and "1 of 2 could not be done" in err
    assert "fused" in err and "no space of their own" in err
    assert "clip: if the image stopped at a layer" in out
    assert all(word in " ".join(out.split()) for word in ("zero-shot", "R@5", "chance 0."))
    code, _, err = command(*words, "--prompt", "a photo")
    assert code == 2 and "Write {class} where its name goes" in err
