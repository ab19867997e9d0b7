"""Does CKA of a stream with itself drop at transitions that cross a fusion?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from backend.study.effects import found
from backend.study.findings import (
    TRANSITIONS,
    ClaimResult,
    Finding,
    combine,
    interval,
    names_of,
    per_seed,
    signed,
)
from backend.study.runs import Block, StudyRun, blocks, lacking_plain, placement_order
from backend.study.statistics import NAN
from backend.types import StreamSpec

Contrasts = dict[str, dict[str, dict[int, float]]]
"""{stream: {placement: {seed: contrast}}}."""


def drops_at_fusion(runs: Sequence[StudyRun], measures: pd.DataFrame) -> ClaimResult:
    """Mean CKA at crossing transitions minus that at the others, by stream, over seeds.

    ``measures``: rows of one pooling and one estimator of CKA. The contrast as it is describes: it
    mixes fusion with depth. A second finding a stream, which is to be judged, subtracts the same
    contrast of the run without fusion and of the same seed.
    """
    curves = consecutive_cka(measures)
    findings: list[Finding] = []
    notes: list[str] = []
    for block in blocks(runs):
        notes += block.notes
        streams = dict.fromkeys(spec.name for run in block.runs for spec in run.streams)
        raw, beyond, said = _contrasts(block, curves)
        notes += said
        for stream in streams:
            if not any(spec.fusion_layers for spec in _specs(block, stream)):
                continue
            findings.append(_finding(block, stream, raw.get(stream, {}), beyond=False))
            findings.append(_finding(block, stream, beyond.get(stream, {}), beyond=True))
    return ClaimResult(TRANSITIONS, tuple(findings), tuple(dict.fromkeys(notes)))


def consecutive_cka(measures: pd.DataFrame) -> dict[tuple[str, str], dict[int, float]]:
    """{(run, stream): {transition k: CKA of layers k-1 and k}}, defined values only."""
    if measures.empty:
        return {}
    rows = measures[
        measures["measure"].eq("cka")
        & measures["stream_a"].eq(measures["stream_b"])
        & measures["site_a"].eq("block")
        & measures["site_b"].eq("block")
        & (measures["layer_a"] - measures["layer_b"]).abs().eq(1)
        & measures["value"].notna()
    ]
    later = rows[["layer_a", "layer_b"]].max(axis=1)
    curves: dict[tuple[str, str], dict[int, float]] = {}
    for run_id, stream, k, value in zip(
        rows["run_id"], rows["stream_a"], later, rows["value"], strict=True
    ):
        curves.setdefault((run_id, stream), {})[int(k)] = float(value)
    return curves


def contrast(curve: dict[int, float], crossing: Sequence[int]) -> float:
    """Mean over crossing transitions minus mean over the others; NaN where one side is empty."""
    inside = [value for k, value in curve.items() if k in crossing]
    outside = [value for k, value in curve.items() if k not in crossing]
    if not inside or not outside:
        return NAN
    return sum(inside) / len(inside) - sum(outside) / len(outside)


def _beyond(curve: dict[int, float], plain: dict[int, float], crossing: Sequence[int]) -> float:
    """The contrast minus that of a run without fusion, at the transitions that both have."""
    ours, theirs = (
        {k: value for k, value in one.items() if k in other}
        for one, other in ((curve, plain), (plain, curve))
    )
    return contrast(ours, crossing) - contrast(theirs, crossing)


def _contrasts(
    block: Block, curves: dict[tuple[str, str], dict[int, float]]
) -> tuple[Contrasts, Contrasts, list[str]]:
    """Contrasts as they are, and minus those of the run without fusion; and what has none."""
    plain = [run for run in block.runs if not run.fuses]
    raw: dict[str, dict[str, list[tuple[int, float]]]] = {}
    beyond: dict[str, dict[str, list[tuple[int, float]]]] = {}
    notes = []
    for run in sorted(block.runs, key=lambda run: placement_order(run.placement)):
        for spec in run.streams:
            curve = curves.get((run.run_id, spec.name), {})
            if not spec.fusion_layers or not curve or run.seed is None:
                continue
            value = contrast(curve, spec.fusion_layers)
            if value != value:
                notes.append(
                    f"{run.placement}: fusion transitions of {spec.name} and others are not both "
                    "there to compare."
                )
                continue
            raw.setdefault(spec.name, {}).setdefault(run.placement, []).append((run.seed, value))
            own = [
                _beyond(curve, curves.get((other.run_id, spec.name), {}), spec.fusion_layers)
                for other in plain
                if other.seed == run.seed
            ]
            known = [one for one in own if one == one]
            if known:
                beyond.setdefault(spec.name, {}).setdefault(run.placement, []).append(
                    (run.seed, sum(known) / len(known))
                )

    def by_seed(contrasts: dict[str, dict[str, list[tuple[int, float]]]]) -> Contrasts:
        return {
            stream: {placement: per_seed(items) for placement, items in by.items()}
            for stream, by in contrasts.items()
        }

    return by_seed(raw), by_seed(beyond), notes


def _finding(
    block: Block, stream: str, values: dict[str, dict[int, float]], *, beyond: bool
) -> Finding:
    estimate, parts, notes = combine(values)
    if estimate.n > 1:
        size = f"{abs(estimate.value):.3f} {'higher' if estimate.value > 0 else 'lower'}"
        than = "than at the others"
        if beyond:
            than += ", beyond the same contrast in the runs without fusion"
        names = names_of(parts)
        sentence = (
            f"On {block.where}, CKA of consecutive {stream} layers is {size} at transitions that "
            f"cross a fusion {than} ({interval(estimate.low, estimate.high, signed)}; "
            f"{estimate.n} seeds of {names})."
        )
    else:
        sentence = f"On {block.where}, not enough runs to say for {stream}: it takes "
        if beyond:
            sentence += lacking_plain(block) + ", with transitions on both sides and measured CKA."
        else:
            sentence += (
                "two seeds of runs that fuse, with transitions on both sides and measured CKA."
            )
    one = found(
        TRANSITIONS,
        (block.dataset, block.setting),
        estimate,
        subject=f"{stream}, beyond no fusion" if beyond else stream,
        quantity="difference of CKA",
        unit="seeds",
        expected=-1,
        measure="cka",
        judged=beyond,
        parts=parts,
    )
    return replace(one, sentence=sentence, notes=notes)


def _specs(block: Block, stream: str) -> list[StreamSpec]:
    specs = (run.stream(stream) for run in block.runs)
    return [spec for spec in specs if spec is not None]
