"""Which family a checkpoint is of, and who opens it: one line a family, imported when asked for.

Other packages add families by entry points of the group ``fusionscope.families``: the name is the
``model_type`` of config.json, the value ``package.module:Class`` with an adapter that has ``load``.
"""

from __future__ import annotations

import importlib
import inspect
import logging
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Protocol, cast

from backend.errors import InputError
from backend.models.encoders import Encoders, named_encoders

if TYPE_CHECKING:
    from backend.models.adapter import Adapter
    from backend.models.loading import Checkpoint

GROUP = "fusionscope.families"
GENERIC = ".families.generic:Generic"
"""What opens models of transformers that no family is for."""

_log = logging.getLogger(__name__)


class Loads(Protocol):
    """An adapter's class."""

    def load(self, checkpoint: Checkpoint) -> Adapter:
        """Open a checkpoint; InputError says in one line what is wrong with it."""
        ...


@dataclass(frozen=True)
class Family:
    """``target`` is ``module:Class`` (ours begin with a dot, beside this module), ``sentence`` what
    the family is.

    ``plugin`` names the package that brought it, where that is not ours. ``words_alone``: image
    tokens stand among the words of a language model, which also runs without any.
    """

    target: str
    sentence: str
    plugin: str = ""
    words_alone: bool = False


