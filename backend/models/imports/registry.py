"""Which checkpoint formats of other programs can be imported, and the way they all take."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import PreTrainedTokenizerBase

from backend.errors import InputError
from backend.models.dual_stream.model import FusionModel
from backend.models.dual_stream.preprocess import Preprocessor, load_tokenizer
from backend.models.imports.thesis import Imported, read_thesis
from backend.types import TaskSpec

FORMATS: dict[str, Callable[[Path], Imported]] = {"thesis": read_thesis}


@dataclass(frozen=True)
class Import:
    """What became of a file: the checkpoint, what it is, and how many tensors were left out."""

    folder: Path
    placement: str
    tasks: tuple[TaskSpec, ...]
    left_out: tuple[str, ...]


def import_checkpoint(file: Path, *, form: str, out: Path, tokenizer: str | None) -> Import:
    """Turn ``file`` into the ``save_pretrained`` directory ``out``, which appears all at once.

    ``tokenizer`` is a directory or a hub id: the files hold none. Raises InputError, with nothing
    written, for an unknown format, a file that is not of it, a tokenizer that is not there or has
    another vocabulary, and an ``out`` that exists.
    """
    if form not in FORMATS:
        raise InputError(
            f"unknown format {form!r}", field="format", hint=f"Known: {', '.join(FORMATS)}."
        )
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError("already exists", where=str(out), hint="Choose another `out`.")
    read = FORMATS[form](file)
    words = _tokenizer(tokenizer, int(read.config.text["vocab_size"]))
    with torch.device("meta"):
        model = FusionModel(read.config)
    model.load_state_dict(read.weights, assign=True)
    image = read.config.image
    _write(model, Preprocessor(words, image, read.config.max_text_length), out)
    return Import(out, model.placement_name, read.config.task_specs, read.left_out)


def _tokenizer(name: str | None, vocabulary: int) -> PreTrainedTokenizerBase:
    """The tokenizer that belongs to a text encoder of that many words."""
    if name is None:
        raise InputError(
            "a tokenizer is needed: the checkpoint file holds none",
            field="tokenizer",
            hint="Give the directory of bert-base-uncased's (with its tokenizer.json), or its hub "
            "id: `tokenizer` google-bert/bert-base-uncased.",
        )
    found = load_tokenizer(name)
    if len(found) != vocabulary:
        raise InputError(
            f"has {len(found):,} words, but the checkpoint's text encoder has {vocabulary:,}",
            where=f"tokenizer {name}",
            hint="Give the one that the checkpoint was trained with (bert-base-uncased).",
        )
    if found.cls_token_id is None or found.pad_token_id is None or not found.is_fast:
        raise InputError(
            "has no CLS or padding token, or no tokenizer.json", where=f"tokenizer {name}"
        )
    return found


def _write(model: FusionModel, preprocessor: Preprocessor, out: Path) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".import-", dir=out.parent) as temporary:
            folder = Path(temporary) / "checkpoint"
            model.save_pretrained(folder)
            preprocessor.save(folder)
            folder.rename(out)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot be written ({reason})", where=str(out)) from error
