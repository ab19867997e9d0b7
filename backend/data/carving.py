"""Which rows of a file a carved split never parts: those of one group, one image or one text."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from backend.types import Label, Record

FORMULA = 20
"""A text of more samples than this is a label or a formula."""

_HEAD = 4096


@dataclass(frozen=True)
class Joined:
    """The names of what belongs together, of a file's rows.

    ``names`` are those of samples that are not alone or have a group, by the digest of their id:
    the smallest group, or id where there is none, of all that are connected, so that they depend on
    no order. ``images`` and ``texts`` are how many samples share one of these with another,
    ``formulas`` how many share a text that joins none.
    """

    names: dict[int, str]
    images: int = 0
    texts: int = 0
    formulas: int = 0

    def of(self, sample_id: str) -> str:
        """What is hashed to say where a sample goes."""
        return self.names.get(digest8(sample_id), sample_id)

    @property
    def in_words(self) -> str:
        """``12 samples share an image with another: these are never parted``; "" for none."""
        said = []
        shares = [
            f"{count:,} samples share {what} with another"
            for count, what in ((self.images, "an image"), (self.texts, "a text"))
            if count
        ]
        if shares:
            said.append(f"{' and '.join(shares)}: these are never parted")
        if self.formulas:
            said.append(
                f"{self.formulas:,} samples have a text that only names their class, or that over "
                f"{FORMULA} samples have: these may be parted"
            )
        return "; ".join(said)


def joined(records: Iterable[Record]) -> Joined:
    """What belongs together of the usable records of a file, transitively.

    Records belong together that have the same group, the same image (the same file, or files of the
    same bytes, in a folder or inside a table) or the same text apart from case and blanks. A text
    of more than :data:`FORMULA` samples says nothing about one of them and joins none, nor do texts
    of which each class has one of its own. Of records with one id the first counts, as when they
    are read. Reads image files whose sizes and beginnings are equal. Memory: some 300 bytes a
    sample.
    """
    seen: set[str] = set()
    ids: list[str] = []
    groups: list[str] = []
    texts: list[bytes | None] = []
    images: list[object] = []
    classes = _Classes()
    for record in records:
        if record.sample_id in seen:
            continue
        seen.add(record.sample_id)
        classes.add(record.labels, len(ids))
        ids.append(record.sample_id)
        groups.append(record.group)
        plain = folded(record.text)
        texts.append(digest8(plain).to_bytes(8, "big") if plain else None)
        images.append(record.image)
    if not ids:
        return Joined({})
    pictures, sentences = _pictures(images), codes_of(texts)
    formulas = _formulas(sentences, classes.of.values())
    sentences = np.where(formulas, -1, sentences)
    units, _ = components(codes_of(groups), pictures, sentences)
    smallest: dict[int, str] = {}
    for unit, sample_id, group in zip(units.tolist(), ids, groups, strict=True):
        name = group or sample_id
        smallest[unit] = min(name, smallest.get(unit, name))
    names = {
        digest8(sample_id): smallest[unit]
        for unit, sample_id in zip(units.tolist(), ids, strict=True)
        if smallest[unit] != sample_id
    }
    return Joined(
        names, int(_shared(pictures).sum()), int(_shared(sentences).sum()), int(formulas.sum())
    )


def _formulas(texts: Codes, tasks: Iterable[Sequence[int]]) -> NDArray[np.bool_]:
    """(n,) whether a sample shares a text that says nothing about one sample.

    ``tasks`` are the classes of the samples in each, -1 for none.
    """
    formulas: NDArray[np.bool_] = np.bincount(texts + 1)[texts + 1] > FORMULA
    for task in tasks:
        classes = np.asarray(task)
        pairs = np.unique(np.stack([texts, classes])[:, classes >= 0], axis=1)
        if len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1] > 1:
            formulas |= classes >= 0
    return formulas & _shared(texts)


class _Classes:
    """The classes of samples as numbers, by task; -1 for none."""

    def __init__(self) -> None:
        self.of: dict[str, array[int]] = {}
        self._numbers: dict[tuple[str, Label], int] = {}

    def add(self, labels: Mapping[str, Label], before: int) -> None:
        """Those of one more sample, ``before`` of which so many came."""
        for task in labels:
            self.of.setdefault(task, array("q", [-1]) * before)
        for task, classes in self.of.items():
            label = labels.get(task)
            number = self._numbers.setdefault((task, label), len(self._numbers))
            classes.append(-1 if label is None else number)


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
    those that begin alike; a picture inside a table is read once, in the order of the rows.
    """
    found: dict[int, object | None] = {code: None for code in images if code >= 0}
    inside = {code: _seen(images[code]) for code in found if isinstance(images[code], Embedded)}
    found |= inside
    alike: list[list[int]] = [[code for code in found if code not in inside]]
    for look in (_size, _head, _whole):
        buckets: dict[object, list[int]] = {}
        for number, group in enumerate(alike):
            for code in group:
                seen = _seen(images[code], look)
                if seen is not None:
                    buckets.setdefault((number, seen), []).append(code)
        alike = [group for group in buckets.values() if len(group) > 1]
    return found | {code: number for number, group in enumerate(alike) for code in group}


def _seen(image: object, look: Callable[[Path], object] | None = None) -> object | None:
    """A look at a file; the digest of a picture inside a table; None for no image."""
    try:
        if isinstance(image, Embedded):
            return _digest(image.read())
        return look(image) if look is not None and isinstance(image, Path) else None
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
