"""The two encoders behind one small interface: embed, then one block at a time.

Running the blocks one by one is what makes room for a co-attention on entry to any of them, and
gives every layer a module whose output *is* the representation (so a forward hook captures it).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import timm
import torch
from safetensors import SafetensorError, safe_open
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.masking_utils import create_bidirectional_mask

from backend.errors import InputError
from backend.models.hub import require_hub

PREFIX_TEXT = 1  # the text stream's first token is its CLS


class TextEncoder(nn.Module):
    """A BERT-like encoder of ``transformers`` (BERT, RoBERTa, ELECTRA, DistilBERT, ...)."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        blocks = _find_blocks(model)
        if blocks is None or not hasattr(model, "embeddings"):
            raise InputError(
                f"a {model.config.model_type} model is not a BERT-like encoder",
                where="text encoder",
                hint="Use one with embeddings and a list of encoder layers, e.g. BERT or RoBERTa.",
            )
        self.model = model
        # The pooler is not part of any layer; unused weights would only be saved.
        if getattr(model, "pooler", None) is not None:
            model.register_module("pooler", None)

    @property
    def blocks(self) -> nn.ModuleList:
        """Block k is ``blocks[k - 1]``."""
        blocks = _find_blocks(self.model)
        if blocks is None:
            raise RuntimeError("the encoder lost its blocks")
        return blocks

    @property
    def embeddings(self) -> nn.Module:
        """The module whose output is layer 0."""
        return cast(nn.Module, self.model.embeddings)

    @property
    def word_embedding(self) -> nn.Embedding:
        """Token ids to vectors."""
        return cast(nn.Embedding, self.model.get_input_embeddings())

    @property
    def width(self) -> int:
        """d of the stream."""
        return int(self.model.config.hidden_size)

    def embed(self, input_ids: Tensor) -> Tensor:
        """(B, T) token ids -> (B, T, d), layer 0."""
        out: Tensor = self.embeddings(input_ids=input_ids)
        return out

    def attention_mask(self, hidden: Tensor, mask: Tensor) -> Any:
        """The (B, T) mask in the form that this encoder's blocks take."""
        return create_bidirectional_mask(
            config=self.model.config, inputs_embeds=hidden, attention_mask=mask
        )

    def block(self, k: int, hidden: Tensor, mask: Any) -> Tensor:
        """Run block k (1-based); ``mask`` from :meth:`attention_mask`."""
        out: Tensor | tuple[Tensor, ...] = self.blocks[k - 1](hidden, mask)
        return out[0] if isinstance(out, tuple) else out


class VisionEncoder(nn.Module):
    """A Vision Transformer of ``timm``."""

    def __init__(self, model: VisionTransformer) -> None:
        super().__init__()
        self.model = model

    @property
    def blocks(self) -> nn.Sequential:
        """Block k is ``blocks[k - 1]``."""
        blocks: nn.Sequential = self.model.blocks
        return blocks

    @property
    def embeddings(self) -> nn.Module:
        """The module whose output is layer 0 (the norm before the blocks, often an identity)."""
        norm: nn.Module = self.model.norm_pre
        return norm

    @property
    def width(self) -> int:
        """d of the stream."""
        return int(self.model.embed_dim)

    @property
    def prefix(self) -> int:
        """Tokens before the patches: CLS and any registers."""
        return int(self.model.num_prefix_tokens)

    def embed(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 1 + patches, d), layer 0."""
        return self.place(self.patches(pixels))

    def patches(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, patches, d): each patch by itself, before it has a position."""
        out: Tensor = self.model.patch_embed(pixels)
        return out

    def place(self, patches: Tensor) -> Tensor:
        """(B, patches, d) -> (B, 1 + patches, d), layer 0: with CLS, registers and positions."""
        model = self.model
        out: Tensor = self.embeddings(model.patch_drop(model._pos_embed(patches)))
        return out

    def block(self, k: int, hidden: Tensor) -> Tensor:
        """Run block k (1-based)."""
        out: Tensor = self.model.blocks[k - 1](hidden)
        return out

    def final_norm(self, hidden: Tensor) -> Tensor:
        """The norm that a pre-norm ViT puts after its last block; belongs to the head here."""
        out: Tensor = self.model.norm(hidden)
        return out


def _find_blocks(model: PreTrainedModel) -> nn.ModuleList | None:
    for path in ("encoder.layer", "transformer.layer"):
        module: Any = model
        for part in path.split("."):
            module = getattr(module, part, None)
        if isinstance(module, nn.ModuleList):
            return module
    return None


