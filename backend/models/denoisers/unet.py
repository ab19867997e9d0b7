"""Stable Diffusion: a U-Net of convolutions whose places read a CLIP text (Rombach et al. 2022).

Facts are from diffusers 0.42: ``UNet2DConditionModel.forward`` (what leaves each residual block,
after its transformer where there is one, is kept and joined again on the way up),
``StableDiffusionPipeline.encode_prompt`` (texts are filled up to 77 tokens, all of which are read).
"""

from __future__ import annotations

from itertools import zip_longest
from types import MappingProxyType
from typing import Any

from torch import Tensor

from backend.errors import InputError
from backend.models.adapter import Inputs
from backend.models.denoisers.adapter import filled_roles
from backend.models.denoisers.attention import as_cells
from backend.models.denoisers.crossed import Arrange, Crossed, Layer
from backend.models.families.maps import Cells
from backend.models.points import FIRST, Select
from backend.models.texts import Tokens

_BLOCKS = {
    *("CrossAttnDownBlock2D", "DownBlock2D", "UNetMidBlock2DCrossAttn"),
    *("CrossAttnUpBlock2D", "UpBlock2D"),
}
_BESIDE = ("addition_embed_type", "class_embed_type", "encoder_hid_dim_type")


class StableDiffusion(Crossed):
    """A layer is a residual block with the transformer after it; all are read as the middle's grid.

    So a cell is a square of places where the map is larger, and its attention theirs on average.
    """

    family = "StableDiffusionPipeline"
    part = "unet"
    part_class = "UNet2DConditionModel"
    encoders = MappingProxyType({"text_encoder": "CLIPTextModel"})
    poolings = ("cls", "mean")
    remark = "Every map is read as the grid of the smallest one, each cell as its mean."
    pads = True

    def longest(self) -> int:
        """77, as the tokenizer says."""
        return self.most_tokens("text_encoder", "tokenizer")

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
        return filled_roles(texts, tokenizer, tokenizer.eos_token_id)

    def read(self, inputs: Inputs) -> dict[str, Any]:
        """The text after the encoder's final norm, without a mask."""
        read = self.text_encoder(inputs.tensors["input_ids"]).last_hidden_state
        return {"encoder_hidden_states": read}
