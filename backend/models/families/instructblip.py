"""InstructBLIP: BLIP-2 whose queries read the text, too (Dai et al. 2023).

Facts are from transformers 5.23: ``InstructBlipQFormerModel.forward`` (queries and the text's own
tokens there are one sequence), ``InstructBlipQFormerLayer.forward`` (only the queries go through
cross-attention), ``InstructBlipProcessor.__call__`` (that text has a tokenizer of its own).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from backend.data.sample import Sample
from backend.models.adapter import AttentionKey, Inputs
from backend.models.families.base import block_points, block_sites, meets, self_attention, unseen
from backend.models.families.blip2 import Blip2
from backend.models.norms import AFTER_OWN_NORM
from backend.models.points import Among, AttentionPoint, Point, Rewrite
from backend.models.roles import Origins, elsewhere
from backend.models.texts import special_ids, text_roles, tokenize
from backend.types import POOLINGS, LayerRef, Meet, StreamSpec

QFORMER = "q-former"
"""The space of the streams ``query`` and ``instruction``: the same blocks write both."""


class InstructBlip(Blip2):
    """``instruction`` is the sample's text within the Q-Former, ``text`` in the language model."""

    family = "instructblip"
    model_class = "InstructBlipForConditionalGeneration"

    def between(self) -> tuple[StreamSpec, ...]:
        """Queries and instruction see each other in every block; queries see the image in some."""
        (query,) = super().between()
        depth, width = len(self.queries), self.model.config.qformer_config.hidden_size
        both = range(1, depth + 1)
        sites = {meet.layer: meet.site for meet in query.meets}
        reads = tuple(Meet(k, "joint", "instruction", sites.get(k, str(k))) for k in both)
        return (
            replace(query, meets=(*query.meets, *reads), space=QFORMER),
            StreamSpec(
                "instruction",
                "text",
                block_sites(depth, width),
                meets("joint", "query", both),
                POOLINGS,
                AFTER_OWN_NORM,
                QFORMER,
            ),
        )

    def between_points(self) -> dict[LayerRef, Point]:
        """One sequence serves both; cross-attention has its queries alone."""
        places = super().between_points()
        for ref, point in places.items():
            if ref.site == "fusion":
                places[ref] = replace(point, select=Among("query"))
        return places | block_points("instruction", self.queries)

    def between_attention(self) -> dict[AttentionKey, AttentionPoint]:
        """One map a block of both to both, and the queries' to the patches."""
        maps = {
            key: replace(point, arrange=_with_all_rows)
            for key, point in super().between_attention().items()
            if key.reads == "vision"
        }
        (query, _) = self.between()
        first = {meet.layer: LayerRef.parse("query", meet.site) for meet in query.meets}
        modules = [layer.attention.attention for layer in self.queries]
        for key, point in self_attention(("query", "instruction"), modules).items():
            across = key.ref.stream == "query" and key.reads == "instruction"
            maps[AttentionKey(first[key.ref.layer], key.reads) if across else key] = point
        return maps

    def cut(self, stream: str, meet: Meet) -> tuple[Rewrite, ...]:
        """Tokens of one no longer see the other's in that block's self-attention."""
        if meet.reads in ("query", "instruction"):
            attention = self.queries[meet.layer - 1].attention.attention
            return (unseen(attention, stream, meet.reads),)
        return super().cut(stream, meet)

    def token_ids(self, inputs: Inputs, stream: str) -> Tensor | None:
        """The Q-Former's tokens are of a tokenizer of its own."""
        return None if stream == "instruction" else super().token_ids(inputs, stream)

    def encode(self, samples: Sequence[Sample]) -> Inputs:
        """As for BLIP-2, with the texts once more for the Q-Former."""
        inputs = super().encode(samples)
        tokenizer, config = self.processor.qformer_tokenizer, self.model.config
        limit = min(config.qformer_config.max_position_embeddings, tokenizer.model_max_length)
        texts = tokenize(tokenizer, [sample.text for sample in samples], limit)
        own = text_roles(texts.ids, texts.mask, special_ids(tokenizer), "first")
        queries = config.num_query_tokens
        spans = np.pad(texts.spans.values, ((0, 0), (queries, 0), (0, 0)), constant_values=-1)
        return Inputs(
            {
                **inputs.tensors,
                "qformer_input_ids": texts.ids,
                "qformer_attention_mask": texts.mask,
            },
            {
                **inputs.roles,
                "query": torch.cat([inputs.roles["query"], elsewhere(own)], dim=1),
                "instruction": pad(own, (queries, 0)),
            },
            {**inputs.origins, "instruction": Origins("span", spans)},
            {**inputs.cut, "instruction": texts.cut},
        )


def _with_all_rows(weights: Tensor, inputs: Inputs) -> Tensor:
    """A row of zeros for every token of the instruction, which sees no patch."""
    return pad(weights, (0, 0, 0, inputs.roles["query"].shape[1] - weights.shape[2]))
