"""Released encoders as one model in which nothing joins them: for looking, without training.

Their streams go side by side through encoders of ``transformers`` and ``timm`` as they are, each
with its own preprocessing; there may be one of them alone. Written to a directory they are a
checkpoint like any other, with both encoders' weights in it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from backend.data.sample import Sample
from backend.errors import InputError, blamed_on
from backend.models.adapter import Adapter, AttentionKey, Inputs
from backend.models.dual_stream.encoders import Encoder, Summary, TextEncoder, VisionEncoder
from backend.models.dual_stream.preprocess import Preprocessor, load_tokenizer, saved_tokenizer
from backend.models.dual_stream.pretrained import (
    describe_text,
    load_text,
    load_vision,
    require_room,
    text_summary,
)
from backend.models.encoders import FAMILY, Encoders
from backend.models.families.dual_encoder import Encoded
from backend.models.families.encoder_pair import SideBySideConfig, SideBySideModel
from backend.models.images import patch_roles
from backend.models.loading import Checkpoint
from backend.models.norms import AFTER_OWN_NORM
from backend.models.points import AttentionPoint, Point
from backend.models.roles import Origins, grid_boxes, placed_boxes
from backend.models.texts import special_ids, text_roles
from backend.types import POOLINGS, LayerRef, Site, StreamSpec

_LONGEST_TEXT = 8192
"""Tokens, for an encoder that names no limit of its own."""


class SideBySide(Adapter):
    """The encoders with their preprocessing."""

    family = FAMILY

    def __init__(self, model: SideBySideModel, preprocessor: Preprocessor, name: str) -> None:
        self.model = model.eval()
        self.preprocessor = preprocessor
        self.tokenizer = preprocessor.tokenizer
        self.name = name
        # The class says what both need.
        vars(self)["needs"] = frozenset(
            {"vision": "image", "text": "text"}[stream] for stream in model.encoders
        )
        self.streams = tuple(
            _stream(stream, encoder, _summary_of(model, stream))
            for stream, encoder in model.encoders.items()
        )
        self.note(*model.config.notes)

    @classmethod
    def load(cls, checkpoint: Checkpoint) -> Self:
        """Open a checkpoint that :func:`save_encoders` wrote; InputError if it is not whole."""
        model = cast(SideBySideModel, checkpoint.weights(SideBySideModel))
        if not model.encoders:
            raise InputError("it has no encoder", where=checkpoint.where)
        for encoder in model.encoders.values():
            encoder.check(checkpoint.name)
        tokenizer = saved_tokenizer(str(checkpoint.folder)) if model.config.text else None
        config = cast(SideBySideConfig, model.config)
        return cls(model, _preprocessor(config, tokenizer), config.named or checkpoint.name)

    @property
    def module(self) -> nn.Module:
        """Both encoders."""
        module: nn.Module = self.model
        return module

    def points(self) -> dict[LayerRef, Point]:
        """What enters the first block, every block, and the final norms."""
        points: dict[LayerRef, Point] = {}
        for stream, encoder in self.model.encoders.items():
            points[LayerRef(stream, 0)] = Point(encoder.blocks[0], "input")
            for k, block in enumerate(encoder.blocks, start=1):
                points[LayerRef(stream, k)] = Point(block)
            if encoder.facts.final_norm is not None:
                points[LayerRef(stream, k, "norm")] = Point(encoder.facts.final_norm)
        return points

    def attention(self) -> dict[AttentionKey, AttentionPoint]:
        """What the encoders' blocks attend to."""
        return {
            AttentionKey(LayerRef(name, k), name): AttentionPoint(
                module, (name,), (name,), _map(index)
            )
            for name, encoder in self.model.encoders.items()
            for k, (module, index) in encoder.self_attention().items()
        }

    @contextmanager
    def showing_attention(self) -> Iterator[None]:
        """Attention written out in every encoder; then as before."""
        with ExitStack() as stack:
            for encoder in self.model.encoders.values():
                stack.enter_context(encoder.showing_attention())
            yield

    def encode(self, samples: Sequence[Sample]) -> Inputs:
        """Token ids, attention mask, pixels: what the encoders that are there take."""
        self.require(samples)
        encode = {"vision": self._encode_images, "text": self._encode_texts}
        parts = {name: encode[name](samples) for name in self.model.encoders}
        return Inputs(
            {key: tensor for part in parts.values() for key, tensor in part.tensors.items()},
            {name: part.roles for name, part in parts.items()},
            {name: part.origins for name, part in parts.items()},
            {name: part.cut for name, part in parts.items() if len(part.cut)},
        )

    def _encode_images(self, samples: Sequence[Sample]) -> Encoded:
        images = [sample.images[0] for sample in samples]
        encoder = self.model.vision
        rows, columns = encoder.grid
        whole = [
            grid_boxes((0.0, 0.0, float(width), float(height)), rows, columns, (width, height))
            for width, height in (image.size for image in images)
        ]
        prefix = len(encoder.prefix)
        boxes = placed_boxes(whole, prefix, prefix + rows * columns)
        small = [self.preprocessor.resize(image) for image in images]
        return Encoded(
            {"pixel_values": self.preprocessor.pixels(small)},
            patch_roles(len(samples), rows * columns, encoder.prefix),
            Origins("box", boxes, np.zeros(boxes.shape[:2], dtype=np.int32)),
        )

    def _encode_texts(self, samples: Sequence[Sample]) -> Encoded:
        tokens = self.preprocessor.tokens([sample.text for sample in samples])
        config = self.model.config
        summary = None if config.text_summary == "mean" else config.text_summary
        return Encoded(
            {"input_ids": tokens.ids, "attention_mask": tokens.mask},
            text_roles(tokens.ids, tokens.mask, config.special_tokens, summary),
            tokens.spans,
            tokens.cut,
        )

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """Runs the encoders; there is nothing that they say."""
        self.model(**inputs.tensors)
        return {}


