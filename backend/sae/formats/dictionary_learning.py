"""dictionary_learning and what grew out of it: ``ae.pt``, with ``config.json`` beside it or not.

Files of ``torch.save`` are listed before anything is read: plain tensors only, and nothing is run
(:mod:`backend.models.imports.archive`). Arithmetic as in dictionary_learning 0.1 (``dictionary.py``
and ``trainers/{top_k,batch_top_k,matryoshka_batch_top_k}.py``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backend.errors import InputError
from backend.models.imports.archive import read_archive
from backend.sae.autoencoder import (
    Activation,
    Gated,
    JumpRelu,
    Relu,
    Source,
    SparseAutoencoder,
    TopK,
    Weights,
)
from backend.sae.formats.files import Tensors, digest_of, need, read_config
from backend.sae.hooks import layer_of

WEIGHTS, CONFIG = "ae.pt", "config.json"


def suits(path: Path) -> bool:
    """Whether it is such a file, or a directory that holds one."""
    return (path / WEIGHTS).is_file() or (path.suffix == ".pt" and path.is_file())


def read(path: Path) -> SparseAutoencoder:
    """InputError for a file that would run code, by the names that it holds, and for other ones."""
    file = path / WEIGHTS if path.is_dir() else path
    where = str(file)
    tensors = _tensors(read_archive(file, {}), where)
    beside = file.parent / CONFIG
    trainer = read_config(beside).get("trainer") if beside.is_file() else None
    told: dict[str, Any] = trainer if isinstance(trainer, dict) else {}
    source = _source(told, file, digest_of(tensors))
    if "gate_bias" in tensors:
        return _gated(tensors, source)
    if "encoder.weight" in tensors:
        return _linear(tensors, str(told.get("dict_class") or ""), source)
    return _plain(tensors, source)


def _tensors(found: object, where: str) -> Tensors:
    state: dict[Any, Any] = found if isinstance(found, dict) else {}
    if isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    tensors = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError("holds no state dict of tensors", where=where)
    return {name: value.float().cpu() for name, value in tensors.items()}


def _plain(tensors: Tensors, source: Source) -> SparseAutoencoder:
    """``JumpReluAutoEncoder``; with ``k`` a Matryoshka one (every group of it)."""
    need(tensors, ["W_enc", "W_dec", "b_enc", "b_dec"], source.name)
    if "threshold" not in tensors:
        raise InputError(
            "has no threshold, without which it keeps the wrong features", where=source.name
        )
    threshold = tensors["threshold"]
    return SparseAutoencoder(
        Weights(tensors["W_enc"], tensors["W_dec"], tensors["b_enc"], tensors["b_dec"]),
        JumpRelu(threshold if threshold.ndim else threshold.expand(len(tensors["b_enc"])).clone()),
        source,
        centred="k" in tensors,
    )


def _linear(tensors: Tensors, kind: str, source: Source) -> SparseAutoencoder:
    """``AutoEncoder`` and ``AutoEncoderNew``, ``AutoEncoderTopK``, ``BatchTopKSAE``."""
    need(tensors, ["encoder.weight", "encoder.bias", "decoder.weight"], source.name)
    encoder, decoder = tensors["encoder.weight"].T, tensors["decoder.weight"].T
    bias = tensors["encoder.bias"]
    activation: Activation = Relu()
    offset = next((tensors[n] for n in ("b_dec", "bias", "decoder.bias") if n in tensors), None)
    if offset is None:
        raise InputError("has no decoder bias", where=source.name)
    if "k" in tensors:
        activation = _kept(tensors, kind, source.name)
    elif "bias" in tensors:  # the library gives features in units of a decoder of norm 1
        norms = decoder.norm(dim=1)
        encoder, bias = encoder * norms, bias * norms
        decoder = decoder / norms.where(norms > 0, 1.0)[:, None]
    return SparseAutoencoder(
        Weights(encoder.contiguous(), decoder.contiguous(), bias, offset),
        activation,
        source,
        centred="decoder.bias" not in tensors,
    )


def _kept(tensors: Tensors, kind: str, where: str) -> Activation:
    """TopK and BatchTopK have the same tensors; only the class's name tells them apart."""
    if kind.startswith("AutoEncoderTopK") or "threshold" not in tensors:
        return TopK(int(tensors["k"]))
    if kind.startswith("BatchTopK"):
        return JumpRelu(torch.full_like(tensors["encoder.bias"], float(tensors["threshold"])))
    raise InputError(
        f"is TopK or BatchTopK, and {CONFIG} does not say which"
        + (f" (dict_class is {kind!r})" if kind else ""),
        where=where,
        hint=f"Put the {CONFIG} of its training beside it.",
    )


def _gated(tensors: Tensors, source: Source) -> SparseAutoencoder:
    needed = ["encoder.weight", "decoder.weight", "decoder_bias", "mag_bias", "r_mag"]
    need(tensors, needed, source.name)
    return SparseAutoencoder(
        Weights(
            tensors["encoder.weight"].T.contiguous(),
            tensors["decoder.weight"].T.contiguous(),
            torch.zeros_like(tensors["mag_bias"]),
            tensors["decoder_bias"],
        ),
        Gated(tensors["gate_bias"], tensors["mag_bias"], tensors["r_mag"]),
        source,
    )


def _source(told: dict[str, Any], file: Path, digest: str) -> Source:
    hook = str(told.get("submodule_name") or "")
    layer = layer_of(hook, str(file)) if hook else None
    return Source(str(file), str(told.get("lm_name") or ""), hook, layer, digest)
