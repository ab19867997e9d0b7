"""A linear adapter: nothing else is trained, and what is saved is a LLaVA that anyone opens."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import (
    AutoProcessor,
    LlamaForCausalLM,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from backend.capture.sinks import TokenSink
from backend.capture.tap import Tap
from backend.cli import main
from backend.data.registry import open_source
from backend.errors import InputError
from backend.linear_adapter.pairs import AnsweredPairs
from backend.linear_adapter.parts import open_parts
from backend.linear_adapter.plan import AdapterPlan
from backend.linear_adapter.seeing import compared
from backend.linear_adapter.training import train_adapter
from backend.models.dinov2 import as_dinov2
from backend.models.dual_stream.pretrained import load_vision
from backend.models.registry import open_model
from backend.models.roles import Role
from backend.types import LayerRef
from tests.linear_adapter.models import save_language
from tests.models.encoder_files import PIXELS, save_vision
from tests.watch import Watch

DATA = "macros:n=32,dev=12,test=8"


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> AdapterPlan:
    folder = tmp_path_factory.mktemp("frozen")
    return AdapterPlan(
        data=DATA,
        language_model=str(save_language(folder / "language")),
        vision_encoder=save_vision(folder / "vision.safetensors"),
        image_size=PIXELS,
        epochs=2,
        batch_size=8,
        device="cpu",
    )


@pytest.fixture(scope="module")
def trained(plan: AdapterPlan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_adapter(plan, open_source(DATA), 0, tmp_path_factory.mktemp("out"))


def test_the_frozen_models_are_the_same_to_the_last_bit(plan: AdapterPlan, trained: Path) -> None:
    saved = load_file(trained / "model.safetensors")
    language = load_file(Path(plan.language_model) / "model.safetensors")
    words = len(language["model.embed_tokens.weight"])
    for name, value in language.items():
        inside = f"language_model.{name}"
        kept = saved[inside][:words] if "embed" in name else saved[inside]
        assert torch.equal(kept, value), name
    name, _, file = plan.vision_encoder.partition(":")
    tower = as_dinov2(load_vision(name, {"img_size": PIXELS}, Path(file)).model, name).state_dict()
    opened = LlavaForConditionalGeneration.from_pretrained(trained).model.vision_tower.state_dict()
    assert tower.keys() == opened.keys()
    assert all(torch.equal(tower[key], opened[key]) for key in tower)
    second = {n.rpartition("linear_2.")[2]: v for n, v in saved.items() if "linear_2" in n}
    assert torch.equal(second["weight"], torch.eye(16)) and not second["bias"].any()


def test_transformers_opens_it_and_finds_the_loss_that_was_reported(trained: Path) -> None:
    model = LlavaForConditionalGeneration.from_pretrained(trained)
    processor = AutoProcessor.from_pretrained(trained)
    assert isinstance(processor, LlavaProcessor)
    losses, tokens = 0.0, 0
    for pair in open_source(DATA).pairs("dev"):
        said = f"<s><image>\n{pair.record.text.strip()}</s>"
        inputs = processor(
            text=said, images=pair.sample.images[0], return_tensors="pt", add_special_tokens=False
        )
        labels = inputs["input_ids"].clone()
        last = int((labels == model.config.image_token_id).nonzero()[-1, 1])
        labels[:, : last + 2] = -100  # a line feed follows the image
        with torch.inference_mode():
            out = model(**inputs)
        # of the language model's own words: the image's is none
        logits = out.logits[0, :-1, : model.config.image_token_id]
        each = torch.nn.functional.cross_entropy(logits, labels[0, 1:], reduction="none")
        losses += float(each.sum())
        tokens += int((labels != -100).sum())
    told = json.loads((trained / "training.json").read_text())
    assert losses / tokens == pytest.approx(
        min(row["dev_loss"] for row in told["history"]), abs=2e-3
    )


def test_our_family_reads_it_and_its_image_is_one_linear_map_of_patches(trained: Path) -> None:
    adapter = open_model(str(trained))
    refs = [LayerRef("vision", 5), LayerRef("image", 0), LayerRef("text", 2)]
    sink = TokenSink(refs)
    pairs = list(open_source(DATA).pairs("test", 3))
    inputs = adapter.encode([pair.sample for pair in pairs])
    with Tap(adapter, sink) as tap:
        tap(inputs)
    saved = load_file(trained / "model.safetensors")
    weight, bias = (
        next(v for n, v in saved.items() if n.endswith(f"linear_1.{part}"))
        for part in ("weight", "bias")
    )
    patches = sink.tokens[refs[0]][:, 1:]
    roles = inputs.roles["image"]
    for row in range(3):
        entering = sink.tokens[refs[1]][row, roles[row] == int(Role.CONTENT)]
        torch.testing.assert_close(entering, patches[row] @ weight.T + bias, rtol=1e-4, atol=1e-5)
    first = adapter.token_ids(inputs, "text")[0]
    real = first[inputs.tensors["attention_mask"][0].bool()]
    assert int(real[0]) == adapter.tokenizer.bos_token_id
    assert int((real == adapter.model.config.image_token_id).sum()) == 4


def test_an_interrupted_training_ends_in_the_same_bytes(
    plan: AdapterPlan, trained: Path, tmp_path: Path
) -> None:
    in_epoch_2 = Watch(lambda done, *_: done == 4 + 2)
    with pytest.raises(KeyboardInterrupt):
        train_adapter(plan, open_source(DATA), 0, tmp_path, in_epoch_2)
    again = train_adapter(plan, open_source(DATA), 0, tmp_path)
    for file in ("model.safetensors", "seeing.json"):
        assert (again / file).read_bytes() == (trained / file).read_bytes()
    with pytest.raises(InputError, match="already exists, from other options"):
        train_adapter(replace(plan, epochs=3), open_source(DATA), 0, tmp_path)


def test_a_question_is_asked_in_the_models_own_format(plan: AdapterPlan, tmp_path: Path) -> None:
    language = save_language(tmp_path / "chat", tied=False, chat=True, spare=3)
    asked = replace(
        plan,
        language_model=str(language),
        instruction="a {text} thing",
        answer="irony",
        epochs=1,
    )
    folder = train_adapter(asked, open_source(DATA), 0, tmp_path / "out")
    adapter = open_model(str(folder))
    before, after = adapter.prompt(1)
    assert (before, after) == ("user : <image>\n", " assistant : ")
    own = LlamaForCausalLM.from_pretrained(language)
    assert adapter.model.config.text_config.vocab_size == own.config.vocab_size  # a spare row
    torch.testing.assert_close(adapter.model.lm_head.weight, own.lm_head.weight, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"instruction": "a thing"}, "has no chat format"),
        ({"answer": "irony"}, "answer nothing without an `instruction`"),
        ({"instruction": "a {text}"}, "would ask for the very text"),
        ({"answer": "mood", "instruction": "a"}, "no task 'mood'"),
        ({"vision_layer": 7}, "has layers 0 to 6, not 7"),
        ({"saved_precision": "float16"}, "would round .*, and the frozen models stay as they are"),
        ({"vision_encoder": "resnet18"}, "resnet18"),
        ({"language_model": "nowhere/at-all"}, "nowhere/at-all"),
    ],
)
def test_what_cannot_be_trained_is_one_line(
    plan: AdapterPlan,
    tmp_path: Path,
    changes: dict[str, object],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://localhost:9")
    with pytest.raises(InputError, match=said) as caught:
        train_adapter(replace(plan, **changes), open_source(DATA), 0, tmp_path)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "seed-0").exists()


def test_a_limit_takes_every_class_and_a_text_that_was_cut_does_not_end(
    plan: AdapterPlan, tmp_path: Path
) -> None:
    folder = tmp_path / "sorted"
    folder.mkdir()
    words = ["a thing", "a thing and a thing and a thing and a thing and a thing"]
    rows = [f"{at},{at}.png,{words[at // 10]},{'ab'[at // 10]},train" for at in range(20)]
    (folder / "captions.csv").write_text("\n".join(["id,image,text,label,split", *rows]))
    for at in range(20):
        Image.new("RGB", (8, 8), (at, 0, 0)).save(folder / f"{at}.png")
    short = replace(plan, data=f"folder:{folder}", max_text_length=8)
    pairs = AnsweredPairs(open_source(short.data), "train", short, open_parts(short), 6)
    kinds = [record.labels["label"] for record in pairs.records]
    assert len(pairs) == 6 and {*kinds} == {0, 1}
    pairs.patches = np.zeros((6, pairs.parts.image_tokens, 1), np.float16)
    made = pairs.collate(range(6))["words"]
    ends = made["mask"].sum(dim=1) - 1
    said = made["answers"][torch.arange(6), ends]
    assert said.tolist() == [kind == 0 for kind in kinds]


def test_a_model_that_bends_its_logits_is_refused(plan: AdapterPlan, tmp_path: Path) -> None:
    language = save_language(tmp_path / "capped", capped=True)
    with pytest.raises(InputError, match="does something to its logits"):
        train_adapter(
            replace(plan, language_model=str(language)), open_source(DATA), 0, tmp_path / "out"
        )


def test_the_interval_is_that_of_a_ratio_over_groups() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat([f"g{i}" for i in range(40)], 3)
    tokens = rng.integers(2, 9, len(groups))
    true = rng.normal(3, 0.2, len(groups)) * tokens
    apart = (0.2 + np.repeat(rng.normal(0, 0.1, 40), 3)) * tokens
    seen: list[np.ndarray] = []

    def losses(which: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        if which is not None:
            seen.append(which)
        return (true if which is None else true + apart), tokens

    told = compared(groups, losses)
    assert (groups[seen[0]] != groups).all() and sorted(seen[0]) == list(range(len(groups)))
    assert told.difference == pytest.approx(apart.sum() / tokens.sum())
    draws = np.random.default_rng(1).integers(0, 40, (4000, 40))
    a, b = apart.reshape(40, 3).sum(1), tokens.reshape(40, 3).sum(1)
    low, high = np.quantile(a[draws].sum(1) / b[draws].sum(1), [0.025, 0.975])
    assert (told.low, told.high) == (pytest.approx(low, abs=0.006), pytest.approx(high, abs=0.006))
    assert "likelier by their own image" in told.sentence


def test_the_command_prints_every_epoch_and_the_verdict(
    plan: AdapterPlan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["train", "--family", "linear-adapter", "--data", DATA, "--epochs", "1"]
    words += ["--language-model", plan.language_model, "--vision-encoder", plan.vision_encoder]
    words += ["--image-size", str(PIXELS), "--out", str(tmp_path), "--cache-dir", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["fusionscope", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    printed = capsys.readouterr().out
    assert "epoch 1: loss" in printed and "loss by the true image" in printed
    assert len(list(tmp_path.glob("patches-*.npy"))) == 2
    monkeypatch.setattr("sys.argv", ["fusionscope", "train", "--family=linear-adaptor", *words[3:]])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
