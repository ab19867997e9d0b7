"""The two encoders of a fusion model: any of ``transformers`` or ``timm`` that is a list of blocks.

Each runs its own forward pass (:mod:`stepping` says how something can come in between), so its
blocks get whatever they get elsewhere. Whether block k really gives what the encoder itself calls
layer k is checked when one is loaded: :mod:`backend.models.dual_stream.parity`.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, cast

from torch import Tensor, nn
from transformers import PreTrainedModel

from backend.errors import InputError
from backend.models.dual_stream.parity import (
    Facts,
    look_at_text,
    look_at_vision,
    look_for_maps,
)
from backend.models.dual_stream.stepping import Stepped, leaving
from backend.models.eager import eager_attention
from backend.models.roles import Role

Summary = Literal["first", "last", "mean"]
"""By which token a stream is read: the first, the last real one, or the mean of its content."""


class Encoder(nn.Module, ABC):
    """A model whose blocks run one after the other, with room for something on entry to each."""

    model: Any  # a module, whose attributes are its library's
    notes: tuple[str, ...] = ()  # what was taken although it is not whole

    @property
    @abstractmethod
    def blocks(self) -> Sequence[nn.Module]:
        """Block k is ``blocks[k - 1]``; its first argument and first output are hidden states."""

    @property
    @abstractmethod
    def width(self) -> int:
        """d of the stream."""

    @abstractmethod
    def run(self, **inputs: Tensor) -> Tensor:
        """The encoder's own forward pass: (B, T, d) at its end, after any final norm."""

    def run_with_states(self, **inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...] | None]:
        """Also the hidden states that the encoder itself reports, if it does so in a pass."""
        return self.run(**inputs), None

    @property
    @abstractmethod
    def embedding(self) -> nn.Module:
        """The module that turns the inputs into vectors."""

    @abstractmethod
    def self_attention(self) -> dict[int, tuple[nn.Module, int | None]]:
        """{k: (module, item)} whose output, or that item of it, is block k's attention map.

        (B, heads, T, T), within :meth:`showing_attention`. Blocks that give none are left out.
        """

    @abstractmethod
    def showing_attention(self) -> AbstractContextManager[None]:
        """Within it attention maps are computed; then as before."""

    def stepped(self, layers: Sequence[int], inputs: Mapping[str, Tensor]) -> Stepped:
        """Its forward pass over ``inputs``, to be stopped on entry to the blocks ``layers``."""
        return Stepped(lambda: self.run(**inputs), [self.blocks[k - 1] for k in layers])

    def lower(self, layer: int, inputs: Mapping[str, Tensor]) -> Tensor:
        """(B, T, d): the output of block ``layer`` (from 1); no block above it is run."""
        reached = _Reached()

        def stop(module: nn.Module, args: Any, output: Any) -> None:
            reached.hidden = leaving(output)
            raise reached

        handle = self.blocks[layer - 1].register_forward_hook(stop)
        try:
            self.run(**inputs)
        except _Reached as arrived:
            if arrived is not reached:
                raise
        finally:
            handle.remove()
        return reached.hidden

    @contextmanager
    def resumed(self, layer: int, hidden: Tensor) -> Iterator[None]:
        """Within it, blocks 1..``layer`` are not run: ``hidden`` (B, T, d) is what they give.

        What the embeddings and the blocks below ``layer`` return then means nothing.
        """
        given = (hidden,) if self.facts.tupled else hidden
        below = self.blocks[:layer]
        with self._without_embedding(hidden):
            for block in below:
                block.forward = lambda *args, **kwargs: given
            try:
                yield
            finally:
                for block in below:
                    del block.forward

    @contextmanager
    def _without_embedding(self, hidden: Tensor) -> Iterator[None]:
        yield

    @property
    def facts(self) -> Facts:
        """What a look at a pass tells; looked once. InputError as of :meth:`check`."""
        if self._facts is None:
            self._facts = self.check("")
        return self._facts

    _facts: Facts | None = None

    @abstractmethod
    def check(self, name: str) -> Facts:
        """Whether its blocks are its layers, on made-up inputs: InputError says why not.

        ``name`` is what to call the encoder then.
        """

    def lower_modules(self, layer: int) -> Iterator[nn.Module]:
        """What runs before the first block, and blocks 1..``layer``; with -1 nothing."""
        if layer >= 0:
            yield from self._outside(self.model)
            yield from self.blocks[:layer]

    def lower_parameters(self, layer: int) -> Iterator[tuple[str, nn.Parameter]]:
        """Name and values of all that layers 0..``layer`` depend on; with -1 nothing."""
        if layer < 0:
            return
        above = {id(p) for block in self.blocks[layer:] for p in block.parameters()}
        ending = {id(p) for part in self.facts.ending for p in part.parameters()}
        for name, parameter in self.model.named_parameters():
            if id(parameter) not in above | ending:
                yield name, parameter

    def _outside(self, module: nn.Module) -> Iterator[nn.Module]:
        """The largest modules that hold no block and run before the last one."""
        blocks = set(self.blocks)
        for child in module.children():
            if child in blocks or child in self.facts.ending:
                continue
            if blocks & set(child.modules()):
                yield from self._outside(child)
            else:
                yield child