FAMILIES: dict[str, Family] = {
    "fusionscope-fusion": Family(
        ".dual_stream.adapter:DualStream",
        "Our own: a text and a vision encoder with co-attention at chosen layers.",
    ),
    "fusionscope-encoders": Family(
        ".families.side_by_side:SideBySide",
        "A text and a vision encoder side by side, or one of them alone; nothing joins them.",
    ),
    "fusionscope-captioner": Family(
        ".captioner.adapter:ShowAttendTell",
        "Show, attend and tell: a recurrent caption looks at a convolutional grid at each word.",
    ),
    "clip": Family(
        ".families.clip:Clip",
        "Two towers that meet in a contrastive loss.",
    ),
    "siglip": Family(
        ".families.siglip:Siglip",
        "Two towers that meet in a pairwise sigmoid loss.",
    ),
    "siglip2": Family(
        ".families.siglip:Siglip2",
        "SigLIP with images of any aspect ratio as padded patches.",
    ),
    "vision-text-dual-encoder": Family(
        ".families.vision_text_dual:VisionTextDual",
        "Any two encoders joined by CLIP's objective.",
    ),
    "chinese_clip": Family(
        ".families.chinese_clip:ChineseClip",
        "CLIP's image tower beside a Chinese BERT.",
    ),
    "align": Family(
        ".families.align:Align",
        "A convolutional tower and a BERT that meet in a contrastive loss.",
    ),
    "bridgetower": Family(
        ".families.bridgetower:BridgeTower",
        "Two towers whose last blocks feed cross-modal ones over bridges.",
    ),
    "flava": Family(
        ".families.flava:Flava",
        "An image and a text encoder, and a multimodal one over the tokens of both.",
    ),
    "lxmert": Family(
        ".families.lxmert:Lxmert",
        "Text and image regions that meet in cross-attention modules which both share.",
    ),
    "vilt": Family(
        ".families.vilt:Vilt",
        "One transformer over words and patches together.",
    ),
    "visual_bert": Family(
        ".families.visual_bert:VisualBert",
        "One transformer over words and image regions together.",
    ),
    "idefics": Family(
        ".families.idefics:Idefics",
        "Gated cross-attention to images in a frozen language model (open Flamingo).",
    ),
    "idefics2": Family(
        ".families.idefics2:Idefics2",
        "A resampler's latents for images of any shape among the words of a language model.",
        words_alone=True,
    ),
    "blip-2": Family(
        ".families.blip2:Blip2",
        "Learned queries read the image and are handed to a language model.",
    ),
    "instructblip": Family(
        ".families.instructblip:InstructBlip",
        "BLIP-2 whose queries read the text, too.",
    ),
    "blip": Family(
        ".families.blip:Blip",
        "A text that reads an image tower in every block, to match or to go on.",
    ),
    "git": Family(
        ".families.git:Git",
        "An image's tokens before a text that is gone on with, in one decoder.",
    ),
    "kosmos-2": Family(
        ".families.kosmos2:Kosmos2",
        "Latent queries read the image once and go before a language model's text.",
    ),
    "florence2": Family(
        ".families.florence2:Florence2",
        "A shrinking tower's cells and a text in one encoder, which a decoder reads.",
    ),
    "llava": Family(
        ".families.llava:Llava",
        "An image tower's tokens among the words of a language model.",
        words_alone=True,
    ),
    "llava_next": Family(
        ".families.llava_next:LlavaNext",
        "LLaVA with an overview and tiles of an image.",
        words_alone=True,
    ),
    "llava_onevision": Family(
        ".families.llava_next:LlavaOnevision",
        "LLaVA with tiles of one image, or several images whole.",
        words_alone=True,
    ),
    "paligemma": Family(
        ".families.paligemma:PaliGemma",
        "Image tokens before a prompt, in a language model that reads both ways there.",
        words_alone=True,
    ),
    "gemma3": Family(
        ".families.gemma3:Gemma3",
        "A tower's patches averaged into tokens that see each other both ways.",
        words_alone=True,
    ),
    "gemma4": Family(
        ".families.gemma4:Gemma4",
        "Images of any shape, a square of patches averaged into a token.",
        words_alone=True,
    ),
    "qwen2_vl": Family(
        ".families.qwen_vl:Qwen2VL",
        "Images of any shape, a square of patches as a token of the language model.",
        words_alone=True,
    ),
    "qwen2_5_vl": Family(
        ".families.qwen_vl:Qwen25VL",
        "Qwen2-VL with a tower that attends within windows.",
        words_alone=True,
    ),
    "qwen3_vl": Family(
        ".families.qwen_vl:Qwen3VL",
        "Qwen-VL whose language model is given early layers of the tower, too.",
        words_alone=True,
    ),
    "idefics3": Family(
        ".families.shuffled:Idefics3",
        "Tiles of an image, a square of patches as a token of the language model.",
        words_alone=True,
    ),
    "smolvlm": Family(
        ".families.shuffled:SmolVLM",
        "Idefics 3 at a small size.",
        words_alone=True,
    ),
    "internvl": Family(
        ".families.shuffled:InternVL",
        "Tiles and a thumbnail, a square of patches as a token of the language model.",
        words_alone=True,
    ),
    "mllama": Family(
        ".families.mllama:Mllama",
        "Llama 3.2 Vision: gated cross-attention blocks among those of a language model.",
    ),
    "StableDiffusionPipeline": Family(
        ".denoisers.unet:StableDiffusion",
        "A U-Net that finds the noise over a picture, and reads a text on the way.",
    ),
    "PixArtAlphaPipeline": Family(
        ".denoisers.transformer:PixArt",
        "A transformer over patches that finds the noise over them, and reads a text.",
    ),
    "StableDiffusion3Pipeline": Family(
        ".denoisers.joint:StableDiffusion3",
        "A transformer over patches and words together that finds the way to a picture.",
    ),
    "whisper": Family(
        ".families.whisper:Whisper",
        "A text decoder that reads an audio encoder by cross-attention.",
    ),
}


def families() -> dict[str, Family]:
    """Ours and those of installed packages; nothing of them is imported. Ours win."""
    return {**{plugin.name: _announced(plugin) for plugin in _plugins()}, **FAMILIES}


def takes_words_alone(family: str) -> bool:
    """Whether the language model of a family, if it has one, runs on words without an image."""
    known = families().get(family)
    return known is not None and known.words_alone


def shadowed() -> dict[str, str]:
    """{model_type: a sentence} for plug-ins that are not used, as the family is ours already."""
    return {
        plugin.name: f"{_package(plugin)} brings a family {plugin.name} too; our own is used."
        for plugin in _plugins()
        if plugin.name in FAMILIES
    }


