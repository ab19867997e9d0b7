"""The questions that the causal test asks of a fusion, and their answers in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from backend.interventions.table import (
    ALIGNMENT,
    BLOCK,
    CKA,
    DIMENSION,
    END,
    ENTRY,
    SCORE,
    WHOLE,
)
from backend.study.findings import Part, interval, names_of, percent, signed
from backend.study.statistics import Estimate
from backend.words import metric_name

_OTHERS = {
    "constant": "one partner that is the same for all samples",
    "shuffled": "another sample's",
}
_LEAST = "it takes two seeds or more"


@dataclass(frozen=True)
class Question:
    """One difference: the own partner minus the ``other``, trained.

    With ``learning`` the same of the model before training is taken away. ``says`` is what the
    claim says of it, on the side ``expected``; without it the difference is described.
    """

    measure: str
    transition: str
    other: str
    subject: str
    learning: bool = False
    expected: int = -1
    says: str = ""

    @property
    def task(self) -> str:
        """The task whose score it is about; "" where it is about none."""
        return self.measure.removeprefix(SCORE) if self.measure.startswith(SCORE) else ""

    @property
    def states(self) -> tuple[tuple[str, str], ...]:
        """(weights, partner) of what is compared: two values, or four."""
        weights = ("trained", "untrained") if self.learning else ("trained",)
        return tuple((one, partner) for one in weights for partner in ("true", self.other))


JUDGED = (
    Question(
        *(CKA, WHOLE, "constant", "a partner that varies"),
        says="A partner that varies makes CKA lower",
    ),
    Question(
        *(CKA, WHOLE, "shuffled", "the right partner"),
        expected=0,
        says="Any partner does it, the right one or not",
    ),
    Question(
        *(CKA, WHOLE, "constant", "learning"),
        learning=True,
        says="Training makes the drop larger",
    ),
    Question(
        *(ALIGNMENT, END, "shuffled", "the right partner"),
        expected=1,
        says="The streams end more alike with the right partner",
    ),
    Question(
        *(ALIGNMENT, END, "shuffled", "learning"),
        learning=True,
        expected=1,
        says="Training makes the right partner count for more",
    ),
)
DESCRIBED = (
    Question(CKA, ENTRY, "constant", "a partner that varies"),
    Question(CKA, BLOCK, "constant", "a partner that varies"),
    Question(DIMENSION, ENTRY, "constant", "a partner that varies"),
    Question(DIMENSION, ENTRY, "shuffled", "the right partner"),
    Question(DIMENSION, ENTRY, "constant", "learning", learning=True),
)


def of_score(task: str) -> Question:
    """What is described of a task's score, whose measure is ``score:TASK``."""
    return Question(f"{SCORE}{task}", END, "shuffled", "the right partner")


def subject_of(stream: str, question: Question) -> str:
    """What a finding is about, in few words."""
    names = {
        CKA: f"{stream} CKA",
        DIMENSION: f"{stream} dimension",
        ALIGNMENT: "alignment of the ends",
    }
    halves = {ENTRY: " up to the fusion's output", BLOCK: " from the fusion's output on"}
    name = names.get(question.measure, f"score by {stream}'s samples")
    return f"{name}{halves.get(question.transition, '')}: {question.subject}"


def _noun(stream: str, question: Question, metric: str) -> str:
    span = {
        WHOLE: "across a fusion",
        ENTRY: "from the layer before a fusion to the fusion's output",
        BLOCK: "from a fusion's output to the end of its layer",
    }
    if question.measure == CKA:
        return f"CKA of {stream} {span[question.transition]}"
    if question.measure == DIMENSION:
        return f"the growth of {stream}'s effective dimension {span[question.transition]}"
    if question.measure == ALIGNMENT:
        return "CKA of the two streams' last layers"
    return f"{metric_name(metric)} on {question.task} (labels of {stream}'s samples)"


def sentence_of(
    where: str,
    stream: str,
    question: Question,
    metric: str,
    total: Estimate,
    parts: Sequence[Part],
    effects: tuple[float, float],
) -> str:
    """What was found on ``where``, the claim's own words in front where they are judged.

    ``effects`` are the effects after and before training; without learning the latter is 0.
    """
    show = percent if question.measure == DIMENSION else signed
    change = math.expm1 if question.measure == DIMENSION else float
    value, low, high, *both = map(change, (total.value, total.low, total.high, *effects))
    noun, other = _noun(stream, question, metric), _OTHERS[question.other]
    names = names_of(parts)
    claimed = f"“{question.says}”: on" if question.says else "On"
    if total.n == 0:
        return f"{claimed} {where}, no seed has all placements ({names}) for {noun}."
    spread = f"{interval(low, high, show)}; {total.n} seeds of {names}"
    if total.n == 1:
        spread = f"one seed of {names}, so nothing is judged: {_LEAST}"
    if question.learning:
        after, before = map(show, both)
        return (
            f"{claimed} {where}, the own partner in place of {other} changes {noun} by "
            f"{after} after training and by {before} before it: {show(value)} ({spread})."
        )
    size = show(value).lstrip("+-−")
    side = "higher" if value > 0 else "lower"
    return (
        f"{claimed} {where}, {noun} is {size} {side} with each sample's own partner than "
        f"with {other} ({spread})."
    )
