"""Every door through which weights come refuses by name what is not whole, and leaves no chance."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import HfApi
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import BertConfig, BertModel

from backend.errors import InputError
from backend.models.doors import real_name, wrapping
from backend.models.dual_stream.model import FusionConfig, FusionModel
from backend.models.dual_stream.preprocess import load_tokenizer, train_tokenizer
from backend.models.dual_stream.pretrained import load_text, load_vision, require_room, text_depth
from backend.models.hub import closed_hub
from backend.models.loading import open_checkpoint
from backend.models.registry import open_model
from tests.models.saved import save_tiny

WEIGHTS = "model.safetensors"
VIT = "vit_tiny_patch16_224"
SIZES = {"img_size": 32, "embed_dim": 24, "depth": 2, "num_heads": 2}
BERT = {
    "vocab_size": 64,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}

Tensors = dict[str, Tensor]


def save_text(folder: Path) -> Path:
    torch.manual_seed(0)
    BertModel(BertConfig(**BERT)).save_pretrained(folder)
    train_tokenizer(["a red dog", "a cup"]).save_pretrained(folder)
    return folder


def save_vision(folder: Path, **options: Any) -> Path:
    folder.mkdir()
    torch.manual_seed(0)
    model = timm.create_model(VIT, num_classes=5, **{**SIZES, **options})
    save_file(model.state_dict(), folder / WEIGHTS)
    return folder


def open_vision(folder: str, **options: Any) -> Any:
    return load_vision(VIT, SIZES, Path(folder) / WEIGHTS, **options)


SAVE: dict[str, Callable[[Path], Path]] = {
    "clip": save_tiny,
    "fusion": lambda folder: save_tiny(folder, "dual_stream"),
    "text": save_text,
    "vision": save_vision,
}
OPEN: dict[str, Callable[..., Any]] = {
    "clip": open_model,
    "fusion": open_model,
    "text": load_text,
    "vision": open_vision,
}
TENSOR = {
    "clip": "vision_model.encoder.layers.1.mlp.fc1.weight",
    "fusion": "vision.model.blocks.1.mlp.fc1.weight",
    "text": "encoder.layer.1.output.dense.weight",
    "vision": "blocks.1.mlp.fc1.weight",
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    top = tmp_path_factory.mktemp("doors")
    return {door: save(top / door) for door, save in SAVE.items()}


@pytest.fixture
def copied(saved: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    return lambda door: Path(shutil.copytree(saved[door], tmp_path / door))


def change(folder: Path, how: Callable[[Tensors], Tensors]) -> Path:
    save_file(how(load_file(folder / WEIGHTS)), folder / WEIGHTS, {"format": "pt"})
    return folder


def without(name: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: value for key, value in tensors.items() if key != name}


def module(opened: Any) -> torch.nn.Module:
    """The module of an adapter or an encoder."""
    made: torch.nn.Module = getattr(opened, "module", opened)
    return made


def numbers(opened: Any) -> Tensors:
    held = module(opened)
    return {**dict(held.named_parameters()), **dict(held.named_buffers())}


@contextmanager
def poisoned_memory() -> Iterator[None]:
    """New memory is full of NaN, so that what nobody writes is seen."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        assert torch.empty(9).isnan().all()
        yield
    finally:
        torch.use_deterministic_algorithms(before)


