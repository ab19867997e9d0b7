"""Which rows of a file a carved split never parts: those of one group, one image or one text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import blake2b, file_digest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backend.data.embedded import Embedded
from backend.data.groups import Codes, codes_of, components
from backend.data.images import DecodeError
from backend.data.report import digest8
from backend.data.texts import folded
from backend.errors import InputError
from backend.types import Record

FORMULA = 20
"""A text of more samples than this, or of more than one in 20, is a label or a formula."""

_HEAD = 4096


@dataclass(frozen=True)
class Joined:
    """The names of what belongs together, of a file's rows.

    ``names`` are those of samples that are not alone or have a group, by the digest of their id:
    the smallest group, or id where there is none, of all that are connected, so that they depend on
    no order. ``images`` and ``texts`` are how many samples share one of these with another.
    """

    names: dict[int, str]
    images: int = 0
    texts: int = 0

    def of(self, sample_id: str) -> str:
        """What is hashed to say where a sample goes."""
        return self.names.get(digest8(sample_id), sample_id)

    @property
    def in_words(self) -> str:
        """``12 samples share an image with another: these are never parted``; "" for none."""
        shares = [
            f"{count:,} samples share {what} with another"
            for count, what in ((self.images, "an image"), (self.texts, "a text"))
            if count
        ]
        return f"{' and '.join(shares)}: these are never parted" if shares else ""


def joined(records: Iterable[Record]) -> Joined:
    """What belongs together of the usable records of a file, transitively.

    Records belong together that have the same group, the same image (the same file, or files of the
    same bytes, in a folder or inside a table) or the same text apart from case and blanks. A text
    of many samples (:data:`FORMULA`), such as a class's name, says nothing about one of them and
    joins none. Reads image files whose sizes and beginnings are equal. Memory: some 200 bytes a
    sample.
    """
    ids: list[str] = []
    groups: list[str] = []
    texts: list[bytes | None] = []
    images: list[object] = []
    for record in records:
        ids.append(record.sample_id)
        groups.append(record.group)
        plain = folded(record.text)
        texts.append(digest8(plain).to_bytes(8, "big") if plain else None)
        images.append(record.image)
    if not ids:
        return Joined({})
    pictures, sentences = _pictures(images), _not_formulas(codes_of(texts))
    labels, _ = components(codes_of(groups), pictures, sentences)
    smallest: dict[int, str] = {}
    for label, sample_id, group in zip(labels.tolist(), ids, groups, strict=True):
        name = group or sample_id
        smallest[label] = min(name, smallest.get(label, name))
    names = {
        digest8(sample_id): smallest[label]
        for label, sample_id in zip(labels.tolist(), ids, strict=True)
        if smallest[label] != sample_id
    }
    return Joined(names, int(_shared(pictures).sum()), int(_shared(sentences).sum()))


def _not_formulas(texts: Codes) -> Codes:
    """The same codes, -1 for a text that too many samples have."""
    most = max(2, min(FORMULA, len(texts) // 20))
    counts = np.bincount(texts + 1)
    return np.where(counts[texts + 1] > most, -1, texts)


def _shared(contents: Codes) -> NDArray[np.bool_]:
    """(n,) whether another sample has the same content."""
    shared: NDArray[np.bool_] = (contents >= 0) & (np.bincount(contents + 1)[contents + 1] > 1)
    return shared


def _pictures(images: list[object]) -> Codes:
    """Codes of images: equal for one file, and for files of equal bytes; -1 for none."""
    files = codes_of([None if image is None else str(image) for image in images])
    firsts: dict[int, object] = {}
    for code, image in zip(files.tolist(), images, strict=True):
        firsts.setdefault(code, image)
    same: dict[object, int] = {}
    merged = {-1: -1}
    for code, content in _contents(firsts).items():
        merged[code] = code if content is None else same.setdefault(content, code)
    return np.array([merged[code] for code in files.tolist()], dtype=np.intp)


def _contents(images: dict[int, object]) -> dict[int, object | None]:
    """What is equal for images of equal bytes; None for one that is like no other.

    Of files looks at sizes first, then at the beginnings of those of one size, then at the rest of
    those that begin alike.
    """
    found: dict[int, object | None] = dict.fromkeys(code for code in images if code >= 0)
    alike: list[list[int]] = [list(found)]
    for look in (_size, _head, _whole):
        buckets: dict[object, list[int]] = {}
        for code in sorted(code for group in alike for code in group):  # as they lie in files
            seen = _seen(images[code], look)
            if seen is not None:
                buckets.setdefault((found[code], seen), []).append(code)
        found = dict.fromkeys(found)
        alike = [group for group in buckets.values() if len(group) > 1]
        for number, group in enumerate(alike):
            found |= dict.fromkeys(group, number)
    return found


def _seen(image: object, look: Callable[[Path], object]) -> object | None:
    """A look at a file; of a picture inside a table always its digest; None for no image."""
    try:
        if isinstance(image, Path):
            return look(image)
        return _digest(image.read()) if isinstance(image, Embedded) else None
    except (OSError, InputError, DecodeError):
        return None


def _size(path: Path) -> object:
    return path.stat().st_size


def _head(path: Path) -> object:
    with path.open("rb") as stream:
        return _digest(stream.read(_HEAD))


def _whole(path: Path) -> object:
    with path.open("rb") as stream:
        return file_digest(stream, lambda: blake2b(digest_size=16)).digest()


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()
