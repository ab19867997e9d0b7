"""The autoencoders that lie in an operator's directories, found by their digests."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from backend.errors import InputError
from backend.words import listed

if TYPE_CHECKING:
    from backend.sae.autoencoder import SparseAutoencoder

_State = tuple[tuple[str, int, int], ...]


class _Seen(NamedTuple):
    """What was read once: its digest, and what its weights take in memory."""

    digest: str
    bytes: int


class Shelf:
    """Directories of one autoencoder or of several each. Safe between threads.

    A reading of a run says the digests of its autoencoders and not where they lay. Their files are
    read once for as long as they stay as they are. InputErrors name no path of this machine.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self.folders = tuple(folders)
        self._seen: dict[_State, _Seen] = {}
        self._lock = threading.Lock()

    def find(self, digests: Mapping[int, str]) -> dict[int, Path]:
        """{layer: its autoencoder's directory} of {layer: digest}; InputError for one not here."""
        return {layer: path for layer, (path, _) in self._found(digests).items()}

    def bytes(self, digests: Mapping[int, str]) -> int:
        """What the largest of them takes in memory: one at a time is open. InputError as above."""
        return max((size for _, size in self._found(digests).values()), default=0)

    def _found(self, digests: Mapping[int, str]) -> dict[int, tuple[Path, int]]:
        with self._lock:
            held, faults = self._held()
        missing = [str(layer) for layer, digest in digests.items() if digest not in held]
        if missing:
            raise InputError(
                f"the autoencoders that read layers {listed(missing)} are in no directory that was "
                "named here",
                hint="Start with --saes DIR, the directories that `fusionscope read-saes` had."
                + (f" One that is here {faults[0]}." if faults else ""),
            )
        return {layer: held[digest] for layer, digest in digests.items()}

    def _held(self) -> tuple[dict[str, tuple[Path, int]], list[str]]:
        """{digest: directory and bytes}, and what is wrong with those that cannot be read."""
        from backend.sae.loading import load_sae
        from backend.sae.opening import each_sae

        held: dict[str, tuple[Path, int]] = {}
        faults: list[str] = []
        for path in (path for folder in self.folders for path in each_sae(folder)):
            try:
                state = _state(path)
                if state not in self._seen:
                    sae = load_sae(path)
                    self._seen[state] = _Seen(sae.digest, sae.bytes)
                seen = self._seen[state]
                held[seen.digest] = path, seen.bytes
            except InputError as error:
                faults.append(error.problem)
            except OSError as error:  # it went since the server started, or while it was read
                faults.append(f"cannot be read ({error.strerror})")
        return held, faults


@contextmanager
def opened_sae(layer: int, path: Path, digest: str) -> Iterator[SparseAutoencoder]:
    """The autoencoder of a layer; InputErrors from inside are said of the layer, not of a path."""
    from backend.sae.loading import load_sae

    try:
        sae = load_sae(path)
        if sae.digest != digest:
            raise InputError(
                f"is another one than the run was read by (digest {sae.digest}, not {digest})"
            )
        yield sae
    except InputError as error:
        where = f"autoencoder of layer {layer}"
        raise InputError(error.problem, where=where, hint=error.hint) from error


def _state(path: Path) -> _State:
    """What tells whether files have changed."""
    files = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.is_file())
    stats = ((str(file), file.stat()) for file in files)
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
