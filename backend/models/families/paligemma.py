"""PaliGemma: a SigLIP tower's patches before a prompt that Gemma reads both ways (Beyer 2024)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from backend.models.families.image_tokens import PatchTokens
from backend.models.families.stacks import bounded
from backend.models.points import Point
from backend.models.texts import Prompted
from backend.types import LayerRef, Site


class PaliGemma(PatchTokens):
    """The whole prompt is the model's prefix: image and text see each other at every layer."""

    family = "paligemma"
    model_class = "PaliGemmaForConditionalGeneration"
    bidirectional = True

    def tower_sites(self) -> tuple[Site, ...]:
        """The language model reads the tower after its final norm."""
        return (Site(self.tower.depth, self.tower.width, "norm"),)

    def tower_named(self) -> dict[LayerRef, Point]:
        """The final norm."""
        return self.tower_norm()

    def prompt(self, images: int) -> tuple[str, str]:
        """Images, BOS, text and a line feed, as the model was trained."""
        return self.mark * images + self.processor.tokenizer.bos_token, "\n"

    def positions(self, tokens: Prompted) -> dict[str, Tensor]:
        """Positions begin at 1; type 0 is the prefix, which is seen both ways."""
        return {
            "position_ids": tokens.mask.cumsum(dim=1).clamp(min=1),
            "token_type_ids": tokens.mask * 0,
        }

    def unembedding(self) -> Callable[[Tensor], Tensor] | None:
        """Gemma 2, of which PaliGemma 2 is made, bounds its logits softly."""
        text = self.model.config.text_config
        return bounded(super().unembedding(), getattr(text, "final_logit_softcapping", None))
