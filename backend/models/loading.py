"""From what a user names to a checkpoint directory, and from there to weights and processor.

A checkpoint is untrusted: nothing that lies in it is run, nothing that it names is fetched, and
what its configuration asks for is bounded by the weights that are there.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.errors import InputError
from backend.models.hub import cached_models, fetch_weights, find_model
from backend.models.weights import (
    CONFIG,
    StoredTensor,
    first_line,
    read_headers,
    shortened,
    weight_files,
)

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

MAX_CONFIG_BYTES = 16 * 2**20

_HOW_TO_RUN = frozenset(
    {
        "auto_map",
        "custom_pipelines",
        "custom_generate",
        "experts_implementation",
        "_experts_implementation",
        "fusion_config",
        "distributed_config",
        "transformers_weights",
        "_attn_implementation_internal",
        "_attn_implementation_autoset",
    }
)
"""Entries that say by whose code or from which files to run a model, not what it is: left out."""

_ATTENTION = ("attn_implementation", "_attn_implementation")
_ATTENTION_HERE = ("eager", "sdpa", None)  # any other name may be a kernel on the hub

_TIMM_NAMES = ("architecture", "backbone")
_TIMM_FILE = "checkpoint_path"  # timm would read whatever file it names

_LAYER_COUNT = re.compile(r"(layers?|depths?|blocks|stages|experts)$")
_FEW = 1024  # more layers than this must have weights
_MOST_LABELS = 2**16
_SHARED = 4  # tied weights are stored once and may stand in so many places
_SMALL = 2**20

_PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)


@dataclass(frozen=True)
class Checkpoint:
    """A directory with config.json and safetensors, wherever it came from.

    ``name`` is what to call the model, ``config`` what config.json says, ``revision`` the hub's
    commit (empty for a directory). Made by :func:`open_checkpoint`.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    revision: str = ""

    @property
    def where(self) -> str:
        """How messages name it."""
        return f"model {self.name}"

    @property
    def model_type(self) -> str:
        """Which family it is of."""
        return str(self.config["model_type"])

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The safetensors files; InputError where they are missing or only pickles are there."""
        return weight_files(self.folder, self.where)

    @cached_property
    def tensors(self) -> dict[str, StoredTensor]:
        """{name: shape and type} of the stored weights; InputError for a broken file."""
        return read_headers(self.files, self.where)

    @cached_property
    def digest(self) -> str:
        """16 hex digits of a SHA-256 over configuration and weights; reads them all."""
        return _digest([self.folder / CONFIG, *self.files])

    def weights(
        self,
        model_class: str | type[PreTrainedModel],
        *,
        dtype: torch.dtype | None = None,
        ignored_keys: Sequence[str] = (),
    ) -> PreTrainedModel:
        """The model on the CPU, in evaluation mode, as ``dtype`` (default float32).

        ``model_class``: a class of transformers by name, or any other such class.
        ``ignored_keys``: patterns (searched for) of stored tensors that the model has no place for,
        or of its own that need not be stored. InputError names every other tensor that is missing,
        unexpected, of another shape or not finite.
        """
        import torch
        import transformers

        made: type[PreTrainedModel] = (
            getattr(transformers, model_class) if isinstance(model_class, str) else model_class
        )
        config = self._model_config(made)
        self._check_size(made, config)
        model, info = self._guarded(
            "weights cannot be loaded",
            lambda: made.from_pretrained(
                self.folder,
                config=config,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=dtype or torch.float32,
                ignore_mismatched_sizes=True,  # they are refused below, by name
                output_loading_info=True,
            ),
        )
        self._check_keys(made, info, re.compile("|".join(ignored_keys)) if ignored_keys else None)
        broken = [name for name, p in model.named_parameters() if not bool(p.isfinite().all())]
        if broken:
            raise InputError(
                f"weights are not finite in {shortened(broken)}",
                where=self.where,
                hint="The training that wrote them diverged, or the file is damaged.",
            )
        loaded: PreTrainedModel = model.eval()
        return loaded

    def processor(self) -> Any:
        """The processor that was saved with it; InputError where there is none."""
        from transformers import AutoProcessor, ProcessorMixin

        self._require_file(_PROCESSOR_FILES, "processor")
        self._require_file(_TOKENIZER_FILES, "tokenizer")
        self._refuse_audio_tokenizer()
        made = self._local("processor", AutoProcessor.from_pretrained)
        if not isinstance(made, ProcessorMixin):
            raise InputError(
                f"{self.model_type} models need a processor, there is only a {type(made).__name__}",
                where=self.where,
                hint="Save the model's processor beside it with save_pretrained.",
            )
        return made

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer that was saved with it; InputError where there is none."""
        from transformers import AutoTokenizer

        self._require_file(_TOKENIZER_FILES, "tokenizer")
        made: PreTrainedTokenizerBase = self._local("tokenizer", AutoTokenizer.from_pretrained)
        return made

    def image_processor(self) -> Any:
        """The image processor that was saved with it; InputError where there is none."""
        from transformers import AutoImageProcessor

        self._require_file(_PROCESSOR_FILES, "image processor")
        return self._local("image processor", AutoImageProcessor.from_pretrained)

    def _local(self, what: str, load: Callable[..., Any]) -> Any:
        return self._guarded(
            f"the {what} cannot be opened",
            lambda: load(str(self.folder), local_files_only=True, trust_remote_code=False),
        )

    def _guarded(self, problem: str, load: Callable[[], Any]) -> Any:
        """What ``load`` makes of the checkpoint's files; whatever it raises is the files' fault."""
        try:
            return load()
        except InputError:
            raise
        except Exception as error:  # the libraries raise anything, tokenizers a bare Exception
            raise InputError(
                f"{problem} ({type(error).__name__}: {first_line(error)})", where=self.where
            ) from error

    def _require_file(self, names: Sequence[str], what: str) -> None:
        if not any((self.folder / name).is_file() for name in names):
            raise InputError(
                f"has no {what}: none of {', '.join(names)} is there",
                where=self.where,
                hint=f"Save the model's {what} into the same directory with save_pretrained.",
            )

    def _refuse_audio_tokenizer(self) -> None:
        """A processor may name another model as its audio tokenizer, which would be fetched."""
        path = self.folder / _PROCESSOR_FILES[0]
        named = path.is_file() and "audio_tokenizer" in _read_json(path, self.where)
        if named or (self.folder / "audio_tokenizer_config.json").exists():
            raise InputError("processors with an audio tokenizer are not opened", where=self.where)

    def _model_config(self, model_class: type[PreTrainedModel]) -> PreTrainedConfig:
        config_class: Any = model_class.config_class
        return self._guarded(  # type: ignore[no-any-return]
            f"{CONFIG} does not describe a {model_class.__name__}",
            lambda: config_class.from_dict(without_execution(self.config)),
        )

    def _check_size(self, model_class: type[PreTrainedModel], config: PreTrainedConfig) -> None:
        """Refuse what the configuration would build beyond the weights; nothing is allocated."""
        import torch

        def parameters() -> int:
            with torch.device("meta"):
                return sum(p.numel() for p in model_class(config).parameters())

        described = self._guarded(
            f"{CONFIG} does not describe a {model_class.__name__}", parameters
        )
        stored = sum(tensor.count for tensor in self.tensors.values())
        if described > _SHARED * stored + _SMALL:
            raise InputError(
                f"{CONFIG} describes a model of {described:,} numbers, the weights hold {stored:,}",
                where=self.where,
            )

    def _check_keys(
        self,
        model_class: type[PreTrainedModel],
        info: dict[str, Any],
        ignored: re.Pattern[str] | None,
    ) -> None:
        name = model_class.__name__
        shapes = {
            f"{key} ({_shape(stored)} stored, {_shape(own)} in the model)"
            for key, stored, own in info["mismatched_keys"]
        }
        for keys, problem in (
            (info["missing_keys"], f"weights lack what a {name} needs: "),
            (info["unexpected_keys"], f"weights hold what a {name} has no place for: "),
            (shapes, f"weights do not have the shapes of a {name}: "),
        ):
            named = sorted(key for key in keys if not (ignored and ignored.search(key)))
            if named:
                raise InputError(
                    f"{problem}{shortened(named)}",
                    where=self.where,
                    hint=f"It was saved as {self._saved_as}." if self._saved_as else "",
                )

    @property
    def _saved_as(self) -> str:
        named = self.config.get("architectures")
        return ", ".join(map(str, named[:2])) if isinstance(named, list) else ""


