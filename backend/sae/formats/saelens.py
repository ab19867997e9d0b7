"""SAELens: a directory with ``cfg.json`` and ``sae_weights.safetensors``.

Layout and arithmetic as in SAELens 6 (``sae_lens/saes/*.py``, ``loading/pretrained_sae_loaders.py``
for what versions before 6 called otherwise). BatchTopK is saved there as JumpReLU; its training's
own checkpoints have one threshold for all features.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from backend.errors import InputError
from backend.sae.autoencoder import (
    SCALINGS,
    Activation,
    Gated,
    JumpRelu,
    Relu,
    Source,
    SparseAutoencoder,
    TopK,
    Weights,
)
from backend.sae.formats.files import Tensors, digest_of, need, read_config, read_tensors, whole
from backend.sae.hooks import layer_of

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"


def suits(path: Path) -> bool:
    """Whether the directory is laid out so."""
    return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()


def read(path: Path) -> SparseAutoencoder:
    """InputError names what is missing, does not fit or is of a kind that is not read."""
    where = str(path)
    config = read_config(path / CONFIG)
    tensors = read_tensors(path / WEIGHTS)
    need(tensors, ["W_enc", "W_dec", "b_dec"], where)
    d, m = whole(config, "d_in", where), whole(config, "d_sae", where)
    if tuple(tensors["W_enc"].shape) != (d, m):
        raise InputError(
            f"W_enc is {tuple(tensors['W_enc'].shape)}, cfg.json says ({d}, {m})", where=where
        )
    scaling = _scaling(config, where)
    digest = digest_of(tensors)
    if config.get("rescale_acts_by_decoder_norm"):
        digest = f"{digest}-rescaled"
    activation, tensors = _activation(config, tensors, where)
    return SparseAutoencoder(
        Weights(tensors["W_enc"], tensors["W_dec"], tensors["b_enc"], tensors["b_dec"]),
        activation,
        _source(config, path, digest),
        centred=bool(config.get("apply_b_dec_to_input", True)),
        scaling=scaling,
    )


def _scaling(config: dict[str, Any], where: str) -> Any:
    given = config.get("normalize_activations") or "none"
    if given in SCALINGS:
        return given
    raise InputError(
        f"its activations were scaled by {given!r}, and the factor is not in its files",
        where=where,
        hint="Save it with the scaling folded in (normalize_activations: none).",
    )


def _activation(config: dict[str, Any], tensors: Tensors, where: str) -> tuple[Activation, Tensors]:
    """What keeps features; the tensors as :class:`Weights` has them."""
    kind = config.get("architecture", "standard")
    older = config.get("activation_fn_str", config.get("activation_fn", "relu"))
    arguments = config.get("activation_fn_kwargs")
    if kind == "gated":
        need(tensors, ["b_gate", "b_mag", "r_mag"], where)
        gate = Gated(tensors["b_gate"], tensors["b_mag"], tensors["r_mag"])
        return gate, {**tensors, "b_enc": tensors["b_gate"].new_zeros(len(tensors["b_gate"]))}
    need(tensors, ["b_enc"], where)
    if kind == "jumprelu":
        need(tensors, ["threshold"], where)
        return JumpRelu(tensors["threshold"]), tensors
    if kind == "batchtopk":  # as it is trained; for others it is saved as a JumpReLU
        need(tensors, ["topk_threshold"], where)
        threshold = tensors["topk_threshold"][:1].repeat(len(tensors["b_enc"]))
        by_norm = config.get("rescale_acts_by_decoder_norm")
        return JumpRelu(threshold), _unit(tensors) if by_norm else tensors
    if kind == "topk" or (kind == "standard" and older == "topk"):
        k = whole(config if "k" in config else arguments or {}, "k", where)
        return TopK(k), _unit(tensors) if config.get("rescale_acts_by_decoder_norm") else tensors
    if kind == "standard" and older == "relu":
        return Relu(), tensors
    raise InputError(
        f"is a {kind!r} with {older!r}, which is not read",
        where=where,
        hint="Read are standard, topk, batchtopk, jumprelu and gated.",
    )


def _unit(tensors: Tensors) -> Tensors:
    """Decoder rows of norm 1, the norms in the encoder: the same features and reconstruction.

    With ``rescale_acts_by_decoder_norm`` the k largest are chosen, and features counted, in units
    of the decoder's norm.
    """
    norms: Tensor = tensors["W_dec"].norm(dim=1)
    return {
        **tensors,
        "W_enc": tensors["W_enc"] * norms,
        "b_enc": tensors["b_enc"] * norms,
        "W_dec": tensors["W_dec"] / norms.where(norms > 0, 1.0)[:, None],
    }


def _source(config: dict[str, Any], path: Path, digest: str) -> Source:
    told = config.get("metadata")
    known = {**config, **(told if isinstance(told, dict) else {})}
    hook = str(known.get("hook_name") or known.get("hook_point") or "")
    return Source(
        str(path),
        str(known.get("model_name") or ""),
        hook,
        layer_of(hook, str(path)) if hook else None,
        digest,
        str(known.get("stream") or ""),
    )


def write(path: Path, sae: SparseAutoencoder, told: dict[str, Any]) -> None:
    """Write an autoencoder as SAELens 6 does, with ``told`` among the metadata.

    Of kinds and scalings that SAELens has; one trained here is always such.
    """
    tensors = {"W_enc": sae.W_enc, "W_dec": sae.W_dec, "b_enc": sae.b_enc, "b_dec": sae.b_dec}
    config: dict[str, Any] = {
        "architecture": sae.architecture,
        "d_in": sae.d,
        "d_sae": sae.count,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": sae.centred,
        "normalize_activations": sae.scaling,
        "reshape_activations": "none",
        "metadata": {
            "model_name": sae.source.model,
            "hook_name": sae.source.hook,
            "sae_lens_version": "6.0.0",
            **told,
        },
    }
    if isinstance(sae.activation, TopK):
        config |= {"k": sae.activation.k, "rescale_acts_by_decoder_norm": False}
    if isinstance(sae.activation, JumpRelu):
        tensors["threshold"] = sae.activation.threshold
    path.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path / WEIGHTS)
    (path / CONFIG).write_text(json.dumps(config, indent=1), encoding="utf-8")
