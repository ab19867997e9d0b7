"""Autoencoders written to files by the published layout of each library, with random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

D, M, K = 12, 40, 5

Reads = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Written:
    """A file, and what its own library's formulas make of activations."""

    path: Path
    expected: Reads
    layer: int | None
    model: str


def _weights(seed: int = 0) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return torch.randn(*shape, generator=g) * scale

    return {
        "W_enc": normal(D, M, scale=0.4),
        "W_dec": normal(M, D, scale=0.3),
        "b_enc": normal(M, scale=0.2),
        "b_dec": normal(D, scale=0.5),
        "threshold": normal(M).abs() * 0.3,
        "topk_threshold": torch.tensor(0.4, dtype=torch.float64),
        "b_gate": normal(M, scale=0.2),
        "b_mag": normal(M, scale=0.2),
        "r_mag": normal(M, scale=0.1),
    }


def _largest(values: Tensor, k: int) -> Tensor:
    """By sorting, row by row: what topk must give."""
    out = torch.zeros_like(values)
    for row, line in zip(out, values, strict=True):
        at = sorted(range(len(line)), key=lambda i: -float(line[i]))[:k]
        row[at] = line[at]
    return out.clamp(min=0)


def _jump(pre: Tensor, threshold: Tensor) -> Tensor:
    return torch.where((pre > threshold) & (pre > 0), pre, torch.zeros(()))


