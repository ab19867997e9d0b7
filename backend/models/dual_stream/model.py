"""The dual-stream fusion model: a text and a vision encoder with co-attention at chosen layers.

At fusion layer k of a stream the co-attention runs **on entry to block k**: layers below k are
untouched by it, and its output (``k.fusion``) is what block k then reads. The two lists of fusion
layers pair up in order, so the streams may differ in depth and in width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils.generic import ModelOutput

from backend.models.dual_stream.coattention import CoAttention
from backend.models.dual_stream.encoders import (
    Encoder,
    Summary,
    TextEncoder,
    VisionEncoder,
)
from backend.models.dual_stream.pretrained import build_text, build_vision
from backend.models.dual_stream.stepping import leaving
from backend.models.images import patch_roles
from backend.models.norms import AFTER_OWN_NORM
from backend.models.placement import Placement, check_placement, name_of
from backend.models.roles import Role, has
from backend.models.texts import text_roles
from backend.types import POOLINGS, Pooling, Site, StreamSpec, TaskSpec


class FusionConfig(PreTrainedConfig):
    """Everything that is needed to build the model again, as plain values.

    Args:
        text: a ``transformers`` configuration with its ``model_type``.
        vision: ``{"name": timm name, "options": constructor options}``.
        text_fusion_layers, vision_fusion_layers: 1-based, paired in order.
        co_attention: ``inner`` width, ``heads``, ``ff_ratio``, ``dropout``, ``scale_by`` (see
            :class:`backend.models.dual_stream.coattention.CrossAttention`).
        head: ``width`` and ``dropout`` of the classifier on the two summaries; ``final_norm`` says
            whether vision is read after the ViT's own last norm.
        tasks: ``[{"name", "kind", "classes"}]``, one head each.
        image: ``size`` in pixels, ``mean`` and ``std`` per channel.
        max_text_length: tokens.
        text_summary: by which token the text is read: ``first``, ``last``, or the ``mean`` of its
            content where none sums up. ``special_tokens``: the ids that are no content.
        pad_texts: whether all texts are padded to ``max_text_length``, for an encoder that mixes
            padding in.
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
        text_summary: Summary = "first",
        special_tokens: Sequence[int] = (),
        pad_texts: bool = False,
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
        self.text_summary = text_summary
        self.special_tokens = list(special_tokens)
        self.pad_texts = pad_texts
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
_CO_ATTENTION = {
    "inner": 1024,
    "heads": 8,
    "ff_ratio": 4.0,
    "dropout": 0.1,
    "scale_by": "head",
}
_HEAD = {"width": 512, "dropout": 0.08, "final_norm": True}
_IMAGE = {"size": 48, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}