DAMAGE: dict[str, tuple[Callable[[str, Tensors], Tensors], str]] = {
    "missing": (lambda name, t: without(name)(t), "lack what a"),
    "renamed": (lambda name, t: {f"{k}_" if k == name else k: v for k, v in t.items()}, "_"),
    "left over": (lambda name, t: {**t, f"{name}.extra": t[name].clone()}, "no place for"),
    "longer": (lambda name, t: {**t, name: t[name].repeat(2, 1)}, "stored,"),
    "transposed": (lambda name, t: {**t, name: t[name].T.contiguous()}, "stored,"),
    "int8": (lambda name, t: {**t, name: t[name].to(torch.int8)}, "not real numbers"),
    "int64": (lambda name, t: {**t, name: t[name].long()}, "(I64)"),
    "bool": (lambda name, t: {**t, name: t[name] > 0}, "(BOOL)"),
    "float8": (lambda name, t: {**t, name: t[name].to(torch.float8_e4m3fn)}, "(F8_E4M3)"),
    "nan": (lambda name, t: {**t, name: t[name] * float("nan")}, "not finite in"),
    "inf": (lambda name, t: {**t, name: t[name].double() * 1e300}, "not finite in"),
}


SAME = ("missing", "nan")
"""What is asked of doors that read by the same code as CLIP's."""


def asked(every: Iterable[str], same: Sequence[str]) -> list[tuple[str, str]]:
    """(door, case): all cases at CLIP's door and at the vision encoder's, which has its own."""
    some = {"fusion": same, "text": same}
    return [(door, case) for door in SAVE for case in some.get(door, every)]


@pytest.mark.parametrize(("door", "damage"), asked(DAMAGE, SAME))
def test_every_door_names_what_is_wrong_with_a_tensor_and_its_switch_opens_it_the_same_twice(
    door: str, damage: str, copied: Callable[[str], Path]
) -> None:
    how, told = DAMAGE[damage]
    folder = change(copied(door), lambda tensors: how(TENSOR[door], tensors))
    with pytest.raises(InputError) as caught:
        OPEN[door](str(folder))
    assert told in caught.value.problem and TENSOR[door] in caught.value.problem
    assert door != "text" or str(caught.value).startswith("text encoder")
    assert caught.value.hint is not None and "`allow_partial_weights`" in caught.value.hint
    if door == "fusion" and "not finite" in told:  # whose blocks could not be checked any more
        with pytest.raises(InputError, match="block"):
            OPEN[door](str(folder), allow_partial_weights=True)
        return
    first = OPEN[door](str(folder), allow_partial_weights=True)
    with poisoned_memory():
        second = numbers(OPEN[door](str(folder), allow_partial_weights=True))
    for name, value in numbers(first).items():
        torch.testing.assert_close(second[name], value, rtol=0, atol=0, equal_nan=True)
    assert TENSOR[door] in " ".join(first.notes)
    if door in ("clip", "fusion"):
        assert all(TENSOR[door] in stream.note for stream in first.streams)


@pytest.mark.parametrize("door", SAVE)
def test_whole_weights_have_no_note_and_none_of_their_memory_is_as_it_was_found(
    door: str, saved: dict[str, Path]
) -> None:
    with poisoned_memory():
        opened = OPEN[door](str(saved[door]))
    assert opened.notes == ()
    assert all(bool(v.isfinite().all()) for v in numbers(opened).values())


@pytest.mark.parametrize("name", ["eva02_tiny_patch14_224", "beit_base_patch16_224", VIT])
def test_what_timm_works_out_beside_its_weights_is_worked_out_when_a_model_is_opened(
    name: str, tmp_path: Path
) -> None:
    options = {**SIZES, "img_size": 28 if "14" in name else 32}
    model = FusionModel(FusionConfig(vision={"name": name, "options": options}))
    model.save_pretrained(tmp_path)
    with poisoned_memory():
        opened = open_checkpoint(str(tmp_path)).weights(FusionModel)
    for key, value in numbers(model).items():
        assert torch.equal(numbers(opened)[key], value), key


@pytest.mark.parametrize(
    "prefix", ["module.", "model.", "_orig_mod.", "module._orig_mod.", "state_dict.model."]
)
@pytest.mark.parametrize("door", SAVE)
def test_what_other_programs_put_before_names_is_taken_away(
    door: str, prefix: str, copied: Callable[[str], Path], saved: dict[str, Path]
) -> None:
    folder = change(copied(door), lambda t: {prefix + key: value for key, value in t.items()})
    whole, opened = numbers(OPEN[door](str(saved[door]))), numbers(OPEN[door](str(folder)))
    assert all(torch.equal(opened[name], value) for name, value in whole.items())


