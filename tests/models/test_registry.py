"""Families: found lazily, added by other packages, opened through one door."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel

from backend.capture.sinks import TokenSink
from backend.capture.tap import Tap
from backend.data.sample import Sample
from backend.errors import InputError
from backend.models import registry
from backend.models.registry import FAMILIES, GROUP, families, family_class, open_model, shadowed
from tests.models.families.common import BERT_SPECIALS, word_tokenizer
from tests.models.saved import save_tiny, tiny

MODULES = {
    "fusionscope-fusion": "dual_stream",
    "fusionscope-encoders": "side_by_side",
    "fusionscope-captioner": "captioner",
    "vision-text-dual-encoder": "vision_text_dual",
    "blip-2": "blip2",
    "kosmos-2": "kosmos2",
    "StableDiffusionPipeline": "stable_diffusion",
    "PixArtAlphaPipeline": "pixart",
    "StableDiffusion3Pipeline": "stable_diffusion_3",
}
OTHER_TOKENS = {"siglip2"}  # its tokenizer's class makes another tokenizer of a list of words


def plug_in(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    point = EntryPoint(name, value, GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] * (group == GROUP))


def test_neither_torch_nor_transformers_is_imported_to_list_the_families() -> None:
    code = (
        "import sys; from backend.models.registry import families; families(); "
        "import backend.models.loading; "
        "print(*({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_every_family_has_a_sentence_of_one_line() -> None:
    for family in FAMILIES.values():
        assert family.sentence.endswith(".") and len(family.sentence) < 90


@pytest.mark.parametrize("model_type", FAMILIES)
def test_every_entry_leads_to_the_class_of_that_family(model_type: str) -> None:
    made: Any = family_class(model_type, "here")
    assert made.family == model_type
    assert callable(made.load)


@pytest.mark.parametrize("family", [MODULES.get(name, name) for name in FAMILIES])
def test_a_saved_model_of_every_family_opens_through_the_door_and_computes_the_same(
    family: str, tmp_path: Path
) -> None:
    before = tiny(family)
    after = open_model(str(save_tiny(tmp_path / family, family)))
    assert type(after) is type(before.adapter)
    assert after.streams == before.adapter.streams
    assert len(after.digest) == 16
    before.adapter.module.eval()
    given = before.adapter.encode(before.samples)
    with torch.no_grad():
        torch.testing.assert_close(after.forward(given), before.adapter.forward(given))
    if family not in OTHER_TOKENS:
        got = after.encode(before.samples)
        torch.testing.assert_close(got.tensors, given.tensors)
        torch.testing.assert_close(got.roles, given.roles)


def test_an_unknown_type_lists_the_families_and_how_to_add_one(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "parrot"}')
    with pytest.raises(InputError) as caught:
        open_model(str(tmp_path))
    said = str(caught.value)
    assert "'parrot'" in said and "clip, siglip" in said and GROUP in said
    assert "\n" not in said


def test_a_type_that_only_transformers_knows_is_read_by_the_generic_adapter_which_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer = word_tokenizer(specials=BERT_SPECIALS, template="[CLS] $A [SEP]")
    sizes = {"num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    model = BertModel(BertConfig(vocab_size=len(tokenizer), hidden_size=16, **sizes))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    adapter = open_model(str(tmp_path))
    assert "no family is for models of type bert" in caplog.text
    (stream,) = adapter.streams
    assert (stream.modality, stream.depth, stream.width) == ("text", 3, 16)
    assert "generic adapter" in stream.note and not stream.meets
    inputs = adapter.encode([Sample("a red cat", ()), Sample("the best day ever", ())])
    assert inputs.token_counts == {stream.name: pytest.approx([5, 6])}
    with torch.no_grad(), Tap(adapter, sink := TokenSink(stream.refs)) as tap:
        tap(inputs)
        states = model.eval()(**inputs.tensors, output_hidden_states=True).hidden_states
    for ref, state in zip(stream.refs, states, strict=True):
        torch.testing.assert_close(sink.tokens[ref], state)


def test_a_device_that_is_not_there_is_told_before_the_model_is_opened() -> None:
    with pytest.raises(InputError, match="no such device"):
        open_model("lab/never-asked", device="abacus")


def test_another_package_adds_a_family(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Parrot:
        @classmethod
        def load(cls, checkpoint: Any) -> Any:
            raise InputError("opened by the plug-in", where=checkpoint.where)

    module = ModuleType("parrots")
    module.Parrot = Parrot  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "parrots", module)
    plug_in(monkeypatch, "parrot", "parrots:Parrot")
    folder = save_tiny(tmp_path / "polly")
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(
        config.replace('"model_type": "clip"', '"model_type": "parrot"')
    )
    with pytest.raises(InputError, match="polly: opened by the plug-in"):
        open_model(str(folder))
    assert families()["parrot"].target == "parrots:Parrot"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("nowhere.at.all:Parrot", "ModuleNotFoundError"),
        ("json:Parrot", "AttributeError"),
        ("json:loads", "not a class"),
        ("json", "AttributeError"),
    ],
)
def test_a_broken_plug_in_is_told_when_it_is_asked_for_and_not_before(
    monkeypatch: pytest.MonkeyPatch, value: str, reason: str
) -> None:
    plug_in(monkeypatch, "parrot", value)
    assert "parrot" in families()
    family_class("clip", "here")
    with pytest.raises(InputError, match=reason):
        family_class("parrot", "here")


def test_ours_win_over_a_plug_in_of_the_same_name_and_say_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plug_in(monkeypatch, "clip", "nowhere:Clip")
    assert families()["clip"] == FAMILIES["clip"]
    assert "our own is used" in shadowed()["clip"]
    open_model(str(save_tiny(tmp_path / "clip")))
    assert "our own is used" in caplog.text
