"""The captioner, as everything else sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self, cast

import numpy as np
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from backend.data.sample import Sample
from backend.errors import InputError
from backend.models.adapter import Adapter, AttentionKey, Inputs
from backend.models.captioner.model import Captioner, CaptionerConfig
from backend.models.dual_stream.preprocess import Preprocessor, saved_tokenizer
from backend.models.families.base import block_points, item, silenced
from backend.models.families.maps import ON_LAST_GRID, Cells
from backend.models.images import patch_roles
from backend.models.loading import Checkpoint
from backend.models.points import AttentionPoint, Point, Pooled, Rewrite
from backend.models.roles import Role, box_origins, boxes_between, has
from backend.models.texts import special_ids, text_roles, tokenize
from backend.types import LayerRef, Meet, Site, StreamSpec

_START, _LOOK = "1.start", "1.fusion"


class ShowAttendTell(Adapter):
    """``vision`` are the maps of the residual blocks, ``text`` the caption so far.

    The text's layer 0 are the words' vectors, ``1.start`` the state in which the image lets it
    begin, ``1.fusion`` what each word sees of the image, 1 the recurrence's states, 2 what the next
    word is said from. An edit of layer 1 reaches what is said; the recurrence has gone on by then.
    """

    family = CaptionerConfig.model_type

    def __init__(self, model: Captioner, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
        self.model = model.eval()
        config = cast(CaptionerConfig, model.config)
        image = {"size": config.image_size, "mean": config.image_mean, "std": config.image_std}
        self.preprocessor = Preprocessor(tokenizer, image, config.max_text_length)
        self.tokenizer = self._words = tokenizer
        self.name = name
        self.unsupported = {"attention of vision": "A convolutional encoder has no attention."}
        seen, width = model.widths, config.hidden_size
        self.streams = (
            StreamSpec(
                "vision",
                "vision",
                tuple(Site(k, channels) for k, channels in enumerate(seen)),
                poolings=("mean",),
                note=ON_LAST_GRID,
            ),
            StreamSpec(
                "text",
                "text",
                (
                    Site(0, width),
                    Site(1, 2 * width, "start", pooled=True),
                    Site(1, seen[-1], "fusion"),
                    Site(1, width),
                    Site(2, width),
                ),
                (Meet(1, "add", "vision", _START), Meet(1, "cross", "vision", _LOOK)),
            ),
        )

    @classmethod
    def load(cls, checkpoint: Checkpoint) -> Self:
        """Open a checkpoint; InputError if it is not a whole one."""
        model = cast(Captioner, checkpoint.weights(Captioner))
        tokenizer = saved_tokenizer(str(checkpoint.folder))
        if len(tokenizer) > model.config.vocab_size:
            raise InputError(
                f"its tokenizer has {len(tokenizer):,} tokens, its weights know "
                f"{model.config.vocab_size:,}",
                where=checkpoint.where,
            )
        if None in (tokenizer.cls_token_id, tokenizer.sep_token_id):
            raise InputError(
                "its tokenizer marks no beginning (CLS) or no end (SEP) of a caption",
                where=checkpoint.where,
            )
        return cls(model, tokenizer, checkpoint.name)

    @property
    def module(self) -> nn.Module:
        """The captioner."""
        module: nn.Module = self.model
        return module

    def points(self) -> dict[LayerRef, Point]:
        """Maps as cells of the last grid; what the decoder's parts give."""
        model = self.model
        maps = block_points("vision", model.blocks)
        return {
            **{ref: Point(p.module, p.side, select=Cells(p.selection)) for ref, p in maps.items()},
            LayerRef("text", 0): Point(model.words),
            LayerRef.parse("text", _START): Point(model.start, select=Pooled()),
            LayerRef.parse("text", _LOOK): Point(model.look),
            LayerRef("text", 1): Point(model.recurrence),
            LayerRef("text", 2): Point(model.telling),
        }

    def attention(self) -> dict[AttentionKey, AttentionPoint]:
        """What each word sees of the grid, by one head."""
        look = AttentionPoint(self.model.look, ("text",), ("vision",), item(1))
        return {AttentionKey(LayerRef.parse("text", _LOOK), "vision"): look}

    def cut(self, stream: str, meet: Meet) -> tuple[Rewrite, ...]:
        """The caption begins in no state, or sees nothing at any of its steps."""
        if meet.site == _START:
            return (silenced(self.model.start),)
        return (silenced(self.model.look.step, call=None),)

    def unembedding(self) -> Callable[[Tensor], Tensor]:
        """The output layer; there is no norm."""
        output: Callable[[Tensor], Tensor] = self.model.output
        return output

    def encode(self, samples: Sequence[Sample]) -> Inputs:
        """Pixels, and the caption without its end, which is said and never read."""
        self.require(samples)
        most = self.preprocessor.max_text_length
        texts = tokenize(self._words, [s.text for s in samples], most, padding_side="right")
        mask = texts.mask * (texts.ids != self._words.sep_token_id)
        pixels = [self.preprocessor.resize(sample.images[0]) for sample in samples]
        size, stride = self.preprocessor.image_size, self.model.stride
        side = -(-size // stride)
        boxes = [_cells(sample.images[0].size, size, stride) for sample in samples]
        return Inputs(
            {"input_ids": texts.ids, "pixel_values": self.preprocessor.pixels(pixels)},
            {
                "vision": patch_roles(len(samples), side * side),
                "text": text_roles(texts.ids, mask, special_ids(self._words), "last"),
            },
            {"vision": box_origins(boxes, 0, side * side), "text": texts.spans},
            {"text": texts.cut},
        )

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """Logits of the word that comes next, after each text."""
        last = has(inputs.roles["text"], Role.SUMMARY)
        return {"next_token_logits": self.model(**inputs.tensors)["logits"][last]}


def _cells(image: tuple[int, int], size: int, stride: int) -> np.ndarray:
    """(L, 4) boxes in an image of (width, height) that was resized to a square of ``size``.

    Every convolution that shrinks is odd and padded alike on both sides, so that cell i is centred
    on pixel ``i * stride``. A pixel belongs to the cell whose centre is nearest.
    """
    centres = np.arange(0, size, stride) + 0.5
    edges = np.concatenate([[0.0], (centres[:-1] + centres[1:]) / 2, [size]]) / size
    return boxes_between(edges * image[0], edges * image[1])
