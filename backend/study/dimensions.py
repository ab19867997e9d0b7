"""Does fusion compress vision and leave text as it is?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from backend.study.cross_attention import at_cross_attention
from backend.study.findings import DIMENSION, ClaimResult, Finding, interval, per_seed, percent
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


def dimension_curves(
    measures: pd.DataFrame, site: str = BLOCK
) -> dict[tuple[str, str], dict[int, float]]:
    """{(run, stream): {layer: effective dimension}} of one kind of site, where it is positive."""
    if measures.empty:
        return {}
    rows = measures[
        measures["measure"].eq("effective_dimension")
        & measures["site_a"].eq(site)
        & measures["value"].gt(0)
    ]
    curves: dict[tuple[str, str], dict[int, float]] = {}
    for run_id, stream, layer, value in zip(
        rows["run_id"], rows["stream_a"], rows["layer_a"], rows["value"], strict=True
    ):
        curves.setdefault((run_id, stream), {})[int(layer)] = float(value)
    return curves


def log_ratio(curve: dict[int, float], base: dict[int, float], first: int) -> float:
    """Mean over layers from ``first`` on of log(curve / base); NaN where none is in both."""
    logs = [math.log(value / base[k]) for k, value in curve.items() if k >= first and k in base]
    return sum(logs) / len(logs) if logs else NAN


def _finding(
    block: Block,
    placement: str,
    modality: str,
    curves: dict[tuple[str, str], dict[int, float]],
) -> Finding:
    values, spec = _log_ratios(block, placement, modality, curves)
    estimate = mean_estimate(list(values.values()))
    unchanged = modality == "text"
    p = estimate.p
    if unchanged:
        low, high = (math.log1p(end) for end in DIMENSION.negligible)
        p = equivalence_p(estimate, low, high)
    name = spec.name if spec else modality
    change, low, high = (math.expm1(v) for v in (estimate.value, estimate.low, estimate.high))
    if estimate.n > 1 and spec is not None:
        sentence = (
            f"On {block.where}, {name}'s effective dimension under {placement} fusion is "
            f"{100 * abs(change):.0f} % {'higher' if change > 0 else 'lower'} than without fusion, "
            f"from layer {spec.fusion_layers[0]} on ({interval(low, high, percent)}; {estimate.n} "
            "pairs of runs with the same seed)."
        )
    else:
        sentence = (
            f"On {block.where}, not enough runs to say for {name} under {placement} fusion: it "
            f"takes {lacking_plain(block)}, and measured effective dimension."
        )
    return Finding(
        claim=DIMENSION.key,
        dataset=block.dataset,
        setting=block.setting,
        subject=f"{name}, {placement}",
        quantity="relative change of effective dimension",
        value=change,
        low=low,
        high=high,
        n=estimate.n,
        unit="pairs",
        p=p,
        expected=0 if unchanged else -1,
        se=estimate.se,
        freedom=estimate.freedom,
        measure="effective_dimension",
        sentence=sentence,
    )


def _log_ratios(
    block: Block,
    placement: str,
    modality: str,
    curves: dict[tuple[str, str], dict[int, float]],
) -> tuple[dict[int, float], StreamSpec | None]:
    """{seed: mean log ratio}, and the stream that it is about."""
    plain = [run for run in block.runs if not run.fuses]
    ratios: list[tuple[int, float]] = []
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
                ratios.append((run.seed, log_ratio(curve, base, spec.fusion_layers[0])))
    return per_seed(ratios), shown
