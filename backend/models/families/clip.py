"""CLIP: two towers that meet in the loss alone (Radford et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence

from backend.data.sample import Sample
from backend.models.families.dual_encoder import DualEncoder, Encoded, Tower
from backend.models.points import Point, Pooled
from backend.models.texts import special_ids, text_roles, tokenize
from backend.types import Site


class Clip(DualEncoder):
    """Vision is read at its CLS, text at its end token: a causal text's first token sees nothing.

    CLIP norms the vision tower's CLS alone, and every token of the text.
    """

    family = "clip"
    model_class = "CLIPModel"

    def towers(self) -> dict[str, Tower]:
        """The normed summaries go through one projection each into the shared space."""
        model, config = self.model, self.model.config
        vision, text = model.vision_model.encoder.layers, model.text_model.encoder.layers
        seen, read = config.vision_config.hidden_size, config.text_config.hidden_size
        return {
            "vision": Tower(
                vision,
                [block.self_attn for block in vision],
                seen,
                {
                    Site(len(vision), seen, "norm", pooled=True): Point(
                        model.vision_model.post_layernorm, select=Pooled()
                    ),
                    Site(len(vision), config.projection_dim, "projected", pooled=True): Point(
                        model.visual_projection, select=Pooled()
                    ),
                },
            ),
            "text": Tower(
                text,
                [block.self_attn for block in text],
                read,
                {
                    Site(len(text), read, "norm"): Point(model.text_model.final_layer_norm),
                    Site(len(text), config.projection_dim, "projected", pooled=True): Point(
                        model.text_projection, select=Pooled()
                    ),
                },
            ),
        }

    def encode_text(self, samples: Sequence[Sample]) -> Encoded:
        """Token ids; the first end token is the summary."""
        tokenizer = self.processor.tokenizer
        tokens = tokenize(tokenizer, [sample.text for sample in samples], self.max_tokens)
        end = tokenizer.eos_token_id
        return Encoded(
            {"input_ids": tokens.ids, "attention_mask": tokens.mask},
            text_roles(tokens.ids, tokens.mask, special_ids(tokenizer), None, summary_id=end),
            tokens.spans,
            tokens.cut,
        )
