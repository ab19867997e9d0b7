"""A tokenizer's and a processor's JSON files, looked at before any library reads them.

A file of a few lines may ask for a normaliser that makes a million characters of one, for pictures
of a million pixels a side, or for merges that are dropped at random: it is refused by name.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from backend.errors import InputError
from backend.models.configs import MOST_PIXELS, parts, read_json

PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
_OWN_FILES = ("vocab_file", "tokenizer_file", "merges_file", "spm_file", "model_file")

_MOST_TOKENIZER_BYTES = 256 * 2**20
_MOST_GROWTH = 64  # characters that may become of one
_MOST_ADDED = 256  # tokens around a text
_MOST_AREA = 2**26  # pixels, where sizes are areas
_MOST_SECONDS = 600
_SIZES = ("size", "crop_size", "pad_size", "max_image_size", "image_size", "patch_size")
_AREAS = ("longest_edge", "shortest_edge", "max_pixels", "min_pixels")
_BANDS = ("n_fft", "feature_size", "hop_length", "num_mel_bins", "chunk_length")


def check_tokenizer_files(folder: Path, where: str) -> None:
    """InputError for tokenizer files that grow texts without bound, are random, or lead outside."""
    settings = folder / "tokenizer_config.json"
    if settings.is_file():
        _check_settings(read_json(settings, where), folder, where)
    path = folder / "tokenizer.json"
    if path.is_file():
        _check_tokenizer(read_json(path, where, _MOST_TOKENIZER_BYTES), where)


def check_processor_files(folder: Path, where: str) -> None:
    """InputError for a processor that names another model, or asks for sizes beyond all images."""
    for name in PROCESSOR_FILES:
        path = folder / name
        if not path.is_file():
            continue
        for part in parts(read_json(path, where)):
            if part.get("audio_tokenizer"):
                raise InputError("processors with an audio tokenizer are not opened", where=where)
            _check_sizes(part, name, where)
    if (folder / "audio_tokenizer_config.json").exists():
        raise InputError("processors with an audio tokenizer are not opened", where=where)


def _check_settings(settings: Mapping[str, Any], folder: Path, where: str) -> None:
    for key in _OWN_FILES:
        named = settings.get(key)
        here = isinstance(named, str) and (folder / Path(named).name).is_file()
        if isinstance(named, str) and not here and (folder / named).exists():
            raise InputError(
                f"tokenizer_config.json takes {key} from elsewhere ({named[:80]!r})",
                where=where,
                hint="A model is opened from the files of its own directory only.",
            )
    if settings.get("sp_model_kwargs"):
        raise InputError(
            "tokenizer_config.json has sp_model_kwargs: its tokens may be drawn at random",
            where=where,
        )


def _check_tokenizer(tokenizer: Mapping[str, Any], where: str) -> None:
    model = tokenizer.get("model")
    if isinstance(model, dict) and (model.get("dropout") or model.get("alpha")):
        raise InputError(
            "its tokenizer draws a text's tokens at random (dropout)",
            where=where,
            hint="Set it to null in tokenizer.json.",
        )
    for name in ("normalizer", "pre_tokenizer", "decoder"):
        growth = _growth(tokenizer.get(name), where)
        if growth > _MOST_GROWTH:
            raise InputError(
                f"its tokenizer's {name} makes up to {min(growth, 10**12):,} characters of one",
                where=where,
                hint="No tokenizer in use makes more than a few.",
            )
    added = _added(tokenizer.get("post_processor"))
    if added > _MOST_ADDED:
        raise InputError(f"its tokenizer puts {added:,} tokens around every text", where=where)


def _growth(step: Any, where: str) -> int:
    """A bound of the characters that a step and those inside it make of one."""
    if not isinstance(step, dict):
        return 1
    growth = 1
    for inner in ("normalizers", "pretokenizers", "decoders"):
        steps = step.get(inner)
        for each in steps if isinstance(steps, list) else ():
            growth = min(growth * _growth(each, where), 10**15)
    kind = step.get("type")
    if kind == "Replace":
        growth *= max(1, len(str(step.get("content", ""))))
    elif kind == "Prepend":
        growth *= 1 + len(str(step.get("prepend", "")))
    elif kind == "Precompiled":
        growth *= _longest_replacement(step.get("precompiled_charsmap"), where)
    return growth


def _longest_replacement(charsmap: Any, where: str) -> int:
    """Characters of the longest string in a compiled map: a tree, then strings that end in NUL."""
    if not charsmap:
        return 1
    try:
        content = base64.b64decode(str(charsmap), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError("its tokenizer's map of characters is broken", where=where) from error
    tree = int.from_bytes(content[:4], "little")
    # three bytes a character at least, of those that have such long replacements
    return max(1, max(map(len, content[4 + tree :].split(b"\0")), default=0) // 3)


def _added(processor: Any) -> int:
    """Tokens that a post-processor puts around a text."""
    if not isinstance(processor, dict):
        return 0
    steps = processor.get("processors")
    inner = sum(map(_added, steps)) if isinstance(steps, list) else 0
    template, special = processor.get("single"), processor.get("special_tokens")
    if not isinstance(template, list):
        return inner
    lengths = {
        name: len(token["ids"])
        for name, token in (special.items() if isinstance(special, dict) else ())
        if isinstance(token, dict) and isinstance(token.get("ids"), list)
    }
    names = [
        piece["SpecialToken"].get("id")
        for piece in template
        if isinstance(piece, dict) and isinstance(piece.get("SpecialToken"), dict)
    ]
    return inner + sum(lengths.get(name, 1) for name in names if isinstance(name, str))


def _check_sizes(part: Mapping[str, Any], file: str, where: str) -> None:
    areas = "temporal_patch_size" in part or "merge_size" in part
    for key in (*_SIZES, *_BANDS, *_AREAS):
        for inner, value in _numbers(part.get(key)):
            area = areas and (inner in _AREAS or key in _AREAS)
            most = _MOST_AREA if area else _MOST_SECONDS if key == "chunk_length" else MOST_PIXELS
            if value > most:
                raise InputError(
                    f"{file} asks for {key} = {min(value, 10**18):,.0f}, at most {most:,} is taken",
                    where=where,
                )


def _numbers(value: Any) -> Iterator[tuple[str, float]]:
    """The numbers of a size: itself, or those of its list or mapping, with their names."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(inner, int | float):
                yield name, inner
    elif isinstance(value, list):
        yield from (("", inner) for inner in value if isinstance(inner, int | float))
    elif isinstance(value, int | float):
        yield "", value
