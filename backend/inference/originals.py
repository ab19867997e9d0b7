"""The picture of a stored sample, as far as it can be had again."""

from __future__ import annotations

from backend.data.macros import Macros
from backend.data.sample import Sample
from backend.errors import InputError
from backend.store import Run


def original(run: Run, sample_id: str) -> Sample | None:
    """The sample that a run's vectors were captured from; None where only its thumbnail is here.

    The generated set is drawn again. No other data is read: a store may come from anybody, and its
    ``origin.data`` could name any folder of this machine. InputError for an unknown sample.
    """
    if sample_id not in set(run.sample_ids()):
        raise InputError(f"no sample {sample_id!r}", where=f"run {run.run_id}")
    layout, _, options = run.manifest.origin.data.partition(":")
    if layout != Macros.layout:
        return None
    source = Macros.from_spec(options)
    for record in source.records(run.manifest.dataset.split, run.n):
        if record.sample_id == sample_id:
            return Sample(record.text, (source.image(record),))
    return None
