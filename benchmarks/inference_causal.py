"""How often the causal test gets a clear verdict: where nothing is so, and where it is.

    uv run python benchmarks/inference_causal.py
    uv run python benchmarks/inference_causal.py --pages 4000

Each page is one data set with four placements that fuse at 3 of 12 layers (full: at 6), two
streams, and 3, 5 or 10 seeds. The CKA of a transition is a profile over depth, what the state of
the model does at fusions, what a seed does to all its placements (sd 0.01), what a run does (sd
0.01) and what a state of a run does (sd 0.005), brought to the scale of CKA by a logistic curve, so
that values near 1 are skewed. All pages are judged as the Study page judges them alone.

``null``: no state of the model differs from another in the population, except that what the right
partner is asked for lies at the margin (0.02), which is where "any partner does it" is least true.
A clear verdict (supported or contradicted) is a false one. ``one`` is the rate of each of the
judged questions at p < 0.05 without correction, ``any`` the share of pages with a clear verdict
after Holm's correction, which is what 5 % is promised for. ``effect``: a partner that varies lowers
CKA by 0.1, the right one makes no difference, training adds 0.05; alignment gains 0.1 and 0.05: the
rates are power.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import pandas as pd

from backend.interventions.table import ALIGNMENT, CKA, END, PARTNERS, WHOLE
from backend.study import StudyRun, judge
from backend.study.findings import ALPHA, Finding
from backend.study.interventions import needs_of_a_fusion
from backend.types import StreamSpec

DEPTH = 12
LAYERS = {
    "full": tuple(range(2, 13, 2)),
    "early": (4, 5, 6),
    "middle": (7, 8, 9),
    "late": (10, 11, 12),
}
MARGIN = 0.02
CLEAR = ("supported", "contradicted")
QUESTIONS = ("a partner that varies", "the right partner", "learning", "alignment")


def effect_of(case: str, weights: str, partner: str, measure: str) -> float:
    """What a state adds to CKA in the population."""
    if case == "null":
        return MARGIN if partner == "shuffled" and measure == CKA and weights == "trained" else 0.0
    if measure == ALIGNMENT:
        return (0.15 if weights == "trained" else 0.1) if partner == "true" else 0.0
    return -(0.15 if weights == "trained" else 0.1) if partner != "constant" else 0.0


def page(rng: np.random.Generator, seeds: int, case: str) -> tuple[Finding, ...]:
    """The judged findings of one simulated data set."""
    runs, rows = [], []
    for seed in range(seeds):
        shared = {state: rng.normal(0, 0.01) for state in ("all", *PARTNERS)}
        for placement, layers in LAYERS.items():
            run_id = f"{placement}-{seed}"
            specs = tuple(
                StreamSpec.of(name, name, DEPTH, 8, layers, reads=other)
                for name, other in (("vision", "text"), ("text", "vision"))
            )
            runs.append(StudyRun(run_id, "data", "", placement, seed, "all", specs))
            for stream in ("vision", "text"):
                own = shared["all"] + rng.normal(0, 0.01)
                for weights in ("trained", "untrained"):
                    for partner in PARTNERS:
                        at = own + shared[partner] / 2 + rng.normal(0, 0.005)
                        state = (run_id, "key", weights, partner, stream)
                        for k in layers:
                            mean = 0.93 - 0.2 * k / DEPTH
                            value = _cka(mean, effect_of(case, weights, partner, CKA) + at)
                            rows.append((*state, k, WHOLE, True, CKA, value))
                        end = _cka(0.4, effect_of(case, weights, partner, ALIGNMENT) + at)
                        rows.append((*state, DEPTH, END, False, ALIGNMENT, end))
    columns = ["run_id", "key", "weights", "partner", "stream", "layer", "transition", "crossing"]
    table = pd.DataFrame(rows, columns=[*columns, "measure", "value"])
    table = table.assign(estimator="debiased", params=json.dumps({"pooling": "cls"}))
    (result,) = judge([needs_of_a_fusion(runs, table)])
    return tuple(one for one in result.findings if one.verdict != "described")


def _cka(mean: float, shift: float) -> float:
    """``mean + shift`` for small shifts, bent so that it stays within 0..1."""
    slope = mean * (1 - mean)
    return float(1 / (1 + np.exp(-(np.log(mean / (1 - mean)) + shift / slope))))


def question_of(one: Finding) -> str:
    """Which of :data:`QUESTIONS` a finding answers."""
    return "alignment" if one.measure == ALIGNMENT else one.subject.partition(": ")[2]


def main() -> int:
    """Print the rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pages", type=int, default=1000, help="simulated pages a line")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    heads = "".join(f"{name:>23}" for name in QUESTIONS)
    print(f"{'case':<8}{'seeds':>6}{heads}{'any (corrected)':>17}{'underpowered':>14}")
    for case in ("null", "effect"):
        for seeds in (3, 5, 10):
            rng = np.random.default_rng(options.seed)
            single = {name: [0, 0] for name in QUESTIONS}
            clear = unsure = total = 0
            for _ in range(options.pages):
                found = page(rng, seeds, case)
                for one in found:
                    name = question_of(one)
                    single[name][0] += one.p < ALPHA
                    single[name][1] += 1
                clear += any(one.verdict in CLEAR for one in found)
                unsure += sum(one.verdict == "underpowered" for one in found)
                total += len(found)
            rates = "".join(f"{hits / count:>23.1%}" for hits, count in single.values())
            line = (
                f"{case:<8}{seeds:>6}{rates}{clear / options.pages:>17.1%}{unsure / total:>14.1%}"
            )
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
