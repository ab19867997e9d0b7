"""Results by the hash of what they were made from, for a while and up to a size."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar, cast

import numpy as np
import pandas as pd
from PIL import Image

T = TypeVar("T")

_OBJECT_BYTES = 64
"""About what any value takes beside its contents."""


def content_key(*parts: object) -> str:
    """64 hex digits of a SHA-256 over ``parts``: strings, numbers, and nested lists of them."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True)
class _Entry:
    value: object
    size: int
    until: float


class ResultCache:
    """At most ``max_bytes`` of values, each for at most ``max_age_s`` seconds after it was put in.

    The least recently used go first. There is no way to see which keys there are. Safe between
    threads. ``clock`` gives seconds.
    """

    def __init__(
        self, max_bytes: int, max_age_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """What is kept takes, by :func:`size_of`."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> object | None:
        """The value of a key; None where there is none, or it is too old."""
        with self._lock:
            self._drop_old()
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key].value

    def put(self, key: str, value: object) -> None:
        """Keep a value; what alone is larger than the cache is not kept."""
        entry = _Entry(value, size_of(value), self._clock() + self._max_age_s)
        with self._lock:
            self._drop_old()
            self._drop(key)
            if entry.size > self._max_bytes:
                return
            self._entries[key] = entry
            self._bytes += entry.size
            while self._bytes > self._max_bytes:
                self._drop(next(iter(self._entries)))

    def forget(self, key: str) -> None:
        """Drop a value, if it is there."""
        with self._lock:
            self._drop(key)

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0

    def drop_old(self) -> float | None:
        """Drop what is too old; seconds until there is more to drop, None where nothing is kept."""
        with self._lock:
            self._drop_old()
            if not self._entries:
                return None
            return min(entry.until for entry in self._entries.values()) - self._clock()

    def _drop_old(self) -> None:
        now = self._clock()
        for key in [key for key, entry in self._entries.items() if entry.until <= now]:
            self._drop(key)

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.size


class Recall:
    """What parts of one content gave before: a view of a cache that sees nothing else of it.

    ``scope`` names the content with all that its parts depend on, such as model and device.
    ``keys`` are those of the cache, of all parts that were asked for; what was made is put in by
    :meth:`keep`.
    """

    def __init__(self, cache: ResultCache, *scope: object) -> None:
        self._cache = cache
        self._scope = scope
        self._made: dict[str, object] = {}
        self.keys: list[str] = []

    def once(self, keys: Sequence[str], make: Callable[[list[int]], Sequence[T]]) -> list[T]:
        """The value of each key; ``make`` gets the places of those that are not there, once."""
        whole = [content_key(*self._scope, key) for key in keys]
        self.keys += whole
        found = {at: self._cache.get(key) for at, key in enumerate(whole)}
        missing = [at for at, value in found.items() if value is None]
        for at, value in zip(missing, make(missing) if missing else (), strict=True):
            found[at] = self._made[whole[at]] = value
        return [cast("T", found[at]) for at in range(len(keys))]

    def keep(self) -> None:
        """Put what was made into the cache."""
        for key, value in self._made.items():
            self._cache.put(key, value)


def size_of(value: object) -> int:
    """About the bytes that a value holds: arrays, tables, pictures, text, each counted once."""
    counted: set[int] = set()
    total = 0
    for part in _parts(value):
        holder = _memory_of(part) if isinstance(part, np.ndarray) else part
        if id(holder) not in counted:
            counted.add(id(holder))
            total += _OBJECT_BYTES + _contents(holder)
    return total


def freeze(value: object) -> None:
    """Make every array in a value read-only: several users may get it."""
    for part in _parts(value):
        if isinstance(part, np.ndarray):
            part.flags.writeable = False


def _parts(value: object) -> Iterator[object]:
    """Everything inside dataclasses, mappings and sequences, and these themselves."""
    seen: set[int] = set()
    waiting: list[Any] = [value]
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        if is_dataclass(part) and not isinstance(part, type):
            waiting += [getattr(part, item.name) for item in fields(part)]
        elif isinstance(part, Mapping):
            waiting += [*part.keys(), *part.values()]
        elif isinstance(part, Sequence | set | frozenset) and not isinstance(part, str | bytes):
            waiting += list(part)


def _memory_of(array: np.ndarray) -> object:
    """The array whose memory a view shows: it is kept as a whole."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _contents(value: object) -> int:
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, pd.DataFrame):
        return int(value.memory_usage(deep=True).sum())
    if isinstance(value, Image.Image):
        return value.width * value.height * len(value.getbands())
    if isinstance(value, str | bytes):
        return len(value)
    return 0
