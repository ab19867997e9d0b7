"""Importing the thesis code's checkpoints: the same logits, and nothing else gets in."""

from __future__ import annotations

import json
import os
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from backend.capture.sinks import PooledSink
from backend.capture.tap import Tap
from backend.cli import main
from backend.errors import InputError
from backend.models.dual_stream.adapter import DualStream
from backend.models.dual_stream.preprocess import train_tokenizer
from backend.models.imports.registry import import_checkpoint
from backend.models.registry import open_model
from backend.store import Store
from tests.models.thesis_file import Thesis

TEXTS = ["best day ever me today the pizza and a cup", "i hate it the cat and a thing"]
TASKS = {"fc": "hateful", "fc_imdb": "genres", "fc_upmc": "dish", "fc_vqa": "answer"}


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    train_tokenizer(TEXTS, 64).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def vocabulary(words: Path) -> int:
    return len(json.loads((words / "tokenizer.json").read_text())["model"]["vocab"])


@pytest.fixture
def thesis(vocabulary: int) -> Thesis:
    return Thesis(vocabulary)


@pytest.fixture
def refused(words: Path, tmp_path: Path) -> Callable[[Path], str]:
    def call(file: Path) -> str:
        before = sorted(tmp_path.iterdir())
        with pytest.raises(InputError) as caught:
            import_checkpoint(file, form="thesis", out=tmp_path / "out", tokenizer=str(words))
        assert sorted(tmp_path.iterdir()) == before
        message = str(caught.value)
        assert "\n" not in message and file.name in message
        return message

    return call