@dataclass
class FusionOutput(ModelOutput):
    """``logits``: one (B, outputs) tensor a task. ``text`` and ``vision``: what the heads read.

    ``text`` (B, T, d) is the end of the text encoder's pass, ``vision`` that of the vision
    encoder's, or its last block's output where the heads read no final norm.
    """

    logits: dict[str, Tensor] | None = None
    text: Tensor | None = None
    vision: Tensor | None = None


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
                scale_by=settings["scale_by"],
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
        """Vision and text, as the store describes them; ``N.norm`` where there is a final norm."""
        placement, heads_read = self.placement, self.config.head["final_norm"]
        return (
            self._stream("vision", placement.vision, "text", self.vision.summary, heads_read),
            self._stream("text", placement.text, "vision", self.config.text_summary, True),
        )

    def _stream(
        self, name: str, fused: Sequence[int], reads: str, summary: Summary, heads_read: bool
    ) -> StreamSpec:
        """One of them; ``heads_read`` says whether the heads read what the final norm gives."""
        encoder = self.encoder(name)
        depth, width = len(encoder.blocks), encoder.width
        poolings: tuple[Pooling, ...] = ("mean",) if summary == "mean" else POOLINGS
        spec = StreamSpec.of(name, name, depth, width, fused, reads=reads, poolings=poolings)
        facts = encoder.facts
        note = AFTER_OWN_NORM if facts.normed else ""
        if facts.final_norm is None:
            return replace(spec, note=note)
        if not heads_read:
            note = f"The heads read layer {depth}, before the final norm."
        return replace(spec, sites=(*spec.sites, Site(depth, width, "norm")), note=note)

    def encoder(self, stream: str) -> Encoder:
        """The encoder of ``"text"`` or ``"vision"``."""
        return self.text if stream == "text" else self.vision

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
        self, input_ids: Tensor, attention_mask: Tensor, pixel_values: Tensor
    ) -> FusionOutput:
        """(B, T) ids, (B, T) mask (1 = real), (B, 3, H, W) pixels -> logits of every task."""
        real = attention_mask.bool()
        words = {"input_ids": input_ids, "attention_mask": attention_mask}
        with (
            self.text.stepped(self.placement.text, words) as text,
            self.vision.stepped(self.placement.vision, {"pixel_values": pixel_values}) as vision,
            _last_output(self.vision.blocks[-1]) as last,
        ):
            for fuse in self.co_attention:
                fused = fuse(text.advance(), vision.advance(), real)
                text.enter(fused[0])
                vision.enter(fused[1])
            text_end, vision_end = text.finish(), vision.finish()
        if not self.config.head["final_norm"]:
            vision_end = last[0]
        both = self.joined(text_end, vision_end, self.text_roles(input_ids, attention_mask))
        logits = {name: head(both) for name, head in self.heads.items()}
        return FusionOutput(logits=logits, text=text_end, vision=vision_end)

    def text_roles(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, T) roles of the text's tokens."""
        summary = self.config.text_summary
        return text_roles(
            input_ids,
            attention_mask,
            self.config.special_tokens,
            None if summary == "mean" else summary,
        )

    def vision_roles(self, batch: int) -> Tensor:
        """(B, T) roles of the image's tokens."""
        rows, columns = self.vision.grid
        return patch_roles(batch, rows * columns, self.vision.prefix)

    def joined(self, text: Tensor, vision: Tensor, text_roles: Tensor) -> Tensor:
        """(B, d_text + d_vision): what a head reads, the summaries of (B, T, d) tokens."""
        vision_roles = self.vision_roles(len(vision)).to(vision.device)
        return torch.cat(
            [
                summarised(text, text_roles, self.config.text_summary),
                summarised(vision, vision_roles, self.vision.summary),
            ],
            dim=1,
        )

    def freeze(self, text: int, vision: int) -> None:
        """Stop training the embeddings and blocks 1..k of each stream (-1: nothing, 0: embeddings).

        What is frozen stays in evaluation mode, so its dropout is off also while the rest is
        trained: its outputs are the same in every epoch. Raises ValueError for a layer that does
        not exist.
        """
        for part, upto in ((self.text, text), (self.vision, vision)):
            if not -1 <= upto <= len(part.blocks):
                raise ValueError(f"cannot freeze up to layer {upto} of {len(part.blocks)}")
        self._frozen = {"text": text, "vision": vision}
        for encoder, upto in self._frozen_encoders():
            for _, parameter in encoder.lower_parameters(upto):
                parameter.requires_grad = False
        self.train(self.training)

    def _frozen_encoders(self) -> tuple[tuple[Encoder, int], ...]:
        return (self.text, self._frozen["text"]), (self.vision, self._frozen["vision"])

    def train(self, mode: bool = True) -> Self:
        """As of any module, but that what is frozen stays in evaluation mode."""
        super().train(mode)
        if mode:
            for encoder, upto in self._frozen_encoders():
                for module in encoder.lower_modules(upto):
                    module.eval()
        return self


def summarised(tokens: Tensor, roles: Tensor, summary: Summary) -> Tensor:
    """(B, T, d), (B, T) -> (B, d): the summary token, or the mean of the content."""
    shares = has(roles, Role.CONTENT if summary == "mean" else Role.SUMMARY).to(tokens.dtype)
    # A text without a word has no mean; its vector is zero, as of nothing.
    shares = shares / shares.sum(dim=1, keepdim=True).clamp(min=1.0)
    return torch.bmm(shares.unsqueeze(1), tokens).squeeze(1)


@contextmanager
def _last_output(block: nn.Module) -> Iterator[list[Tensor]]:
    """Collects what a block gives."""
    given: list[Tensor] = []
    handle = block.register_forward_hook(lambda module, args, out: given.append(leaving(out)))
    try:
        yield given
    finally:
        handle.remove()
