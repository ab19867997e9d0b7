"""Any model of transformers that no family is for: every list of blocks is a stream.

What is not known of it is not made up: streams have no meets, no summary token and no places, and
say so wherever they are shown.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import torch
import transformers
from PIL import Image
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from backend.data.sample import Sample
from backend.errors import InputError
from backend.models.adapter import Inputs
from backend.models.families.base import Released, block_points, block_sites
from backend.models.families.probing import Chain, chained
from backend.models.images import patch_roles
from backend.models.loading import Checkpoint
from backend.models.points import Argument, Point
from backend.models.texts import special_ids, text_roles
from backend.types import LayerRef, StreamSpec

log = logging.getLogger(__name__)

NOTE = (
    "Read by the generic adapter: how streams meet, and by which token one is read, is not known."
)
_SAID_BY_ALL = frozenset({"model", "encoder", "layers", "layer", "blocks", "block", "h"})
_WHY = "The generic adapter does not know"


@dataclass(frozen=True)
class Found:
    """A list of blocks that is a stream.

    It has ``own`` tokens of every sample beside those of the text, where it has these
    (``with_text``).
    """

    name: str
    chain: Chain
    own: int
    with_text: bool


class Generic(Released):
    """Streams are found by running the model on a short and on a longer text."""

    family = "generic"
    model_class = PreTrainedModel

    @classmethod
    def load(cls, checkpoint: Checkpoint) -> Self:
        """InputError where the configuration names no class of transformers."""
        named = checkpoint.config.get("architectures")
        made = getattr(transformers, str(named[0]), None) if isinstance(named, list) else None
        if not (inspect.isclass(made) and issubclass(made, PreTrainedModel)):
            raise InputError(
                f"its configuration names no class of transformers (architectures: {named})",
                where=checkpoint.where,
                hint="Save the model with save_pretrained.",
            )
        log.warning(
            "no family is for models of type %s: %s is read by the generic adapter, which knows "
            "lists of blocks, but not how they meet",
            *(checkpoint.model_type, checkpoint.name),
        )
        return cls(checkpoint.weights(made), checkpoint.any_processor(), checkpoint.name)

    def describe(self) -> None:
        """InputError where no list of blocks runs as one."""
        processor = self.processor
        words = isinstance(processor, PreTrainedTokenizerBase)
        self.tokenizer = processor if words else getattr(processor, "tokenizer", None)
        alone = processor if hasattr(processor, "image_mean") else None
        self.looks = getattr(processor, "image_processor", alone)
        if self.looks is None and self.tokenizer is None:
            raise InputError(
                f"a {type(processor).__name__} takes neither texts nor images",
                where=f"model {self.name}",
                hint="A model of another kind needs a family: docs/new-family.md.",
            )
        takes = (("text", self.tokenizer), ("image", self.looks))
        vars(self)["needs"] = frozenset(name for name, by in takes if by is not None)
        self.unsupported = {
            "attention": f"{_WHY} which module gives a stream's maps.",
            "cut": f"{_WHY} where one stream takes another one in.",
            "origins": f"{_WHY} where a token comes from.",
        }
        self.found = self._find()
        self.streams = tuple(
            StreamSpec(
                found.name,
                self._modality(found),
                block_sites(len(found.chain.blocks), found.chain.width),
                poolings=("mean",),
                note=NOTE,
            )
            for found in self.found
        )

    def _modality(self, found: Found) -> str:
        """``text``, ``vision``, or the stream's own name where it has tokens of both."""
        if found.with_text:
            return found.name if found.own else "text"
        return "text" if self.looks is None else "vision"

    def _find(self) -> tuple[Found, ...]:
        """Every list of blocks that runs as one, whatever the text and the picture's shape."""
        lengths, runs = [], []
        for text, size in (("a", (64, 64)), ("a a a a", (48, 96))):
            noise = Image.effect_noise(size, 64.0).convert("RGB")
            given = self._tensors([Sample(text, (noise,))])
            runs.append(chained(self.model, partial(self.model, **given)))
            lengths.append(given["input_ids"].shape[1] if "input_ids" in given else 0)
        common = [path for path in runs[0] if path in runs[1]]
        found = []
        for path, name in zip(common, _names(common), strict=True):
            first, second = (run[path] for run in runs)
            more = second.length - first.length
            if more not in (0, lengths[1] - lengths[0]):
                raise InputError(
                    f"how many tokens stream {name} has depends on a picture's shape",
                    where=f"model {self.name}",
                    hint="Such a model needs a family: docs/new-family.md.",
                )
            words = lengths[0] > 0 and more == lengths[1] - lengths[0]
            with_text = words and (more > 0 or first.length == lengths[0])
            found.append(Found(name, first, first.length - with_text * lengths[0], with_text))
        if not found:
            raise InputError(
                f"no list of blocks runs as one in a {type(self.model).__name__}",
                where=f"model {self.name}",
                hint="They must be modules of one width, each run once, in order.",
            )
        return tuple(found)

    def points(self) -> dict[LayerRef, Point]:
        """The blocks."""
        places: dict[LayerRef, Point] = {}
        for found in self.found:
            blocks, entering = found.chain.blocks, Argument(0, found.chain.argument)
            places |= block_points(found.name, blocks)
            places[LayerRef(found.name, 0)] = Point(blocks[0], "input", select=entering)
        return places

    def encode(self, samples: Sequence[Sample]) -> Inputs:
        """What the processor makes; InputError for a batch in which padding is not known."""
        self.require(samples)
        tensors = self._tensors(samples)
        return Inputs(tensors, {own.name: self._roles(own, tensors, samples) for own in self.found})

    def _roles(self, found: Found, tensors: dict[str, Tensor], samples: Sequence[Sample]) -> Tensor:
        """All content, but for a text's special tokens and padding."""
        if not found.with_text:
            return patch_roles(len(samples), found.own)
        ids = tensors["input_ids"]
        mask = tensors.get("attention_mask", torch.ones_like(ids))
        if not found.own and self.tokenizer is not None:
            special = [*special_ids(self.tokenizer), *self._placeholder()]
            return text_roles(ids, mask, special, None)
        if not bool(mask.all()):
            raise InputError(
                f"which tokens of stream {found.name} only fill a batch up is not known",
                where=f"model {self.name}",
                hint="Use batch size 1.",
            )
        return patch_roles(len(samples), found.own + ids.shape[1])

    def _placeholder(self) -> list[int]:
        """The id that stands where an image's tokens come, if the processor has one."""
        mark = getattr(self.processor, "image_token", None)
        return [] if mark is None else [int(self.processor.tokenizer.convert_tokens_to_ids(mark))]

    def _tensors(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """What the processor makes of samples, as far as the model takes it."""
        mark = getattr(self.processor, "image_token", None)
        given: dict[str, Any] = {}
        if self.looks is not None:
            given["images"] = [sample.images[0] for sample in samples]
        if self.tokenizer is not None:
            texts = [
                sample.text if mark is None else f"{mark}\n{sample.text}" for sample in samples
            ]
            given |= {"text": texts, "padding": True}
            if mark is None:
                given |= {"truncation": True}
        made = dict(self.processor(**given, return_tensors="pt"))
        takes = inspect.signature(self.model.forward).parameters
        tensors = {name: value for name, value in made.items() if name in takes}
        if getattr(self.model.config, "is_encoder_decoder", False):
            start = self.model.config.decoder_start_token_id
            tensors["decoder_input_ids"] = torch.full((len(samples), 1), start)
        return tensors

    def token_ids(self, inputs: Inputs, stream: str) -> Tensor | None:
        """Of a stream whose tokens are the text's; None of others."""
        (found,) = (own for own in self.found if own.name == stream)
        return inputs.tensors["input_ids"] if found.with_text and not found.own else None

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """What it is for is not known: nothing beside what is read at the layers."""
        self.model(**inputs.tensors)
        return {}


def _names(paths: Sequence[str]) -> list[str]:
    """A short name of each path, without the words that all models use; whole where two agree."""
    short = [
        "_".join(part for part in path.split(".") if part not in _SAID_BY_ALL) or "blocks"
        for path in paths
    ]
    return [
        name if short.count(name) == 1 else path.replace(".", "_")
        for name, path in zip(short, paths, strict=True)
    ]
