"""Going through a dataset once, to hear about everything that is wrong with it."""

from __future__ import annotations

from backend.data.base import PairSource, Report


def check(source: PairSource, split: str, limit: int | None = None, decode: bool = True) -> Report:
    """Read every record of a split, and decode every image unless ``decode`` is False.

    Returns the source's report; ``report.good[split]`` is the number of samples that can be used.
    Raises InputError for an unknown split, and at the first problem of a strict source.
    """
    stream = source.pairs(split, limit) if decode else source.records(split, limit)
    source.report.good[source.canonical(split)] = sum(1 for _ in stream)
    return source.report
