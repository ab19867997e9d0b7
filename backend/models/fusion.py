"""The dual-stream fusion model: a text and a vision encoder with co-attention at chosen layers.

At fusion layer k of a stream the co-attention runs **on entry to block k**: layers below k are
untouched by it, and its output (``k.fusion``) is what block k then reads. The two lists of fusion
layers pair up in order, so the streams may differ in depth and in width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils.generic import ModelOutput

from backend.models.coattention import CoAttention
from backend.models.encoders import (
    TextEncoder,
    VisionEncoder,
    build_text,
    build_vision,
)
from backend.models.placement import Placement, check_placement, name_of
from backend.types import StreamSpec, TaskSpec


class FusionConfig(PreTrainedConfig):
    """Everything that is needed to build the model again, as plain values.

    Args:
        text: a ``transformers`` configuration with its ``model_type``.
        vision: ``{"name": timm name, "options": constructor options}``.
        text_fusion_layers, vision_fusion_layers: 1-based, paired in order.
        co_attention: ``inner`` width, ``heads``, ``ff_ratio``, ``dropout``.
        head: ``width`` and ``dropout`` of the classifier on the concatenated CLS; ``final_norm``
            says whether the vision CLS passes the ViT's own last norm first.
        tasks: ``[{"name", "kind", "classes"}]``, one head each.
        image: ``size`` in pixels, ``mean`` and ``std`` per channel.
        max_text_length: tokens.
        trained_on: dataset, split sizes, seed: what the training command records.
    """

    model_type = "fusionscope-fusion"

    def __init__(
        self,
        text: Mapping[str, Any] | None = None,
        vision: Mapping[str, Any] | None = None,
        text_fusion_layers: Sequence[int] = (),
        vision_fusion_layers: Sequence[int] = (),
        co_attention: Mapping[str, Any] | None = None,
        head: Mapping[str, Any] | None = None,
        tasks: Sequence[Mapping[str, Any]] = (),
        image: Mapping[str, Any] | None = None,
        max_text_length: int = 64,
        trained_on: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.text = dict(text or _TINY_TEXT)
        self.vision = dict(vision or _TINY_VISION)
        self.text_fusion_layers = list(text_fusion_layers)
        self.vision_fusion_layers = list(vision_fusion_layers)
        self.co_attention = {**_CO_ATTENTION, **(co_attention or {})}
        self.head = {**_HEAD, **(head or {})}
        self.tasks = [dict(t) for t in tasks]
        self.image = {**_IMAGE, **(image or {})}
        self.max_text_length = max_text_length
        self.trained_on = dict(trained_on or {})
        super().__init__(**kwargs)

    @property
    def task_specs(self) -> tuple[TaskSpec, ...]:
        """The tasks as values."""
        return tuple(TaskSpec(t["name"], t["kind"], tuple(t["classes"])) for t in self.tasks)


_TINY_TEXT = {
    "model_type": "bert",
    "vocab_size": 512,
    "hidden_size": 48,
    "num_hidden_layers": 12,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "max_position_embeddings": 64,
}
_TINY_VISION = {
    "name": "vit_tiny_patch16_224",
    "options": {
        "img_size": 48,
        "patch_size": 8,
        "embed_dim": 48,
        "depth": 12,
        "num_heads": 4,
        "mlp_ratio": 2.0,
    },
}
_CO_ATTENTION = {"inner": 1024, "heads": 8, "ff_ratio": 4.0, "dropout": 0.1}
_HEAD = {"width": 512, "dropout": 0.08, "final_norm": True}
_IMAGE = {"size": 48, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}


class Known(NamedTuple):
    """A layer of a stream whose output is known already: (B, T, d) ``hidden`` of ``layer``."""

    layer: int
    hidden: Tensor


@dataclass
class FusionOutput(ModelOutput):
    """``logits``: one (B, outputs) tensor a task; the two CLS vectors of the last layers.

    ``layer_cls``: (text, vision) CLS of each pair of layers that was asked for. ``text_tokens``
    and ``vision_tokens``: (B, T, d) of the last layers where they were asked for.
    """

    logits: dict[str, Tensor] | None = None
    text_cls: Tensor | None = None
    vision_cls: Tensor | None = None
    layer_cls: tuple[tuple[Tensor, Tensor], ...] | None = None
    text_tokens: Tensor | None = None
    vision_tokens: Tensor | None = None


class FusionModel(PreTrainedModel):
    """Text and vision streams, co-attention on entry to the fusion layers, a head a task."""

    config_class = FusionConfig
    base_model_prefix = "fusion"
    main_input_name = "input_ids"
    _supports_sdpa = True
    _no_split_modules: list[str] = []  # noqa: RUF012 -- the base class types it as a list

    def __init__(
        self,
        config: FusionConfig,
        text: TextEncoder | None = None,
        vision: VisionEncoder | None = None,
    ) -> None:
        super().__init__(config)
        self.text = text or build_text(config.text)
        self.vision = vision or build_vision(config.vision["name"], config.vision["options"])
        self.placement = check_placement(
            Placement(
                "",
                tuple(config.text_fusion_layers),
                tuple(config.vision_fusion_layers),
            ),
            text_depth=len(self.text.blocks),
            vision_depth=len(self.vision.blocks),
        )
        widths = self.text.width, self.vision.width
        settings = config.co_attention
        self.co_attention = nn.ModuleList(
            CoAttention(
                *widths,
                inner=settings["inner"],
                heads=settings["heads"],
                ff_ratio=settings["ff_ratio"],
                dropout=settings["dropout"],
            )
            for _ in self.placement.pairs
        )
        self.heads = nn.ModuleDict(
            {
                task.name: nn.Sequential(
                    nn.Linear(sum(widths), config.head["width"]),
                    nn.ReLU(),
                    nn.Dropout(config.head["dropout"]),
                    nn.Linear(config.head["width"], task.outputs),
                )
                for task in config.task_specs
            }
        )
        self._frozen = {"text": -1, "vision": -1}
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Leave every module as its own constructor made it (torch's, timm's, transformers')."""

    @property
    def streams(self) -> tuple[StreamSpec, StreamSpec]:
        """Vision and text, as the store describes them."""
        p = self.placement
        return (
            StreamSpec("vision", "vision", len(self.vision.blocks), self.vision.width, p.vision),
            StreamSpec("text", "text", len(self.text.blocks), self.text.width, p.text),
        )

    @property
    def placement_name(self) -> str:
        """``late`` and so on, or the lists."""
        p = self.placement
        return name_of(p.text, p.vision, len(self.text.blocks), len(self.vision.blocks))

    @property
    def frozen(self) -> dict[str, int]:
        """{stream: layer up to which it is frozen}; -1 where nothing is."""
        return dict(self._frozen)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        pixel_values: Tensor | None = None,
        *,
        known: Mapping[str, Known] | None = None,
        cls_of: Sequence[tuple[int, int]] = (),
        tokens: bool = False,
    ) -> FusionOutput:
        """(B, T) ids, (B, T) mask (1 = real), (B, 3, H, W) pixels -> logits of every task.

        ``known`` gives, for a stream, the output of a layer below its first fusion, so that the
        embeddings and the blocks up to there are not run (without pixels if vision is known); its
        values at padded positions do not matter. ``cls_of`` are pairs of layers (text, vision)
        whose CLS vectors are returned as well; layers below a known one cannot be had. With
        ``tokens`` the last layers' vectors of all tokens are, too.
        """
        given = dict(known or {})
        kept: dict[tuple[str, int], Tensor] = {}
        wanted = {("text", k) for k, _ in cls_of} | {("vision", k) for _, k in cls_of}

        def keep(stream: str, layer: int, hidden: Tensor) -> None:
            if (stream, layer) in wanted:
                kept[stream, layer] = hidden[:, 0]

        text_from, vision_from = given.get("text"), given.get("vision")
        done_text, text = text_from or Known(0, self.text.embed(input_ids))
        if vision_from is None:
            if pixel_values is None:
                raise ValueError("pixel_values are needed where no vision layer is known")
            vision_from = Known(0, self.vision.embed(pixel_values))
        done_vision, vision = vision_from
        keep("text", done_text, text)
        keep("vision", done_vision, vision)
        own_mask = self.text.attention_mask(text, attention_mask)
        real = attention_mask.bool()
        for fuse, (k_text, k_vision) in zip(self.co_attention, self.placement.pairs, strict=True):
            for k in range(done_text + 1, k_text):
                text = self.text.block(k, text, own_mask)
                keep("text", k, text)
            for k in range(done_vision + 1, k_vision):
                vision = self.vision.block(k, vision)
                keep("vision", k, vision)
            text, vision = fuse(text, vision, real)
            # Fusions are adjacent to their blocks: the next round starts at k itself.
            done_text, done_vision = k_text - 1, k_vision - 1
        for k in range(done_text + 1, len(self.text.blocks) + 1):
            text = self.text.block(k, text, own_mask)
            keep("text", k, text)
        for k in range(done_vision + 1, len(self.vision.blocks) + 1):
            vision = self.vision.block(k, vision)
            keep("vision", k, vision)
        out = self._classify(text[:, 0], vision[:, 0])
        if cls_of:
            out.layer_cls = tuple((kept["text", a], kept["vision", b]) for a, b in cls_of)
        if tokens:
            out.text_tokens, out.vision_tokens = text, vision
        return out

    def lower(self, stream: str, layer: int, inputs: Mapping[str, Tensor]) -> Tensor:
        """(B, T, d): the output of a layer below the stream's first fusion, from its inputs alone.

        The same values as :meth:`forward` computes there.
        """
        if stream == "vision":
            hidden = self.vision.embed(inputs["pixel_values"])
            for k in range(1, layer + 1):
                hidden = self.vision.block(k, hidden)
            return hidden
        hidden = self.text.embed(inputs["input_ids"])
        mask = self.text.attention_mask(hidden, inputs["attention_mask"])
        for k in range(1, layer + 1):
            hidden = self.text.block(k, hidden, mask)
        return hidden

    def joined(self, text_cls: Tensor, vision_cls: Tensor) -> Tensor:
        """(B, d_text + d_vision): what a head reads."""
        seen = self.vision.final_norm(vision_cls) if self.config.head["final_norm"] else vision_cls
        return torch.cat([text_cls, seen], dim=1)

    def _classify(self, text_cls: Tensor, vision_cls: Tensor) -> FusionOutput:
        both = self.joined(text_cls, vision_cls)
        logits = {name: head(both) for name, head in self.heads.items()}
        return FusionOutput(logits=logits, text_cls=text_cls, vision_cls=vision_cls)

    def freeze(self, text: int, vision: int) -> None:
        """Stop training the embeddings and blocks 1..k of each stream (-1: nothing, 0: embeddings).

        What is frozen stays in evaluation mode, so its dropout is off also while the rest is
        trained: its outputs are the same in every epoch. Raises ValueError for a layer that does
        not exist.
        """
        for encoder, upto in ((self.text, text), (self.vision, vision)):
            if not -1 <= upto <= len(encoder.blocks):
                raise ValueError(f"cannot freeze up to layer {upto} of {len(encoder.blocks)}")
        self._frozen = {"text": text, "vision": vision}
        for module in self.frozen_modules():
            module.requires_grad_(requires_grad=False)
        if vision >= 0:
            for name in ("cls_token", "reg_token", "pos_embed"):
                parameter = getattr(self.vision.model, name, None)
                if parameter is not None:
                    parameter.requires_grad_(requires_grad=False)
        self.train(self.training)

    def frozen_modules(self) -> Iterator[nn.Module]:
        """The embeddings and blocks that are frozen."""
        for encoder, upto in (
            (self.text, self._frozen["text"]),
            (self.vision, self._frozen["vision"]),
        ):
            yield from _lowest(encoder, upto)

    def train(self, mode: bool = True) -> Self:
        """As of any module, but that what is frozen stays in evaluation mode."""
        super().train(mode)
        if mode:
            for module in self.frozen_modules():
                module.eval()
        return self


def _lowest(encoder: TextEncoder | VisionEncoder, upto: int) -> Iterator[nn.Module]:
    """The embeddings and the first ``upto`` blocks; with -1 nothing."""
    if upto < 0:
        return
    if isinstance(encoder, TextEncoder):
        yield encoder.embeddings
    else:
        yield encoder.model.patch_embed
        yield encoder.model.pos_drop
        yield encoder.model.patch_drop
        yield encoder.embeddings
    for k in range(upto):
        yield encoder.blocks[k]
