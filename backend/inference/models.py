"""Which models may be traced: the store's, and those that the operator names.

A visitor chooses one by a key that says nothing of where it lies, and never names a path.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from backend.errors import InputError
from backend.inference.memory import stored_bytes
from backend.models.encoders import FAMILY
from backend.sae.shelf import Shelf
from backend.store.commands import activations_command

if TYPE_CHECKING:
    from backend.models.adapter import Adapter
    from backend.store import Store
    from backend.store.index import Entry

Kind = Literal["run", "directory", "hub"]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)
"""No absolute path, and none that leads upwards."""

_FRESH_S = 30.0
"""How long what lies in the operator's directories is taken to be as it was."""


@dataclass(frozen=True)
class Named:
    """What the operator allows beside the store.

    Directories of checkpoints, ids of the hub, directories of sparse autoencoders.
    """

    folders: tuple[Path, ...] = ()
    hub_ids: tuple[str, ...] = ()
    saes: tuple[Path, ...] = ()

    @property
    def words(self) -> list[str]:
        """The same as the dashboard's arguments; :func:`named_models` reads them."""
        folders = [word for folder in self.folders for word in ("--models", str(folder))]
        hub_ids = [word for name in self.hub_ids for word in ("--hub", name)]
        return folders + hub_ids + [word for path in self.saes for word in ("--saes", str(path))]

    def check(self) -> None:
        """InputError for a directory that is not there, and for what cannot be a hub id."""
        for field, folders in (("models", self.folders), ("saes", self.saes)):
            for folder in folders:
                if not folder.is_dir():
                    raise InputError(f"{folder}: no such directory", field=field)
        for name in self.hub_ids:
            if not _HUB_ID.fullmatch(name):
                raise InputError(f"{name[:80]!r} is no id of the hub", field="hub")


def named_models(arguments: Sequence[str] | None = None) -> Named:
    """What follows each ``--models``, ``--hub`` and ``--saes`` on the command line."""
    arguments = sys.argv[1:] if arguments is None else arguments

    def values(flag: str) -> Iterator[str]:
        for at, word in enumerate(arguments):
            if word == flag and at + 1 < len(arguments):
                yield arguments[at + 1]
            elif word.startswith(f"{flag}="):
                yield word.removeprefix(f"{flag}=")

    return Named(
        tuple(map(Path, values("--models"))),
        tuple(values("--hub")),
        tuple(map(Path, values("--saes"))),
    )


@dataclass(frozen=True)
class Offer:
    """A model as a page shows it; with a ``problem`` it cannot be traced, ``hint`` says what helps.

    ``key`` is 16 hex digits, the same for as long as the model is called the same. ``run_id`` is
    of the store's models.
    """

    key: str
    label: str
    kind: Kind
    family: str = ""
    run_id: str = ""
    problem: str = ""
    hint: str = ""

    @property
    def where(self) -> str:
        """How messages name it."""
        return f"{'run' if self.kind == 'run' else 'model'} {self.label}"


@dataclass(frozen=True)
class _Place:
    """Where an offered model is opened from: the run that holds it, a directory, or the hub.

    ``digest`` is what it must have; empty where that is not known beforehand. ``timesteps`` are the
    steps of noise at which its run reads it, none for the usual ones.
    """

    holder: str = ""
    folder: Path | None = None
    hub_id: str = ""
    revision: str = ""
    digest: str = ""
    timesteps: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Directory:
    """A checkpoint below a directory that the operator named."""

    label: str
    folder: Path
    family: str
    problem: str


@dataclass(frozen=True)
class _Looked:
    """What lay in the operator's directories, and when."""

    at: float
    directories: tuple[_Directory, ...]


@dataclass(frozen=True)
class _Known:
    """All offers, for as long as the store's listing and the directories are these."""

    listing: object
    looked: _Looked
    offers: tuple[tuple[Offer, _Place], ...]