class _Reached(Exception):  # noqa: N818 -- nothing went wrong
    """Ends a pass that has given what it was run for."""

    hidden: Tensor


class TextEncoder(Encoder):
    """An encoder of ``transformers``, without its pooler: that is part of no layer."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        if hasattr(model, "encoder") and hasattr(model, "decoder"):
            model = model.get_encoder()
        blocks = _blocks_of(model)
        if blocks is None:
            raise InputError(
                f"a {model.config.model_type} model is not a list of blocks that run in order",
                where="text encoder",
                hint="Use an encoder such as BERT, RoBERTa, MPNet, DeBERTa or ModernBERT.",
            )
        self.model = model
        self._blocks = tuple(blocks)
        self.masked = "attention_mask" in inspect.signature(model.forward).parameters
        if getattr(model, "pooler", None) is not None:
            model.register_module("pooler", _FirstToken())

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """Block k is ``blocks[k - 1]``."""
        return self._blocks

    @property
    def embedding(self) -> nn.Embedding:
        """Token ids to vectors."""
        return cast(nn.Embedding, self.model.get_input_embeddings())

    @property
    def width(self) -> int:
        """d of the stream."""
        return int(self.model.config.hidden_size)

    def run(self, **inputs: Tensor) -> Tensor:
        """``input_ids`` and ``attention_mask`` (B, T) -> (B, T, d)."""
        out: Tensor = self.model(**self.accepted(inputs))[0]
        return out

    def run_with_states(self, **inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...] | None]:
        """Also the hidden states that transformers returns."""
        out = self.model(**self.accepted(inputs), output_hidden_states=True)
        return out[0], out.get("hidden_states")

    def check(self, name: str) -> Facts:
        """See :func:`backend.models.dual_stream.parity.look_at_text`."""
        self._facts = look_at_text(self, name)
        return self._facts

    def self_attention(self) -> dict[int, tuple[nn.Module, int | None]]:
        """Found by looking, once: what returns maps is called otherwise in every model."""
        if self._maps is None:
            self._maps = look_for_maps(self)
        return self._maps

    _maps: dict[int, tuple[nn.Module, int | None]] | None = None

    def showing_attention(self) -> AbstractContextManager[None]:
        """The eager implementation."""
        return eager_attention(self.model)

    def accepted(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Those of the inputs that the encoder takes: some have no mask (FNet)."""
        return {k: v for k, v in inputs.items() if self.masked or k != "attention_mask"}


class _FirstToken(nn.Module):
    """In the place of a pooler, which is part of no layer and would only be saved."""

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return hidden[:, 0]