@pytest.mark.parametrize("prefix", ["0.auto_model.", "auto_model.", "bert.", "module.bert."])
def test_a_text_encoder_inside_another_model_is_found(
    prefix: str, copied: Callable[[str], Path]
) -> None:
    folder = change(
        copied("text"),
        lambda t: (
            {prefix + key: v for key, v in t.items()} | {"module.cls.bias": torch.ones(3)}
            if prefix.startswith("module")
            else {prefix + key: v for key, v in t.items()}
        ),
    )
    load_text(str(folder))


@pytest.mark.parametrize("prefix", ["evil.", "modul.", "x.module."])
@pytest.mark.parametrize("door", SAVE)
def test_a_prefix_that_nobody_knows_is_refused_by_names_that_are_whole(
    door: str, prefix: str, copied: Callable[[str], Path]
) -> None:
    folder = change(copied(door), lambda t: {prefix + key: value for key, value in t.items()})
    with pytest.raises(InputError, match=rf"no place for: {prefix}[\w.]+, .* more"):
        OPEN[door](str(folder))


@pytest.mark.parametrize(
    ("stored", "own", "base", "prefix"),
    [
        (["a.w", "b.w"], ["a.w", "b.w"], "", ""),
        (["module.a.w", "module.b.w"], ["a.w", "b.w"], "", "module."),
        (["module.model.a.w"], ["a.w"], "", "module.model."),
        (["model.a.w"], ["model.a.w"], "", ""),
        (["bert.a.w"], ["a.w"], "bert", ""),
        (["module.bert.a.w"], ["a.w"], "bert", "module."),
        (["evil.a.w"], ["a.w"], "", ""),
        (["blocks.0._orig_mod.w"], ["blocks.0.w"], "", ""),
    ],
)
def test_the_prefix_is_the_one_with_which_most_names_fit(
    stored: list[str], own: list[str], base: str, prefix: str
) -> None:
    assert wrapping(stored, own, base) == prefix


def test_what_wraps_single_modules_is_taken_away_wherever_it_stands() -> None:
    own = {"blocks.0.attn.w"}
    assert real_name("blocks.0._orig_mod.attn.w", own, "") == "blocks.0.attn.w"
    assert real_name("module._orig_mod.blocks.0.attn.w", own, "module.") == "blocks.0.attn.w"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"patch_size": 14, "img_size": 28, "init_values": 1e-5}, ["ls1.gamma", "24×3×14×14"]),
        ({"patch_size": 8}, ["patch_embed.proj.weight (24×3×8×8 stored, 24×3×16×16 in the model)"]),
        ({"init_values": 1e-5}, ["blocks.0.ls1.gamma", "and LayerScale"]),
        ({"depth": 3}, ["blocks.2.attn.proj.bias", "a ViT with 3 blocks"]),
        ({"depth": 1}, ["blocks.1.attn.proj.bias", "a ViT with 1 blocks"]),
        ({"embed_dim": 32}, ["width 32"]),
        (
            {"class_token": False, "global_pool": "avg"},
            ["cls_token", "pos_embed (1×4×24 stored, 1×5×24 in the model)"],
        ),
        ({"reg_tokens": 4}, ["reg_token"]),
    ],
)
def test_weights_of_another_vit_are_refused_with_what_they_are(
    options: dict[str, Any], told: list[str], tmp_path: Path
) -> None:
    folder = save_vision(tmp_path / "other", **options)
    with pytest.raises(InputError) as caught:
        open_vision(str(folder))
    assert all(words in str(caught.value) for words in told)


