"""LXMERT: text and detected regions, each on its own, then in cross-modality layers (Tan 2019)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.models.lxmert.modeling_lxmert import LxmertAttention

from backend.data.sample import Sample
from backend.models.adapter import AttentionKey, Inputs
from backend.models.families.base import (
    Released,
    block_points,
    fusion_sites,
    item,
    meets,
    self_attention,
    silenced,
)
from backend.models.families.regions import region_batch
from backend.models.loading import Checkpoint
from backend.models.norms import AFTER_OWN_NORM
from backend.models.points import Argument, AttentionPoint, Item, Point, Pooled, Rewrite
from backend.models.texts import special_ids, text_roles, tokenize
from backend.types import POOLINGS, LayerRef, Meet, Site, StreamSpec


class Half(NamedTuple):
    """One of the two streams: which call of the shared modules is its own, and their names."""

    name: str
    reads: str
    call: int
    argument: str
    attention: str


HALVES = (
    Half("text", "vision", 0, "lang_feats", "lang_self_att"),
    Half("vision", "text", 1, "visual_feats", "visn_self_att"),
)


class Lxmert(Released):
    """Each stream's layers run on through the cross-modality layers, which both streams share.

    In one of these a single cross-attention is called twice: text reads vision, then vision text.
    """

    family = "lxmert"
    model_class = "LxmertModel"
    ignored_keys = (r"^cls\.", r"^answer_head\.", r"^obj_predict_head\.")
    needs: ClassVar[frozenset[str]] = frozenset({"image", "regions", "text"})
    """The image is what the regions' boxes are measured against."""

    @classmethod
    def processor_of(cls, checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
        """There is no processor class: regions come from a detector that is not in the model."""
        return checkpoint.tokenizer()

    def describe(self) -> None:
        """Text has l + x layers, vision r + x; the last x of each are the cross-modality layers."""
        encoder, width = self.model.encoder, self.model.config.hidden_size
        self.alone = {"text": list(encoder.layer), "vision": list(encoder.r_layers)}
        self.crossed = {
            name: dict(enumerate(encoder.x_layers, start=len(blocks) + 1))
            for name, blocks in self.alone.items()
        }
        streams = []
        for half in HALVES:
            crossed = self.crossed[half.name]
            depth, is_text = max(crossed), half.name == "text"
            pooled = [Site(depth, width, "pooled", pooled=True)] if is_text else []
            streams.append(
                StreamSpec(
                    half.name,
                    half.name,
                    fusion_sites(depth, width, crossed, *pooled),
                    meets("cross", half.reads, list(crossed), "fusion"),
                    poolings=POOLINGS if is_text else ("mean",),
                    note=AFTER_OWN_NORM,
                )
            )
        self.streams = tuple(streams)

    def points(self) -> dict[LayerRef, Point]:
        """The shared cross-attention's first call is the text's, its second the vision's."""
        places: dict[LayerRef, Point] = {}
        for half in HALVES:
            name, crossed = half.name, self.crossed[half.name]
            if self.alone[name]:
                places |= block_points(name, self.alone[name])
            else:
                entering = Argument(2 * half.call, half.argument)
                places[LayerRef(name, 0)] = Point(crossed[1], "input", select=entering)
            for k, layer in crossed.items():
                fusion = Point(layer.visual_attention, call=half.call)
                places[LayerRef(name, k, "fusion")] = fusion
                places[LayerRef(name, k)] = Point(layer, select=Item(half.call))
            if name == "text":
                pooled = LayerRef(name, max(crossed), "pooled")
                places[pooled] = Point(self.model.pooler, select=Pooled())
        return places

    def attention(self) -> dict[AttentionKey, AttentionPoint]:
        """Self-attention of every layer, and both directions of the cross-attention."""
        maps: dict[AttentionKey, AttentionPoint] = {}
        for name, reads, call, _, attention in HALVES:
            crossed = self.crossed[name]
            own = [layer.attention.self for layer in self.alone[name]]
            own += [getattr(layer, attention).self for layer in crossed.values()]
            maps |= self_attention(name, own)
            for k, layer in crossed.items():
                maps[AttentionKey(LayerRef(name, k, "fusion"), reads)] = AttentionPoint(
                    layer.visual_attention.att, (name,), (reads,), item(1), call=call
                )
        return maps

    @contextmanager
    def showing_attention(self) -> Iterator[None]:
        """Every attention is asked for its map: the model itself never asks the second call's."""

        def ask(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
            return args, {**kwargs, "output_attentions": True}

        parts = [part for part in self.model.modules() if isinstance(part, LxmertAttention)]
        handles = [part.register_forward_pre_hook(ask, with_kwargs=True) for part in parts]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def cut(self, stream: str, meet: Meet) -> tuple[Rewrite, ...]:
        """What the cross-attention adds to the stream becomes zero."""
        layer = self.crossed[stream][meet.layer]
        (call,) = (half.call for half in HALVES if half.name == stream)
        return (silenced(layer.visual_attention.output.dense, call),)

    def encode(self, samples: Sequence[Sample]) -> Inputs:
        """Token ids; regions padded to the most of the batch, boxes as shares of the image."""
        self.require(samples)
        config, tokenizer = self.model.config, self.processor
        texts = tokenize(tokenizer, [s.text for s in samples], config.max_position_embeddings)
        regions = region_batch(samples, config.visual_feat_dim, f"model {self.name}")
        return Inputs(
            {
                "input_ids": texts.ids,
                "attention_mask": texts.mask,
                "visual_feats": regions.features,
                "visual_pos": regions.boxes,
                "visual_attention_mask": regions.mask,
            },
            {
                "text": text_roles(texts.ids, texts.mask, special_ids(tokenizer), "first"),
                "vision": regions.roles,
            },
            {
                "text": texts.spans,
                "vision": regions.origins,
            },
            {"text": texts.cut},
        )

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """The pooled summary, from which the heads of pretraining and its tasks read."""
        return {"pooled_output": self.model(**inputs.tensors).pooled_output}