def build_text(config: Mapping[str, Any]) -> TextEncoder:
    """A text encoder with fresh weights from a ``transformers`` configuration."""
    settings = {k: v for k, v in config.items() if k != "model_type"}
    return TextEncoder(
        AutoModel.from_config(AutoConfig.for_model(config["model_type"], **settings))
    )


def load_text(name: str) -> TextEncoder:
    """A pretrained text encoder from a directory or the hub, in float32 whatever is stored."""
    if not Path(name).is_dir():
        require_hub("text encoder", name, "config.json")
    try:
        return TextEncoder(
            AutoModel.from_pretrained(
                name, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
            )
        )
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise unreachable("text encoder", name, error) from error


def text_depth(name: str) -> int:
    """The number of blocks of a pretrained text encoder, from its configuration alone."""
    if not Path(name).is_dir():
        require_hub("text encoder", name, "config.json")
    try:
        return int(AutoConfig.from_pretrained(name, trust_remote_code=False).num_hidden_layers)
    except (OSError, ValueError, AttributeError) as error:
        raise unreachable("text encoder", name, error) from error


def vision_depth(name: str) -> int:
    """The number of blocks of timm's ViT; nothing is allocated or loaded."""
    with torch.device("meta"):
        return len(_vision(name, {}, pretrained=False, file=None).blocks)


def build_vision(name: str, options: Mapping[str, Any]) -> VisionEncoder:
    """A ViT with fresh weights: a timm name and its constructor's options."""
    return _vision(name, dict(options), pretrained=False, file=None)


def load_vision(name: str, options: Mapping[str, Any], weights: Path | None) -> VisionEncoder:
    """A pretrained ViT: weights from a safetensors file, or from the hub when ``weights`` is None.

    Position embeddings are resampled by timm when ``img_size`` differs from the weights'.
    """
    _check_vision(name)
    if weights is None:
        known = timm.get_pretrained_cfg(name)
        repository = (known and known.hf_hub_id) or name
        require_hub("vision encoder", repository, "model.safetensors")
    else:
        check_weights(weights)
    return _vision(name, dict(options), pretrained=True, file=weights)


def check_weights(file: Path) -> None:
    """InputError unless it is a safetensors file; its tensors are not read."""
    where = f"vision weights {file}"
    if not file.is_file():
        raise InputError("no such file", where=where)
    if file.suffix != ".safetensors":
        raise InputError("weights are read from safetensors files only", where=where)
    try:
        with safe_open(file, "pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise InputError(f"cannot be read ({error})", where=where) from error


def _check_vision(name: str) -> None:
    """InputError unless timm's model is a ViT with a CLS token; nothing is allocated or loaded."""
    with torch.device("meta"):
        _vision(name, {}, pretrained=False, file=None)


def _vision(
    name: str, options: dict[str, Any], *, pretrained: bool, file: Path | None
) -> VisionEncoder:
    if not timm.is_model(name.split(".")[0]):
        raise InputError(
            f"timm has no model {name!r}",
            where="vision encoder",
            hint="`python -c \"import timm; print(timm.list_models('vit*'))\"` lists them.",
        )
    overlay = {"file": str(file)} if file is not None else None
    try:
        model = timm.create_model(
            name,
            pretrained=pretrained,
            pretrained_cfg_overlay=overlay,
            num_classes=0,
            **options,
        )
    except (OSError, RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise unreachable("vision encoder", name if file is None else str(file), error) from error
    if not isinstance(model, VisionTransformer) or model.cls_token is None:
        raise InputError(
            f"{name} is not a Vision Transformer with a CLS token", where="vision encoder"
        )
    return VisionEncoder(model)


def unreachable(what: str, name: str, error: Exception) -> InputError:
    """One line for an encoder that cannot be had: a dead hub, a wrong folder, wrong weights."""
    reason = (
        str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    )
    return InputError(
        f"cannot be loaded ({reason})",
        where=f"{what} {name}",
        hint="Give a local directory or file, or check that the model hub can be reached.",
    )


def describe_text(config: PreTrainedConfig) -> dict[str, Any]:
    """The configuration as plain values, enough to build the same encoder again."""
    plain = config.to_dict()
    for transient in ("_name_or_path", "transformers_version", "architectures", "dtype"):
        plain.pop(transient, None)
    return {**plain, "model_type": config.model_type}


__all__ = [
    "PREFIX_TEXT",
    "TextEncoder",
    "VisionEncoder",
    "build_text",
    "build_vision",
    "describe_text",
    "load_text",
    "load_vision",
    "text_depth",
    "unreachable",
    "vision_depth",
]
