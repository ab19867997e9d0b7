"""Which samples belong together: as the data set says, else as equal images and texts say.

Captions of one photo, memes of one template or frames of one film are no independent samples.
Whatever is split, permuted or drawn must be so by whole groups; this module only says what they
are. Everything is vectorised: 100,000 samples take a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from backend.words import counted

Codes = NDArray[np.intp]
"""(n,) numbers that are equal where a content is; -1 where a sample has none."""

How = Literal["given", "found", "none"]

EXAMPLES = 3


@dataclass(frozen=True)
class Repeats:
    """Samples that share an image, or a text, with a sample that does not count as theirs.

    ``images`` and ``texts`` are numbers of samples; ``examples`` are pairs of ids that share one.
    """

    images: int = 0
    texts: int = 0
    examples: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.images or self.texts)


@dataclass(frozen=True, eq=False)
class Grouping:
    """The groups of n samples.

    ``names`` (n,) strings, the same for samples of one group; None where every sample is alone.
    ``how``: ``given`` by the data set, ``found`` by equal images and texts, or ``none``: nothing
    is given and nothing is shared. ``holes`` are ids of samples without a group where others have
    one: each is alone. ``repeats``: for given groups what crosses them, so that somebody has
    forgotten to declare it; for found ones what they were found by. ``count`` groups, the largest
    of ``largest`` samples; ``sharing`` samples are not alone.
    """

    n: int
    names: NDArray[np.object_] | None
    how: How
    count: int
    largest: int
    sharing: int
    holes: tuple[str, ...] = ()
    repeats: Repeats = Repeats()

    @property
    def in_words(self) -> str:
        """``96 groups (given), the largest of 12 samples``; "" where nothing belongs together."""
        if self.how == "none":
            return ""
        groups = f"{counted(self.count, 'group')} ({self.how})"
        return f"{groups}, the largest of {self.largest:,} samples" if self.largest > 1 else groups


def grouping(
    ids: Sequence[str] | NDArray[np.object_],
    given: Sequence[str | None],
    images: Codes,
    texts: Codes,
) -> Grouping:
    """The groups of samples with these ids, all different.

    ``given`` are the names that the data set gives, None or "" for a sample without one; where no
    sample has one, samples with the same image or the same text are one group, and so are those
    that are connected by others (connected components), which is called like its first sample.
    ``images`` and ``texts`` are those of :func:`codes_of`.
    """
    own = np.asarray(ids, dtype=object)
    if any(given):
        names = _with_holes(own, given)
        units = codes_of(names)
        holes = tuple(own[[not name for name in given]])
        return _grouping(own, names, units, "given", holes, _repeats(own, units, images, texts))
    labels, firsts = components(images, texts)
    alone = np.arange(len(own))
    how: How = "found" if len(firsts) < len(own) else "none"
    return _grouping(own, own[firsts][labels], labels, how, (), _repeats(own, alone, images, texts))


def codes_of(values: Sequence[object] | NDArray[np.object_] | pa.ChunkedArray) -> Codes:
    """(n,) the number of each value, from 0 as they first occur; -1 for None and for ""."""
    column = values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([pa.array(values)])
    if pa.types.is_string(column.type):
        column = pc.if_else(pc.equal(column, ""), None, column)
    encoded = pc.dictionary_encode(column).unify_dictionaries()
    numbers = [chunk.indices.fill_null(-1).to_numpy() for chunk in encoded.chunks]
    return np.concatenate([np.empty(0, np.intp), *numbers]).astype(np.intp)


def components(*contents: Codes) -> tuple[Codes, Codes]:
    """Samples joined by what they share, transitively: (n,) component, (components,) first sample.

    Components are numbered in the order of their first samples. They are the connected components
    of the graph between samples and contents.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(contents[0])
    samples, nodes, end = [], [], n
    for codes in contents:
        has = np.flatnonzero(codes >= 0)
        samples.append(has)
        nodes.append(codes[has] + end)
        end += int(codes.max(initial=-1)) + 1
    ends = (np.concatenate(samples), np.concatenate(nodes))
    graph = coo_array((np.ones(len(ends[0]), dtype=np.int8), ends), shape=(end, end))
    labels = connected_components(graph, directed=False)[1][:n]
    _, firsts, inverse = np.unique(labels, return_index=True, return_inverse=True)
    order = np.argsort(firsts)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[inverse].astype(np.intp), firsts[order].astype(np.intp)


def crossing(contents: Codes, units: Codes) -> NDArray[np.bool_]:
    """(n,) whether a sample's content occurs in another unit (group, split, sample) as well."""
    has = contents >= 0
    kinds = int(units.max(initial=0)) + 1
    pairs = np.unique(contents[has].astype(np.int64) * kinds + units[has])
    several = np.bincount(pairs // kinds, minlength=int(contents.max(initial=-1)) + 1) > 1
    out = np.zeros(len(contents), dtype=bool)
    out[has] = several[contents[has]]
    return out


def examples_of(
    contents: Codes, units: Codes, crosses: NDArray[np.bool_], most: int = EXAMPLES
) -> tuple[tuple[int, int], ...]:
    """Pairs of row numbers that share a content and are of two units: the first of some contents.

    ``crosses`` is that of :func:`crossing`.
    """
    rows = np.flatnonzero(crosses)
    _, at = np.unique(contents[rows], return_index=True)
    out = []
    for first in np.sort(rows[at])[:most]:
        same = rows[contents[rows] == contents[first]]
        out.append((int(first), int(same[units[same] != units[first]][0])))
    return tuple(out)


def _repeats(ids: NDArray[np.object_], units: Codes, images: Codes, texts: Codes) -> Repeats:
    same_image, same_text = crossing(images, units), crossing(texts, units)
    pairs = examples_of(images, units, same_image) + examples_of(texts, units, same_text)
    return Repeats(
        int(same_image.sum()),
        int(same_text.sum()),
        tuple((str(ids[a]), str(ids[b])) for a, b in list(dict.fromkeys(pairs))[:EXAMPLES]),
    )


def _with_holes(ids: NDArray[np.object_], given: Sequence[str | None]) -> NDArray[np.object_]:
    """The given names; a sample without one is called like itself, or so that nobody else is."""
    taken = {name for name in given if name}
    names = []
    for sample_id, name in zip(ids, given, strict=True):
        if not name:
            name = str(sample_id)
            while name in taken:
                name += " (alone)"
        names.append(name)
    return np.array(names, dtype=object)


def _grouping(
    ids: NDArray[np.object_],
    names: NDArray[np.object_],
    units: Codes,
    how: How,
    holes: tuple[str, ...],
    repeats: Repeats,
) -> Grouping:
    sizes = np.bincount(units)
    return Grouping(
        n=len(ids),
        names=names if len(sizes) < len(ids) else None,
        how=how,
        count=len(sizes),
        largest=int(sizes.max(initial=0)),
        sharing=int(sizes[sizes > 1].sum()),
        holes=holes,
        repeats=repeats,
    )