class VisionEncoder(Encoder):
    """A Vision Transformer of ``timm``: ViT, DeiT, SigLIP, DINOv2 and v3, EVA, BEiT, ..."""

    def __init__(self, model: nn.Module, name: str = "the model") -> None:
        super().__init__()
        lacking = [
            part
            for part in ("blocks", "patch_embed", "forward_features", "embed_dim")
            if not hasattr(model, part)
        ]
        if lacking or not hasattr(model.patch_embed, "grid_size"):
            raise InputError(
                f"{name} is not a Vision Transformer, one list of blocks over one grid of patches",
                where="vision encoder",
                hint="Use a vit_, deit, eva02 or beit model of timm.",
            )
        self.model = model

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """Block k is ``blocks[k - 1]``."""
        blocks: Sequence[nn.Module] = self.model.blocks
        return blocks

    @property
    def embedding(self) -> nn.Module:
        """Pixels to patches."""
        embedding: nn.Module = self.model.patch_embed
        return embedding

    @property
    def width(self) -> int:
        """d of the stream."""
        return int(self.model.embed_dim)

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of patches."""
        rows, columns = cast(tuple[int, int], self.embedding.grid_size)
        return int(rows), int(columns)

    @property
    def prefix(self) -> tuple[Role, ...]:
        """What stands before the patches: CLS if the model has one, and any registers."""
        tokens = int(getattr(self.model, "num_prefix_tokens", 0))
        if not tokens:
            return ()
        has_cls = getattr(self.model, "cls_token", None) is not None
        return (Role.SUMMARY if has_cls else Role.SPECIAL, *[Role.SPECIAL] * (tokens - 1))

    @property
    def summary(self) -> Summary:
        """CLS where there is one."""
        return "first" if Role.SUMMARY in self.prefix else "mean"

    def run(self, **inputs: Tensor) -> Tensor:
        """``pixel_values`` (B, 3, H, W) -> (B, prefix + patches, d), after the final norm."""
        out: Tensor = self.model.forward_features(inputs["pixel_values"])
        return out

    def check(self, name: str) -> Facts:
        """See :func:`backend.models.dual_stream.parity.look_at_vision`."""
        self._facts = look_at_vision(self, name)
        return self._facts

    def self_attention(self) -> dict[int, tuple[nn.Module, int | None]]:
        """The dropout that timm puts the map through."""
        attentions: dict[int, Any] = {
            k: getattr(block, "attn", None) for k, block in enumerate(self.blocks, start=1)
        }
        return {
            k: (attention.attn_drop, None)
            for k, attention in attentions.items()
            if hasattr(attention, "attn_drop") and hasattr(attention, "fused_attn")
        }

    @contextmanager
    def showing_attention(self) -> Iterator[None]:
        """Attention that is not fused."""
        parts: list[Any] = list(self.model.modules())
        fused = [part for part in parts if getattr(part, "fused_attn", False)]
        for part in fused:
            part.fused_attn = False
        try:
            yield
        finally:
            for part in fused:
                part.fused_attn = True

    @contextmanager
    def _without_embedding(self, hidden: Tensor) -> Iterator[None]:
        """Patches are not embedded either, so that no pixels are needed."""
        count = self.grid[0] * self.grid[1]
        embed = self.embedding
        embed.forward = lambda pixels: hidden.new_zeros(len(hidden), count, hidden.shape[-1])
        try:
            yield
        finally:
            del embed.forward


def _blocks_of(model: PreTrainedModel) -> nn.ModuleList | None:
    """The list of modules as long as the model is deep; of several the one with most weights."""
    depth = int(model.config.num_hidden_layers)
    lists = [
        part for part in model.modules() if isinstance(part, nn.ModuleList) and len(part) == depth
    ]
    return max(lists, key=lambda part: sum(p.numel() for p in part.parameters()), default=None)
