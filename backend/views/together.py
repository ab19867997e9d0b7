"""What the pages say of samples that belong together: how many groups, and what is not declared."""

from __future__ import annotations

from dataclasses import dataclass

from backend.data.groups import Grouping, Repeats
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
    return in_words(opened(run.store).run(run.run_id).grouping())


def in_words(grouping: Grouping) -> Together:
    """Groups for people."""
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
            f"{grouping.holes[0]}: each counts as a group of its own."
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