def _map(index: int | None) -> Callable[[Any], Tensor]:
    """Takes an attention map out of what a module gives: all of it, or an item."""

    def taken(value: Any) -> Tensor:
        weights: Tensor = value if index is None else value[index]
        return weights

    return taken


def open_encoders(
    encoders: Encoders, *, allow_partial_weights: bool = False
) -> tuple[Path, tempfile.TemporaryDirectory[str]]:
    """The encoders as a checkpoint in a directory that is there for as long as its handle is."""
    handle = tempfile.TemporaryDirectory(prefix="fusionscope-encoders-")
    folder = Path(handle.name)
    save_encoders(encoders, folder, allow_partial_weights=allow_partial_weights)
    return folder, handle


def save_encoders(encoders: Encoders, folder: Path, *, allow_partial_weights: bool = False) -> None:
    """Load the encoders and write them into ``folder`` as one checkpoint.

    The same files for the same weights and libraries. InputError says which encoder cannot be had.
    """
    settings: dict[str, Any] = {"named": encoders.name, "notes": []}
    text = vision = tokenizer = None
    if encoders.text_encoder:
        with blamed_on("text_encoder"):
            text, tokenizer = _text(encoders.text_encoder, settings, allow_partial_weights)
    if encoders.vision_encoder:
        with blamed_on("vision_encoder"):
            vision = _vision(encoders, settings, allow_partial_weights)
    SideBySideModel(SideBySideConfig(**settings), text, vision).save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)


def _text(
    name: str, settings: dict[str, Any], allow_partial_weights: bool
) -> tuple[TextEncoder, PreTrainedTokenizerBase]:
    """The encoder and its tokenizer; its share of the configuration goes into ``settings``."""
    tokenizer = load_tokenizer(name)
    encoder = load_text(name, allow_partial_weights=allow_partial_weights)
    facts = encoder.check(Path(name).name)
    length = _text_length(tokenizer, encoder)
    require_room(tokenizer, encoder, length, name)
    settings |= {
        "text": describe_text(encoder.model.config),
        "max_text_length": length,
        "text_summary": text_summary(facts.causal, tokenizer),
        "special_tokens": special_ids(tokenizer),
        "pad_texts": facts.mixes_padding,
    }
    settings["notes"] += encoder.notes
    return encoder, tokenizer


def _vision(
    encoders: Encoders, settings: dict[str, Any], allow_partial_weights: bool
) -> VisionEncoder:
    """The encoder; its share of the configuration goes into ``settings``."""
    name, _, weights = encoders.vision_encoder.partition(":")
    options = {} if encoders.image_size is None else {"img_size": encoders.image_size}
    file = Path(weights) if weights else None
    encoder = load_vision(name, options, file, allow_partial_weights=allow_partial_weights)
    encoder.check(name)
    card = cast(dict[str, Any], encoder.model.pretrained_cfg)
    settings |= {
        "vision": {"name": name, "options": options},
        "image": {
            "size": encoders.image_size or int(card["input_size"][-1]),
            "mean": list(card["mean"]),
            "std": list(card["std"]),
        },
    }
    settings["notes"] += encoder.notes
    return encoder


def _text_length(tokenizer: PreTrainedTokenizerBase, encoder: TextEncoder) -> int:
    """The most tokens that the encoder takes: its positions, or the tokenizer's limit."""
    config = encoder.model.config
    limits = [_LONGEST_TEXT, int(tokenizer.model_max_length)]
    positions = getattr(config, "max_position_embeddings", None)
    if positions:
        table = getattr(getattr(encoder.model, "embeddings", None), "position_embeddings", None)
        padding = getattr(table, "padding_idx", None)
        limits.append(int(positions) - (0 if padding is None else padding + 1))
    return min(limits)


def _preprocessor(
    config: SideBySideConfig, tokenizer: PreTrainedTokenizerBase | None
) -> Preprocessor:
    """Without a text encoder there is no tokenizer, and nobody asks for one."""
    image = {"size": 1, "mean": [0.0] * 3, "std": [1.0] * 3, **config.image}
    return Preprocessor(cast(Any, tokenizer), image, config.max_text_length, pad=config.pad_texts)


def _summary_of(model: SideBySideModel, stream: str) -> Summary:
    summary: Summary = model.config.text_summary if stream == "text" else model.vision.summary
    return summary


def _stream(name: str, encoder: Encoder, summary: Summary) -> StreamSpec:
    depth, width, facts = len(encoder.blocks), encoder.width, encoder.facts
    poolings = POOLINGS if summary != "mean" else ("mean",)
    spec = StreamSpec.of(name, name, depth, width, poolings=poolings)
    if facts.final_norm is not None:
        spec = replace(spec, sites=(*spec.sites, Site(depth, width, "norm")))
    return replace(spec, note=AFTER_OWN_NORM if facts.normed else "")