def batch(vocabulary: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    mask = torch.ones(4, 7, dtype=torch.long)
    for row in range(4):
        mask[row, 3 + row :] = 0
    return {
        "input_ids": torch.randint(5, vocabulary, (4, 7), generator=generator) * mask,
        "attention_mask": mask,
        "pixel_values": torch.randn(4, 3, 16, 16, generator=generator),
    }


def run(
    folder: str, tensors: dict[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], dict[tuple[str, int], torch.Tensor]]:
    """Logits by task, and the CLS of every block by stream and layer."""
    adapter = open_model(folder)
    assert isinstance(adapter, DualStream)
    sink = PooledSink(("cls",))
    with Tap(adapter, sink) as tap:
        logits = tap(adapter.inputs(tensors))
    layers = {
        (ref.stream, ref.layer): torch.from_numpy(vectors)
        for (ref, _), vectors in sink.vectors().items()
        if ref.site == "block"
    }
    return logits, layers


def test_a_checkpoint_that_the_published_code_wrote_gives_what_that_code_computes(
    shared_dir: Path, tmp_path: Path
) -> None:
    folder = shared_dir / "reference" / "thesis_small"
    made = import_checkpoint(
        folder / "thesis_small.pt", form="thesis", out=tmp_path / "out", tokenizer=str(folder)
    )
    expected = load_file(folder / "thesis_small_expected.safetensors")
    names = ("input_ids", "attention_mask", "pixel_values")
    logits, layers = run(str(made.folder), {name: expected[name] for name in names})
    for name, values in logits.items():
        theirs = expected[f"logits_{name}"]
        torch.testing.assert_close(values, theirs.view_as(values), rtol=0, atol=1e-5)
    assert logits
    for stream in ("text", "vision"):
        for k in range(1, 13):
            theirs = expected[f"{stream}_cls_layer_{k}"]
            torch.testing.assert_close(layers[stream, k], theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
@pytest.mark.parametrize(
    "heads", [("fc", "fc_imdb", "fc_upmc"), ("fc_imdb",), ("fc", "fc_vqa"), ()]
)
def test_the_imported_model_gives_the_logits_of_the_forward_pass_described(
    words: Path, vocabulary: int, tmp_path: Path, heads: tuple[str, ...], prefix: str
) -> None:
    thesis = Thesis(vocabulary, heads)
    inputs = batch(vocabulary)
    with torch.inference_mode():
        expected = thesis.logits(*inputs.values())
    thesis.state = {prefix + name: value for name, value in thesis.state.items()}
    file = thesis.save(tmp_path / "best.pt")
    before = torch.serialization.get_safe_globals()
    made = import_checkpoint(file, form="thesis", out=tmp_path / "out", tokenizer=str(words))
    found, layers = run(str(made.folder), inputs)
    assert set(found) == {TASKS[head] for head in heads}
    for head in heads:
        torch.testing.assert_close(found[TASKS[head]], expected[head], rtol=0, atol=1e-5)
    for (stream, k), cls in thesis.cls.items():
        torch.testing.assert_close(layers[stream, k], cls, rtol=0, atol=1e-5)
    assert len(thesis.cls) == 6
    assert "task" not in sys.modules
    assert set(torch.serialization.get_safe_globals()) == set(before)


def test_ids_from_0_become_layers_from_1_and_the_rest_of_the_config_is_kept(
    words: Path, thesis: Thesis, tmp_path: Path
) -> None:
    file = thesis.save(tmp_path / "best.pt")
    made = import_checkpoint(file, form="thesis", out=tmp_path / "out", tokenizer=str(words))
    loaded = open_model(str(made.folder))
    assert loaded.placement is not None
    assert loaded.placement.pairs == ((2, 1), (3, 3))
    assert loaded.seed == 1567
    kinds = {task.name: (task.kind, len(task.classes)) for task in loaded.tasks}
    assert kinds == {
        "hateful": ("binary", 2),
        "genres": ("multilabel", 23),
        "dish": ("multiclass", 101),
    }
    config = json.loads((made.folder / "config.json").read_text())
    assert config["image"] == {"size": 16, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    assert config["head"] == {"width": 12, "dropout": 0.08, "final_norm": False}
    assert config["trained_on"]["imported"] == {
        "format": "thesis",
        "file": "best.pt",
        "pretraining_tasks": ["MASKED_LM", "ALIGNMENT_PREDICTION"],
        "epochs": 15,
        "learning_rate": 4e-5,
        "batch_size": 32,
        "depth": 4,
    }
    for saved in made.folder.glob("*.json"):  # of this machine nothing is kept
        assert not {str(tmp_path), str(words)} & set(saved.read_text().split('"'))
    names = {name.split(".")[0] for name in made.left_out}
    assert names == {"bert", "vision_embeddings", "c_layers", "alignment_fc", "mlm"}


def test_the_command_makes_a_checkpoint_that_capture_takes(
    words: Path, thesis: Thesis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fusionscope", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    file, out = thesis.save(tmp_path / "best.pt"), tmp_path / "new" / "out"
    code, _, err = run("import-checkpoint", file, "--format", "thesis", "--out", out)
    assert code == 2 and "--tokenizer" in err and "bert-base-uncased" in err
    assert not out.parent.exists()
    words_given = ("--tokenizer", words)
    code, said, err = run(
        *("import-checkpoint", file, "--format", "thesis", "--out", out), *words_given
    )
    assert code == 0, err
    assert "placement t2,3-v1,3" in said and "hateful (binary)" in said
    code, _, err = run(
        *("capture", "--model", out, "--data", "macros:test=6", "--store", tmp_path / "store"),
        *("--run-id", "thesis"),
    )
    assert code == 0, err
    captured = Store(tmp_path / "store").run("thesis")
    assert captured.vectors("text", "2.fusion").shape == (6, 16)
    code, _, err = run("import-checkpoint", file, "--out", out, *words_given)
    assert code == 2 and "already exists" in err
    code, _, err = run("import-checkpoint", file, "--out", tmp_path / "x", "--format", "other")
    assert code == 2 and "Known: thesis" in err


def test_tensors_that_no_pass_reads_may_be_there_or_not(
    words: Path, thesis: Thesis, tmp_path: Path
) -> None:
    for name in ("bert.embeddings.position_ids", "bert_embeddings.position_ids"):
        thesis.state[name] = torch.arange(32)[None]  # older versions of transformers
    options: dict[str, Any] = {"form": "thesis", "tokenizer": str(words)}
    import_checkpoint(thesis.save(tmp_path / "a.pt"), out=tmp_path / "a", **options)
    unread = ("bert_", "alignment_fc", "mlm", "bert.pooler", "vision_embeddings")
    thesis.state = {k: v for k, v in thesis.state.items() if not k.startswith(unread)}
    import_checkpoint(thesis.save(tmp_path / "b.pt"), out=tmp_path / "b", **options)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]


# What is not of the format


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/fusionscope-was-here",)


def test_a_class_that_is_not_the_one_is_named_and_nothing_of_it_runs(
    thesis: Thesis, tmp_path: Path, refused: Callable[[Path], str]
) -> None:
    ran = Path("/tmp/fusionscope-was-here")  # noqa: S108
    ran.unlink(missing_ok=True)
    thesis.config["callback"] = Evil()
    message = refused(thesis.save(tmp_path / "a.pt"))
    assert "holds pickled classes or functions that are not read: posix.system" in message
    for protocol in (2, 4):
        bare = tmp_path / f"bare{protocol}.pt"
        bare.write_bytes(pickle.dumps({"model_state_dict": Evil()}, protocol))
        message = refused(bare)
        assert "posix.system" in message and "bare pickle" in message
    assert not ran.exists()


def test_an_optimizer_and_unknown_classes_in_the_config_are_named(
    thesis: Thesis, tmp_path: Path, refused: Callable[[Path], str]
) -> None:
    message = refused(thesis.save(tmp_path / "a.pt", optimizer={"lr": 1}, epoch=3))
    assert "optimizer, epoch" in message
    thesis.config["paths"] = [Path("/home/somebody")]
    assert "pathlib.PosixPath" in refused(thesis.save(tmp_path / "b.pt"))
    thesis.config["paths"] = torch.ones(2)
    assert "config paths" in refused(thesis.save(tmp_path / "c.pt"))
    thesis.config["paths"] = endless = []
    endless.append(endless)
    assert "config paths" in refused(thesis.save(tmp_path / "d.pt"))


def test_a_file_that_is_none_is_refused_in_one_line(
    thesis: Thesis, tmp_path: Path, refused: Callable[[Path], str]
) -> None:
    whole = thesis.save(tmp_path / "whole.pt").read_bytes()
    for name, content, said in (
        ("cut.pt", whole[: len(whole) // 2], "cut off or damaged"),
        ("cut-end.pt", whole[:-10], "cut off or damaged"),
        ("start.pt", whole[:2], "cut off or damaged"),
        ("empty.pt", b"", "is empty"),
        ("text.pt", b"not a checkpoint", "not a file of torch.save"),
        ("pickle.pt", pickle.dumps([1, 2]), "bare pickle"),
        ("half-pickle.pt", pickle.dumps([1, 2])[:-1], "damaged pickle"),
    ):
        (tmp_path / name).write_bytes(content)
        assert said in refused(tmp_path / name), name
    assert "cannot be read" in refused(tmp_path / "nowhere.pt")
    assert "cannot be read" in refused(tmp_path)
    with zipfile.ZipFile(tmp_path / "zip.pt", "w") as archive:
        archive.writestr("word/document.xml", "hello")
    assert "not one of torch.save" in refused(tmp_path / "zip.pt")
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    assert "model_state_dict" in refused(tmp_path / "other.pt")
    torch.save([1], tmp_path / "list.pt")
    assert "model_state_dict" in refused(tmp_path / "list.pt")


def test_a_repacked_archive_is_refused_before_it_is_unpacked(
    thesis: Thesis, tmp_path: Path, refused: Callable[[Path], str]
) -> None:
    whole = thesis.save(tmp_path / "whole.pt")
    with (
        zipfile.ZipFile(whole) as old,
        zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert "not packed as torch.save" in refused(tmp_path / "packed.pt")


def test_tensors_that_are_missing_or_unexpected_are_named_a_few_and_counted(
    thesis: Thesis, tmp_path: Path, refused: Callable[[Path], str]
) -> None:
    for i in range(8):
        thesis.state[f"extra.{i}"] = torch.ones(1)
    message = refused(thesis.save(tmp_path / "a.pt"))
    assert "no place for: extra.0, extra.1, extra.2 and 5 more" in message
    thesis.state = {k: v for k, v in thesis.state.items() if not k.startswith("extra")}
    del thesis.state["c_layers.1.output.norm_text.bias"]
    del thesis.state["fc.3.weight"]
    message = refused(thesis.save(tmp_path / "b.pt"))
    assert "lack what a model of the thesis needs: " in message
    assert "c_layers.1.output.norm_text.bias" in message and "fc.3.weight" in message


@pytest.mark.parametrize(
    "key",
    [
        "vit.pos_embed",
        "bert.encoder.layer.2.output.dense.weight",
        "c_layers.0.cross_attention.value2.weight",
        "fc_imdb.0.bias",
    ],
)
def test_every_kind_of_tensor_must_be_there_with_its_shape(
    thesis: Thesis, tmp_path: Path, refused: Callable[[Path], str], key: str
) -> None:
    good = thesis.state[key]
    thesis.state[key] = torch.cat([good, good])
    message = refused(thesis.save(tmp_path / "a.pt"))
    assert f"{key} (" in message and "in the model)" in message
    thesis.state[key] = good.long()
    assert key in refused(thesis.save(tmp_path / "b.pt"))
    thesis.state[key] = torch.full_like(good, float("nan"))
    assert key in refused(thesis.save(tmp_path / "c.pt"))
    del thesis.state[key]
    assert f"lack what a model of the thesis needs: {key}" in refused(
        thesis.save(tmp_path / "d.pt")
    )


def test_what_is_stored_twice_must_be_equal(
    thesis: Thesis, tmp_path: Path, refused: Callable[[Path], str]
) -> None:
    key = "bert_layers.1.attention.self.query.weight"
    thesis.state[key] = thesis.state[key] + 1e-6
    message = refused(thesis.save(tmp_path / "a.pt"))
    assert f"stored twice differ: {key}" in message
    del thesis.state[key]
    assert f"lack what a model of the thesis needs: {key}" in refused(
        thesis.save(tmp_path / "b.pt")
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"text_cross_attention_layers": [1, 3]}, "id 3 is outside 0..2"),
        ({"text_cross_attention_layers": [2, 1]}, "must increase"),
        ({"text_cross_attention_layers": [1]}, "1 text and 2 vision"),
        ({"vision_cross_attention_layers": "12"}, "is not a list of ids"),
        ({"num_bi_attention_heads": 5}, "24 cannot be split over 5 heads"),
        ({"num_hidden_layers": 10**9}, "is not a size"),
        ({"embedding_dim": True}, "is not a size"),
        ({"embedding_dim": 32}, "do not have the shapes"),
        ({"num_hidden_layers": 4}, "lack what a model"),
        ({"img_size": (16, 32)}, "square"),
        ({"dropout_prob": 2}, "dropout_prob"),
    ],
)
def test_settings_that_cannot_be_are_named(
    thesis: Thesis,
    tmp_path: Path,
    refused: Callable[[Path], str],
    changes: dict[str, object],
    said: str,
) -> None:
    thesis.config |= changes
    assert said in refused(thesis.save(tmp_path / "a.pt"))


def test_a_setting_that_is_missing_is_named(
    thesis: Thesis, tmp_path: Path, refused: Callable[[Path], str]
) -> None:
    del thesis.config["vision_cross_attention_layers"]
    message = refused(thesis.save(tmp_path / "a.pt"))
    assert "config vision_cross_attention_layers: is missing" in message


def test_a_tokenizer_of_another_vocabulary_is_refused(
    thesis: Thesis, tmp_path: Path, words: Path
) -> None:
    other = tmp_path / "other"
    train_tokenizer(TEXTS, 40).save_pretrained(other)
    file = thesis.save(tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"has 38 words, but .* text encoder has 50"):
        import_checkpoint(file, form="thesis", out=tmp_path / "out", tokenizer=str(other))
    assert not (tmp_path / "out").exists()
