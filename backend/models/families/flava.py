"""FLAVA: an image and a text encoder, and one over the tokens of both (Singh et al. 2022).

Facts are from transformers 5.23: ``FlavaModel.forward`` (the multimodal encoder is given the last
layers of both, before their norms, behind a token of its own), ``FlavaGlobalContrastiveHead`` (the
loss compares both encoders' class tokens behind a projection), ``FlavaSelfAttention.forward`` (maps
go through its dropout).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from backend.data.sample import Sample
from backend.models.adapter import AttentionKey, Embedder, Inputs
from backend.models.families.base import (
    Released,
    block_points,
    block_sites,
    self_attention,
    unseen,
)
from backend.models.images import patch_roles
from backend.models.points import AttentionPoint, Point, Pooled, Rewrite
from backend.models.roles import Origins, Role, elsewhere
from backend.models.texts import special_ids, text_roles, tokenize
from backend.types import POOLINGS, LayerRef, Meet, Site, StreamSpec

_NOTE = "The multimodal encoder is given the last layer, the contrastive loss what is normed."
_SHARED = "multimodal"


class Flava(Released):
    """``joint_vision`` and ``joint_text`` are the multimodal encoder's tokens, ``multimodal`` the
    token by which it is read.

    The loss of pretraining compares ``vision`` and ``text``, in which nothing of the other is.
    """

    family = "flava"
    model_class = "FlavaModel"
    ignored_keys = (r"^image_codebook\.", r"^(mim|mlm|itm|mmm_image|mmm_text)_head\.")

    def describe(self) -> None:
        """A multimodal encoder without a token of its own has two streams."""
        model, config = self.model, self.model.config
        self.encoders = {
            "vision": (model.image_model, model.image_projection),
            "text": (model.text_model, model.text_projection),
        }
        self.layers = list(model.multimodal_model.encoder.layer)
        own = (_SHARED,) if config.multimodal_config.use_cls_token else ()
        if own:
            reason = "The multimodal encoder's own token is no part of image or text."
            self.unsupported = {f"origins of {_SHARED}": reason}
        self.joint = (*own, "joint_vision", "joint_text")
        self.streams = (
            *(self._encoder(*names) for names in (("vision", "text"), ("text", "vision"))),
            *map(self._shared, self.joint),
        )

    def _encoder(self, name: str, other: str) -> StreamSpec:
        """An encoder for one modality, with its part of the shared space of the loss."""
        encoder, projection = self.encoders[name]
        depth, width = len(encoder.encoder.layer), encoder.config.hidden_size
        projected = Site(depth, projection.out_features, "projected", pooled=True)
        sites = block_sites(depth, width, Site(depth, width, "norm"), projected)
        meet = Meet(depth, "loss", other, projected.label)
        return StreamSpec(name, name, sites, (meet,), note=_NOTE)

    def _shared(self, name: str) -> StreamSpec:
        """Some of the multimodal encoder's tokens, which see all others in every block."""
        depth, width = len(self.layers), self.model.config.multimodal_config.hidden_size
        norm, pooled = Site(depth, width, "norm"), Site(depth, width, "pooled", pooled=True)
        alone = name == _SHARED
        meets = tuple(
            Meet(k, "joint", reads, str(k))
            for k in range(1, depth + 1)
            for reads in self.joint
            if reads != name
        )
        return StreamSpec(
            name,
            name.removeprefix("joint_"),
            block_sites(depth, width, *((norm, pooled) if alone else (norm,))),
            meets,
            poolings=("cls",) if alone else POOLINGS,
            space=_SHARED,
        )

    def points(self) -> dict[LayerRef, Point]:
        """One module serves all streams of the multimodal encoder."""
        places: dict[LayerRef, Point] = {}
        for name, (encoder, projection) in self.encoders.items():
            places |= block_points(name, encoder.encoder.layer)
            depth = len(encoder.encoder.layer)
            places[LayerRef(name, depth, "norm")] = Point(encoder.layernorm)
            places[LayerRef(name, depth, "projected")] = Point(projection, select=Pooled())
        for name in self.joint:
            places |= block_points(name, self.layers)
            norm = Point(self.model.multimodal_model.layernorm)
            places[LayerRef(name, len(self.layers), "norm")] = norm
            if name == _SHARED:
                pooler = Point(self.model.multimodal_model.pooler, select=Pooled())
                places[LayerRef(name, len(self.layers), "pooled")] = pooler
        return places

    def attention(self) -> dict[AttentionKey, AttentionPoint]:
        """Self-attention of all three encoders."""
        stacks: list[tuple[str | tuple[str, ...], Any]] = [
            *((name, encoder.encoder.layer) for name, (encoder, _) in self.encoders.items()),
            (self.joint, self.layers),
        ]
        maps: dict[AttentionKey, AttentionPoint] = {}
        for streams, layers in stacks:
            dropouts = [layer.attention.attention.dropout for layer in layers]
            maps |= self_attention(streams, dropouts)
        return maps

    def cut(self, stream: str, meet: Meet) -> tuple[Rewrite, ...]:
        """The stream's tokens no longer see the other's in this block."""
        return (unseen(self.layers[meet.layer - 1], stream, meet.reads),)

    def embedders(self) -> Mapping[str, Embedder]:
        """Either encoder alone, to what the loss compares: its projected class token."""
        return {
            "vision": Embedder(
                self._encode_vision,
                lambda inputs: self.model.get_image_features(**inputs.tensors).pooler_output[:, 0],
            ),
            "text": Embedder(
                self._encode_text,
                lambda inputs: self.model.get_text_features(**inputs.tensors).pooler_output[:, 0],
            ),
        }

    def encode(self, samples: Sequence[Sample]) -> Inputs:
        """Patches after a class token; the multimodal encoder has a token before both."""
        self.require(samples)
        vision, text = self._encode_vision(samples), self._encode_text(samples)
        return self._together(
            Inputs(
                text.tensors | vision.tensors,
                vision.roles | text.roles,
                vision.origins | text.origins,
                text.cut,
            )
        )

    def _encode_vision(self, samples: Sequence[Sample]) -> Inputs:
        processor = self.processor.image_processor
        pixels = processor([s.images[0] for s in samples], return_tensors="pt")["pixel_values"]
        side = self.model.config.image_config.patch_size
        rows, columns = (size // side for size in pixels.shape[2:])
        return Inputs(
            {"pixel_values": pixels},
            {"vision": patch_roles(len(samples), rows * columns, (Role.SUMMARY,))},
            {"vision": self.image_boxes(samples, processor, rows, columns, prefix=1)},
        )

    def _encode_text(self, samples: Sequence[Sample]) -> Inputs:
        config, tokenizer = self.model.config, self.processor.tokenizer
        limit = config.text_config.max_position_embeddings
        texts = tokenize(tokenizer, [sample.text for sample in samples], limit)
        return Inputs(
            {"input_ids": texts.ids, "attention_mask": texts.mask},
            {"text": text_roles(texts.ids, texts.mask, special_ids(tokenizer), "first")},
            {"text": texts.spans},
            {"text": texts.cut},
        )

    def _together(self, inputs: Inputs) -> Inputs:
        """The same batch with the streams of the multimodal encoder."""
        vision, text = inputs.roles["vision"], inputs.roles["text"]
        boxes, spans = inputs.origins["vision"].values, inputs.origins["text"].values
        own, patches, words = len(self.joint) - 2, vision.shape[1], text.shape[1]
        around = ((0, 0), (own, words), (0, 0))
        places = np.pad(boxes, around, constant_values=np.nan)
        before = ((0, 0), (own + patches, 0), (0, 0))
        after = elsewhere(text)
        roles = {
            "joint_vision": torch.cat([pad(vision, (own, 0)), after], dim=1),
            "joint_text": pad(text, (own + patches, 0)),
        }
        if own:
            summary = patch_roles(len(text), 0, (Role.SUMMARY,))
            roles[_SHARED] = torch.cat([pad(summary, (0, patches)), after], dim=1)
        origins = {
            "joint_vision": Origins("box", places, np.zeros(places.shape[:2], dtype=np.int32)),
            "joint_text": Origins("span", np.pad(spans, before, constant_values=-1)),
        }
        return replace(inputs, roles=inputs.roles | roles, origins=inputs.origins | origins)

    def token_ids(self, inputs: Inputs, stream: str) -> Tensor | None:
        """In the multimodal encoder padding where other tokens stand, which are no words."""
        ids = inputs.tensors["input_ids"]
        before = inputs.roles[stream].shape[1] - ids.shape[1]
        return pad(ids, (before, 0), value=self.model.config.text_config.pad_token_id)

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """The similarity of every image with every text of the batch, as the loss sees it."""
        out = self.model(**inputs.tensors)
        image, text = (
            normalize(projection(tokens[:, 0]), dim=1)
            for projection, tokens in (
                (self.model.image_projection, out.image_embeddings),
                (self.model.text_projection, out.text_embeddings),
            )
        )
        return {"logits_per_image": self.model.logit_scale.exp() * image @ text.T}
