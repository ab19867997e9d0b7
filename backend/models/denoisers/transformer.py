"""PixArt-alpha: a transformer over patches of latents that reads a T5 text (Chen et al. 2023).

Facts are from diffusers 0.42: ``PixArtTransformer2DModel.forward`` (padding of the text is masked,
the step modulates every block), ``PixArtAlphaPipeline.encode_prompt`` (120 tokens of a text, in
small letters).
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

from torch import Tensor

from backend.errors import InputError
from backend.models.adapter import Inputs
from backend.models.denoisers.crossed import Crossed, Layer
from backend.models.points import FIRST, Select
from backend.models.texts import Tokens, special_ids, text_roles

_LONGEST = 120


class PixArt(Crossed):
    """A layer is a block, a token a patch of the latents."""

    family = "PixArtAlphaPipeline"
    part = "transformer"
    part_class = "PixArtTransformer2DModel"
    encoders = MappingProxyType({"text_encoder": "T5EncoderModel"})
    poolings = ("mean",)
    pads = False

    def longest(self) -> int:
        """As the pipeline has it."""
        return _LONGEST

    def all_layers(self) -> list[Layer]:
        """Blocks of one width."""
        if self.model.use_additional_conditions:
            raise InputError(
                "its transformer is told resolution and aspect ratio",
                where=f"model {self.name}",
                hint="Those of 512 px and less are supported.",
            )
        width = self.model.inner_dim
        blocks = [Layer(block, width, (block,)) for block in self.model.transformer_blocks]
        return [Layer(self.model.pos_embed, width), *blocks]

    @property
    def side(self) -> int:
        """Patches along a side."""
        return int(self.model.config.sample_size // self.model.config.patch_size)

    def tokens_of(self, stream: str) -> Select:
        """Tokens as they are."""
        return FIRST

    def with_texts(self, inputs: Inputs, texts: Sequence[str]) -> Inputs:
        """In small letters, each where the large one stood."""
        return super().with_texts(inputs, [_small(text) for text in texts])

    def text_roles(self, texts: Tokens) -> Tensor:
        """No token sums a text up."""
        return text_roles(texts.ids, texts.mask, special_ids(self.preprocessor.tokenizer), None)

    def read(self, inputs: Inputs) -> dict[str, Any]:
        """The text after the encoder's final norm, with its mask."""
        mask = inputs.tensors["attention_mask"]
        read = self.text_encoder(inputs.tensors["input_ids"], attention_mask=mask)
        return {
            "encoder_hidden_states": read.last_hidden_state,
            "encoder_attention_mask": mask,
            "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
        }


def _small(text: str) -> str:
    """Letter by letter: of those whose small form is longer than they are there is none."""
    return "".join(low if len(low := letter.lower()) == 1 else letter for letter in text)
