"""Going through a dataset once, to hear about everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backend.data.base import PairSource, Report
from backend.data.embedded import Embedded
from backend.data.report import Problem


def check(source: PairSource, split: str, limit: int | None = None, decode: bool = True) -> Report:
    """Read every record of a split, and decode every image unless ``decode`` is False.

    Returns the source's report; ``report.good[split]`` is the number of samples that can be used.
    Raises InputError for an unknown split, and at the first problem of a strict source.
    """
    stream = source.pairs(split, limit) if decode else source.records(split, limit)
    source.report.good[source.canonical(split)] = sum(1 for _ in stream)
    return source.report


def check_all(source: PairSource, splits: Sequence[str] = ()) -> Report:
    """:func:`check` of several splits (default: all), and what is wrong between them.

    An id that stands in two splits is a sample that leaks from one into the other, and so is a
    group that does; a split without a usable sample cannot be trained or scored on. Samples that
    belong together are said in ``report.together``; what is not declared, and what only the whole
    shows (:mod:`backend.data.census`), in its notes. Memory: about a kilobyte a sample.
    """
    from backend.data.belonging import Belonging
    from backend.data.census import Census

    first_in: dict[str, str] = {}
    shown_by: dict[object, int] = {}
    belonging, census = Belonging(), Census()
    number = 0
    for split in splits or source.splits():
        name = source.canonical(split)
        good = 0
        for record in source.records(split):
            # Five captions of one photo: it is decoded once.
            alone = (
                isinstance(record.image, Path | Embedded) and record.audio is record.regions is None
            )
            earlier = shown_by.get(record.image) if alone else None
            if earlier is None:
                pair = next(source.decoded([record]), None)
                if pair is None:
                    continue
                belonging.add(record, name, pair.sample.images)
                if alone:
                    shown_by[record.image] = number
            else:
                belonging.add(record, name, (), same_as=earlier)
            good, number = good + 1, number + 1
            before = first_in.setdefault(record.sample_id, name)
            if before != name:
                reason = f"same id in two splits: {before} and {name}"
                source.report.add(Problem(record.source, "", record.sample_id, reason))
            census.add(record, name, source)
        source.report.good[name] = good
        if not good:
            source.report.add(Problem(name, "", "", "empty split: no usable sample"))
    belonging.tell(source.report)
    census.tell(source.report, source, whole=not splits)
    return source.report
