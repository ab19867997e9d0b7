"""What denoisers of images have in common: latents, noise levels, a text that is read on the way.

A picture goes through the pipeline's autoencoder; the same noise, from one seed, is laid over every
sample's latents at a few levels, and the denoiser runs once a level. Each level is a stream.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from backend.data.sample import Sample
from backend.errors import InputError
from backend.models.adapter import Adapter, Inputs
from backend.models.configs import MOST_PIXELS, read_json
from backend.models.denoisers.parts import diffusers_class, open_part
from backend.models.dual_stream.preprocess import Preprocessor
from backend.models.families.base import block_points
from backend.models.families.stacks import Stack, stack
from backend.models.images import patch_roles
from backend.models.loading import Checkpoint, local_tokenizer
from backend.models.points import Point
from backend.models.roles import Role, box_origins, grid_boxes, has
from backend.models.texts import Tokens, special_ids, text_roles
from backend.models.weights import require_plain
from backend.types import LayerRef

LEVELS = (0.1, 0.5, 0.9)
"""Shares of the way from picture to noise, by the steps of training, at which a picture is read."""

SPACE = "denoiser"
"""The space of the picture's streams: the same blocks write all of them."""

_SEED = 0
_MOST_STEPS = 10_000
_MOST_LEVELS = 8  # each is a stream, or two
_MOST_CELLS = 2**14
_MOST_SIDE = 512  # of the latents


