"""What the pages say of samples that belong together: how many groups, and what is not declared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from backend.data.groups import Grouping, Repeats, codes_of, crossing, examples_of
from backend.views.questions import RunAt
from backend.views.store_access import opened
from backend.words import counted, listed


@dataclass(frozen=True)
class Together:
    """``fact``: how many groups there are, "" where every sample is alone.

    ``warnings``: what the groups leave out, and what cannot be asked of them, each a sentence.
    """

    fact: str = ""
    warnings: tuple[str, ...] = ()


def together(run: RunAt) -> Together:
    """The groups of a run's samples in words; InputError where its samples cannot be read."""
    stored = opened(run.store).run(run.run_id)
    splits = stored.samples(["split"])["split"].tolist()
    return in_words(stored.grouping(), splits)


def in_words(grouping: Grouping, splits: Sequence[str] = ()) -> Together:
    """Groups for people; ``splits`` of the samples say which groups lie in more than one."""
    said = _counted(grouping)
    parted = _parted(grouping, splits)
    return replace(said, warnings=(*said.warnings, parted)) if parted else said


def _parted(grouping: Grouping, splits: Sequence[str]) -> str:
    if grouping.names is None or len(set(splits)) < 2:
        return ""
    groups, places = codes_of(grouping.names), codes_of(splits)
    crosses = crossing(groups, places)
    if not crosses.any():
        return ""
    ((first, other),) = examples_of(groups, places, crosses, 1)
    count = len(set(groups[crosses].tolist()))
    lie = "group lies" if count == 1 else "groups lie"
    return (
        f"{count:,} {lie} in more than one split, such as {grouping.names[first]} "
        f"({splits[first]} and {splits[other]}). What a model learned in one split is asked again "
        "in the other, so its scores are too high. Put all samples of a group into one split, and "
        "train again."
    )


def _counted(grouping: Grouping) -> Together:
    samples = counted(grouping.n, "sample")
    if grouping.how == "none":
        return Together()
    if grouping.count == 1 and grouping.n > 1:
        why = (
            "The data set gives all of them the same group"
            if grouping.how == "given"
            else "They share an image or a text, each with another one"
        )
        what = (
            f"{why}, so nothing can be compared between groups. Smaller groups in a column `group` "
            "of the data would make it possible."
        )
        return Together(f"All {samples} are one group ({grouping.how}).", (what,))
    groups = counted(grouping.count, "group")
    if grouping.how == "found":
        return Together(
            f"{counted(grouping.sharing, 'sample')} share an image or a text with another: "
            f"counted as {groups} (found), the largest of {grouping.largest:,}."
        )
    warnings = []
    if grouping.holes:
        warnings.append(
            f"{counted(len(grouping.holes), 'sample')} without a group, such as "
            f"{grouping.holes[0]}: each counts as a group of its own. If it belongs to others, "
            "give it their group in the column `group` of the data."
        )
    if grouping.repeats:
        warnings.append(_undeclared(grouping.repeats))
    return Together(
        f"{samples} in {groups} (given), the largest of {grouping.largest:,}.", tuple(warnings)
    )


def _undeclared(repeats: Repeats) -> str:
    shared = [
        f"{counted(number, 'sample')} {'shares' if number == 1 else 'share'} {what}"
        for number, what in ((repeats.images, "an image"), (repeats.texts, "a text"))
        if number
    ]
    first, second = repeats.examples[0]
    return (
        f"{listed(shared)} with a sample of another group, such as {first} and {second}. No group "
        "says that they belong together, so they are taken for independent samples: chance may be "
        "higher, and intervals wider, than what is shown."
    )