@pytest.mark.parametrize("pixels", [16, 48, 64])
def test_positions_of_another_size_of_image_are_resampled_as_timm_does(
    pixels: int, tmp_path: Path
) -> None:
    folder = save_vision(tmp_path / "other", img_size=pixels)
    opened = open_vision(str(folder)).model
    expected = timm.create_model(
        VIT,
        pretrained=True,
        num_classes=0,
        pretrained_cfg_overlay={"file": str(folder / WEIGHTS)},
        **SIZES,
    )
    for name, value in expected.state_dict().items():
        assert torch.equal(opened.state_dict()[name], value), name


HEADERS: dict[str, tuple[Callable[[bytes, dict[str, Any]], bytes], str]] = {
    "length of a gigabyte": (lambda d, h: (2**30).to_bytes(8, "little") + d[8:], "cut short"),
    "no JSON": (lambda d, h: d[:8] + b"}" + d[9:], "cut short"),
    "past the end": (lambda d, h: packed({**h, "a": tensor(0, 2**40)}), "cut short"),
    "overlapping": (lambda d, h: packed({"a": tensor(0, 8), "b": tensor(4, 12)}), "cut short"),
    "unknown type": (lambda d, h: packed({"a": tensor(0, 12, dtype="X1")}), "cut short"),
    "negative shape": (lambda d, h: packed({"a": tensor(0, 12, shape=[-3])}), "cut short"),
    "no mapping": (lambda d, h: packed([1]), "cut short"),
    "doubled": (
        lambda d, h: packed(
            f'{{"a": {json.dumps(tensor(0, 12))}, "a": {json.dumps(tensor(0, 12))}}}'
        ),
        "twice",
    ),
    "cut": (lambda d, h: d[:-100], "cut short"),
    "empty": (lambda d, h: b"", "is empty"),
    "git-lfs": (lambda d, h: b"version https://git-lfs.github.com/spec/v1\n", "git-lfs pointer"),
    "a page": (lambda d, h: b"<!DOCTYPE html><html>Log in</html>", "page of the web"),
    "a pickle": (lambda d, h: b"\x80\x04\x95\x0b\0\0\0\0\0\0\0.", "pickle"),
    "a zip": (lambda d, h: b"PK\x03\x04" + bytes(30), "pickle or zip"),
}


def tensor(start: int, end: int, dtype: str = "F32", shape: list[int] | None = None) -> Any:
    return {"dtype": dtype, "shape": shape or [(end - start) // 4], "data_offsets": [start, end]}


def packed(header: Any) -> bytes:
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return len(text).to_bytes(8, "little") + text + bytes(12)


@pytest.mark.parametrize(("door", "kind"), asked(HEADERS, ["cut"]))
def test_a_file_that_is_no_whole_safetensors_is_told_in_one_line(
    door: str, kind: str, copied: Callable[[str], Path]
) -> None:
    how, told = HEADERS[kind]
    folder = copied(door)
    data = (folder / WEIGHTS).read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    (folder / WEIGHTS).write_bytes(how(data, header))
    with pytest.raises(InputError, match=told) as caught:
        OPEN[door](str(folder))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("how", ["pipe", "directory", "device", "loop"])
def test_what_is_no_file_is_refused_at_once(
    name: str, how: str, copied: Callable[[str], Path]
) -> None:
    path = copied("clip") / name
    path.unlink()
    if how == "pipe":
        os.mkfifo(path)
    elif how == "directory":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if how == "device" else path.name)
    try:
        open_model(str(path.parent))
    except InputError:
        return
    assert how in ("directory", "loop") and name == "tokenizer_config.json"  # it is as if absent


@pytest.mark.parametrize("how", ["pipe", "directory"])
def test_weights_that_are_no_file_are_refused_at_once(
    how: str, copied: Callable[[str], Path]
) -> None:
    path = copied("clip") / WEIGHTS
    path.unlink()
    if how == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(InputError, match=rf"{WEIGHTS} is a {how}"):
        open_model(str(path.parent))


def rewrite(path: Path, how: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    how(content)
    path.write_text(json.dumps(content))


def replacing(text: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": "."}, "content": text}


TOKENIZERS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "one replacement": (lambda t: t.update(normalizer=replacing("a" * 1000)), "1,000 characters"),
    "many doublings": (
        lambda t: t.update(normalizer={"type": "Sequence", "normalizers": [replacing("aa")] * 20}),
        "1,048,576 characters",
    ),
    "a prefix": (
        lambda t: t.update(normalizer={"type": "Prepend", "prepend": "a" * 1000}),
        "1,001 characters",
    ),
    "a decoder": (lambda t: t.update(decoder=replacing("a" * 1000)), "1,000 characters"),
    "many marks": (
        lambda t: t.update(
            post_processor={
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "x", "type_id": 0}}] * 30,
                "pair": [],
                "special_tokens": {"x": {"id": "x", "ids": [1] * 30, "tokens": ["a"] * 30}},
            }
        ),
        "900 tokens around",
    ),
    "at random": (lambda t: t["model"].update(dropout=0.5), "at random"),
    "no words": (
        lambda t: t["model"].update(vocab={"[UNK]": 0}),
        "knows no words|cannot be opened",
    ),
    "no model": (lambda t: t.pop("model"), "cannot be opened"),
}


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_tokenizer_that_grows_texts_or_is_random_is_refused(
    kind: str, copied: Callable[[str], Path]
) -> None:
    how, told = TOKENIZERS[kind]
    folder = copied("text")
    rewrite(folder / "tokenizer.json", how)
    with pytest.raises(InputError, match=told):
        load_tokenizer(str(folder))


