"""Autoencoders of tiny models, on disk: random weights, as wide as the tiny llava's states."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

D, M = 16, 40


def save_saes(folder: Path, layers: Sequence[int]) -> Path:
    """One a layer, each of another seed."""
    for layer in layers:
        save_sae(folder / f"text-{layer}", layer, seed=layer)
    return folder


def save_sae(folder: Path, layer: int | None, seed: int = 0, features: int = M) -> Path:
    """Random weights that rebuild a little, with TopK, in SAELens' layout."""
    g = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(features, D, generator=g), dim=1)
    folder.mkdir(parents=True)
    weights = {
        "W_enc": directions.T.contiguous(),
        "W_dec": directions * 0.3,
        "b_enc": torch.randn(features, generator=g) * 0.05,
        "b_dec": torch.zeros(D),
    }
    save_file(weights, folder / "sae_weights.safetensors")
    told = {"hook_name": f"blocks.{layer - 1}.hook_resid_post"} if layer else {}
    config = {"architecture": "topk", "k": 6, "d_in": D, "d_sae": features, "metadata": told}
    (folder / "cfg.json").write_text(json.dumps(config))
    return folder
