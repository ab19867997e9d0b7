"""What everything else needs to know of a model, whatever its family.

A new family is one file in ``families/`` with an :class:`Adapter` and one line in ``registry.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from backend.data.sample import Sample
from backend.errors import InputError
from backend.models.placement import Placement
from backend.models.points import AttentionPoint, Point, Rewrite
from backend.models.roles import OWN, Origins, has
from backend.types import LayerRef, Meet, StreamSpec, TaskSpec


@dataclass(frozen=True, eq=False)
class Inputs:
    """A batch, ready for the model.

    ``tensors`` are what the forward pass takes; ``roles`` (B, T) say per stream what each token is
    (:class:`backend.models.roles.Role`), ``origins`` where it comes from. ``cut`` (B,)
    counts the tokens of a stream that did not fit into the model and were left out of each sample;
    a stream of which nothing ever is need not be there.
    """

    tensors: dict[str, Tensor]
    roles: dict[str, Tensor]
    origins: dict[str, Origins] = field(default_factory=dict)
    cut: dict[str, np.ndarray] = field(default_factory=dict)

    def to(self, device: torch.device) -> Inputs:
        """The same batch with its tensors and roles on ``device``."""
        return replace(
            self,
            tensors={name: value.to(device) for name, value in self.tensors.items()},
            roles={name: value.to(device) for name, value in self.roles.items()},
        )

    def __len__(self) -> int:
        return len(next(iter(self.roles.values())))

    @property
    def token_counts(self) -> dict[str, np.ndarray]:
        """{stream: (B,)} how many tokens each sample has, without padding and other streams'."""
        return {
            name: has(roles, OWN).sum(dim=1).numpy(force=True) for name, roles in self.roles.items()
        }


@dataclass(frozen=True)
class AttentionKey:
    """Which attention: of the tokens of ``ref.stream`` at layer ``ref``, reading stream ``reads``.

    A meet has ``reads`` = the other stream, self-attention the stream itself.
    """

    ref: LayerRef
    reads: str


@dataclass(frozen=True, eq=False)
class Embedder:
    """One stream, by itself, of a model that compares whole images with whole texts.

    ``encode`` makes a batch of it on the CPU. ``run`` runs it alone and gives its vectors (B, p) in
    the space in which the model compares, as they are before they are scaled to norm 1.
    """

    encode: Callable[[Sequence[Sample]], Inputs]
    run: Callable[[Inputs], Tensor]


class Adapter(ABC):
    """A loaded model with named streams."""

    family: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    """What every sample must have: any of image, text, audio, regions."""
    text_ids: ClassVar[str] = "input_ids"
    """The tensor of a batch that has a text's token ids, in the order of the text's roles."""
    speaking: str = "text"
    """The stream that :meth:`unembedding` reads: what goes on in words."""

    name: str
    streams: tuple[StreamSpec, ...]
    placement: Placement | None = None  # of models that we trained: a released model has none
    seed: int | None = None
    tasks: tuple[TaskSpec, ...] = ()
    trained_on: str = ""  # the dataset's name, where the checkpoint says it
    digest: str = ""  # of weights and configuration
    revision: str = ""  # the hub's commit, where the model is from the hub
    folder: Path | None = None  # where its files are, if it was opened from files
    timesteps: tuple[int, ...] = ()  # of a denoiser: the steps of noise at which it reads
    notes: tuple[str, ...] = ()  # what was taken although the weights are not whole
    handle: object | None = None  # keeps the folder, where that is a temporary one
    tokenizer: PreTrainedTokenizerBase | None = None  # what reads single tokens back
    unsupported: Mapping[str, str] = {}
    """{capability: why not}, of ``attention``, ``gates``, ``cut`` and the like."""

    @property
    @abstractmethod
    def module(self) -> nn.Module:
        """The model that runs."""

    @abstractmethod
    def points(self) -> Mapping[LayerRef, Point]:
        """Every site of every stream, in the streams' order."""

    @abstractmethod
    def encode(self, samples: Sequence[Sample]) -> Inputs:
        """Samples -> a batch on the CPU. InputError where one lacks what the model needs."""

    def token_ids(self, inputs: Inputs, stream: str) -> Tensor | None:
        """(B, T) ids of a stream of text by :attr:`tokenizer`; None where they are of another."""
        return inputs.tensors[self.text_ids]

    @abstractmethod
    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """Run the model: its outputs by name, such as the logits of each task; may be empty."""

    def attention(self) -> Mapping[AttentionKey, AttentionPoint]:
        """Every attention map that can be had: of all meets, and self-attention."""
        return {}

    def gates(self) -> dict[LayerRef, Tensor]:
        """Learned gates at meets, as they multiply what comes in: scalars or (d,)."""
        return {}

    def cut(self, stream: str, meet: Meet) -> tuple[Rewrite, ...]:
        """What keeps the other stream from entering at ``meet``, everything else as it was."""
        raise InputError(
            f"a meet of stream {stream} cannot be cut",
            where=f"model {self.name}",
            hint=self.unsupported.get("cut", ""),
        )

    def unembedding(self) -> Callable[[Tensor], Tensor] | None:
        """From a layer of the stream :attr:`speaking` to the next word: final norm, output layer.

        (..., d) -> (..., words) logits, the model's own where (..., d) is the last layer. None
        where the model does not go on with a text.
        """
        return None

    def vocabulary(self) -> Tensor | None:
        """(words, d) what each token of the stream ``text`` is at layer 0; None where it has none.

        Of a model that puts other streams' tokens among those of its text.
        """
        return None

    def text_alone(self) -> Embedder | None:
        """The stream ``text`` without any other, by the same blocks; None where that is not told.

        ``run`` gives the tokens (B, T, d) after the last layer.
        """
        return None

    def embedders(self) -> Mapping[str, Embedder]:
        """{stream: how it is run by itself} of a model with a space for images and texts; or none.

        The last layer of the stream is all that ``run`` makes its vectors of, and its blocks are
        the modules at whose output its layers are read.
        """
        return {}

    @contextmanager
    def showing_attention(self) -> Iterator[None]:
        """Within it the forward pass computes attention maps (which is slower); then as before."""
        yield

    @property
    def dtype(self) -> torch.dtype:
        """The number type of the model's weights."""
        return next(p.dtype for p in self.module.parameters() if p.is_floating_point())

    def stream(self, name: str) -> StreamSpec:
        """The stream of that name; InputError names those that there are."""
        for spec in self.streams:
            if spec.name == name:
                return spec
        known = ", ".join(spec.name for spec in self.streams)
        raise InputError(f"no stream {name!r}", where=f"model {self.name}", hint=f"It has: {known}")

    def require(self, samples: Sequence[Sample]) -> None:
        """InputError for the first sample that lacks something that this model needs."""
        for at, sample in enumerate(samples):
            have = {
                "image": bool(sample.images),
                "text": True,
                "audio": sample.audio is not None,
                "regions": sample.regions is not None,
            }
            for need in sorted(self.needs):
                if not have[need]:
                    raise InputError(
                        f"sample {at + 1} has no {need}, which {self.family} models need",
                        where=f"model {self.name}",
                    )

    def note(self, *sentences: str) -> None:
        """Say of the weights what was taken although they are not whole; runs keep it."""
        self.notes = (*self.notes, *sentences)
        for sentence in sentences:
            self.streams = tuple(
                replace(spec, note=f"{spec.note} {sentence}".strip()) for spec in self.streams
            )

    def to(self, device: torch.device) -> Self:
        """Move the model."""
        self.module.to(device)
        return self
