"""Denoisers: what diffusers' own classes compute, maps as cells, and pipelines that are refused."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from backend.capture.options import CaptureOptions
from backend.capture.sinks import AttentionSink, TokenSink
from backend.capture.tap import Tap
from backend.data.sample import Sample
from backend.errors import InputError
from backend.jobs.capture import CaptureRequest, open_request
from backend.models.adapter import AttentionKey
from backend.models.at_hand import checkpoints_below
from backend.models.edits import Edit
from backend.models.registry import open_model
from backend.models.roles import Role
from backend.types import LayerRef
from tests.models.fake_hub import COMMIT, NAME, fake_hub
from tests.models.families.stable_diffusion_3 import without_t5
from tests.models.saved import save_pipeline, save_tiny, tiny

diffusers = pytest.importorskip("diffusers")

LEVELS = {"vision_t100": 100, "vision_t500": 500, "vision_t900": 900}


@pytest.mark.parametrize("family", ["stable_diffusion", "pixart"])
def test_the_noise_found_is_that_of_the_library_at_every_level(family: str) -> None:
    case = tiny(family)
    adapter: Any = case.adapter
    inputs = adapter.encode(case.samples)
    noise = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(0))
    ids, mask = inputs.tensors["input_ids"], inputs.tensors["attention_mask"]
    beyond: dict[str, Any] = {}
    if family == "pixart":
        beyond = {
            "encoder_attention_mask": mask,
            "added_cond_kwargs": dict.fromkeys(("resolution", "aspect_ratio")),
        }
        text = adapter.parts["text_encoder"](ids, attention_mask=mask).last_hidden_state
    else:
        assert ids.shape[1] == 16  # filled up
        text = adapter.parts["text_encoder"](ids).last_hidden_state
    with torch.no_grad():
        found = adapter.forward(inputs)
        picture = np.asarray(case.samples[0].images[0].resize((16, 16), 3), dtype=np.float32)
        pixels = torch.from_numpy(picture / 127.5 - 1).permute(2, 0, 1)[None]
        latents = adapter.parts["vae"].encode(pixels).latent_dist.mean
        latents = latents * adapter.parts["vae"].config.scaling_factor
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
        kept = torch.cumprod(1 - betas, dim=0)
        assert list(found) == list(LEVELS)
        for stream, step in LEVELS.items():
            noised = kept[step].sqrt() * latents + (1 - kept[step]).sqrt() * noise
            own = {name: value[:1] for name, value in beyond.items() if torch.is_tensor(value)}
            expected = adapter.model(
                noised,
                timestep=torch.tensor([step]),
                encoder_hidden_states=text[:1],
                **{**beyond, **own},
            ).sample
            torch.testing.assert_close(found[stream][:1], expected, rtol=0, atol=1e-5)
            with adapter.showing_attention():
                shown = adapter.forward(inputs)[stream]
            torch.testing.assert_close(shown, found[stream], rtol=0, atol=1e-5)


@pytest.mark.parametrize("t5", [True, False])
def test_stable_diffusion_3_finds_what_the_pipeline_of_the_library_finds(t5: bool) -> None:
    """Words and summary by its own ``encode_prompt``, attention by its own processors."""
    case = tiny("stable_diffusion_3")
    adapter: Any = case.adapter if t5 else without_t5()
    sample = case.samples[2]
    adapter.module.double()
    inputs = adapter.encode([sample])
    for name in ("pixel_values", "noise"):
        inputs.tensors[name] = inputs.tensors[name].double()
    noise = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = adapter.forward(inputs)
        with adapter.showing_attention():
            shown = adapter.forward(inputs)
        for block in adapter.model.transformer_blocks:
            block.attn.set_processor(diffusers.models.attention_processor.JointAttnProcessor2_0())
        parts = dict.fromkeys(("text_encoder_3", "tokenizer_3"))
        parts |= {**adapter.parts, **adapter.tokenizers, "scheduler": adapter.schedule}
        pipeline = diffusers.StableDiffusion3Pipeline(**parts)
        words, _, pooled, _ = pipeline.encode_prompt(
            *(sample.text, None, None), do_classifier_free_guidance=False
        )
        picture = np.asarray(sample.images[0].resize((16, 16), 3), dtype=np.float32)
        pixels = torch.from_numpy(picture / 127.5 - 1).permute(2, 0, 1)[None].double()
        latents = pipeline.vae.encode(pixels).latent_dist.mean
        latents = (latents - 0.1) * pipeline.vae.config.scaling_factor
        for stream, step in LEVELS.items():
            expected = pipeline.transformer(
                latents * (1 - step / 1000) + noise * step / 1000,
                timestep=torch.tensor([step]),
                encoder_hidden_states=words,
                pooled_projections=pooled,
            ).sample
            torch.testing.assert_close(found[stream], expected, rtol=0, atol=1e-6)
            torch.testing.assert_close(shown[stream], expected, rtol=0, atol=1e-6)


def test_stable_diffusion_3_is_opened_without_the_encoder_that_its_pipeline_was_saved_without(
    tmp_path: Path,
) -> None:
    saved, sample = without_t5(), tiny("stable_diffusion_3").samples[0]
    adapter: Any = open_model(str(save_pipeline(saved, tmp_path / "sd3")))
    names = [spec.name for spec in adapter.streams]
    assert "clip_g" in names and "t5" not in names
    inputs = adapter.encode([sample])
    others = slice(16 + 16, None)  # after the patches and the words of both CLIPs
    assert (inputs.roles["text_t500"][0, others] == int(Role.SPECIAL)).all()
    assert (inputs.origins["text_t500"].values[0, others] == -1).all()
    with torch.no_grad():
        for stream, found in saved.forward(saved.encode([sample])).items():
            torch.testing.assert_close(adapter.forward(inputs)[stream], found, rtol=1e-4, atol=1e-5)


def test_what_an_encoder_writes_reaches_the_words_and_the_pooled_summary_as_is_said() -> None:
    case = tiny("stable_diffusion_3")
    inputs = case.adapter.encode(case.samples[:1])
    into = {name: LayerRef(name, 0) for name in ("text_t500", "vision_t500", "pooled")}

    def read(*changes: Edit) -> dict[str, torch.Tensor]:
        sink = TokenSink(list(into.values()))
        with Tap(case.adapter, sink, changes) as tap:
            tap(inputs)
        return {name: sink.tokens[ref].clone() for name, ref in into.items()}

    plain = read()
    for ref, columns in (
        (LayerRef("clip_l", 1), slice(16, 32)),
        (LayerRef("clip_g", 1), slice(16, 32)),
        (LayerRef("t5", 2), slice(32, None)),
        (LayerRef("clip_g", 2), slice(0, 0)),
    ):
        moved = read(Edit(ref, lambda tokens, inputs: tokens + torch.randn_like(tokens)))
        changed = (moved["text_t500"] != plain["text_t500"])[0].any(dim=1)
        expected = torch.zeros_like(changed)
        expected[columns] = True
        assert torch.equal(changed, expected), ref
        assert torch.equal(moved["pooled"], plain["pooled"]) == (ref.stream == "t5")
        assert torch.equal(moved["vision_t500"], plain["vision_t500"])


def test_a_word_that_fills_up_is_content_in_a_text_and_special_after_it() -> None:
    case = tiny("stable_diffusion_3")
    sample = Sample("red pizza cup", case.samples[0].images)
    inputs = case.adapter.encode([sample])
    ids, roles = inputs.tensors["clip_g_ids"][0], inputs.roles["clip_g"][0]
    assert ids[2] == ids[5] == ids[15]
    content = [int(Role.CONTENT)] * 3
    filled = [int(Role.SPECIAL)] * 11
    assert roles.tolist() == [int(Role.SPECIAL), *content, int(Role.SUMMARY), *filled]


@pytest.mark.parametrize("family", ["stable_diffusion", "pixart", "stable_diffusion_3"])
def test_levels_are_those_that_are_asked_for_each_once_and_in_order(
    family: str, tmp_path: Path
) -> None:
    folder = save_tiny(tmp_path / family, family)
    asked = open_model(str(folder), timesteps=(999, 100, 0, 100))
    assert asked.timesteps == (0, 100, 999)
    usual = open_model(str(folder))
    assert usual.timesteps == (100, 500, 900)
    samples = tiny(family).samples[:2]
    with torch.no_grad():
        found = asked.forward(asked.encode(samples))
        expected = usual.forward(usual.encode(samples))["vision_t100"]
    assert list(found) == ["vision_t0", "vision_t100", "vision_t999"]
    torch.testing.assert_close(found["vision_t100"], expected, rtol=0, atol=0)
    assert not torch.allclose(found["vision_t0"], found["vision_t999"])
    for steps, reason in (
        ((1000,), "has steps 0 to 999, not 1,000"),
        (tuple(range(9)), "at 8 steps of noise at most"),
    ):
        with pytest.raises(InputError, match=reason) as caught:
            open_model(str(folder), timesteps=steps)
        assert caught.value.field == "timesteps"


@pytest.mark.parametrize("model", ["clip", "text=DIR;vision=resnet18"])
def test_what_is_no_denoiser_takes_no_timesteps(model: str, tmp_path: Path) -> None:
    name = str(save_tiny(tmp_path / model)) if model == "clip" else model
    with pytest.raises(InputError, match="is no denoiser") as caught:
        open_model(name, timesteps=(5,))
    assert caught.value.field == "timesteps"


def test_maps_of_many_places_are_those_of_the_cells_of_the_smallest_map() -> None:
    case = tiny("stable_diffusion")
    adapter: Any = case.adapter
    inputs = adapter.encode(case.samples)
    assert inputs.roles["vision_t100"].shape[1] == 16  # of 64 places at the first resolution
    ref = LayerRef("vision_t500", 1)
    seen = {reads: AttentionKey(ref, reads) for reads in ("text", "vision_t500")}
    points, raw = adapter.attention(), {}

    def keep(name: str) -> Any:
        return lambda module, args, out: raw.setdefault(name, []).append(out.detach().clone())

    handles = [points[key].module.register_forward_hook(keep(name)) for name, key in seen.items()]
    maps, sites = AttentionSink(list(seen.values())), TokenSink([ref])
    with Tap(adapter, (maps, sites)) as tap:
        tap(inputs)
    for handle in handles:
        handle.remove()
    corners = [16 * row + 2 * column for row in range(4) for column in range(4)]
    cells = [[corner, corner + 1, corner + 8, corner + 9] for corner in corners]
    text = raw["text"][1]  # the second level
    assert text.shape == (4, 2, 64, 16)
    expected = torch.stack([text[:, :, places].mean(dim=2) for places in cells], dim=2)
    torch.testing.assert_close(maps.weights[seen["text"]], expected)
    own = raw["vision_t500"][1]
    rows = torch.stack([own[:, :, places].mean(dim=2) for places in cells], dim=2)
    both = torch.stack([rows[..., places].sum(dim=3) for places in cells], dim=3)
    torch.testing.assert_close(maps.weights[seen["vision_t500"]], both)
    assert sites.tokens[ref].shape == (4, 16, 8)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("pipelines") / "sd", "stable_diffusion")


def test_a_pipeline_is_one_checkpoint_of_whose_parts_none_is_listed(pipeline: Path) -> None:
    (found,) = checkpoints_below([pipeline.parent])
    assert (found.folder, found.model_type) == (pipeline, "StableDiffusionPipeline")
    assert not found.problem


def test_weights_of_before_to_q_was_called_so_are_the_same(pipeline: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(pipeline, tmp_path / "old"))
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = load_file(file)
    for new, before in old.items():
        name = f"encoder.mid_block.attentions.0.{new}.weight"
        renamed = name.replace(new, before)
        tensors[renamed] = tensors.pop(name)[:, :, None, None].contiguous()
    save_file(tensors, file)
    case = tiny("stable_diffusion")
    with torch.no_grad():
        given = case.adapter.encode(case.samples)
        torch.testing.assert_close(
            open_model(str(folder)).forward(given), open_model(str(pipeline)).forward(given)
        )


def test_a_pipeline_of_the_hub_brings_its_parts_and_nothing_else(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(pipeline, tmp_path / "sd"))
    for name in ("unet/run.py", "unet/other.fp16.safetensors", "vae/pickle.bin", "extra/x.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
    with fake_hub(folder, tmp_path / "cache", monkeypatch) as asked:
        adapter = open_model(NAME)
    assert (adapter.family, adapter.revision) == ("StableDiffusionPipeline", COMMIT)
    files = {
        path.partition("/resolve/")[2].partition("/")[2] for path in asked if "resolve" in path
    }
    assert {f"{part}/config.json" for part in ("text_encoder", "unet", "vae")} <= files
    assert "unet/diffusion_pytorch_model.safetensors" in files
    assert not any(name in files for name in ("unet/run.py", "vae/pickle.bin", "extra/x.json"))
    assert "unet/other.fp16.safetensors" not in files


def test_encoders_that_a_denoiser_was_not_trained_with_are_told_by_their_widths(
    tmp_path: Path,
) -> None:
    folder = save_tiny(tmp_path / "sd3", "stable_diffusion_3")
    shutil.rmtree(folder / "text_encoder_2")
    shutil.copytree(folder / "text_encoder", folder / "text_encoder_2")
    with pytest.raises(InputError, match="give words of width 32 and 16, a summary of 16; its den"):
        open_model(str(folder))
    shutil.rmtree(folder / "text_encoder_3")
    with pytest.raises(InputError, match="text_encoder_3: is not a checkpoint directory"):
        open_model(str(folder))


def changed(folder: Path, file: str, **values: Any) -> None:
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def without_a_tensor(folder: Path) -> None:
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    del tensors["conv_out.bias"]
    save_file(tensors, file)


def shrunk(folder: Path, name: str, rows: int) -> None:
    (file,) = folder.glob("*.safetensors")
    tensors = load_file(file)
    (whole,) = (own for own in tensors if own.endswith(name))
    tensors[whole] = tensors[whole][:rows].clone()
    save_file(tensors, file)


def test_a_text_is_never_longer_than_its_encoder_has_positions(
    pipeline: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(pipeline, tmp_path / "sd"))
    changed(folder, "tokenizer/tokenizer_config.json", model_max_length=200_000_000)
    adapter = open_model(str(folder))
    ids = adapter.encode(tiny("stable_diffusion").samples).tensors["input_ids"]
    assert ids.shape[1] == 16


def test_pixart_reads_small_letters_as_its_pipeline_does_and_their_places_stay() -> None:
    case = tiny("pixart")
    images = case.samples[0].images
    large, small = (
        case.adapter.encode([Sample(text, images)]) for text in ("A Red CAT", "a red cat")
    )
    assert torch.equal(large.tensors["input_ids"], small.tensors["input_ids"])
    np.testing.assert_array_equal(large.origins["text"].values, small.origins["text"].values)


def test_a_pipeline_is_not_copied_into_a_run_and_that_is_said_before_the_capture(
    pipeline: Path, tmp_path: Path
) -> None:
    options = CaptureOptions(with_checkpoint=True, device="cpu")
    request = CaptureRequest(
        str(pipeline), "macros:n=1,dev=1,test=2", str(tmp_path), options=options
    )
    with pytest.raises(InputError, match="pipeline of several parts is not copied"):
        open_request(request)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without_a_tensor, "unet: weights lack what a UNet2DConditionModel needs: conv_out.bias"),
        (lambda f: changed(f, "unet/config.json", _class_name="UNet2DModel"), "is a UNet2DModel"),
        (lambda f: changed(f, "unet/config.json", sample_size=[8, 8]), "in a square"),
        (lambda f: changed(f, "unet/config.json", sample_size=8000), "takes images of 16,000 px"),
        (
            lambda f: changed(f, "unet/config.json", block_out_channels=[80_000, 16]),
            "describes a model of|does not describe",
        ),
        (
            lambda f: changed(f, "scheduler/scheduler_config.json", num_train_timesteps=10**9),
            "does not say how noise grows",
        ),
        (lambda f: os.mkfifo(f / "scheduler" / "notes"), "notes is a pipe, a socket or a device"),
        (
            lambda f: (
                changed(f, "text_encoder/config.json", vocab_size=4)
                or shrunk(f / "text_encoder", "token_embedding.weight", 4)
            ),
            "its tokenizer gives .* tokens, of which its weights know 4",
        ),
        (lambda f: shutil.rmtree(f / "vae"), "vae: is not a checkpoint directory"),
        (lambda f: (f / "model_index.json").write_text("{}"), "has no model_type"),
    ],
)
def test_a_pipeline_that_is_not_whole_is_refused_by_name(
    pipeline: Path, tmp_path: Path, change: Any, reason: str
) -> None:
    folder = Path(shutil.copytree(pipeline, tmp_path / "sd"))
    change(folder)
    with pytest.raises(InputError, match=reason):
        open_model(str(folder))


def test_what_is_missing_may_be_drawn_the_same_each_time(pipeline: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(pipeline, tmp_path / "sd"))
    without_a_tensor(folder)
    first, second = (open_model(str(folder), allow_partial_weights=True) for _ in range(2))
    assert "conv_out.bias" in " ".join(first.notes)
    given = first.encode(tiny("stable_diffusion").samples)
    with torch.no_grad():
        torch.testing.assert_close(first.forward(given), second.forward(given), rtol=0, atol=0)


def test_without_the_extra_it_is_said_how_to_get_it(
    pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(InputError, match="need diffusers") as caught:
        open_model(str(pipeline))
    assert "fusionscope[denoisers]" in str(caught.value)