def open_checkpoint(
    name: str,
    *,
    revision: str | None = None,
    accept: Callable[[str], object] | None = None,
) -> Checkpoint:
    """The checkpoint of a directory or, at ``revision``, of a model hub id.

    ``accept(model_type)`` may raise before any weights are looked at or downloaded. InputError
    tells in one line what is wrong: that it cannot be reached, is no checkpoint, or has weights
    that no safetensors file holds whole.
    """
    folder = Path(name)
    where = f"model {name}"
    if folder.exists() and revision is not None:
        raise InputError(
            "a local directory has no revisions", where=where, hint="Leave out `revision`."
        )
    if folder.is_file():
        raise InputError("is a file", where=where, hint="Give the directory with config.json.")
    if folder.is_dir():
        checkpoint = Checkpoint(folder.resolve().name, folder, read_config(folder, name))
        if accept is not None:
            accept(checkpoint.model_type)
        return _checked(checkpoint)
    model = find_model(name, revision)
    checkpoint = Checkpoint(name, model.folder, read_config(model.folder, name), model.revision)
    if accept is not None:
        accept(checkpoint.model_type)
    fetch_weights(model)
    return _checked(checkpoint)


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """What config.json of a checkpoint directory says; it has a ``model_type``."""
    where = f"model {name}"
    path = folder / CONFIG
    if not path.is_file():
        raise InputError(
            f"is not a checkpoint directory (no {CONFIG} in it)",
            where=where,
            hint="Give a directory that `fusionscope train` or save_pretrained wrote, or a hub id.",
        )
    config = _read_json(path, where)
    if not isinstance(config.get("model_type"), str):
        raise InputError(f"{CONFIG} has no model_type", where=where)
    return config


