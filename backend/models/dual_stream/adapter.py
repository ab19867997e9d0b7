"""Our own fusion model, as everything else sees it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from backend.data.sample import Sample
from backend.errors import InputError
from backend.models.adapter import Adapter, AttentionKey, Inputs
from backend.models.dual_stream.coattention import CoAttention
from backend.models.dual_stream.encoders import Encoder
from backend.models.dual_stream.model import FusionConfig, FusionModel
from backend.models.dual_stream.preprocess import Preprocessor, saved_tokenizer
from backend.models.dual_stream.pretrained import require_room
from backend.models.loading import Checkpoint
from backend.models.points import AttentionPoint, Item, Point, Rewrite
from backend.models.roles import Origins, grid_boxes, placed_boxes
from backend.models.texts import special_ids
from backend.types import LayerRef, Meet


class DualStream(Adapter):
    """A :class:`FusionModel` with its tokenizer and image transform."""

    family = FusionConfig.model_type

    def __init__(self, model: FusionModel, preprocessor: Preprocessor, name: str) -> None:
        self.model = model
        self.preprocessor = preprocessor
        self.tokenizer = preprocessor.tokenizer
        self.name = name
        self.streams = model.streams
        self.placement = replace(model.placement, name=model.placement_name)
        recorded = model.config.trained_on
        seed = recorded.get("seed")
        self.seed = None if seed is None else int(seed)
        self.tasks = model.config.task_specs
        self.trained_on = str(recorded.get("dataset", ""))
        self.note(*map(str, recorded.get("notes", ())))
        if not model.config.special_tokens:  # of checkpoints from before it was recorded
            model.config.special_tokens = special_ids(preprocessor.tokenizer)

    @classmethod
    def load(cls, checkpoint: Checkpoint) -> Self:
        """Open a checkpoint that training wrote; InputError if it is not a whole one."""
        model = cast(FusionModel, checkpoint.weights(FusionModel))
        config = model.config
        model.text.check(config.text["model_type"])
        model.vision.check(config.vision["name"])
        tokenizer = saved_tokenizer(str(checkpoint.folder))
        require_room(tokenizer, model.text, config.max_text_length, checkpoint.name)
        _require_grid(model, checkpoint.where)
        preprocessor = Preprocessor(
            tokenizer, config.image, config.max_text_length, pad=config.pad_texts
        )
        named = config.trained_on.get("model")
        return cls(model.eval(), preprocessor, str(named or checkpoint.name))

    @property
    def module(self) -> nn.Module:
        """The fusion model."""
        return self.model

    @property
    def _encoders(self) -> tuple[tuple[str, Encoder], ...]:
        return ("vision", self.model.vision), ("text", self.model.text)

    def _fusions(self) -> list[tuple[CoAttention, tuple[int, int]]]:
        """Each co-attention with its layers of text and vision."""
        fusions = cast(Sequence[CoAttention], self.model.co_attention)
        return list(zip(fusions, self.model.placement.pairs, strict=True))

    def points(self) -> dict[LayerRef, Point]:
        """What enters the first block, every block, the co-attention's outputs, the final norms."""
        points: dict[LayerRef, Point] = {}
        for stream, encoder in self._encoders:
            points[LayerRef(stream, 0)] = Point(encoder.blocks[0], "input")
            for k, block in enumerate(encoder.blocks, start=1):
                points[LayerRef(stream, k)] = Point(block)
            if encoder.facts.final_norm is not None:
                points[LayerRef(stream, k, "norm")] = Point(encoder.facts.final_norm)
        for fuse, (k_text, k_vision) in self._fusions():
            points[LayerRef("text", k_text, "fusion")] = Point(fuse, select=Item(0))
            points[LayerRef("vision", k_vision, "fusion")] = Point(fuse, select=Item(1))
        return {ref: points[ref] for stream in self.streams for ref in stream.refs}

    def attention(self) -> dict[AttentionKey, AttentionPoint]:
        """Co-attention in both directions, and what the encoders' blocks attend to."""
        points: dict[AttentionKey, AttentionPoint] = {}
        for fuse, (k_text, k_vision) in self._fusions():
            reading: tuple[tuple[str, int, str, nn.Module], ...] = (
                ("text", k_text, "vision", fuse.text_from_vision.map),
                ("vision", k_vision, "text", fuse.vision_from_text.map),
            )
            for name, k, reads, module in reading:
                key = AttentionKey(LayerRef(name, k, "fusion"), reads)
                points[key] = AttentionPoint(module, (name,), (reads,), _itself)
        for name, encoder in self._encoders:
            for k, (module, index) in encoder.self_attention().items():
                select = _itself if index is None else _item(index)
                points[AttentionKey(LayerRef(name, k), name)] = AttentionPoint(
                    module, (name,), (name,), select
                )
        return points

    @contextmanager
    def showing_attention(self) -> Iterator[None]:
        """Attention written out, in the co-attention and in both encoders; then as before."""
        with ExitStack() as stack:
            for fuse, _ in self._fusions():
                for attention in (fuse.text_from_vision, fuse.vision_from_text):
                    attention.eager = True
                    stack.callback(setattr, attention, "eager", False)
            for _, encoder in self._encoders:
                stack.enter_context(encoder.showing_attention())
            yield

    def cut(self, stream: str, meet: Meet) -> tuple[Rewrite, ...]:
        """What the stream reads from the other one becomes zero; the rest of the block stays."""
        at = getattr(self.model.placement, stream).index(meet.layer)
        fuse, _ = self._fusions()[at]
        reading = fuse.text_from_vision if stream == "text" else fuse.vision_from_text
        return (Rewrite(reading, lambda value, inputs: torch.zeros_like(value)),)

    def encode(self, samples: Sequence[Sample]) -> Inputs:
        """Token ids, attention mask, pixels."""
        self.require(samples)
        words = self.preprocessor.tokens([sample.text for sample in samples])
        pixels = self.preprocessor.pixels(
            [self.preprocessor.resize(sample.images[0]) for sample in samples]
        )
        rows, columns = self.model.vision.grid
        sizes = [sample.images[0].size for sample in samples]
        whole = [
            grid_boxes((0.0, 0.0, float(width), float(height)), rows, columns, (width, height))
            for width, height in sizes
        ]
        prefix = len(self.model.vision.prefix)
        boxes = placed_boxes(whole, prefix, prefix + rows * columns)
        return replace(
            self.inputs(
                {"input_ids": words.ids, "attention_mask": words.mask, "pixel_values": pixels}
            ),
            origins={
                "vision": Origins("box", boxes, np.zeros(boxes.shape[:2], dtype=np.int32)),
                "text": words.spans,
            },
            cut={"text": words.cut},
        )

    def inputs(self, tensors: dict[str, Tensor]) -> Inputs:
        """A batch of tensors that are there already, without origins."""
        ids, mask = tensors["input_ids"], tensors["attention_mask"]
        return Inputs(
            tensors,
            {
                "vision": self.model.vision_roles(len(ids)).to(ids.device),
                "text": self.model.text_roles(ids, mask),
            },
        )

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """Logits of every task."""
        logits: dict[str, Tensor] = self.model(**inputs.tensors).logits
        return logits


def _require_grid(model: FusionModel, where: str) -> None:
    """InputError where the images are not of the size that the vision encoder takes."""
    size = model.config.image["size"]
    taken = getattr(model.vision.embedding, "img_size", None)
    if taken is not None and (size, size) != tuple(taken):
        raise InputError(
            f"config.json has images of {size} px, its vision encoder takes {taken[0]}", where=where
        )


def _itself(value: Any) -> Tensor:
    weights: Tensor = value
    return weights


def _item(index: int) -> Any:
    return lambda value: value[index]
