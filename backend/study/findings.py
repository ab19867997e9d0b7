"""A claim of the thesis, tested on a set of runs: effects, intervals, verdicts, plain sentences."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from backend.study.runs import where
from backend.study.statistics import NAN, Estimate, mean_estimate

Verdict = Literal[
    "supported",
    "contradicted",
    "no clear difference",
    "underpowered",
    "not enough runs",
    "described",
]
VERDICTS: tuple[Verdict, ...] = (
    "supported",
    "contradicted",
    "no clear difference",
    "underpowered",
    "not enough runs",
)
"""What a judged finding can be; one that is only ``described`` judges nothing."""
Scale = Literal["difference", "relative", "correlation"]
ALPHA = 0.05
MIN_PLACEMENTS = 4
"""A correlation over fewer placements has no interval."""


_SAME = "All runs are measured on the same samples: what others would give is not in the interval."


@dataclass(frozen=True)
class Claim:
    """One claim: what the thesis says, and how a set of runs is asked.

    Effects between the two ends of ``negligible`` are too small to matter. ``scale``: a
    ``"relative"`` change is tested as a log ratio, a ``"correlation"`` as Fisher's z.
    """

    key: str
    title: str
    statement: str
    method: str
    scale: Scale
    negligible: tuple[float, float]
    needs: tuple[str, ...] = ()
    published: str = ""


TRANSITIONS = Claim(
    "transitions",
    "Fusion shows as a drop of CKA",
    "CKA of a stream with itself drops at transitions that cross a fusion.",
    "In every run, the mean CKA of consecutive layers at transitions that cross a fusion minus "
    "that at those that do not; undefined transitions (a constant layer 0) do not count. Fusion "
    "lies at certain depths, and CKA differs between depths without any fusion: this difference "
    "describes and judges nothing. Judged is by how much it differs from that of the run without "
    "fusion and of the same seed at the same transitions. Each seed gives one value, the mean over "
    "its placements. Less than 0.05 counts as too small to matter. " + _SAME,
    "difference",
    (-0.05, 0.05),
    ("cka",),
    "The thesis's own curves of this are not among its published numbers.",
)
DIMENSION = Claim(
    "dimension",
    "Fusion compresses vision, not text",
    "Cross-attention lowers vision's effective dimension, it falls under early fusion, and text's "
    "stays as it is.",
    "Placements whose fusion layers all lie in the first half, against no fusion: the mean over "
    "all layers from the first fusion on of the log ratio of effective dimensions, paired by seed. "
    "Text stays as it is where the whole interval lies within ±10 % (two one-sided tests). "
    "Cross-attention: the log ratio from the layer before to the fusion's output, minus that of "
    "the block at the same depth in the run without fusion and of the same seed. A change within "
    "±10 % counts as too small to matter. Where ten samples a dimension are missing, nothing is "
    "judged unless it is known all the same which of two layers has more. " + _SAME,
    "relative",
    (-0.10, 0.10),
    ("effective_dimension",),
    "The thesis reports a fall of about 87 % for vision while text stays at 250 to 300; the "
    "numbers behind it are not published.",
)
SCORES = Claim(
    "scores",
    "Late fusion wins",
    "Late fusion scores higher than no fusion and than early, middle and full fusion.",
    "The difference of the task's own metric, paired by seed. Seeds and test samples are both "
    "drawn by chance. The interval holds both: how the difference varies between seeds, and how it "
    "changes without each test sample (or group of them that belong together). Less than 0.02 "
    "counts as too small to matter.",
    "difference",
    (-0.02, 0.02),
)
ALIGNMENT = Claim(
    "alignment",
    "Alignment goes with the score",
    "Placements whose modalities are more alike in the last layer score higher.",
    "Over placements that fuse, each the mean over its seeds: correlation of the measure at the "
    "last matching layers with the score. No fusion is left out: it differs in both for reasons of "
    "its own. Pearson's r decides, if Spearman's ρ has its sign and no single placement turns it "
    "round, and if the scores differ by 0.02 or more; a correlation does not say what causes "
    "what. Between -0.5 and 0.5 it counts as too "
    "weak to matter. " + _SAME,
    "correlation",
    (-0.5, 0.5),
    ("cka", "svcca", "mutual_knn", "procrustes"),
)
CLAIMS: tuple[Claim, ...] = (TRANSITIONS, DIMENSION, SCORES, ALIGNMENT)


@dataclass(frozen=True)
class Part:
    """A piece of a finding that is shown and not tested: one placement of several."""

    label: str
    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Finding:
    """One effect with its 95 % interval over ``n`` ``unit``s, and what it says of its claim.

    The value of no effect is 0, and ``expected`` the side of it that the claim names (-1 or 1); it
    is 0 where the claim is that the effect is within :attr:`Claim.negligible`. ``p`` is two-sided,
    ``p_corrected`` Holm's over the ``tested`` findings of all claims on the same dataset. ``se``
    and ``freedom`` are the test's (:class:`Estimate`), and ``detectable`` is the smallest effect
    that it would have found in 4 of 5 such studies. ``robust`` is False where a condition besides
    the test is not met. One that is only ``described`` has no p.
    """

    claim: str
    dataset: str
    setting: str
    subject: str
    quantity: str
    value: float
    low: float
    high: float
    n: int
    unit: str
    p: float
    expected: int
    sentence: str = ""
    task: str = ""
    metric: str = ""
    measure: str = ""
    se: float = NAN
    freedom: float = NAN
    detectable: float = NAN
    p_corrected: float = NAN
    tested: int = 0
    robust: bool = True
    verdict: Verdict = "not enough runs"
    notes: tuple[str, ...] = ()
    parts: tuple[Part, ...] = field(default=())

    @property
    def where(self) -> str:
        """The dataset and, where there are several, the model."""
        return where(self.dataset, self.setting)


@dataclass(frozen=True)
class ClaimResult:
    """A claim with its findings; ``notes`` say what could not be asked, and why."""

    claim: Claim
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    def count(self, verdict: Verdict) -> int:
        """How many findings have that verdict."""
        return sum(one.verdict == verdict for one in self.findings)

    @property
    def summary(self) -> str:
        """``2 supported, 4 no clear difference (of 6)``, and how many only describe.

        "described, not judged" where all do; "not enough runs" where nothing was asked.
        """
        described = self.count("described")
        judged = len(self.findings) - described
        if not judged:
            return "described, not judged" if described else "not enough runs"
        counts = [(verdict, self.count(verdict)) for verdict in VERDICTS]
        words = [f"{count} {verdict}" for verdict, count in counts if count]
        if self.count("not enough runs") == judged:
            said = "not enough runs"
        else:
            said = (
                f"{', '.join(words)} (of {judged})" if judged > 1 else words[0].removeprefix("1 ")
            )
        return f"{said}; {described} described" if described else said

    @property
    def multiplicity(self) -> str:
        """One sentence on how many effects were tested and what was done about it."""
        tested = max((one.tested for one in self.findings), default=0)
        if tested < 2:
            return f"Intervals are 95 %; {'one' if tested else 'no'} effect was tested."
        return (
            f"Intervals are 95 %, each on its own. Up to {tested} effects were tested a dataset, "
            f"over all claims: verdicts need p < {ALPHA:g} after Holm's correction over them."
        )


TOO_FEW = "fewer than two seeds, not part of the mean."


def names_of(parts: Sequence[Part]) -> str:
    """The placements that the mean of :func:`combine` is of, in words."""
    enough = [part.label for part in parts if part.n > 1]
    return ", ".join(enough or [part.label for part in parts])


def combine(
    values: dict[str, dict[int, float]],
) -> tuple[Estimate, tuple[Part, ...], tuple[str, ...]]:
    """One estimate of {placement: {seed: value}}, its parts by placement, and notes.

    The unit is the seed: one value a seed, the mean over the placements, so that placements (which
    are not a sample of anything) and runs that share a seed do not pass for replication. Seeds that
    a placement lacks are left out, placements with fewer than two seeds as well.
    """
    parts = []
    for placement, by_seed in values.items():
        one = mean_estimate(list(by_seed.values()))
        parts.append(Part(placement, one.value, one.low, one.high, one.n))
    enough = {name: by_seed for name, by_seed in values.items() if len(by_seed) > 1}
    used = enough or values
    seeds = set.intersection(*(set(by_seed) for by_seed in used.values())) if used else set()
    notes = [f"{name}: {TOO_FEW}" for name in values if enough and name not in enough]
    lost = sorted({seed for by_seed in used.values() for seed in by_seed} - seeds)
    if lost and seeds:
        notes.append(
            f"Seeds that not every placement has are left out: {', '.join(map(str, lost))}."
        )
    means = [sum(by[seed] for by in used.values()) / len(used) for seed in sorted(seeds)]
    return mean_estimate(means), tuple(parts), tuple(notes)


def per_seed(items: Iterable[tuple[int, float]]) -> dict[int, float]:
    """One value a seed: runs of the same seed (captured twice, say) count once, as their mean."""
    by_seed: dict[int, list[float]] = {}
    for seed, value in items:
        if not math.isnan(value):
            by_seed.setdefault(seed, []).append(value)
    return {seed: sum(values) / len(values) for seed, values in by_seed.items()}


def percent(value: float) -> str:
    """``-0.804`` as ``-80 %``."""
    return f"{100 * value:+,.0f} %"


def signed(value: float) -> str:
    """``+0.012``."""
    return f"{value:+.3f}"


def interval(low: float, high: float, show: Callable[[float], str]) -> str:
    """``95 % interval 0.010 to 0.030``."""
    return f"95 % interval {show(low)} to {show(high)}"