def checkpoint_digest(folder: Path) -> str:
    """16 hex digits of a SHA-256 over a checkpoint's configuration and weights.

    InputError where the directory is no checkpoint.
    """
    read_config(folder, str(folder))
    return _digest([folder / CONFIG, *weight_files(folder, f"model {folder}")])


def without_execution(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration without what says how to run the model, in all its parts.

    Of attention implementations only those of torch and transformers themselves stay.
    """
    cleaned: dict[str, Any] = {}
    for key, value in config.items():
        if key in _HOW_TO_RUN or (key in _ATTENTION and value not in _ATTENTION_HERE):
            continue
        cleaned[key] = without_execution(value) if isinstance(value, dict) else value
    return cleaned


@dataclass(frozen=True)
class AtHand:
    """A checkpoint that lies here: what to give as MODEL, or why it cannot be opened."""

    name: str
    folder: Path
    model_type: str
    revision: str = ""
    problem: str = ""


def checkpoints_below(folders: Sequence[Path]) -> list[AtHand]:
    """Checkpoints in ``folders``: themselves, or up to two levels below. Headers are read."""
    return [
        _at_hand(Checkpoint(str(path), path, {}))
        for folder in folders
        for path in _with_config(folder)
    ]


def cached_checkpoints() -> list[AtHand]:
    """Whole snapshots in the hub's cache. Headers are read."""
    cached = [
        _at_hand(Checkpoint(model.name, model.folder, {}, model.revision))
        for model in cached_models()
        if (model.folder / CONFIG).is_file()
    ]
    return [found for found in cached if not found.problem]


def _with_config(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such directory", field="models")
    for pattern in (CONFIG, f"*/{CONFIG}", f"*/*/{CONFIG}"):
        yield from (path.parent for path in sorted(folder.glob(pattern)))


def _at_hand(unread: Checkpoint) -> AtHand:
    named = (unread.name, unread.folder)
    model_type = ""
    try:
        config = read_config(unread.folder, unread.name)
        model_type = str(config["model_type"])
        _checked(Checkpoint(*named, config))
    except InputError as error:
        return AtHand(*named, model_type, unread.revision, error.problem)
    return AtHand(*named, model_type, unread.revision)


def _checked(checkpoint: Checkpoint) -> Checkpoint:
    """The same, once its files are whole and its configuration is of a size with them."""
    if any(key == "quantization_config" and value for key, value in _entries(checkpoint.config)):
        raise InputError(
            "quantized weights are not opened",
            where=checkpoint.where,
            hint="Take the model they were made from.",
        )
    for key, value in _entries(checkpoint.config):
        elsewhere = key in _TIMM_NAMES and isinstance(value, str) and ":" in value
        if value and (elsewhere or key == _TIMM_FILE):
            raise InputError(
                f"{CONFIG} takes a part of the model from elsewhere ({key}: {str(value)[:80]!r})",
                where=checkpoint.where,
                hint="A model is opened from the files of its own directory only.",
            )
    most = max(_FEW, len(checkpoint.tensors))
    for key, count in _counts(checkpoint.config):
        limit = most if _LAYER_COUNT.search(key) else _MOST_LABELS
        if count > limit:
            raise InputError(
                f"{CONFIG} asks for {key} = {count:,}, the weights hold "
                f"{len(checkpoint.tensors):,} tensors",
                where=checkpoint.where,
            )
    return checkpoint


def _counts(config: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Every whole number by which modules or labels are multiplied, with its name."""
    for key, value in _entries(config):
        if key == "num_labels" or _LAYER_COUNT.search(key):
            for count in value if isinstance(value, list) else [value]:
                if isinstance(count, int | float) and count > 0:
                    yield key, int(min(count, 10**18))


def _entries(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every entry of a configuration and of its parts, however deep."""
    waiting = [config]
    while waiting:
        for key, value in waiting.pop().items():
            yield key, value
            if isinstance(value, dict):
                waiting.append(value)


def _read_json(path: Path, where: str) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise InputError(f"{path.name} is larger than a configuration can be", where=where)
        read = json.loads(path.read_text(encoding="utf-8"))
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path.name} is broken ({first_line(error)})", where=where) from error
    if not isinstance(read, dict):
        raise InputError(f"{path.name} is broken (not a mapping)", where=where)
    return read


def _digest(files: Sequence[Path]) -> str:
    state = hashlib.sha256()
    for path in sorted(files):
        with path.open("rb") as file:
            state.update(hashlib.file_digest(file, "sha256").digest())
    return state.hexdigest()[:16]


def _shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "a number"