def family_class(model_type: str, where: str) -> Loads:
    """The adapter class of a family, or the generic one of a type that transformers knows.

    InputError where nobody knows it or its plug-in is broken.
    """
    available = families()
    if model_type not in available:
        if _in_transformers(model_type):
            return cast(Loads, _import(GENERIC))
        raise InputError(
            f"models of type {model_type[:80]!r} are not supported",
            where=where,
            hint=f"Supported: {', '.join(available)}. A new family is one file and one line, here "
            f"or in a package of its own (entry point {GROUP}): docs/new-family.md.",
        )
    family = available[model_type]
    if not family.plugin:
        return cast(Loads, _import(family.target))
    try:
        made = _import(family.target)
    except Exception as error:  # a plug-in's module may raise anything
        raise _broken(family, f"{type(error).__name__}: {error}") from error
    if not inspect.isclass(made) or not callable(getattr(made, "load", None)):
        raise _broken(family, "it is not a class with load")
    return cast(Loads, made)


def open_model(
    name: str,
    *,
    revision: str | None = None,
    device: str = "cpu",
    allow_partial_weights: bool = False,
    timesteps: tuple[int, ...] = (),
) -> Adapter:
    """Open a checkpoint directory, a model of the hub, or encoders by name, on a device.

    ``revision`` is a branch, tag or commit of the hub; encoders by name are written as
    :mod:`backend.models.encoders` says. ``allow_partial_weights``, ``timesteps``: see
    :class:`backend.models.loading.Checkpoint`; what was taken is in the streams' notes. InputError
    says in one line why it cannot be opened.
    """
    from backend.models.devices import choose_device
    from backend.models.loading import guarded, open_checkpoint
    from backend.models.trial import take_sample

    encoders = named_encoders(name)
    if encoders is not None:
        if timesteps:
            raise _without_noise(name)
        if revision is not None:
            raise InputError(
                "encoders that are named one by one have no revision",
                where=f"model {name}",
                hint="Leave out `revision`.",
            )
        return _side_by_side(encoders, device, allow_partial_weights)
    chosen = choose_device(device)
    where = f"model {name}"
    checkpoint = open_checkpoint(
        name,
        revision=revision,
        accept=lambda model_type: family_class(model_type, where),
        allow_partial_weights=allow_partial_weights,
        timesteps=timesteps,
    )
    for model_type, sentence in shadowed().items():
        if model_type == checkpoint.model_type:
            _log.warning(sentence)
    family = family_class(checkpoint.model_type, where)
    adapter: Adapter = guarded(where, "cannot be opened", lambda: family.load(checkpoint))
    if timesteps and not adapter.timesteps:
        raise _without_noise(name)
    guarded(where, "cannot take a sample", lambda: take_sample(adapter))
    adapter.digest, adapter.revision = checkpoint.digest, checkpoint.revision
    adapter.folder = checkpoint.folder
    adapter.note(*checkpoint.notes)
    return adapter.to(chosen)


def _without_noise(name: str) -> InputError:
    return InputError(
        "is no denoiser, whose layers are read at steps of noise",
        where=f"model {name}",
        field="timesteps",
        hint="Leave out `timesteps`.",
    )


def _side_by_side(encoders: Encoders, device: str, allow_partial_weights: bool) -> Adapter:
    """Released encoders as one model; their common checkpoint lies there as long as it does."""
    from backend.models.families.side_by_side import open_encoders

    folder, handle = open_encoders(encoders, allow_partial_weights=allow_partial_weights)
    adapter = open_model(str(folder), device=device)
    adapter.handle = handle
    return adapter


def _in_transformers(model_type: str) -> bool:
    from transformers import CONFIG_MAPPING

    return model_type in CONFIG_MAPPING


def _plugins() -> list[EntryPoint]:
    return sorted(entry_points(group=GROUP), key=lambda plugin: plugin.name)


def _package(plugin: EntryPoint) -> str:
    return f"{plugin.dist.name} {plugin.dist.version}" if plugin.dist else plugin.value


def _announced(plugin: EntryPoint) -> Family:
    about = plugin.dist.metadata if plugin.dist else None
    told = about["Summary"] if about is not None and "Summary" in about else ""
    sentence = told or f"From {_package(plugin)}."
    # Whether a language model of theirs runs on words alone is seen when it is asked to.
    return Family(plugin.value, sentence, _package(plugin), words_alone=True)


def _import(target: str) -> object:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module, __package__), name)


def _broken(family: Family, reason: str) -> InputError:
    return InputError(
        f"cannot be used ({' '.join(reason.split())[:200]})",
        where=f"plug-in {family.target} of {family.plugin}",
        hint="Update or uninstall that package.",
    )