def test_a_tokenizer_without_the_token_by_which_a_model_reads_is_refused(
    copied: Callable[[str], Path],
) -> None:
    folder = copied("clip")
    rewrite(folder / "tokenizer.json", lambda t: t.update(post_processor=None))
    with pytest.raises(InputError, match=r"0 tokens by which a sample|cannot take"):
        open_model(str(folder))


def test_a_text_encoder_without_a_tokenizer_is_refused(copied: Callable[[str], Path]) -> None:
    folder = copied("text")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(InputError, match="has no tokenizer: none of"):
        load_tokenizer(str(folder))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    with pytest.raises(InputError, match="knows no words"):
        load_tokenizer(str(folder))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"vocab_file": "/etc/hosts"}, "vocab_file from elsewhere"),
        ({"sp_model_kwargs": {"enable_sampling": True}}, "sp_model_kwargs"),
    ],
)
def test_a_tokenizer_that_leads_elsewhere_is_refused(
    settings: dict[str, Any], told: str, copied: Callable[[str], Path]
) -> None:
    folder = copied("text")
    rewrite(folder / "tokenizer_config.json", lambda c: c.update(settings))
    with pytest.raises(InputError, match=told):
        load_tokenizer(str(folder))


def test_roberta_has_two_positions_less_than_it_says() -> None:
    from backend.models.dual_stream.pretrained import build_text

    encoder = build_text({"model_type": "roberta", **BERT, "pad_token_id": 1})
    tokenizer = train_tokenizer(["a red dog"])
    require_room(tokenizer, encoder, 38, "x")
    with pytest.raises(InputError, match="39 tokens are more than the 38"):
        require_room(tokenizer, encoder, 39, "x")


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "an image of a million pixels": ({"vision_config": {"image_size": 10**6}}, "image_size"),
    "a billion layers": ({"text_config": {"num_hidden_layers": 10**9}}, "num_hidden_layers"),
    "a width of words": ({"text_config": {"hidden_size": "wide"}}, "config.json"),
    "a negative width": ({"text_config": {"hidden_size": -16}}, "config.json|cannot"),
    "a part that is a list": ({"text_config": [1]}, "config.json"),
    "a backbone of the hub": (
        {"vision_config": {"model_type": "detr", "backbone": "lab/x", "use_timm_backbone": False}},
        "from elsewhere",
    ),
    "an adapter": ({"base_model_name_or_path": "lab/base"}, "from elsewhere"),
    "timm's own file": ({"vision_config": {"checkpoint_path": "x.bin"}}, "from elsewhere"),
    "quantised": ({"quantization_config": {"quant_method": "gptq"}}, "quantized"),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_config_is_bounded_and_leads_nowhere(kind: str, copied: Callable[[str], Path]) -> None:
    changes, told = CONFIGS[kind]
    folder = copied("clip")

    def update(config: dict[str, Any]) -> None:
        for key, value in changes.items():
            config[key] = (
                {**config[key], **value} if key in config and isinstance(value, dict) else value
            )

    rewrite(folder / "config.json", update)
    with pytest.raises(InputError, match=told):
        open_model(str(folder))


