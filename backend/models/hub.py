"""A model's files from the hub, and what is in its local cache."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import (
    HfApi,
    constants,
    get_session,
    hf_hub_download,
    scan_cache_dir,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    CacheNotFound,
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
)

from backend.errors import InputError
from backend.hub import (
    TIMEOUT_S,
    check_name,
    check_revision,
    hub_answers,
    one_line_errors,
    unreachable,
)
from backend.models.weights import PARTS, PIPELINE, card_of, chosen_weights

_SMALL = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken")
"""Configuration, tokenizer and processor; never code or pickles."""

_BESIDE = ("tokenizer", "tokenizer_2", "tokenizer_3", "scheduler")
"""Folders of a pipeline without weights."""

_CLOSED: ContextVar[bool] = ContextVar("closed", default=False)


@contextmanager
def closed_hub() -> Iterator[None]:
    """Within it this thread asks the hub nothing: what tries to is an InputError.

    For opening what lies here, whose files may name anything.
    """
    client: Any = get_session()
    if _refuse not in client.event_hooks["request"]:
        client.event_hooks = {
            **client.event_hooks,
            "request": [_refuse, *client.event_hooks["request"]],
        }
    token = _CLOSED.set(True)
    try:
        yield
    finally:
        _CLOSED.reset(token)


def _refuse(request: object) -> None:
    if _CLOSED.get():
        raise InputError(
            "names something on the hub that would be fetched",
            hint="A model is opened from the files of its own directory only.",
        )


class CachedModel(NamedTuple):
    """A snapshot in the local cache of the hub; ``revision`` is its commit."""

    name: str
    revision: str
    folder: Path


def require_hub(what: str, name: str, probe: str) -> None:
    """Return if ``probe`` of repository ``name`` is in the local cache or the hub answers.

    Raises InputError otherwise, after at most ``TIMEOUT_S`` seconds; at once for what cannot be a
    repository's name, such as a path.
    """
    check_name(name, f"{what} {name}")
    if "/" in name.strip("/") and isinstance(try_to_load_from_cache(name, probe), str):
        return
    if not hub_answers():
        raise unreachable(f"{what} {name}")


class HubModel(NamedTuple):
    """A model of the hub with its small files in ``folder``; ``revision`` is the commit.

    ``files`` are the names of all its files, None where only the local cache could be asked.
    """

    name: str
    revision: str
    folder: Path
    files: frozenset[str] | None


def find_model(name: str, revision: str | None = None) -> HubModel:
    """A hub model's configuration, tokenizer and processor, in the local cache after that.

    ``revision`` is a branch, tag or commit, by default ``main``. Without a network what is in the
    cache is taken. InputError says whether the hub cannot be reached, the model or the revision
    does not exist, or it is gated.
    """
    where = f"model {name}"
    check_name(name, where)
    check_revision(revision, where)
    if not hub_answers():
        folder = _cached(name, revision, where)
        return HubModel(name, folder.name, folder, None)
    with one_line_errors(name, revision):
        info = HfApi().model_info(name, revision=revision, timeout=TIMEOUT_S)
        # Only the files of the repository's root: others are the same model for other programs.
        folder = Path(
            snapshot_download(
                name, revision=revision, allow_patterns=list(_SMALL), ignore_patterns=["*/*"]
            )
        )
    files = frozenset(file.rfilename for file in info.siblings or ())
    return HubModel(name, folder.name, folder, files)


def fetch_weights(model: HubModel) -> None:
    """Bring a model's safetensors into its folder; InputError where it has none."""
    if model.files is None:
        return
    where = f"model {model.name}"
    folders = [""]
    if card_of(model.folder).name == PIPELINE:
        _fetch(model, [f"{part}/{kind}" for part in (*PARTS, *_BESIDE) for kind in _SMALL])
        there = {file.partition("/")[0] for file in model.files}
        folders = [f"{part}/" for part in PARTS if part in there]
    wanted = []
    for folder in folders:
        inside = {file.removeprefix(folder) for file in model.files if file.startswith(folder)}
        wanted += [
            folder + glob.escape(name)
            for name in chosen_weights(inside, model.folder / folder, where)
        ]
    _fetch(model, wanted)


def _fetch(model: HubModel, patterns: list[str]) -> None:
    with one_line_errors(model.name, model.revision):
        snapshot_download(model.name, revision=model.revision, allow_patterns=patterns)


def fetch_file(what: str, name: str, file: str) -> Path:
    """One file of a hub model, downloaded where it is not in the cache; InputError in one line."""
    require_hub(what, name, file)
    with one_line_errors(name, None):
        return Path(hf_hub_download(name, file))


def hub_folder(what: str, name: str) -> Path:
    """The small files of a hub model in one folder; InputError says of ``what`` it cannot be."""
    try:
        return find_model(name).folder
    except InputError as error:
        raise InputError(error.problem, where=f"{what} {name}", hint=error.hint) from error


def cached_models() -> Iterator[CachedModel]:
    """Every snapshot of a model in the local cache, whole or not, by name."""
    try:
        repositories = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except CacheNotFound:
        return
    for repository in sorted(repositories, key=lambda r: r.repo_id):
        if repository.repo_type == "model":
            for found in sorted(repository.revisions, key=lambda r: r.commit_hash):
                yield CachedModel(repository.repo_id, found.commit_hash, found.snapshot_path)


def _cached(name: str, revision: str | None, where: str) -> Path:
    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except IncompleteSnapshotError as error:
        # It lacks files of the repository, perhaps none that are needed: the loader will tell.
        return Path(error.snapshot_path)
    except LocalEntryNotFoundError as error:
        raise unreachable(where) from error