def saelens(folder: Path, architecture: str, **config: object) -> Written:
    w = _weights()
    names = ["W_enc", "W_dec", "b_dec"]
    names += {
        "jumprelu": ["b_enc", "threshold"],
        "gated": ["b_gate", "b_mag", "r_mag"],
        "batchtopk": ["b_enc", "topk_threshold"],
    }.get(architecture, ["b_enc"])
    cfg = {
        "architecture": architecture,
        "d_in": D,
        "d_sae": M,
        "dtype": "float32",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "metadata": {
            "sae_lens_version": "6.5.0",
            "hook_name": "blocks.3.hook_resid_post",
            "model_name": "smollm2",
        },
    } | config
    save_file({name: w[name] for name in names}, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(cfg))
    centred = bool(cfg["apply_b_dec_to_input"])
    norms = w["W_dec"].pow(2).sum(1).sqrt() if cfg.get("rescale_acts_by_decoder_norm") else None

    def expected(x: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift = torch.ones(len(x), 1), torch.zeros(len(x), 1)
        if cfg["normalize_activations"] == "layer_norm":
            shift = x.mean(1, keepdim=True)
            scale = (x - shift).std(1, keepdim=True)
            x = (x - shift) / (scale + 1e-5)
        if cfg["normalize_activations"] == "constant_norm_rescale":
            scale = x.pow(2).sum(1, keepdim=True).sqrt() / D**0.5
            x = x / scale
        raw = (x - w["b_dec"] if centred else x) @ w["W_enc"]
        pre = raw + w["b_enc"]
        if architecture == "jumprelu":
            f = _jump(pre, w["threshold"])
        elif architecture == "batchtopk":
            f = _jump(pre if norms is None else pre * norms, torch.tensor(0.4))
        elif architecture == "topk":
            f = _largest(pre if norms is None else pre * norms, K)
        elif architecture == "gated":
            f = (raw * torch.exp(w["r_mag"]) + w["b_mag"]).clamp(min=0)
            f = f * (raw + w["b_gate"] > 0)
        else:
            f = pre.clamp(min=0)
        back = f if norms is None else f / norms
        return f, (back @ w["W_dec"] + w["b_dec"]) * scale + shift

    return Written(folder, expected, 4, "smollm2")


def gemma_scope(folder: Path, second: bool) -> Written:
    w = _weights(1)
    if second:
        folder = folder / "resid_post" / "layer_7_width_16k_l0_small"
        folder.mkdir(parents=True)
        tensors = {n.lower(): w[n] for n in ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")}
        save_file(tensors, folder / "params.safetensors")
        config = {
            "architecture": "jump_relu",
            "model_name": "gemma-v3-270m-pt",
            "hf_hook_point_in": "model.layers.7.output",
        }
        (folder / "config.json").write_text(json.dumps(config))
    else:
        folder = folder / "layer_7" / "width_16k" / "average_l0_82"
        folder.mkdir(parents=True)
        names = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")
        np.savez(folder / "params.npz", **{n: w[n].numpy() for n in names})

    def expected(x: Tensor) -> tuple[Tensor, Tensor]:
        f = _jump(x @ w["W_enc"] + w["b_enc"], w["threshold"])
        return f, f @ w["W_dec"] + w["b_dec"]

    return Written(folder, expected, 8, "gemma-v3-270m-pt" if second else "")


def sparsify(folder: Path) -> Written:
    w = _weights(2)
    folder = folder / "layers.5"
    folder.mkdir()
    tensors = {
        "encoder.weight": w["W_enc"].T.contiguous(),
        "encoder.bias": w["b_enc"],
        "W_dec": w["W_dec"],
        "b_dec": w["b_dec"],
    }
    save_file(tensors, folder / "sae.safetensors")
    (folder / "cfg.json").write_text(json.dumps({"k": K, "num_latents": M, "d_in": D}))

    def expected(x: Tensor) -> tuple[Tensor, Tensor]:
        f = _largest((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"], K)
        return f, f @ w["W_dec"] + w["b_dec"]

    return Written(folder, expected, 6, "")


def dictionary(folder: Path, kind: str) -> Written:
    w = _weights(3)
    linear = {
        "encoder.weight": w["W_enc"].T.contiguous(),
        "encoder.bias": w["b_enc"],
        "decoder.weight": w["W_dec"].T.contiguous(),
    }
    whole = torch.tensor(K, dtype=torch.int)
    one = torch.tensor(0.25)
    plain = {name: w[name] for name in ("W_enc", "W_dec", "b_enc", "b_dec")}
    state = {
        "AutoEncoder": linear | {"bias": w["b_dec"]},
        "AutoEncoderNew": linear | {"decoder.bias": w["b_dec"]},
        "AutoEncoderTopK": linear | {"b_dec": w["b_dec"], "k": whole, "threshold": one},
        "BatchTopKSAE": linear | {"b_dec": w["b_dec"], "k": whole, "threshold": one},
        "JumpReluAutoEncoder": plain | {"threshold": w["threshold"]},
        "MatryoshkaBatchTopKSAE": plain
        | {"k": whole, "threshold": one, "group_sizes": torch.tensor([10, 30])},
        "GatedAutoEncoder": {
            "encoder.weight": linear["encoder.weight"],
            "decoder.weight": linear["decoder.weight"],
            "decoder_bias": w["b_dec"],
            "gate_bias": w["b_gate"],
            "mag_bias": w["b_mag"],
            "r_mag": w["r_mag"],
        },
    }[kind]
    torch.save(state, folder / "ae.pt")
    told = {"dict_class": kind, "lm_name": "gemma", "submodule_name": "resid_post_layer_2"}
    (folder / "config.json").write_text(json.dumps({"trainer": told}))
    norms = w["W_dec"].pow(2).sum(1).sqrt()

    def expected(x: Tensor) -> tuple[Tensor, Tensor]:
        centred = x - w["b_dec"]
        pre = (x if kind in ("AutoEncoderNew", "JumpReluAutoEncoder") else centred) @ w["W_enc"]
        full = pre + w["b_enc"]
        relu = full.clamp(min=0)
        if kind == "AutoEncoder":
            return relu * norms, relu @ w["W_dec"] + w["b_dec"]
        f = {
            "AutoEncoderNew": lambda: relu,
            "AutoEncoderTopK": lambda: _largest(full, K),
            "BatchTopKSAE": lambda: _jump(full, one),
            "MatryoshkaBatchTopKSAE": lambda: _jump(full, one),
            "JumpReluAutoEncoder": lambda: _jump(full, w["threshold"]),
            "GatedAutoEncoder": lambda: (
                (pre * w["r_mag"].exp() + w["b_mag"]).clamp(min=0) * (pre + w["b_gate"] > 0)
            ),
        }[kind]()
        return f, f @ w["W_dec"] + w["b_dec"]

    return Written(folder, expected, 3, "gemma")


WRITTEN: dict[str, Callable[[Path], Written]] = {
    "saelens standard": lambda p: saelens(p, "standard"),
    "saelens standard, not centred": lambda p: saelens(p, "standard", apply_b_dec_to_input=False),
    "saelens layer norm": lambda p: saelens(p, "standard", normalize_activations="layer_norm"),
    "saelens constant norm": lambda p: saelens(
        p, "jumprelu", normalize_activations="constant_norm_rescale"
    ),
    "saelens topk": lambda p: saelens(p, "topk", k=K),
    "saelens topk by norm": lambda p: saelens(p, "topk", k=K, rescale_acts_by_decoder_norm=True),
    "saelens batchtopk": lambda p: saelens(p, "batchtopk", k=K),
    "saelens batchtopk by norm": lambda p: saelens(
        p, "batchtopk", k=K, rescale_acts_by_decoder_norm=True
    ),
    "saelens jumprelu": lambda p: saelens(p, "jumprelu"),
    "saelens gated": lambda p: saelens(p, "gated"),
    "gemma scope": lambda p: gemma_scope(p, second=False),
    "gemma scope 2": lambda p: gemma_scope(p, second=True),
    "sparsify": sparsify,
    **{
        f"dictionary_learning {kind}": lambda p, kind=kind: dictionary(p, kind)
        for kind in (
            "AutoEncoder",
            "AutoEncoderNew",
            "AutoEncoderTopK",
            "BatchTopKSAE",
            "JumpReluAutoEncoder",
            "MatryoshkaBatchTopKSAE",
            "GatedAutoEncoder",
        )
    },
}
