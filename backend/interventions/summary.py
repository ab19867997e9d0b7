"""What the partner and training do to a fusion, over seeds, in numbers and in sentences.

Every comparison is between passes of the same transitions of the same model, so how deep a fusion
lies, which confounds a comparison of fusion layers with others, is no part of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from backend.interventions.effects import ALIGNMENT, CKA, DIMENSION, END, WHOLE
from backend.study.findings import Part, interval
from backend.study.runs import placement_order
from backend.study.statistics import mean_estimate

VARYING, RIGHT, TRAINING = "a partner that varies", "the right partner", "training"
QUESTIONS = (VARYING, RIGHT, TRAINING)
_SEEDS = ["dataset", "placement", "seed", "stream", "measure", "weights", "partner"]


@dataclass(frozen=True)
class Answer:
    """One question about one measure of one stream: a difference with its 95 % interval.

    ``a partner that varies``: the own partner minus the same one for all, trained. ``the right
    partner``: the own minus another sample's, trained. ``training``: the first of these in the
    trained minus that in the untrained model. ``n`` counts seeds; each gives the mean over its
    placements, ``parts`` are the placements. ``margin`` is what counts as no difference. ``p`` is
    two-sided, not corrected.
    """

    dataset: str
    stream: str
    measure: str
    question: str
    value: float
    low: float
    high: float
    p: float
    n: int
    margin: float
    sentence: str
    parts: tuple[Part, ...] = ()

    @property
    def verdict(self) -> str:
        """``yes`` (the interval leaves out 0), ``no`` (within the margin), ``open``, ``one seed``.

        An effect that is clear and yet within the margin is ``no``: it is there, and negligible.
        """
        if self.n < 2:
            return "one seed"
        if -self.margin < self.low and self.high < self.margin:
            return "no"
        return "yes" if self.low > 0 or self.high < 0 else "open"


def margin_of(measure: str) -> float:
    """What counts as no difference: 0.1 of a log dimension (10 %), 0.02 of anything else."""
    return 0.1 if measure == DIMENSION else 0.02


def at_fusions(table: pd.DataFrame) -> pd.DataFrame:
    """One value a seed, placement, stream, measure, weights and partner: the mean at its fusions.

    Of CKA and of the change of dimension the mean over the transitions k-1 to k that cross a
    fusion; of alignment and scores the value itself. NaN values do not count.
    """
    fused = table["transition"].eq(WHOLE) & table["crossing"]
    rows = table[(fused | table["transition"].eq(END)) & table["value"].notna()]
    # Two runs of one seed count once.
    return rows.groupby(_SEEDS, dropna=False, sort=False)["value"].mean().reset_index()


def contrasts(table: pd.DataFrame) -> pd.DataFrame:
    """Mean CKA at transitions that cross a fusion minus that at the others, a row a seed.

    Columns dataset, placement, seed, stream, weights, partner, value. It describes: fusion layers
    also lie at certain depths. A placement that fuses everywhere has none.
    """
    rows = table[table["measure"].eq(CKA) & table["transition"].eq(WHOLE) & table["value"].notna()]
    keys = [key for key in _SEEDS if key != "measure"]
    means = rows.groupby([*keys, "crossing"], dropna=False, sort=False)["value"].mean()
    wide = means.unstack("crossing").reindex(columns=[True, False]).dropna()
    return (wide[True] - wide[False]).rename("value").reset_index()


def over_seeds(values: pd.DataFrame) -> pd.DataFrame:
    """Mean, 95 % t interval and number of seeds of each dataset, placement, stream and so on."""
    keys = [key for key in _SEEDS if key != "seed" and key in values]
    rows = []
    for at, own in values.groupby(keys, dropna=False, sort=False):
        one = mean_estimate(own["value"].tolist())
        rows.append((*at, one.value, one.low, one.high, one.n))
    return pd.DataFrame(rows, columns=[*keys, "value", "low", "high", "seeds"])


def answers(table: pd.DataFrame) -> tuple[Answer, ...]:
    """Every question about every measure and stream that the table can answer, CKA first.

    The unit is the seed, so models without one (released ones) take no part."""
    values = at_fusions(table[table["seed"].notna()])
    found: list[Answer] = []
    for (dataset, stream, measure), own in values.groupby(
        ["dataset", "stream", "measure"], dropna=False, sort=False
    ):
        cells: _Cells = own.set_index(["weights", "partner", "placement", "seed"])[
            "value"
        ].to_dict()
        for question in QUESTIONS:
            by_placement = _differences(cells, question)
            if by_placement:
                found.append(
                    _answer(str(dataset), str(stream), str(measure), question, by_placement)
                )
    order = {CKA: 0, DIMENSION: 1, ALIGNMENT: 2}
    found.sort(key=lambda one: order.get(one.measure, 3))
    return tuple(found)


_Cells = dict[Any, float]
"""{(weights, partner, placement, seed): value}."""
_ByPlacement = dict[str, dict[int, float]]


def _differences(cells: _Cells, question: str) -> _ByPlacement:
    """{placement: {seed: difference}} of what the question compares."""
    out: _ByPlacement = {}
    places = sorted(
        dict.fromkeys((placement, seed) for _, _, placement, seed in cells),
        key=lambda place: (placement_order(place[0]), place[1]),
    )
    for placement, seed in places:

        def of(weights: str, partner: str, at: tuple[str, int] = (placement, seed)) -> float:
            return cells.get((weights, partner, *at), float("nan"))

        if question == RIGHT:
            value = of("trained", "true") - of("trained", "shuffled")
        else:
            value = of("trained", "true") - of("trained", "constant")
        if question == TRAINING:
            value -= of("untrained", "true") - of("untrained", "constant")
        if value == value:
            out.setdefault(placement, {})[seed] = value
    return out


def _answer(dataset: str, stream: str, measure: str, question: str, values: _ByPlacement) -> Answer:
    shared = set.intersection(*(set(by_seed) for by_seed in values.values()))
    means = [sum(by[seed] for by in values.values()) / len(values) for seed in sorted(shared)]
    one = mean_estimate(means)
    parts = []
    for placement, by_seed in values.items():
        own = mean_estimate(list(by_seed.values()))
        parts.append(Part(placement, own.value, own.low, own.high, own.n))
    bare = Answer(
        dataset=dataset,
        stream=stream,
        measure=measure,
        question=question,
        value=one.value,
        low=one.low,
        high=one.high,
        p=one.p,
        n=one.n,
        margin=margin_of(measure),
        sentence="",
        parts=tuple(parts),
    )
    return replace(bare, sentence=_sentence(bare))


def _sentence(one: Answer) -> str:
    names = ", ".join(part.label for part in one.parts)
    what = _subject(one)
    if one.n == 0:
        return f"On {one.dataset}, {what}: no seed has all placements ({names})."
    size = f"{abs(one.value):.3f} {'higher' if one.value > 0 else 'lower'}"
    other = {
        VARYING: "with its own partner than with one partner that is the same for all samples",
        RIGHT: "with its own partner than with that of another sample",
    }
    if one.question == TRAINING:
        said = f"the effect of a partner that varies on {what} is {size} after training than before"
    else:
        said = f"{what} is {size} {other[one.question]}"
    if one.n < 2:
        unit = f"one seed of {names}: described, not judged"
        return f"On {one.dataset}, {said} ({unit}; it takes two seeds or more)."
    spread = interval(one.low, one.high, lambda value: f"{value:+.3f}")
    return f"On {one.dataset}, {said} ({spread}; {one.n} seeds of {names}): {_meaning(one)}."


def _subject(one: Answer) -> str:
    if one.measure == CKA:
        return f"CKA of consecutive {one.stream} layers at fusions"
    if one.measure == DIMENSION:
        return f"the growth of {one.stream}'s log effective dimension at fusions"
    if one.measure == ALIGNMENT:
        return "CKA of the two streams' last layers"
    return f"the score on {one.measure.partition(':')[2]} with the labels of {one.stream}'s samples"


def _meaning(one: Answer) -> str:
    if one.verdict == "open":
        return f"too uncertain to tell from 0, and from more than {one.margin:g}"
    if one.question == TRAINING:
        if one.verdict == "no":
            return f"training does not change it by {one.margin:g} or more"
        return "training changes it"
    needs = one.verdict == "yes"
    if one.question == VARYING:
        return (
            "a partner that varies makes it"
            if needs
            else (f"whether the partner varies makes no difference of {one.margin:g} or more")
        )
    return (
        "it matters which partner it is"
        if needs
        else (f"which partner it is makes no difference of {one.margin:g} or more")
    )


def sentences(found: Iterable[Answer]) -> Iterator[str]:
    """The sentences; alignment, the same value in both streams, is said once."""
    said: set[str] = set()
    for one in found:
        if one.sentence not in said:
            said.add(one.sentence)
            yield one.sentence
