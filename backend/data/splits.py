"""What splits are called: one table of synonyms for every layout, every command and the scores."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

Split = Literal["train", "dev", "test"]

# For each split the general words, and the names of releases with several (the first is meant).
# restval: the rest of COCO's validation images, which is trained on (Karpathy and Fei-Fei 2015).
SPLIT_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training", "trn", "restval"),
    "dev": ("dev", "val", "valid", "validation", "development", "dev_seen", "dev_unseen"),
    "test": ("test", "testing", "tst", "test_seen", "test_unseen"),
}
_USUAL = {name: split for split, names in SPLIT_NAMES.items() for name in names}
_EXTRA = "restval"


def usual(name: str) -> Split | None:
    """Which of train, dev and test a name means, in any case; None for another name."""
    return _USUAL.get(_folded(name))


def split_names(raw: Iterable[str]) -> dict[str, str]:
    """{name as the data set writes it: what the split is called here}.

    A general word becomes train, dev or test (``Val`` is dev), and restval is train. Two different
    words for one split (dev and val) stay two splits. ``dev_seen`` and names of other kinds stay
    as they are.
    """
    names = list(dict.fromkeys(raw))
    words: dict[Split, set[str]] = {split: set() for split in SPLIT_NAMES}
    for name in names:
        split = _general(name)
        if split and _folded(name) != _EXTRA:
            words[split].add(_folded(name))
    out = {}
    for name in names:
        split = _general(name)
        if split is None:
            out[name] = name.strip()
        else:
            alone = len(words[split]) < 2 or _folded(name) == _EXTRA
            out[name] = split if alone else _folded(name)
    return out


def renamed(names: Mapping[str, str]) -> str:
    """A sentence on the splits that are called otherwise than they are written; "" if none is."""
    changed = [f"{raw!r} is {name}" for raw, name in names.items() if raw.strip() != name]
    return f"splits by their usual names: {', '.join(changed)}" if changed else ""


def chosen(asked: str, there: Sequence[str]) -> str | None:
    """The split that is meant by ``asked``, of those that are there; None if none is.

    The very name wins, then the name in another case; then a general word gives the first that
    exists in the order of ``SPLIT_NAMES``: "dev" is ``dev_seen`` before ``dev_unseen``, which
    never quietly stand for each other.
    """
    if asked in there:
        return asked
    alike = [name for name in there if _folded(name) == _folded(asked)]
    if len(alike) == 1:
        return alike[0]
    split = _general(asked)
    if split is None:
        return None
    order = SPLIT_NAMES[split]
    ranked = sorted((order.index(_folded(n)), n) for n in there if usual(n) == split)
    return ranked[0][1] if ranked else None


def in_order(names: Iterable[str]) -> list[str]:
    """Train, dev and test splits first, in the order of ``SPLIT_NAMES``; the others sorted."""
    order = list(_USUAL)
    rest = len(order)
    return sorted(
        names, key=lambda n: (order.index(_folded(n)) if usual(n) is not None else rest, n)
    )


def _general(name: str) -> Split | None:
    return None if _folded(name).endswith("seen") else usual(name)


def _folded(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip().casefold())
