"""Does a cross-attention lower vision's effective dimension?"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from backend.study.effects import found
from backend.study.findings import (
    DIMENSION,
    Finding,
    combine,
    interval,
    names_of,
    per_seed,
    percent,
)
from backend.study.resolution import Compared, Curves, resolution, steps
from backend.study.runs import Block, lacking_plain, placement_order
from backend.study.statistics import NAN
from backend.types import StreamSpec


@dataclass
class _Changes:
    """{placement: [(seed, log ratio)]}, and the dimensions that they compare."""

    values: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    pairs: list[Compared] = field(default_factory=list)

    def add(self, placement: str, seed: int, value: float, pairs: Iterable[Compared]) -> None:
        self.values.setdefault(placement, []).append((seed, value))
        self.pairs += pairs


def at_cross_attention(block: Block, layers: Curves, outputs: Curves) -> list[Finding]:
    """The change of vision's dimension from layer k-1 to k.fusion: as it is, and beyond no fusion.

    ``layers`` are the dimensions of blocks' outputs, ``outputs`` those of the fusion sites. The
    mean over a run's fusion layers of the log ratio describes: dimension changes with depth in any
    case. Judged is that minus the log ratio of layers k-1 and k in the run without fusion and of
    the same seed: what an ordinary block does at that depth. Nothing where no run has such sites.
    """
    raw, beyond = _Changes(), _Changes()
    shown: StreamSpec | None = None
    for run in sorted(block.runs, key=lambda run: placement_order(run.placement)):
        spec = run.of_modality("vision")
        if spec is None or run.seed is None or not spec.fusion_layers:
            continue
        key = (run.run_id, spec.name)
        fused = dict(steps(layers.get(key, {}), outputs.get(key, {})))
        if not fused:
            continue
        shown = spec
        raw.add(run.placement, run.seed, _mean(fused.values()), fused.values())
        for other in block.runs:
            if not other.fuses and other.seed == run.seed:
                plain = layers.get((other.run_id, spec.name), {})
                ordinary = dict(steps(plain, plain))
                both = [k for k in fused if k in ordinary]
                own, theirs = [fused[k] for k in both], [ordinary[k] for k in both]
                value = _mean(own) - _mean(theirs)
                beyond.add(run.placement, run.seed, value, [*own, *theirs])
    if shown is None:
        return []
    return [_finding(block, shown, raw, beyond=False), _finding(block, shown, beyond, beyond=True)]


def _mean(pairs: Iterable[Compared]) -> float:
    """Mean log ratio, later over earlier."""
    logs = [math.log(after.value / before.value) for before, after in pairs]
    return sum(logs) / len(logs) if logs else NAN


def _finding(block: Block, spec: StreamSpec, changes: _Changes, *, beyond: bool) -> Finding:
    estimate, parts, notes = combine(
        {placement: per_seed(items) for placement, items in changes.values.items()}
    )
    resolved = resolution(changes.pairs, nested=beyond)
    one = found(
        DIMENSION,
        (block.dataset, block.setting),
        estimate,
        subject=f"{spec.name}, cross-attention{', beyond no fusion' if beyond else ''}",
        quantity="relative change of effective dimension",
        unit="seeds",
        expected=-1,
        measure="effective_dimension",
        judged=beyond and resolved.enough,
        parts=parts,
    )
    if estimate.n > 1:
        than = (
            "than what a block at that depth makes of it without fusion"
            if beyond
            else "than in the layer before"
        )
        least = "at least " if resolved.at_least else ""
        names = names_of(parts)
        sentence = (
            f"On {block.where}, {spec.name}'s effective dimension after a cross-attention is "
            f"{least}{100 * abs(one.value):,.0f} % {'higher' if one.value > 0 else 'lower'} {than} "
            f"({interval(one.low, one.high, percent)}; {estimate.n} seeds of {names})."
        )
    else:
        takes = lacking_plain(block) if beyond else "two seeds of runs that fuse"
        sentence = (
            f"On {block.where}, not enough runs to say for {spec.name} at a cross-attention: it "
            f"takes {takes}, and measured effective dimension."
        )
    said = (resolved.note,) if resolved.note else ()
    return replace(one, sentence=sentence, notes=(*notes, *said))
