"""Does a cross-attention lower vision's effective dimension?"""

from __future__ import annotations

import math

from backend.study.findings import DIMENSION, Finding, Part, combine, interval, per_seed, percent
from backend.study.runs import Block, lacking_plain, placement_order
from backend.study.statistics import NAN

Curves = dict[tuple[str, str], dict[int, float]]
"""{(run, stream): {layer: effective dimension}}."""


def at_cross_attention(block: Block, layers: Curves, outputs: Curves) -> list[Finding]:
    """The change of vision's dimension from layer k-1 to k.fusion: as it is, and beyond no fusion.

    ``layers`` are the dimensions of blocks' outputs, ``outputs`` those of the fusion sites. The
    mean over a run's fusion layers of the log ratio describes: dimension changes with depth in any
    case. Judged is that minus the log ratio of layers k-1 and k in the run without fusion and of
    the same seed: what an ordinary block does at that depth. Nothing where no run has such sites.
    """
    steps: dict[str, list[tuple[int, float]]] = {}
    beyond: dict[str, list[tuple[int, float]]] = {}
    name = ""
    for run in sorted(block.runs, key=lambda run: placement_order(run.placement)):
        spec = run.of_modality("vision")
        if spec is None or run.seed is None or not spec.fusion_layers:
            continue
        key = (run.run_id, spec.name)
        fused = steps_of(layers.get(key, {}), outputs.get(key, {}))
        if not fused:
            continue
        name = spec.name
        steps.setdefault(run.placement, []).append((run.seed, _mean(fused)))
        for other in block.runs:
            if not other.fuses and other.seed == run.seed:
                plain = layers.get((other.run_id, spec.name), {})
                ordinary = steps_of(plain, plain)
                both = {k: step - ordinary[k] for k, step in fused.items() if k in ordinary}
                beyond.setdefault(run.placement, []).append((run.seed, _mean(both)))
    if not steps:
        return []
    return [
        _finding(block, name, {key: per_seed(items) for key, items in steps.items()}, False),
        _finding(block, name, {key: per_seed(items) for key, items in beyond.items()}, True),
    ]


def steps_of(before: dict[int, float], after: dict[int, float]) -> dict[int, float]:
    """{k: log(dimension after k / dimension of layer k-1)} where both are known."""
    return {k: math.log(value / before[k - 1]) for k, value in after.items() if k - 1 in before}


def _mean(steps: dict[int, float]) -> float:
    return sum(steps.values()) / len(steps) if steps else NAN


def _finding(
    block: Block, stream: str, values: dict[str, dict[int, float]], beyond: bool
) -> Finding:
    estimate, parts, notes = combine(values)
    change, low, high = map(math.expm1, (estimate.value, estimate.low, estimate.high))
    if estimate.n > 1:
        word = "higher" if change > 0 else "lower"
        than = (
            "than what a block at that depth makes of it without fusion"
            if beyond
            else ("than in the layer before")
        )
        names = ", ".join(part.label for part in parts)
        sentence = (
            f"On {block.where}, {stream}'s effective dimension after a cross-attention is "
            f"{100 * abs(change):,.0f} % {word} {than} ({interval(low, high, percent)}; "
            f"{estimate.n} seeds of {names})."
        )
    else:
        takes = lacking_plain(block) if beyond else "two seeds of runs that fuse"
        sentence = (
            f"On {block.where}, not enough runs to say for {stream} at a cross-attention: it takes "
            f"{takes}, and measured effective dimension."
        )
    return Finding(
        claim=DIMENSION.key,
        dataset=block.dataset,
        setting=block.setting,
        subject=f"{stream}, cross-attention{', beyond no fusion' if beyond else ''}",
        quantity="relative change of effective dimension",
        value=change,
        low=low,
        high=high,
        n=estimate.n,
        unit="seeds",
        p=estimate.p if beyond else NAN,
        expected=-1,
        se=estimate.se,
        freedom=estimate.freedom,
        verdict="not enough runs" if beyond else "described",
        measure="effective_dimension",
        sentence=sentence,
        notes=notes,
        parts=tuple(
            Part(one.label, math.expm1(one.value), math.expm1(one.low), math.expm1(one.high), one.n)
            for one in parts
        ),
    )
