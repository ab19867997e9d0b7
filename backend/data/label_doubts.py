"""What makes a column of labels doubtful: scores, free text, classes that are probably one."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping

from backend.data.cells import decimal_comma, fraction, whole

FEW_CLASSES = 20
"""Up to so many distinct values no column is suspected of holding counts or free text."""

_ROWS_A_CLASS = 5  # whole numbers with gaps that have fewer rows each look like counts
_SCORES_SHARE = 0.05  # of the rows; fewer numbers with fractions are faults of their rows
_ABSENT = frozenset({"none", "nil", "-", "--", "?", "missing", "unlabeled", "unlabelled"})
_JOINTS = re.compile(r"[\s_\u200b\u2010-\u2015-]+")


def no_classes(counts: Mapping[str, int], rows: int, task: str) -> str:
    """Why the values of a column look like no classes, and what to do; "" if they do not.

    ``counts`` has the number of rows of each value, ``rows`` how many have one.
    """
    ask = f"if these are classes, declare it (--task {task}=multiclass)"
    commas = [name for name in counts if decimal_comma(name)]
    if commas and all(decimal_comma(name) or whole(name) for name in counts):
        return (
            f"holds numbers with a decimal comma such as {commas[0]!r}, no classes: write them "
            f"with a point, or {ask}"
        )
    fractions = [name for name in counts if fraction(name)]
    wholes = sorted(int(name) for name in counts if whole(name))
    if len(fractions) + len(wholes) == len(counts):
        scored = sum(counts[name] for name in fractions)
        if len(fractions) > 1 and scored > _SCORES_SHARE * rows:
            return (
                f"holds {len(counts):,} numbers with fractions such as {fractions[0]}, scores and "
                f"no classes: {ask}"
            )
        gaps = wholes and wholes[-1] - wholes[0] >= len(wholes)
        if len(counts) > FEW_CLASSES and gaps and rows < _ROWS_A_CLASS * len(counts):
            return (
                f"holds {len(counts):,} whole numbers from {wholes[0]} to {wholes[-1]} in "
                f"{rows:,} rows, counts or scores rather than classes: {ask}"
            )
    elif len(counts) > FEW_CLASSES and 2 * len(counts) > rows:
        return f"holds {len(counts):,} different texts in {rows:,} rows, no classes: {ask}"
    return ""


def says_none(name: str) -> bool:
    """Whether the name of a class may well mean that there is no label."""
    return name.casefold() in _ABSENT


def alike(classes: Iterable[str]) -> list[list[str]]:
    """Classes that differ only by case, spaces, hyphens, or the way letters are composed."""
    by: dict[str, list[str]] = {}
    for name in classes:
        folded = _JOINTS.sub("", unicodedata.normalize("NFKC", name).casefold())
        by.setdefault(folded, []).append(name)
    # Not numbers: a sign is no joint.
    return [names for names in by.values() if len(names) > 1 and not all(map(whole, names))]


def looks_parted(counts: Mapping[str, int]) -> bool:
    """Whether cells look like several classes: parts at commas or semicolons that come again."""
    parted = [re.split(r"[;,]", name) for name in counts if re.search(r"[;,]", name)]
    parts = Counter(part.strip() for cell in parted for part in cell)
    return sum(1 for n in parts.values() if n > 1) > len(parts) / 4 if parts else False
