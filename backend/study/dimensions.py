"""Does fusion compress vision and leave text as it is?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from backend.study.cross_attention import at_cross_attention
from backend.study.effects import found
from backend.study.findings import DIMENSION, ClaimResult, Finding, interval, per_seed, percent
from backend.study.resolution import Compared, Curves, Size, Sizes, resolution
from backend.study.runs import Block, StudyRun, blocks, lacking_plain, placement_order
from backend.study.statistics import NAN, equivalence_p, mean_estimate
from backend.types import BLOCK, StreamSpec


def fusion_compresses_vision(runs: Sequence[StudyRun], measures: pd.DataFrame) -> ClaimResult:
    """Relative change of effective dimension under early fusion, and across a cross-attention.

    The log ratio to the run without fusion and of the same seed is averaged over the layers from
    the first fusion on; test and interval are of its mean over seeds, shown as relative change.
    Vision is tested against no change; that text does not change is a test of equivalence. Then
    vision across each cross-attention (:mod:`.cross_attention`).
    """
    curves = dimension_curves(measures)
    findings: list[Finding] = []
    notes: list[str] = []
    for block in blocks(runs):
        notes += block.notes
        early = sorted(
            {run.placement for run in block.runs if fuses_early(run)}, key=placement_order
        )
        if not early:
            notes.append(f"{block.where}: no placement fuses in the first half only.")
        for placement in early:
            for modality in ("vision", "text"):
                findings.append(_finding(block, placement, modality, curves))
        findings += at_cross_attention(block, curves, dimension_curves(measures, "fusion"))
    return ClaimResult(DIMENSION, tuple(findings), tuple(dict.fromkeys(notes)))


def fuses_early(run: StudyRun) -> bool:
    """Whether there is fusion, and all of it lies in the first half of its stream."""
    fusing = [spec for spec in run.streams if spec.fusion_layers]
    return bool(fusing) and all(max(s.fusion_layers) <= s.depth / 2 for s in fusing)


def dimension_curves(measures: pd.DataFrame, site: str = BLOCK) -> Curves:
    """Effective dimensions at one kind of site, where they are positive."""
    if measures.empty:
        return {}
    rows = measures[
        measures["measure"].eq("effective_dimension")
        & measures["site_a"].eq(site)
        & measures["value"].gt(0)
    ]
    curves: Curves = {}
    for run_id, stream, layer, value, n in zip(
        rows["run_id"], rows["stream_a"], rows["layer_a"], rows["value"], rows["n"], strict=True
    ):
        curves.setdefault((run_id, stream), {})[int(layer)] = Size(float(value), int(n))
    return curves


def from_first(curve: Sizes, base: Sizes, first: int) -> list[Compared]:
    """(size, that of ``base``) at every layer from ``first`` on that both have."""
    return [(size, base[k]) for k, size in curve.items() if k >= first and k in base]


def log_ratio(pairs: Sequence[Compared]) -> float:
    """Mean log ratio of the first to the second; NaN where there are none."""
    logs = [math.log(one.value / other.value) for one, other in pairs]
    return sum(logs) / len(logs) if logs else NAN


def _finding(block: Block, placement: str, modality: str, curves: Curves) -> Finding:
    values, pairs, spec = _log_ratios(block, placement, modality, curves)
    estimate = mean_estimate(list(values.values()))
    same = modality == "text"
    if same:
        low, high = (math.log1p(end) for end in DIMENSION.negligible)
        estimate = replace(estimate, p=equivalence_p(estimate, low, high))
    name = spec.name if spec else modality
    resolved = resolution(pairs, same=same)
    one = found(
        DIMENSION,
        (block.dataset, block.setting),
        estimate,
        subject=f"{name}, {placement}",
        quantity="relative change of effective dimension",
        unit="pairs",
        expected=0 if same else -1,
        measure="effective_dimension",
        judged=resolved.enough,
    )
    if estimate.n > 1 and spec is not None:
        least = "at least " if resolved.at_least else ""
        sentence = (
            f"On {block.where}, {name}'s effective dimension under {placement} fusion is "
            f"{least}{100 * abs(one.value):.0f} % {'higher' if one.value > 0 else 'lower'} than "
            f"without fusion, from layer {spec.fusion_layers[0]} on "
            f"({interval(one.low, one.high, percent)}; {estimate.n} pairs of runs with the same "
            "seed)."
        )
    else:
        sentence = (
            f"On {block.where}, not enough runs to say for {name} under {placement} fusion: it "
            f"takes {lacking_plain(block)}, and measured effective dimension."
        )
    return replace(one, sentence=sentence, notes=(resolved.note,) if resolved.note else ())


def _log_ratios(
    block: Block, placement: str, modality: str, curves: Curves
) -> tuple[dict[int, float], list[Compared], StreamSpec | None]:
    """{seed: mean log ratio}, all that is compared, and the stream that it is about."""
    plain = [run for run in block.runs if not run.fuses]
    ratios: list[tuple[int, float]] = []
    compared: list[Compared] = []
    shown: StreamSpec | None = None
    for run in block.runs:
        spec = run.of_modality(modality)
        if run.placement != placement or spec is None or not spec.fusion_layers:
            continue
        if run.seed is None:
            continue
        shown = spec
        curve = curves.get((run.run_id, spec.name), {})
        for other in plain:
            if other.seed == run.seed:
                base = curves.get((other.run_id, spec.name), {})
                pairs = from_first(curve, base, spec.fusion_layers[0])
                ratios.append((run.seed, log_ratio(pairs)))
                compared += pairs
    return per_seed(ratios), compared, shown
