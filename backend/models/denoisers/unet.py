"""Stable Diffusion: a U-Net of convolutions whose places read a CLIP text (Rombach et al. 2022).

Facts are from diffusers 0.42: ``UNet2DConditionModel.forward`` (what leaves each residual block,
after its transformer where there is one, is kept and joined again on the way up),
``StableDiffusionPipeline.encode_prompt`` (texts are filled up to 77 tokens, all of which are read).
"""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from backend.errors import InputError
from backend.models.adapter import Inputs
from backend.models.denoisers.adapter import Arrange, Denoiser, Layer
from backend.models.denoisers.attention import as_cells
from backend.models.families.maps import Cells
from backend.models.points import FIRST, Select
from backend.models.texts import Tokens, special_ids, text_roles

_BLOCKS = {
    *("CrossAttnDownBlock2D", "DownBlock2D", "UNetMidBlock2DCrossAttn"),
    *("CrossAttnUpBlock2D", "UpBlock2D"),
}
_BESIDE = ("addition_embed_type", "class_embed_type", "encoder_hid_dim_type")


class StableDiffusion(Denoiser):
    """A layer is a residual block with the transformer after it; all are read as the middle's grid.

    So a cell is a square of places where the map is larger, and its attention theirs on average.
    """

    family = "StableDiffusionPipeline"
    part = "unet"
    part_class = "UNet2DConditionModel"
    text_class = "CLIPTextModel"
    poolings = ("cls", "mean")
    remark = "Every map is read as the grid of the smallest one, each cell as its mean."
    pads = True

    @classmethod
    def longest(cls, tokenizer: PreTrainedTokenizerBase) -> int:
        """77, as the tokenizer says."""
        return int(tokenizer.model_max_length)

    def all_layers(self) -> list[Layer]:
        """Down, the middle, up."""
        net = self.model
        blocks = [*net.down_blocks, net.mid_block, *net.up_blocks]
        other = {type(block).__name__ for block in blocks} - _BLOCKS
        beside = [name for name in _BESIDE if net.config[name] is not None]
        if other or beside:
            raise InputError(
                f"its U-Net has {', '.join([*sorted(other), *beside])}",
                where=f"model {self.name}",
                hint="Those of Stable Diffusion 1 and 2 are supported.",
            )
        layers = [Layer(net.conv_in, net.conv_in.out_channels)]
        for block in blocks:
            readers: Any = getattr(block, "attentions", ())
            for resnet, reader in zip_longest(block.resnets, readers):
                width = resnet.out_channels
                reading = () if reader is None else tuple(reader.transformer_blocks)
                layers.append(Layer(resnet if reader is None else reader, width, reading))
        return layers

    @property
    def side(self) -> int:
        """Of the middle's map."""
        shrinks = sum(block.downsamplers is not None for block in self.model.down_blocks)
        return -(-int(self.model.config.sample_size) // int(2**shrinks))

    def tokens_of(self, stream: str) -> Select:
        """Maps as cells."""
        return Cells(FIRST, stream)

    def arranged(self, stream: str, keys_too: bool) -> Arrange:
        """Places as cells."""
        return as_cells(stream, keys_too)

    def text_roles(self, texts: Tokens) -> Tensor:
        """What fills a text up is read like the rest: special, not padding."""
        tokenizer: Any = self.tokenizer
        return text_roles(
            texts.ids,
            torch.ones_like(texts.mask),
            [*special_ids(tokenizer), tokenizer.pad_token_id],
            None,
            summary_id=tokenizer.eos_token_id,
        )

    def read(self, inputs: Inputs) -> dict[str, Any]:
        """The text after the encoder's final norm, without a mask."""
        read = self.text_encoder(inputs.tensors["input_ids"]).last_hidden_state
        return {"encoder_hidden_states": read}
