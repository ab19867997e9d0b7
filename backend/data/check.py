"""Going through a dataset once, to hear about everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence

from backend.data.base import PairSource, Report
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
    belong together are said in ``report.together``, what is not declared in its notes. Memory: the
    ids, and two digests a sample.
    """
    from backend.data.belonging import Belonging
    from backend.data.images import image_digest

    first_in: dict[str, str] = {}
    belonging = Belonging()
    for split in splits or source.splits():
        name = source.canonical(split)
        good = 0
        for pair in source.pairs(split):
            good += 1
            record = pair.record
            earlier = first_in.setdefault(record.sample_id, name)
            if earlier != name:
                reason = f"same id in two splits: {earlier} and {name}"
                source.report.add(Problem(record.source, "", record.sample_id, reason))
            belonging.add(record, name, image_digest(pair.sample.images))
        source.report.good[name] = good
        if not good:
            source.report.add(Problem(name, "", "", "empty split: no usable sample"))
    belonging.tell(source.report)
    return source.report
