"""VisualBERT: words and image regions as one sequence in one BERT (Li et al. 2019).

Facts are from transformers 5.23: ``VisualBertEmbeddings.forward`` (regions stand after the words,
all at position 0, told apart by their features alone: their boxes do not reach the model),
``VisualBertModel.forward`` (one mask over both), ``VisualBertSelfAttention.forward`` (maps go
through its dropout).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import PreTrainedTokenizerBase

from backend.data.sample import Sample
from backend.errors import InputError
from backend.models.adapter import Inputs
from backend.models.families.base import (
    block_points,
    block_sites,
    meets,
)
from backend.models.families.one_sequence import OneSequence
from backend.models.families.regions import region_batch
from backend.models.loading import Checkpoint
from backend.models.norms import AFTER_OWN_NORM
from backend.models.points import Point, Pooled
from backend.models.roles import Origins
from backend.models.texts import special_ids, text_roles, tokenize
from backend.types import LayerRef, Site, StreamSpec


class VisualBert(OneSequence):
    """The pooler reads the text's first token; regions have no summary."""

    family = "visual_bert"
    model_class = "VisualBertModel"
    ignored_keys = (r"^cls\.", r"^attention\.")
    needs: ClassVar[frozenset[str]] = frozenset({"image", "regions", "text"})
    """The image is what the regions' boxes are measured against."""

    @classmethod
    def processor_of(cls, checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
        """There is no processor class: regions come from a detector that is not in the model."""
        return checkpoint.tokenizer()

    def describe(self) -> None:
        """The same blocks for text and vision, which read each other in every one."""
        config = self.model.config
        if config.bypass_transformer:
            raise InputError(
                "a VisualBERT whose regions pass its blocks by is not supported",
                where=f"model {self.name}",
            )
        depth, width = config.num_hidden_layers, config.hidden_size
        pooled, both = Site(depth, width, "pooled", pooled=True), range(1, depth + 1)
        self.streams = (
            StreamSpec(
                "text",
                "text",
                block_sites(depth, width, pooled),
                meets("joint", "vision", both),
                note=AFTER_OWN_NORM,
                space="joint",
            ),
            StreamSpec(
                "vision",
                "vision",
                block_sites(depth, width),
                meets("joint", "text", both),
                poolings=("mean",),
                note=AFTER_OWN_NORM,
                space="joint",
            ),
        )

    def points(self) -> dict[LayerRef, Point]:
        """One module serves both streams; the roles tell their tokens apart."""
        points = block_points("text", self.model.encoder.layer)
        depth = len(self.model.encoder.layer)
        points[LayerRef("text", depth, "pooled")] = Point(self.model.pooler, select=Pooled())
        return points | block_points("vision", self.model.encoder.layer)

    def maps(self, block: Any) -> nn.Module:
        """The dropout, through which they go."""
        weights: nn.Module = block.attention.self.dropout
        return weights

    def encode(self, samples: Sequence[Sample]) -> Inputs:
        """Token ids, then the regions, padded to the most of the batch."""
        self.require(samples)
        config, tokenizer = self.model.config, self.processor
        texts = tokenize(tokenizer, [s.text for s in samples], config.max_position_embeddings)
        regions = region_batch(samples, config.visual_embedding_dim, f"model {self.name}")
        words, count = texts.ids.shape[1], regions.mask.shape[1]
        roles = text_roles(texts.ids, texts.mask, special_ids(tokenizer), "first")
        spans = np.pad(texts.spans.values, ((0, 0), (0, count), (0, 0)), constant_values=-1)
        lead = ((0, 0), (words, 0))
        boxes = np.pad(regions.origins.values, (*lead, (0, 0)), constant_values=np.nan)
        return Inputs(
            {
                "input_ids": texts.ids,
                "attention_mask": texts.mask,
                "visual_embeds": regions.features,
                "visual_attention_mask": regions.mask,
            },
            {"text": pad(roles, (0, count)), "vision": pad(regions.roles, (words, 0))},
            {
                "text": Origins("span", spans),
                "vision": Origins("box", boxes, np.zeros(boxes.shape[:2], dtype=np.int32)),
            },
            {"text": texts.cut},
        )

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """The pooled summary, from which the heads of its tasks read."""
        return {"pooled_output": self.model(**inputs.tensors).pooler_output}