@pytest.mark.parametrize(
    ("part", "key", "value", "told"),
    [
        ("image_processor", "size", {"shortest_edge": 10**6}, "size = 1,000,000"),
        ("image_processor", "crop_size", {"height": 10**6, "width": 24}, "crop_size = 1,000,000"),
        ("image_processor", "size", "large", "cannot"),
        ("image_processor", "image_std", [0.0, 0.0, 0.0], "cannot|not finite"),
        ("image_processor", "image_mean", [1.0, 2.0], "cannot"),
    ],
)
def test_what_a_processor_asks_for_is_bounded_and_tried_when_a_model_is_opened(
    part: str, key: str, value: Any, told: str, copied: Callable[[str], Path]
) -> None:
    folder = copied("clip")
    rewrite(folder / "processor_config.json", lambda c: c[part].update({key: value}))
    with pytest.raises(InputError, match=told):
        open_model(str(folder))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c["vision"]["options"].update(pretrained=True), "pretrained is no option"),
        (lambda c: c["vision"]["options"].update(pretrained_cfg={"file": "x"}), "no option"),
        (lambda c: c["vision"].update(name="hf-hub:lab/vit"), "timm has no model"),
        (lambda c: c["image"].update(size=10**4), "images of 10000 px|asks for"),
        (lambda c: c.update(max_text_length=10**9), "tokens are more than"),
        (lambda c: c["text"].update(model_type="parrot"), "cannot|config.json"),
        (lambda c: c.update(tasks=[{"name": 3}]), "config.json"),
        (lambda c: c.update(trained_on={"notes": 5}), "cannot be opened"),
    ],
)
def test_a_checkpoint_of_ours_is_bounded_and_loads_nothing_from_elsewhere(
    change: Callable[[dict[str, Any]], object], told: str, copied: Callable[[str], Path]
) -> None:
    folder = copied("fusion")
    rewrite(folder / "config.json", change)
    with pytest.raises(InputError, match=told):
        open_model(str(folder))


def test_a_text_encoders_depth_is_read_without_its_code(copied: Callable[[str], Path]) -> None:
    folder = copied("text")
    rewrite(folder / "config.json", lambda c: c.update(auto_map={"AutoConfig": "evil.Evil"}))
    assert text_depth(str(folder)) == 2
    rewrite(folder / "config.json", lambda c: c.update(model_type="parrot"))
    with pytest.raises(InputError, match="does not describe a text encoder"):
        text_depth(str(folder))


def test_a_tensor_in_two_files_of_an_index_is_named(copied: Callable[[str], Path]) -> None:
    folder = copied("clip")
    shutil.copy(folder / WEIGHTS, folder / "a.safetensors")
    (folder / WEIGHTS).rename(folder / "b.safetensors")
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="stored in two files"):
        open_model(str(folder))


def test_nothing_is_asked_of_the_hub_while_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with closed_hub(), pytest.raises(InputError, match="on the hub"):
        HfApi(endpoint="http://127.0.0.1:9").repo_exists("lab/x")
