"""What denoisers of images have in common: latents, noise levels, a text that is read across.

A picture goes through the pipeline's autoencoder; the same noise, from one seed, is laid over every
sample's latents at a few levels, and the denoiser runs once a level. Each level is a stream.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from backend.data.sample import Sample
from backend.errors import InputError
from backend.models.adapter import Adapter, AttentionKey, Inputs
from backend.models.configs import MOST_PIXELS, read_json
from backend.models.denoisers.attention import WrittenOut, written_out
from backend.models.denoisers.parts import diffusers_class, open_part
from backend.models.dual_stream.preprocess import Preprocessor
from backend.models.eager import eager_attention
from backend.models.families.base import block_points, block_sites, item, self_attention, silenced
from backend.models.families.stacks import stack
from backend.models.images import patch_roles
from backend.models.loading import Checkpoint, local_tokenizer
from backend.models.points import AttentionPoint, Point, Rewrite, Select
from backend.models.roles import box_origins, grid_boxes
from backend.models.texts import Tokens
from backend.types import LayerRef, Meet, Pooling, Site, StreamSpec

LEVELS = (0.1, 0.5, 0.9)
"""Shares of the way from picture to noise, by the steps of training, at which a picture is read."""

_SEED = 0
_MOST_STEPS = 10_000
_NOISE = ("beta_start", "beta_end", "beta_schedule", "num_train_timesteps")
_SPACE = "denoiser"

Arrange = Callable[[Tensor, Inputs], Tensor]


@dataclass(frozen=True, eq=False)
class Layer:
    """What gives a layer, its width, and the transformer blocks in it that read the text."""

    module: nn.Module
    width: int
    reading: tuple[Any, ...] = ()


class Denoiser(Adapter):
    """``vision_tN`` are the denoiser's layers at step N of its noise, ``text`` the text's."""

    part: ClassVar[str]
    """The folder of the denoiser in its pipeline."""
    part_class: ClassVar[str]
    text_class: ClassVar[str]
    poolings: ClassVar[tuple[Pooling, ...]]
    """Of the text."""
    remark: ClassVar[str] = ""
    """What to know of the layers, beside every plot."""

    def __init__(
        self,
        parts: Mapping[str, nn.Module],
        tokenizer: PreTrainedTokenizerBase,
        noise: Mapping[str, Any],
        max_text_length: int,
        name: str,
    ) -> None:
        self.parts = nn.ModuleDict(parts).eval()
        self.text_encoder: Any = parts["text_encoder"]
        self.autoencoder: Any = parts["vae"]
        self.model: Any = parts[self.part]
        self.name, self.tokenizer = name, tokenizer
        self.schedule = diffusers_class("DDPMScheduler")(**noise)
        steps = int(noise["num_train_timesteps"])
        self.steps = {f"vision_t{int(share * steps)}": int(share * steps) for share in LEVELS}
        image = {"size": self._pixels(), "mean": [0.5] * 3, "std": [0.5] * 3}
        self.preprocessor = Preprocessor(tokenizer, image, max_text_length, pad=self.pads)
        self.layers = self.all_layers()
        self.reader = stack(self.text_encoder, self.text_encoder.config)
        depth, width = self.reader.depth, self.reader.width
        meets = tuple(
            Meet(k, "cross", "text", str(k)) for k, layer in enumerate(self.layers) if layer.reading
        )
        sites = tuple(Site(k, layer.width) for k, layer in enumerate(self.layers))
        self.streams = (
            *(
                StreamSpec(
                    stream,
                    "vision",
                    sites,
                    meets,
                    ("mean",),
                    f"Step {step} of {steps} towards noise. {self.remark}".strip(),
                    _SPACE,
                )
                for stream, step in self.steps.items()
            ),
            StreamSpec(
                "text",
                "text",
                block_sites(depth, width, Site(depth, width, "norm")),
                poolings=self.poolings,
            ),
        )
        self.processors = {id(attention): WrittenOut() for attention in self._attentions()}

    @classmethod
    def load(cls, checkpoint: Checkpoint) -> Self:
        """Open a pipeline's directory; InputError says in one line what is wrong with it."""
        diffusers_class(cls.part_class)
        parts = {
            "text_encoder": checkpoint.part("text_encoder").weights(
                cls.text_class, ignored_keys=("position_ids$",)
            ),
            "vae": open_part(checkpoint.part("vae"), "AutoencoderKL"),
            cls.part: open_part(checkpoint.part(cls.part), cls.part_class),
        }
        folder, where = checkpoint.folder, checkpoint.where
        tokenizer = local_tokenizer(folder / "tokenizer", where, AutoTokenizer.from_pretrained)
        said = read_json(folder / "scheduler" / "scheduler_config.json", where)
        noise = {name: said.get(name) for name in _NOISE}
        steps = noise["num_train_timesteps"]
        if None in noise.values() or not isinstance(steps, int) or not 10 <= steps <= _MOST_STEPS:
            raise InputError(
                "its scheduler does not say how noise grows over up to 10,000 steps",
                where=where,
                hint=f"Needed are {', '.join(_NOISE)}; flow matching is not supported.",
            )
        return cls(parts, tokenizer, noise, cls.longest(tokenizer), checkpoint.name)

    @classmethod
    @abstractmethod
    def longest(cls, tokenizer: PreTrainedTokenizerBase) -> int:
        """The most tokens of a text."""

    pads: ClassVar[bool]
    """Whether every text is filled up to the longest, as the model was trained."""

    @abstractmethod
    def all_layers(self) -> list[Layer]:
        """What enters the first block, then every block. InputError for other kinds."""

    @property
    @abstractmethod
    def side(self) -> int:
        """Cells along a side of the grid that every layer is read as."""

    @abstractmethod
    def tokens_of(self, stream: str) -> Select:
        """How a layer's tokens are taken out."""

    def arranged(self, stream: str, keys_too: bool) -> Arrange | None:
        """What makes maps over places those over cells."""
        return None

    @abstractmethod
    def text_roles(self, texts: Tokens) -> Tensor:
        """(B, T) roles of the text's tokens."""

    @abstractmethod
    def read(self, inputs: Inputs) -> dict[str, Any]:
        """What the denoiser takes beside latents and step: the text, read by its encoder."""

    @property
    def module(self) -> nn.Module:
        """All parts that run."""
        return self.parts

    def points(self) -> dict[LayerRef, Point]:
        """Every layer in each of the denoiser's runs; the text encoder's blocks and norm."""
        places: dict[LayerRef, Point] = {}
        for call, stream in enumerate(self.steps):
            for k, layer in enumerate(self.layers):
                select = self.tokens_of(stream)
                places[LayerRef(stream, k)] = Point(layer.module, call=call, select=select)
        places |= block_points("text", self.reader.blocks)
        places[LayerRef("text", self.reader.depth, "norm")] = Point(self._final_norm())
        return places

    def attention(self) -> dict[AttentionKey, AttentionPoint]:
        """Of the last transformer block in each layer: among its tokens, and to the text."""
        maps = self_attention("text", self.reader.attention, self.reader.names.index or 1)
        for call, stream in enumerate(self.steps):
            for k, layer in enumerate(self.layers):
                if not layer.reading:
                    continue
                last = layer.reading[-1]
                for reads, attention in ((stream, last.attn1), ("text", last.attn2)):
                    maps[AttentionKey(LayerRef(stream, k), reads)] = AttentionPoint(
                        self.processors[id(attention)].map,
                        (stream,),
                        (reads,),
                        item(0),
                        call=call,
                        arrange=self.arranged(stream, reads == stream),
                    )
        return maps

    @contextmanager
    def showing_attention(self) -> Iterator[None]:
        """Attention written out, in the text encoder and in the denoiser; then as before."""
        attentions = self._attentions()
        processors = [self.processors[id(attention)] for attention in attentions]
        with ExitStack() as both:
            both.enter_context(eager_attention(self.text_encoder))
            both.enter_context(written_out(attentions, processors))
            yield

    def cut(self, stream: str, meet: Meet) -> tuple[Rewrite, ...]:
        """What the layer's cross-attention adds becomes zero, at this level of noise."""
        call = list(self.steps).index(stream)
        reading = self.layers[meet.layer].reading
        return tuple(silenced(block.attn2, call=call) for block in reading)

    def encode(self, samples: Sequence[Sample]) -> Inputs:
        """Pixels, token ids, and the one noise for all samples."""
        self.require(samples)
        texts = self.preprocessor.tokens([sample.text for sample in samples])
        pixels = [self.preprocessor.resize(sample.images[0]) for sample in samples]
        channels, size = self.model.config.in_channels, self.model.config.sample_size
        drawn = torch.randn(channels, size, size, generator=torch.Generator().manual_seed(_SEED))
        sizes, side = [sample.images[0].size for sample in samples], self.side
        boxes = [grid_boxes((0.0, 0.0, float(w), float(h)), side, side, (w, h)) for w, h in sizes]
        cells = patch_roles(len(samples), side * side)
        return Inputs(
            {
                "input_ids": texts.ids,
                "attention_mask": texts.mask,
                "pixel_values": self.preprocessor.pixels(pixels),
                "noise": drawn.expand(len(samples), -1, -1, -1),
            },
            {**dict.fromkeys(self.steps, cells), "text": self.text_roles(texts)},
            {
                **dict.fromkeys(self.steps, box_origins(boxes, 0, side * side)),
                "text": texts.spans,
            },
            {"text": texts.cut},
        )

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """The noise that the denoiser finds at each level, (B, channels, h, w)."""
        noise, condition = inputs.tensors["noise"], self.read(inputs)
        settings = self.autoencoder.config
        latents = self.autoencoder.encode(inputs.tensors["pixel_values"]).latent_dist.mode()
        latents = latents * settings.scaling_factor
        found = {}
        for stream, step in self.steps.items():
            steps = torch.full((len(noise),), step, device=noise.device)
            noised = self.schedule.add_noise(latents, noise, steps)
            found[stream] = self.model(noised, timestep=steps, **condition).sample
        return found

    def _final_norm(self) -> nn.Module:
        named: Iterator[tuple[str, nn.Module]] = self.text_encoder.named_modules()
        return next(part for path, part in named if path.endswith("final_layer_norm"))

    def _attentions(self) -> list[Any]:
        blocks = [block for layer in self.layers for block in layer.reading]
        return [attention for block in blocks for attention in (block.attn1, block.attn2)]

    def _pixels(self) -> int:
        """The side of a picture; InputError where the parts do not fit each other."""
        size, channels = self.model.config.sample_size, self.model.config.in_channels
        where = f"model {self.name}"
        if not isinstance(size, int) or channels != self.autoencoder.config.latent_channels:
            raise InputError(
                "its denoiser does not take the latents of its autoencoder alone, in a square",
                where=where,
                hint="Pipelines that are given masks, depths or other pictures are not supported.",
            )
        pixels = size * 2 ** (len(self.autoencoder.config.block_out_channels) - 1)
        if not 0 < pixels <= MOST_PIXELS:
            raise InputError(f"takes images of {pixels:,} px", where=where)
        return int(pixels)
