"""What a fusion needs: a partner that varies, the right one, or learning.

Every comparison is between passes of the same transitions of the same model, so how deep a fusion
lies, which confounds a comparison of fusion layers with others, is no part of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pandas as pd

from backend.interventions.table import ALIGNMENT, DIMENSION, SCORE
from backend.measures.families.dimension import PER_DIMENSION
from backend.study.effects import found
from backend.study.findings import Claim, ClaimResult, Finding, Part, combine, per_seed
from backend.study.partner_cells import Cells, at, cells_of, same_samples
from backend.study.partner_questions import (
    DESCRIBED,
    JUDGED,
    Question,
    of_score,
    sentence_of,
    subject_of,
)
from backend.study.runs import Block, StudyRun, blocks, placement_order
from backend.study.statistics import Estimate, equivalence_p
from backend.words import counted

INTERVENTIONS = Claim(
    "interventions",
    "What a fusion needs",
    "CKA is lower across a fusion because a partner that varies comes in, the right one or not; "
    "training makes that drop larger. The two streams end more alike with the right partner, and "
    "training makes it count for more.",
    "The same layers of the same model, with each sample's own partner, with another sample's, and "
    "with one that is the same for all; the last two also before training. CKA is that of the "
    "layers k-1 and k around a fusion, averaged over a model's fusions. Each seed gives one value, "
    "the mean over its placements. That any partner does it is supported where the whole interval "
    "lies within ±0.02 (two one-sided tests). Less than 0.02 counts as too small to matter. The "
    "two halves of a fusion's layer, dimension and scores are described, not judged. All runs are "
    "asked on the same samples: what others would give is not in the interval.",
    "difference",
    (-0.02, 0.02),
    published="The thesis does not ask this.",
)


def needs_of_a_fusion(
    runs: Sequence[StudyRun], rows: pd.DataFrame, pooling: str = "cls"
) -> ClaimResult:
    """What makes CKA drop at fusions and the streams' ends alike; see :data:`INTERVENTIONS`.

    ``rows`` are the tables of :data:`backend.store.kinds.INTERVENTIONS` with ``run_id`` and
    ``key``. Of several tables of a run the one counts that most runs have; what is left out, and
    which runs were not asked, is a note. The unit is the seed: models without one take no part.
    """
    findings: list[Finding] = []
    notes: list[str] = []
    for block in blocks(runs):
        notes += block.notes
        fused = [run for run in block.runs if run.fuses and run.seed is not None]
        chosen, left_out = same_samples(block, rows, pooling)
        asked = set(chosen["run_id"])
        lacking = [run.run_id for run in fused if run.run_id not in asked]
        if lacking and asked:
            more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            notes.append(f"{lacking[0]}{more}: not asked with other partners, left out.")
        elif lacking:
            notes.append(f"{block.where}: no run was asked with other partners.")
        notes += left_out
        cells = cells_of(chosen[chosen["run_id"].isin([run.run_id for run in fused])])
        if len(cells) and ("untrained", "true") not in cells.columns:
            notes.append(
                f"{block.where}: the weights before training are not known, so what training "
                "changes cannot be asked."
            )
        findings += _of_block(block, cells, int(chosen["n"].min()) if len(chosen) else 0)
    return ClaimResult(INTERVENTIONS, tuple(findings), tuple(dict.fromkeys(notes)))


def _of_block(block: Block, cells: Cells, n: int) -> Iterator[Finding]:
    """The judged questions first; scores, as many as there are tasks, at the end.

    ``n`` samples were asked: numbers of dimensions above a tenth of that are too low.
    """
    streams = list(dict.fromkeys(cells.index.get_level_values("stream")))
    for question in JUDGED:
        # The alignment of the two streams' ends is the same number in both.
        own = streams[:1] if question.measure == ALIGNMENT else streams
        for stream in own:
            yield from _finding(block, stream, question, cells)
    for question in DESCRIBED:
        for stream in streams:
            for one in _finding(block, stream, question, cells):
                yield _as_change(one, n) if question.measure == DIMENSION else one
    measures = dict.fromkeys(cells.index.get_level_values("measure"))
    for measure in (one for one in measures if one.startswith(SCORE)):
        for stream in streams:
            yield from _finding(block, stream, of_score(measure.removeprefix(SCORE)), cells)


def _finding(block: Block, stream: str, question: Question, cells: Cells) -> Iterator[Finding]:
    """The answer over seeds; nothing where no run has all the states that are compared."""
    if any(state not in cells.columns for state in question.states):
        return
    here = cells[
        at(cells, "stream", stream)
        & at(cells, "measure", question.measure)
        & at(cells, "transition", question.transition)
    ]
    compared = here[list(question.states)].dropna()
    if compared.empty:
        return
    values = [compared[state] for state in question.states]
    after = values[0] - values[1]
    before = values[2] - values[3] if question.learning else 0 * after
    total, parts, notes = _over_seeds(block, after - before)
    effects = (_over_seeds(block, after)[0].value, _over_seeds(block, before)[0].value)
    metric = str(compared.index.get_level_values("estimator")[0])
    sentence = sentence_of(block.where, stream, question, metric, total, parts, effects)
    if question.says and question.expected == 0:
        total = replace(total, p=equivalence_p(total, *INTERVENTIONS.negligible))
    finding = found(
        INTERVENTIONS,
        (block.dataset, block.setting),
        total,
        subject=subject_of(stream, question),
        quantity="difference between partners",
        unit="seeds",
        expected=question.expected,
        task=question.task,
        metric=metric if question.task else "",
        measure=question.measure,
        judged=bool(question.says),
        parts=parts,
    )
    yield replace(finding, sentence=sentence, notes=notes)


def _over_seeds(
    block: Block, values: pd.Series
) -> tuple[Estimate, tuple[Part, ...], tuple[str, ...]]:
    """The mean over a run's fusions, then over placements, then over seeds."""
    by_run = values.groupby("run_id", sort=False).mean()
    items: dict[str, list[tuple[int, float]]] = {}
    for run in sorted(block.runs, key=lambda run: placement_order(run.placement)):
        if run.run_id in by_run.index and run.seed is not None:
            items.setdefault(run.placement, []).append((run.seed, float(by_run[run.run_id])))
    return combine({placement: per_seed(values) for placement, values in items.items()})


def _as_change(one: Finding, n: int) -> Finding:
    """A difference of logs of dimensions, from ``n`` samples, as a relative change."""
    change = math.expm1
    parts = tuple(
        Part(part.label, change(part.value), change(part.low), change(part.high), part.n)
        for part in one.parts
    )
    value, low, high = change(one.value), change(one.low), change(one.high)
    note = (
        f"{counted(n, 'sample')} resolve up to {n // PER_DIMENSION} dimensions: larger numbers are "
        "too low, and a change of them may be larger or smaller."
    )
    return replace(one, value=value, low=low, high=high, parts=parts, notes=(*one.notes, note))
