"""From what a user names to a checkpoint directory, and from there to weights and processor.

A checkpoint is untrusted: nothing that lies in it is run, nothing that it names is fetched, and
what its configuration asks for is bounded by the weights that are there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.errors import InputError, first_line
from backend.models.configs import check_config, read_config, without_execution
from backend.models.hub import closed_hub, fetch_weights, find_model
from backend.models.tokenizer_files import (
    PROCESSOR_FILES,
    TOKENIZER_FILES,
    check_processor_files,
    check_tokenizer_files,
)
from backend.models.weights import (
    CONFIG,
    StoredTensor,
    descriptions,
    require_plain,
    stored_tensors,
    weight_files,
)

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from backend.models.doors import Misfits

_SHARED = 4  # tied weights are stored once and may stand in so many places
_SMALL = 2**20
_BUFFERS = 2**26  # numbers that a model may work out beside its weights


@dataclass(frozen=True)
class Checkpoint:
    """A directory with config.json and safetensors, wherever it came from.

    ``name`` is what to call the model, ``config`` what config.json says, ``revision`` the hub's
    commit (empty for a directory). With ``allow_partial_weights`` weights are taken although
    tensors are missing (they are then random, from seed 0), left over, of another shape, whole
    numbers or not finite; ``notes`` says what was taken so. ``timesteps`` are the steps of noise at
    which a denoiser is to read, none for its usual ones. Made by :func:`open_checkpoint`.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    revision: str = ""
    allow_partial_weights: bool = False
    timesteps: tuple[int, ...] = ()
    notes: list[str] = field(default_factory=list, compare=False)

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
        return stored_tensors(self.folder, self.where)

    @cached_property
    def digest(self) -> str:
        """16 hex digits of a SHA-256 over configuration and weights; reads them all."""
        return _digest([*descriptions(self.folder, self.where), *self.files])

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
        unexpected, of another shape, no real number or not finite. Names under a prefix that other
        programs put before them are the model's own without it.
        """
        import torch
        import transformers

        from backend.models.doors import Misfits, not_finite, other_types
        from backend.models.reading import read_weights

        made: type[PreTrainedModel] = (
            getattr(transformers, model_class) if isinstance(model_class, str) else model_class
        )
        ignored = re.compile("|".join(ignored_keys)) if ignored_keys else None

        config = self._model_config(made)
        own = self._own_shapes(made, config)
        wanted = {n: t for n, t in self.tensors.items() if not (ignored and ignored.search(n))}
        self.judge(Misfits(types=other_types(wanted)), made.__name__)
        model, misfits = self._guarded(
            "weights cannot be loaded",
            lambda: read_weights(
                made,
                config,
                self.files,
                own,
                ignored,
                dtype or torch.float32,
                fill=self.allow_partial_weights,
            ),
        )
        self.judge(misfits, made.__name__)
        self.judge(Misfits(not_finite=not_finite(model)), made.__name__)
        loaded: PreTrainedModel = model.eval()
        return loaded

    def part(self, name: str) -> Checkpoint:
        """One model of a pipeline, in its own folder; what is taken of it is in these notes, too.

        InputError where it is not there.
        """
        called = f"{self.name}, {name}"
        folder = self.folder / name
        return checked(
            replace(self, name=called, folder=folder, config=read_config(folder, called))
        )

    def judge(self, misfits: Misfits, model: str) -> None:
        """Note what does not fit a class called ``model``, or refuse it with an InputError."""
        self.notes.extend(
            misfits.judge(
                model,
                self.where,
                allow=self.allow_partial_weights,
                hint=f"It was saved as {self._saved_as}." if self._saved_as else "",
            )
        )

    def require_room(self, model: torch.nn.Module) -> None:
        """InputError where a model, as its configuration describes it, is larger than the weights.

        ``model`` may be without memory.
        """
        stored = sum(tensor.count for tensor in self.tensors.values())
        parameters = sum(p.numel() for p in model.parameters())
        buffers = sum(b.numel() for b in model.buffers())
        for numbers, most in (
            (parameters, _SHARED * stored + _SMALL),
            (buffers, _SHARED * stored + _BUFFERS),
        ):
            if numbers > most:
                raise InputError(
                    f"{CONFIG} describes a model of {numbers:,} numbers, the weights hold "
                    f"{stored:,}",
                    where=self.where,
                )

    def processor(self, processor_class: Any = None) -> Any:
        """The processor that was saved with it; InputError where there is none.

        ``processor_class``: a class of transformers; by default the one that the files name.
        """
        from transformers import AutoProcessor, ProcessorMixin

        _require_file(self.folder, PROCESSOR_FILES, "processor", self.where)
        _require_file(self.folder, TOKENIZER_FILES, "tokenizer", self.where)
        made = self._local("processor", (processor_class or AutoProcessor).from_pretrained)
        if not isinstance(made, ProcessorMixin):
            raise InputError(
                f"{self.model_type} models need a processor, there is only a {type(made).__name__}",
                where=self.where,
                hint="Save the model's processor beside it with save_pretrained.",
            )
        _require_words(made.tokenizer, self.where)
        return made

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer that was saved with it; InputError where there is none."""
        from transformers import AutoTokenizer

        return local_tokenizer(self.folder, self.where, AutoTokenizer.from_pretrained)

    def image_processor(self) -> Any:
        """The image processor that was saved with it; InputError where there is none."""
        from transformers import AutoImageProcessor

        _require_file(self.folder, PROCESSOR_FILES, "image processor", self.where)
        return self._local("image processor", AutoImageProcessor.from_pretrained)

    def any_processor(self) -> Any:
        """Whatever makes inputs and was saved with it: a processor, a tokenizer, ...; InputError
        where there is nothing of the kind.
        """
        from transformers import AutoProcessor

        _require_file(
            self.folder, (*PROCESSOR_FILES, *TOKENIZER_FILES), "processor or tokenizer", self.where
        )
        return self._local("processor", AutoProcessor.from_pretrained)

    def _local(self, what: str, load: Callable[..., Any]) -> Any:
        check_processor_files(self.folder, self.where)
        check_tokenizer_files(self.folder, self.where)
        return self._guarded(
            f"the {what} cannot be opened",
            lambda: load(str(self.folder), local_files_only=True, trust_remote_code=False),
        )

    def _guarded(self, problem: str, load: Callable[[], Any]) -> Any:
        """What ``load`` makes of the checkpoint's files; whatever it raises is the files' fault."""
        return guarded(self.where, problem, load)

    def _model_config(self, model_class: type[PreTrainedModel]) -> PreTrainedConfig:
        config_class: Any = model_class.config_class
        return self._guarded(  # type: ignore[no-any-return]
            f"{CONFIG} does not describe a {model_class.__name__}",
            lambda: config_class.from_dict(without_execution(self.config)),
        )

    def _own_shapes(
        self, model_class: type[PreTrainedModel], config: PreTrainedConfig
    ) -> dict[str, tuple[int, ...]]:
        """{name: shape} of what the configuration describes; nothing of it is allocated.

        InputError where that is more than the weights hold.
        """
        import torch

        def described() -> torch.nn.Module:
            with torch.device("meta"):
                return model_class(config)

        model = self._guarded(f"{CONFIG} does not describe a {model_class.__name__}", described)
        self.require_room(model)
        return {name: tuple(value.shape) for name, value in model.state_dict().items()}

    @property
    def _saved_as(self) -> str:
        named = self.config.get("architectures")
        return ", ".join(map(str, named[:2])) if isinstance(named, list) else ""


