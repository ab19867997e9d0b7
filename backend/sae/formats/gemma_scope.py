"""Gemma Scope (Lieberum et al. 2024): ``params.npz``; Gemma Scope 2: ``params.safetensors``.

JumpReLU in both, nothing subtracted from the input. Of the first kind the place is in the names of
the folders only (``layer_12/width_16k/average_l0_82``), of the second also in ``config.json``.
"""

from __future__ import annotations

import re
from pathlib import Path

from backend.errors import InputError
from backend.sae.autoencoder import JumpRelu, Source, SparseAutoencoder, Weights
from backend.sae.formats.files import digest_of, need, read_config, read_tensors
from backend.sae.hooks import layer_of

FILES = ("params.npz", "params.safetensors")
_LAYER = re.compile(r"(?:^|_)layer_(\d{1,4})(?=_|$)")
_OTHER = ("attn", "att", "mlp", "transcoder", "clt", "crosscoder")


def suits(path: Path) -> bool:
    """Whether the directory is laid out so."""
    return any((path / name).is_file() for name in FILES)


def read(path: Path) -> SparseAutoencoder:
    """InputError where thresholds are missing, or where it is no autoencoder of a layer."""
    where = str(path)
    file = next(path / name for name in FILES if (path / name).is_file())
    named = {name.lower(): tensor for name, tensor in read_tensors(file).items()}
    need(named, ["w_enc", "w_dec", "b_enc", "b_dec"], where)
    if "threshold" not in named:
        raise InputError(
            "has no threshold, without which a JumpReLU autoencoder keeps the wrong features",
            where=where,
            hint="Download the whole file again.",
        )
    if "affine_skip_connection" in named or named["w_dec"].ndim != 2:
        raise InputError("is a transcoder: it writes another place than it reads", where=where)
    weights = Weights(named["w_enc"], named["w_dec"], named["b_enc"], named["b_dec"])
    source = _source(path, digest_of(named))
    if source.hook == "hook_embed":  # trained on embeddings before Gemma's factor sqrt(d)
        size = float(weights.W_dec.shape[-1]) ** 0.5
        weights = Weights(
            weights.W_enc / size, weights.W_dec * size, weights.b_enc, weights.b_dec * size
        )
    return SparseAutoencoder(weights, JumpRelu(named["threshold"]), source, centred=False)


def _source(path: Path, digest: str) -> Source:
    """From ``config.json``, else from the names of the folders that it lies in."""
    where = str(path)
    config = read_config(path / "config.json") if (path / "config.json").is_file() else {}
    model = str(config.get("model_name") or "")
    hook = str(config.get("hf_hook_point_in") or "")
    if hook:
        return Source(where, model, hook, layer_of(hook, where), digest)
    folders = path.resolve().parts[-4:]
    other = [name for name in folders if any(word in re.split(r"[-_]", name) for word in _OTHER)]
    if other:
        raise InputError(
            f"lies in {other[-1]!r}: it is of an attention's or a perceptron's output, which is no "
            "layer of the residual stream",
            where=where,
        )
    found = [match[1] for name in folders if (match := _LAYER.search(name))]
    if found:
        hook = f"blocks.{found[-1]}.hook_resid_post"
    elif "embedding" in folders:
        hook = "hook_embed"
    return Source(where, model, hook, layer_of(hook, where) if hook else None, digest)
