"""The scores of a store's runs without each test sample in turn, for verdicts on differences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache

from backend.errors import InputError
from backend.study.items import Jackknife, TestItems, jackknives
from backend.views.groups import RunInfo
from backend.views.questions import RunAt
from backend.views.store_access import opened

MOST_SHARING = 0.05
"""Of captured samples: with so few that belong together a variance is too small by as little."""


def items_of(runs: Sequence[RunInfo]) -> TestItems:
    """Of all runs that keep predictions; one whose tables cannot be read is a problem.

    Test samples are grouped as the run groups those that it captured; each other one is alone.
    Where more than :data:`MOST_SHARING` of the captured ones belong together and not all were
    captured, that would be too sure, which is a problem.
    """
    held: dict[tuple[str, str, str, str], Jackknife] = {}
    problems: dict[str, str] = {}
    for run in runs:
        at = RunAt(str(run.source.path), run.run_id, run.source.version(run.run_id))
        try:
            found = _of_run(at)
        except InputError as error:
            why = str(error).rstrip(".")
            problems[run.run_id] = f"predictions of run {run.run_id} cannot be used ({why})"
            continue
        held |= {(run.run_id, *key): one for key, one in found.items()}
    return TestItems(held, problems)


def _sharing(groups: Mapping[str, str]) -> float:
    """The share of samples that are not alone in their group."""
    sizes = Counter(groups.values())
    return sum(size for size in sizes.values() if size > 1) / len(groups)


@lru_cache(maxsize=512)
def _of_run(at: RunAt) -> Mapping[tuple[str, str, str], Jackknife]:
    """{(task, split, metric): jackknife}."""
    run = opened(at.store).run(at.run_id)
    rows = run.predictions()
    if rows.empty:
        return {}
    names = run.groups()
    groups = {} if names is None else dict(zip(run.sample_ids(), names, strict=True))
    predicted = set(rows["sample_id"])
    unknown = len(predicted - groups.keys())
    if groups and unknown and _sharing(groups) > MOST_SHARING:
        raise InputError(
            f"{unknown:,} of {len(predicted):,} test samples were not captured, and of this data "
            "some belong together: which of those do is not known",
            hint="Capture the whole test split (without --limit).",
        )
    return {
        (task.name, str(split), metric): one
        for task in run.manifest.tasks
        for split, mine in rows[rows["task"].eq(task.name)].groupby("split", sort=False)
        for metric, one in jackknives(mine, task, groups).items()
    }
