"""LLaVA: the patches of one layer of a tower as tokens in a language model (Liu et al. 2023)."""

from __future__ import annotations

from backend.errors import InputError
from backend.models.families.image_tokens import PatchTokens


class Llava(PatchTokens):
    """Any tower with any causal language model, joined by a small perceptron."""

    family = "llava"
    model_class = "LlavaForConditionalGeneration"

    def describe(self) -> None:
        """Which of the tower's layers and tokens the language model gets."""
        if self.model.config.vision_config.model_type == "pixtral":
            raise InputError(
                "a LLaVA with a Pixtral tower, which packs images of any size, is not supported",
                where=f"model {self.name}",
            )
        self.first = int(self.model.config.vision_feature_select_strategy == "default")
        super().describe()

    def tower_note(self) -> str:
        """The published models skip the tower's last block."""
        wanted = self.model.config.vision_feature_layer
        depth = self.tower.depth
        layers = [wanted] if isinstance(wanted, int) else wanted
        read = sorted(k % (depth + 1) for k in layers)
        if read[-1] == depth:
            return ""
        names = ", ".join(map(str, read))
        beyond = f"block {depth} does" if read[-1] == depth - 1 else f"blocks {read[-1] + 1} on do"
        return f"The language model reads layer {names} of the tower: {beyond} not reach it."