class Catalogue:
    """The models that may be traced; safe between threads.

    A run's model is its own checkpoint, else one of the same digest: of another run, or in a
    directory of the operator; else the hub's at the run's commit, if its id is allowed. ``saes``
    are the operator's autoencoders. InputError as :meth:`Named.check` raises.
    """

    def __init__(
        self,
        store: Store | None = None,
        named: Named | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._named = named or Named()
        self.saes = Shelf(self._named.saes)
        self._clock = clock
        self._looked = _Looked(float("-inf"), ())
        self._known: _Known | None = None
        self._digests: dict[tuple[object, ...], str] = {}
        self._pinned: dict[str, str] = {}
        self._lock = threading.RLock()
        self._named.check()

    def offers(self) -> tuple[Offer, ...]:
        """Every model, those that cannot be traced included: runs, directories, the hub."""
        return tuple(offer for offer, _ in self._all())

    def offer(self, key: str) -> Offer:
        """The model of a key; InputError where there is none, any more or at all."""
        return self._at(key)[0]

    def run(self, run_id: str) -> Offer:
        """The model of a run; InputError names the near ids for one that does not exist."""
        for offer in self.offers():
            if offer.kind == "run" and offer.run_id == run_id:
                return offer
        if self._store is None:
            raise InputError(f"no run {run_id!r}", hint="Give a store, too.")
        self._store.run(run_id)
        raise InputError("is not listed", where=f"run {run_id}", hint="See: fusionscope verify")

    def where(self, key: str) -> str:
        """How messages name the model of a key."""
        return self.offer(key).where

    def identity(self, key: str) -> str:
        """What tells a model from any other: the digest of its weights, or its id on the hub.

        For a directory its files are read, once. An id stands for the commit at which the model was
        first opened here, or the run's. One that is read at other steps of noise is another.
        InputError where it cannot be traced.
        """
        offer, place = self._usable(key)
        if place.hub_id:
            identity = f"{place.hub_id}@{place.revision}"
        else:
            with _about(offer):
                identity = place.digest or self._digest(self._folder(place))
        return " at ".join((identity, *map(str, place.timesteps)))

    def weights_bytes(self, key: str) -> int:
        """What its weights take when loaded; 0 for a model of the hub that is not here yet."""
        offer, place = self._usable(key)
        with _about(offer):
            folder = self._cached(place) if place.hub_id else self._folder(place)
            return stored_bytes(folder, offer.where) if folder is not None else 0

    def open(self, key: str, device: str = "cpu") -> Adapter:
        """Load a model; InputError says why it cannot be, and names no path of this machine."""
        from backend.models.registry import open_model

        offer, place = self._usable(key)
        with _about(offer):
            if place.hub_id:
                revision = place.revision or self._pinned.get(place.hub_id)
                name = place.hub_id
            else:
                name, revision = str(self._folder(place)), None
            adapter = open_model(name, revision=revision, device=device, timesteps=place.timesteps)
        if place.digest and adapter.digest != place.digest:
            raise InputError(
                f"the checkpoint is another (digest {adapter.digest}, the run's model has "
                f"{place.digest})",
                where=offer.where,
                hint="Put the run's own checkpoint back.",
            )
        if place.hub_id and not place.revision:
            with self._lock:
                self._pinned.setdefault(place.hub_id, adapter.revision)
        return adapter

    def _at(self, key: str) -> tuple[Offer, _Place]:
        for offer, place in self._all():
            if offer.key == key:
                return offer, place
        raise InputError("no such model here", hint="It may have been deleted; choose another.")

    def _usable(self, key: str) -> tuple[Offer, _Place]:
        offer, place = self._at(key)
        if offer.problem:
            raise InputError(offer.problem, where=offer.where, hint=offer.hint)
        return offer, place

    def _all(self) -> tuple[tuple[Offer, _Place], ...]:
        with self._lock:
            listing = None if self._store is None else self._store.listing()
            looked = self._look()
            known = self._known
            if known is None or known.listing is not listing or known.looked is not looked:
                offers = (*self._of_runs(), *self._of_directories(), *self._of_hub())
                self._known = known = _Known(listing, looked, offers)
            return known.offers

    def _of_directories(self) -> Iterator[tuple[Offer, _Place]]:
        for at in self._looked.directories:
            key = _key("directory", str(at.folder))
            offer = Offer(key, at.label, "directory", at.family, problem=at.problem)
            yield offer, _Place(folder=at.folder)

    def _of_hub(self) -> Iterator[tuple[Offer, _Place]]:
        for name in self._named.hub_ids:
            yield Offer(_key("hub", name), name, "hub"), _Place(hub_id=name)

    # Runs

    def _of_runs(self) -> Iterator[tuple[Offer, _Place]]:
        if self._store is None:
            return
        entries = self._store.listing().entries
        holders = {e.digest: e.run_id for e in entries if e.has_checkpoint and e.digest}
        lost = any(not e.has_checkpoint and e.digest not in holders for e in entries)
        folders = self._by_digest() if lost else {}
        for entry in entries:
            holder = entry.run_id if entry.has_checkpoint else holders.get(entry.digest, "")
            place = self._place_of(entry, holder, folders)
            problem, hint = ("", "") if place else self._missing(entry)
            key = _key("run", entry.run_id)
            offer = Offer(key, entry.run_id, "run", entry.family, entry.run_id, problem, hint)
            yield offer, place or _Place()

    def _place_of(self, entry: Entry, holder: str, folders: Mapping[str, Path]) -> _Place | None:
        known = partial(_Place, digest=entry.digest, timesteps=entry.manifest.timesteps)
        if holder:
            return known(holder=holder)
        if entry.digest in folders:
            return known(folder=folders[entry.digest])
        origin, revision = entry.manifest.origin.model, entry.manifest.model.revision
        if revision and origin in self._named.hub_ids:
            return known(hub_id=origin, revision=revision)
        return None

    def _missing(self, entry: Entry) -> tuple[str, str]:
        """Why the model of a run cannot be traced, and what helps."""
        manifest = entry.manifest
        store = str(self._store.path) if self._store is not None else "DIR"
        serve = shlex.join(["fusionscope", "serve", "--store", store])
        if manifest.model.revision:
            return (
                "its model is of the hub and not among those that are allowed here",
                f"Start with: {serve} --hub {manifest.origin.model or 'ID'}",
            )
        if entry.family == FAMILY:
            why = "its encoders were put together for the capture and not kept"
            if self._store is not None and self._store.path.is_file():
                return why, "This store is packed and read-only: serve that it was packed from"
            again = activations_command(manifest, store)
            return why, f"Capture it again with: {again} --with-checkpoint"
        if not entry.digest:
            return "the store does not say which checkpoint it was made from", ""
        return (
            f"its checkpoint was not kept, and no directory that was named holds it (digest "
            f"{entry.digest})",
            f"Start with: {serve} --models DIR, where the checkpoint lies in DIR",
        )

    # Directories

    def _look(self) -> _Looked:
        if self._clock() - self._looked.at >= _FRESH_S:
            directories = tuple(_checkpoints(self._named.folders))
            self._looked = _Looked(self._clock(), directories)
        return self._looked

    def _by_digest(self) -> dict[str, Path]:
        digests: dict[str, Path] = {}
        for at in self._looked.directories:
            with suppress(InputError):  # it went, or broke: whoever chooses it is told
                if not at.problem:
                    digests[self._digest(at.folder)] = at.folder
        return digests

    def _folder(self, place: _Place) -> Path:
        """The checkpoint's directory; InputError where it is gone, or a link out of the store."""
        if place.folder is not None:
            folder: Path | None = place.folder
        else:
            folder = self._store.run(place.holder).checkpoint if self._store is not None else None
        if folder is None or not folder.is_dir():
            raise InputError("its checkpoint is gone", hint="Choose another model.")
        return folder

    def _digest(self, folder: Path) -> str:
        """The digest of a directory, computed again when its files have changed."""
        from backend.models.loading import checkpoint_digest
        from backend.models.weights import descriptions, weight_files

        with self._lock:
            try:
                files = [*descriptions(folder, "model"), *weight_files(folder, "model")]
                stats = [(path.stat().st_size, path.stat().st_mtime_ns) for path in files]
            except OSError as error:
                raise InputError(f"cannot be read ({error.strerror})", where="model") from error
            state = (str(folder), *stats)
            if state not in self._digests:
                self._digests[state] = checkpoint_digest(folder)
            return self._digests[state]

    def _cached(self, place: _Place) -> Path | None:
        """The hub's files on this machine, if they are here."""
        from backend.models.hub import cached_models

        revision = place.revision or self._pinned.get(place.hub_id, "")
        for model in cached_models():
            if model.name == place.hub_id and revision in ("", model.revision):
                return model.folder
        return None


def _key(kind: Kind, name: str) -> str:
    return hashlib.sha256(f"{kind} {name}".encode()).hexdigest()[:16]


def _checkpoints(folders: Sequence[Path]) -> Iterator[_Directory]:
    """Every checkpoint in the operator's directories, called by its way from there."""
    from backend.models.at_hand import checkpoints_below

    labels: set[str] = set()
    for root in folders:
        if not root.is_dir():
            continue  # it was there when the server started: its models are gone with it
        for checkpoint in checkpoints_below([root]):
            label = "/".join((root.resolve().name, *checkpoint.folder.relative_to(root).parts))
            if label in labels:
                label = f"{label} ({_key('directory', str(checkpoint.folder))[:4]})"
            labels.add(label)
            yield _Directory(label, checkpoint.folder, checkpoint.model_type, checkpoint.problem)


@contextmanager
def _about(offer: Offer) -> Iterator[None]:
    """InputErrors from inside are said of the offered model, not of where it lies."""
    try:
        yield
    except InputError as error:
        raise InputError(error.problem, where=offer.where, hint=error.hint) from error
