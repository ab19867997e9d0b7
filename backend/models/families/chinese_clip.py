"""Chinese CLIP: CLIP's vision tower with a BERT that is read at its CLS (Yang et al. 2022)."""

from __future__ import annotations

from backend.models.families.dual_encoder import DualEncoder, Tower
from backend.models.norms import AFTER_OWN_NORM
from backend.models.points import Point, Pooled
from backend.types import Site


class ChineseClip(DualEncoder):
    """Both towers are read at their first token; BERT norms within its blocks, not after them."""

    family = "chinese_clip"
    model_class = "ChineseCLIPModel"

    def towers(self) -> dict[str, Tower]:
        """The summary vectors go through one projection each into the shared space."""
        model, config = self.model, self.model.config
        vision, text = config.vision_config, config.text_config
        layers, blocks = model.vision_model.encoder.layers, model.text_model.encoder.layer
        return {
            "vision": Tower(
                layers,
                [block.self_attn for block in layers],
                vision.hidden_size,
                {
                    Site(len(layers), vision.hidden_size, "norm", pooled=True): Point(
                        model.vision_model.post_layernorm, select=Pooled()
                    ),
                    Site(len(layers), config.projection_dim, "projected", pooled=True): Point(
                        model.visual_projection, select=Pooled()
                    ),
                },
            ),
            "text": Tower(
                blocks,
                [block.attention.self for block in blocks],
                text.hidden_size,
                {
                    Site(len(blocks), config.projection_dim, "projected", pooled=True): Point(
                        model.text_projection, select=Pooled()
                    ),
                },
                note=AFTER_OWN_NORM,
            ),
        }