class Denoiser(Adapter):
    """``vision_tN`` are the denoiser's layers at step N of its noise.

    ``tokenizers`` are those of the pipeline by its folders, of which the first is the adapter's;
    ``noise`` is what its scheduler says of :attr:`noise_settings`. ``timesteps`` are steps of
    0 to ``num_train_timesteps`` - 1, none for those of :data:`LEVELS`; InputError for others.
    """

    part: ClassVar[str]
    """The folder of the denoiser in its pipeline."""
    part_class: ClassVar[str]
    encoders: ClassVar[Mapping[str, str]]
    """{folder of a text's encoder: its class in transformers}."""
    dispensable: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """{folder of an encoder: of its tokenizer} where a pipeline may be saved without both."""
    tokenizer_folders: ClassVar[tuple[str, ...]] = ("tokenizer",)
    scheduler: ClassVar[str] = "DDPMScheduler"
    noise_settings: ClassVar[tuple[str, ...]] = (
        *("beta_start", "beta_end", "beta_schedule", "num_train_timesteps"),
    )
    pads: ClassVar[bool]
    """Whether every text is filled up to the longest, as the model was trained."""
    remark: ClassVar[str] = ""
    """What to know of the layers, beside every plot."""

    def __init__(
        self,
        parts: Mapping[str, nn.Module],
        tokenizers: Mapping[str, PreTrainedTokenizerBase],
        noise: Mapping[str, Any],
        name: str,
        timesteps: Sequence[int] = (),
    ) -> None:
        self.parts = nn.ModuleDict(parts).eval()
        self.autoencoder: Any = parts["vae"]
        self.model: Any = parts[self.part]
        self.name, self.tokenizers = name, tokenizers
        self.tokenizer = next(iter(tokenizers.values()))
        self.schedule = diffusers_class(self.scheduler)(**noise)
        self.noise_steps = int(noise["num_train_timesteps"])
        usual = [int(share * self.noise_steps) for share in LEVELS]
        self.timesteps = self._checked(timesteps) or tuple(usual)
        self.steps = {f"vision_t{step}": step for step in self.timesteps}
        image = {"size": self._pixels(), "mean": [0.5] * 3, "std": [0.5] * 3}
        self.preprocessor = Preprocessor(self.tokenizer, image, self.longest(), pad=self.pads)
        self.describe()
        if self.side**2 > _MOST_CELLS:
            raise InputError(f"is read as {self.side**2:,} cells", where=f"model {name}")

    @classmethod
    def load(cls, checkpoint: Checkpoint) -> Self:
        """Open a pipeline's directory; InputError says in one line what is wrong with it."""
        diffusers_class(cls.part_class)
        saved = checkpoint.config
        left = [folder for folder in cls.dispensable if saved.get(folder) == [None, None]]
        unused = [cls.dispensable[folder] for folder in left]
        parts: dict[str, nn.Module] = {
            folder: checkpoint.part(folder).weights(made, ignored_keys=("position_ids$",))
            for folder, made in cls.encoders.items()
            if folder not in left
        }
        parts["vae"] = open_part(checkpoint.part("vae"), "AutoencoderKL")
        parts[cls.part] = open_part(checkpoint.part(cls.part), cls.part_class)
        folder, where = checkpoint.folder, checkpoint.where
        tokenizers = {
            name: local_tokenizer(folder / name, where, AutoTokenizer.from_pretrained)
            for name in cls.tokenizer_folders
            if name not in unused
        }
        for words, encoder in zip(tokenizers, cls.encoders, strict=False):
            _require_known(tokenizers[words], words, cast(Any, parts[encoder]), where)
        require_plain(folder / "scheduler", where)
        said = read_json(folder / "scheduler" / "scheduler_config.json", where)
        noise = {name: said.get(name) for name in cls.noise_settings}
        steps = noise["num_train_timesteps"]
        if None in noise.values() or not isinstance(steps, int) or not 10 <= steps <= _MOST_STEPS:
            raise InputError(
                "its scheduler does not say how noise grows over up to 10,000 steps",
                where=where,
                hint=f"Needed are {', '.join(cls.noise_settings)}, as of a {cls.scheduler}.",
            )
        return cls(parts, tokenizers, noise, checkpoint.name, checkpoint.timesteps)

    @abstractmethod
    def longest(self) -> int:
        """The most tokens of a text."""

    @abstractmethod
    def describe(self) -> None:
        """Set ``streams``, and whatever else depends on the parts. InputError for other kinds."""

    @property
    @abstractmethod
    def side(self) -> int:
        """Cells along a side of the grid that every layer is read as."""

    @abstractmethod
    def with_texts(self, inputs: Inputs, texts: Sequence[str]) -> Inputs:
        """A batch of pictures with what is to be read beside them."""

    @abstractmethod
    def read(self, inputs: Inputs) -> dict[str, Any]:
        """What the denoiser takes beside latents and step: the text, read by its encoders."""

    @property
    def module(self) -> nn.Module:
        """All parts that run."""
        return self.parts

    def level_note(self, stream: str) -> str:
        """At which level of noise a stream is read."""
        return (
            f"Step {self.steps[stream]} of {self.noise_steps} towards noise. {self.remark}".strip()
        )

    def noised(self, latents: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """Latents (B, channels, h, w) with the noise of steps (B,)."""
        noised: Tensor = self.schedule.add_noise(latents, noise, steps)
        return noised

    def encode(self, samples: Sequence[Sample]) -> Inputs:
        """Pixels, token ids, and the one noise for all samples."""
        self.require(samples)
        pixels = [self.preprocessor.resize(sample.images[0]) for sample in samples]
        channels, size = self.model.config.in_channels, self.model.config.sample_size
        drawn = torch.randn(channels, size, size, generator=torch.Generator().manual_seed(_SEED))
        sizes, side = [sample.images[0].size for sample in samples], self.side
        boxes = [grid_boxes((0.0, 0.0, float(w), float(h)), side, side, (w, h)) for w, h in sizes]
        cells = patch_roles(len(samples), side * side)
        pictures = Inputs(
            {
                "pixel_values": self.preprocessor.pixels(pixels),
                "noise": drawn.expand(len(samples), -1, -1, -1),
            },
            dict.fromkeys(self.steps, cells),
            dict.fromkeys(self.steps, box_origins(boxes, 0, side * side)),
        )
        return self.with_texts(pictures, [sample.text for sample in samples])

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """What the denoiser finds at each level, (B, channels, h, w): noise, or the way to it."""
        noise, condition = inputs.tensors["noise"], self.read(inputs)
        settings = self.autoencoder.config
        latents = self.autoencoder.encode(inputs.tensors["pixel_values"]).latent_dist.mode()
        latents = (latents - (settings.shift_factor or 0.0)) * settings.scaling_factor
        found = {}
        for stream, step in self.steps.items():
            steps = torch.full((len(noise),), step, device=noise.device)
            noised = self.noised(latents, noise, steps)
            found[stream] = self.model(noised, timestep=steps, **condition).sample
        return found

    def most_tokens(self, encoder: str, tokenizer: str) -> int:
        """What a tokenizer says, as far as its encoder has positions."""
        positions = int(cast(Any, self.parts[encoder]).config.max_position_embeddings)
        return min(int(self.tokenizers[tokenizer].model_max_length), positions)

    def reader(self, folder: str) -> Stack:
        """The blocks of a text's encoder, with its final norm."""
        encoder: Any = self.parts[folder]
        named: Iterator[tuple[str, nn.Module]] = encoder.named_modules()
        norm = next(part for path, part in named if path.endswith("final_layer_norm"))
        return replace(stack(encoder, encoder.config), norm=norm)

    def _checked(self, timesteps: Sequence[int]) -> tuple[int, ...]:
        """Each once, in order."""
        outside = [step for step in timesteps if not 0 <= step < self.noise_steps]
        problem = ""
        if outside:
            problem = f"its noise has steps 0 to {self.noise_steps - 1:,}, not {outside[0]:,}"
        elif len(set(timesteps)) > _MOST_LEVELS:
            problem = f"it is read at {_MOST_LEVELS} steps of noise at most"
        if problem:
            raise InputError(problem, where=f"model {self.name}", field="timesteps")
        return tuple(sorted(set(timesteps)))

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
        if not 0 < pixels <= MOST_PIXELS or size > _MOST_SIDE:
            raise InputError(f"takes images of {pixels:,} px", where=where)
        return int(pixels)


def _require_known(tokenizer: PreTrainedTokenizerBase, name: str, encoder: Any, where: str) -> None:
    """InputError where a tokenizer gives ids that the encoder of its texts has no vector for."""
    known = encoder.get_input_embeddings().num_embeddings
    if len(tokenizer) > known:
        problem = f"its {name} gives {len(tokenizer):,} tokens, of which its weights know {known:,}"
        raise InputError(problem, where=where)


def text_points(stream: str, reader: Stack) -> dict[LayerRef, Point]:
    """A text's encoder: its blocks and the final norm."""
    norm = Point(cast(nn.Module, reader.norm))
    return block_points(stream, reader.blocks) | {LayerRef(stream, reader.depth, "norm"): norm}


def filled_roles(
    texts: Tokens, tokenizer: PreTrainedTokenizerBase, summary_id: int | None = None
) -> Tensor:
    """(B, T) roles where what fills a text up is read like the rest: special, not padding.

    A tokenizer may fill up with a word (CLIP's second one does with "!"), which in a text is one.
    """
    ends = [tokenizer.eos_token_id, tokenizer.bos_token_id]
    special = [i for i in special_ids(tokenizer) if i != tokenizer.pad_token_id or i in ends]
    roles = text_roles(texts.ids, texts.mask, special, None, summary_id=summary_id)
    return torch.where(has(roles, Role.PADDING), int(Role.SPECIAL), roles).to(roles.dtype)
