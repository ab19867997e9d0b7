"""Pretrained encoders: real weights, read from files in whatever precision they are stored."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModel

from backend.models.encoders import build_text, load_text, load_vision
from tests.tiny import tiny_config


def test_half_precision_weights_are_trained_in_single_precision(tmp_path: Path) -> None:
    encoder = build_text(tiny_config().text)
    encoder.model.half().save_pretrained(tmp_path)
    assert {p.dtype for p in load_text(str(tmp_path)).parameters()} == {torch.float32}


def test_minilm_says_what_transformers_says(shared_dir: Path) -> None:
    folder = str(shared_dir / "weights" / "minilm_l6")
    encoder = load_text(folder)
    ids = torch.tensor([[101, 1996, 4937, 102, 0], [101, 3899, 102, 0, 0]])
    mask = (ids > 0).long()
    with torch.inference_mode():
        hidden = encoder.embed(ids)
        own = encoder.attention_mask(hidden, mask)
        for k in range(1, len(encoder.blocks) + 1):
            hidden = encoder.block(k, hidden, own)
        model = AutoModel.from_pretrained(folder, dtype=torch.float32)
        expected = model(input_ids=ids, attention_mask=mask).last_hidden_state
    assert len(encoder.blocks) == 6
    torch.testing.assert_close(hidden[:, 0], expected[:, 0], rtol=1e-4, atol=1e-5)


def test_vit_s14_says_what_timm_says(shared_dir: Path) -> None:
    weights = shared_dir / "weights" / "vit_small_patch14" / "model.safetensors"
    encoder = load_vision("vit_small_patch14_dinov2", {"img_size": 112}, weights).eval()
    pixels = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        hidden = encoder.embed(pixels)
        assert hidden.shape == (2, 65, 384)
        for k in range(1, 13):
            hidden = encoder.block(k, hidden)
        expected = encoder.model.forward_features(pixels)
        torch.testing.assert_close(encoder.final_norm(hidden), expected)