def open_checkpoint(
    name: str,
    *,
    revision: str | None = None,
    accept: Callable[[str], object] | None = None,
    allow_partial_weights: bool = False,
    timesteps: tuple[int, ...] = (),
) -> Checkpoint:
    """The checkpoint of a directory or, at ``revision``, of a model hub id.

    ``accept(model_type)`` may raise before any weights are looked at or downloaded.
    ``allow_partial_weights``, ``timesteps``: see :class:`Checkpoint`. InputError tells in one line
    what is wrong: that it cannot be reached, is no checkpoint, or has weights that no safetensors
    file holds whole.
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
        checkpoint = Checkpoint(
            folder.resolve().name,
            folder,
            read_config(folder, name),
            allow_partial_weights=allow_partial_weights,
            timesteps=timesteps,
        )
        if accept is not None:
            accept(checkpoint.model_type)
        return checked(checkpoint)
    model = find_model(name, revision)
    config = read_config(model.folder, name)
    checkpoint = Checkpoint(
        name, model.folder, config, model.revision, allow_partial_weights, timesteps
    )
    if accept is not None:
        accept(checkpoint.model_type)
    fetch_weights(model)
    return checked(checkpoint)


def checkpoint_digest(folder: Path) -> str:
    """16 hex digits of a SHA-256 over a checkpoint's configuration and weights.

    InputError where the directory is no checkpoint.
    """
    read_config(folder, str(folder))
    where = f"model {folder}"
    return _digest([*descriptions(folder, where), *weight_files(folder, where)])


def guarded(where: str, problem: str, load: Callable[[], Any]) -> Any:
    """What ``load`` makes of untrusted files, with the hub closed.

    Whatever it raises is the files' fault, and an InputError.
    """
    try:
        with closed_hub():
            return load()
    except InputError as error:
        raise error if error.where else error.within(where) from error
    except Exception as error:  # the libraries raise anything, tokenizers a bare Exception
        raise InputError(
            f"{problem} ({type(error).__name__}: {first_line(error)})", where=where
        ) from error


def local_tokenizer(folder: Path, where: str, load: Callable[..., Any]) -> PreTrainedTokenizerBase:
    """What ``load`` (a ``from_pretrained``) makes of a directory's tokenizer.

    InputError where the directory has none, where it knows no words, and for what
    :mod:`backend.models.tokenizer_files` refuses.
    """
    require_plain(folder, where)
    _require_file(folder, TOKENIZER_FILES, "tokenizer", where)
    check_tokenizer_files(folder, where)
    made: PreTrainedTokenizerBase = guarded(
        where,
        "the tokenizer cannot be opened",
        lambda: load(str(folder), local_files_only=True, trust_remote_code=False),
    )
    _require_words(made, where)
    return made


def _require_words(tokenizer: Any, where: str) -> None:
    """transformers makes up a tokenizer of special tokens alone where there is no vocabulary."""
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        raise InputError(
            "its tokenizer knows no words, so that every text would read alike",
            where=where,
            hint="Save the tokenizer's vocabulary (tokenizer.json, vocab.txt) beside the weights.",
        )


def _require_file(folder: Path, names: Sequence[str], what: str, where: str) -> None:
    if not any((folder / name).is_file() for name in names):
        raise InputError(
            f"has no {what}: none of {', '.join(names)} is there",
            where=where,
            hint=f"Save the model's {what} into the same directory with save_pretrained.",
        )


def checked(checkpoint: Checkpoint) -> Checkpoint:
    """The same, once its files are whole and its configuration is of a size with them.

    InputError where they are not.
    """
    check_config(checkpoint.config, len(checkpoint.tensors), checkpoint.where)
    return checkpoint


def _digest(files: Sequence[Path]) -> str:
    state = hashlib.sha256()
    for path in sorted(files):
        with path.open("rb") as file:
            state.update(hashlib.file_digest(file, "sha256").digest())
    return state.hexdigest()[:16]
