"""How often the study's claims get a clear verdict: where nothing is so, and where it is.

    uv run python benchmarks/inference_study.py
    uv run python benchmarks/inference_study.py --pages 1000 --case sloped --seeds 3

Each page is one data set with five placements and two streams of 12 layers, 3, 5 or 10 seeds.
``flat`` and ``sloped`` have no effect of fusion: every run has the same depth profile (sloped: CKA
falls by 0.3 and dimension by two thirds from the first layer to the last) and its own noise, the
same in both cases: where a slope cancels, as it must, their rows are equal;
``none`` lies 5 sd off in alignment and is a little worse. All other placements are equal in the
population, and all runs are scored on one test set of 300 samples, in 100 groups of 3: a score is
the AUROC of logits that hold how hard a group is for everybody, how a placement takes it (the same
in all its seeds), each run's own skill, and noise. ``late - none`` is left out of the false ones.
``effect`` is sloped with CKA 0.1 lower at fusions, vision's dimension halved, and late 0.15 better.

Printed, in per cent: the pages with a clear verdict (supported or contradicted) on each claim, and
on any: the last is what 5 % is promised for. Text's equivalence is true where there is no effect,
so it is printed apart as power. Then single differences of scores with p < 0.05, not corrected:
with the test set taken as given, and as a sample.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd

from backend.study import SCORE_COLUMNS, StudyRun, examine, late_wins
from backend.study.findings import Finding
from backend.study.items import Jackknife, TestItems, auroc
from backend.types import StreamSpec

DEPTH = 12
LAYERS: dict[str, tuple[int, ...]] = {
    "none": (),
    "early": (4, 5, 6),
    "middle": (7, 8, 9),
    "late": (10, 11, 12),
    "full": tuple(range(2, 13, 2)),
}
COLUMNS = ("run_id", "measure", "stream_a", "layer_a", "site_a", "stream_b", "layer_b", "site_b")
MEASURES = ("cka", "svcca", "mutual_knn", "procrustes")
CLEAR = ("supported", "contradicted")
CLAIMS = ("transitions", "dimension", "scores", "alignment")
SAMPLES = 100_000
GROUPS, SIZE = 100, 3

Row = tuple[str, str, str, int, str, str, int, str, float]


def test_set(
    rng: np.random.Generator, seeds: int, better: dict[str, float]
) -> dict[tuple[str, int], Jackknife]:
    """The AUROC of every placement and seed on one shared test set, and without each group."""
    of = np.repeat(np.arange(GROUPS), SIZE)
    target = rng.random(len(of)) < 0.5
    side = 2.0 * target - 1
    hard = rng.normal(size=GROUPS)[of] + rng.normal(0, 0.7, len(of))
    scored = {}
    for placement, more in better.items():
        taken = rng.normal(0, 0.7, GROUPS)[of]
        for seed in range(seeds):
            skill = 0.8 + more + rng.normal(0, 0.05)
            logits = side * skill + hard + taken + rng.normal(0, 0.5, len(of))
            scored[placement, seed] = Jackknife(*auroc(target, logits, of), len(of), "shared")
    return scored


def page(rng: np.random.Generator, seeds: int, case: str) -> tuple[list[Finding], list[Finding]]:
    """Every finding of one simulated data set, and the scores' with the test set as given."""
    slope, effect = float(case != "flat"), float(case == "effect")
    runs, rows, scores = [], list[Row](), []
    base = {name: 5.0 * (name == "none") for name in LAYERS}
    aligned = {name: rng.normal(size=len(MEASURES)) for name in LAYERS}
    better = {name: 0.6 * effect * (name == "late") - 0.02 * base[name] for name in LAYERS}
    scored = test_set(rng, seeds, better)
    held = {}
    for placement, layers in LAYERS.items():
        for seed in range(seeds):
            run = f"{placement}-{seed}"
            specs = tuple(
                StreamSpec.of(name, name, DEPTH, 8, layers, reads=other)
                for name, other in (("vision", "text"), ("text", "vision"))
            )
            runs.append(StudyRun(run, "data", "", placement, seed, "all", specs))
            for stream in ("vision", "text"):
                shift = rng.normal(0, 0.05)
                fused = effect * np.log(2) * (stream == "vision" and bool(layers))
                for k in range(1, DEPTH + 1):
                    cka = 0.95 - 0.3 * slope * k / DEPTH + rng.normal(0, 0.02)
                    cka -= 0.1 * effect * (k in layers)
                    place = (stream, k - 1, "block", stream, k, "block")
                    rows.append((run, "cka", *place, cka))
                    size = np.log(300) - np.log(3) * slope * k / DEPTH + shift
                    for site in ("block", "fusion") if k in layers else ("block",):
                        at = size + rng.normal(0, 0.05) - fused * (bool(layers) and k >= layers[0])
                        here = (stream, k, site, "", -1, "")
                        rows.append((run, "effective_dimension", *here, float(np.exp(at))))
            for measure, value in zip(MEASURES, aligned[placement], strict=True):
                place = ("vision", DEPTH, "block", "text", DEPTH, "block")
                rows.append((run, measure, *place, value + base[placement] + rng.normal(0, 0.1)))
            one = scored[placement, seed]
            held[run, "task", "test", "auroc"] = one
            known = ("data", "", placement, False, run, seed, "task", "auroc", "test", True)
            scores.append((*known, one.whole))
    measures = pd.DataFrame(rows, columns=[*COLUMNS, "value"])
    measures = measures.assign(pooling="cls", estimator="debiased", n=SAMPLES)
    table = pd.DataFrame(scores, columns=list(SCORE_COLUMNS))
    results = examine(runs, table, measures, items=TestItems(held))
    return [one for result in results for one in result.findings], list(late_wins(table).findings)


def clear(findings: list[Finding]) -> bool:
    """Whether any of them has a verdict on its claim."""
    return any(one.verdict in CLEAR for one in findings)


def below(findings: list[Finding]) -> float:
    """The share of differences with p < 0.05, late - none left out."""
    p = [one.p for one in findings if one.claim == "scores" and one.subject != "late – none"]
    return float(np.mean(np.array(p) < 0.05))


def main() -> int:
    """Print a row of a Markdown table for each case and number of seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pages", type=int, default=300, help="simulated pages a line")
    parser.add_argument("--case", choices=("flat", "sloped", "effect"), action="append")
    parser.add_argument("--seeds", type=int, action="append", help="runs of each placement")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    names = (*CLAIMS, "any", "text same", "p < .05, given", "p < .05")
    print(f"| case | seeds | {' | '.join(names)} |")
    print("|---|---:|" + "---:|" * len(names))
    for case in options.case or ("flat", "sloped", "effect"):
        for seeds in options.seeds or (3, 5, 10):
            rng = np.random.default_rng(options.seed)
            counts = dict.fromkeys(names, 0.0)
            for _ in range(options.pages):
                found, given = page(rng, seeds, case)
                same = [one for one in found if one.expected == 0]
                rest = [one for one in found if one.expected and one.subject != "late – none"]
                for name in CLAIMS:
                    counts[name] += clear([one for one in rest if one.claim == name])
                counts["any"] += clear(rest)
                counts["text same"] += any(one.verdict == "supported" for one in same)
                counts["p < .05, given"] += below(given)
                counts["p < .05"] += below(found)
            shares = " | ".join(f"{100 * counts[name] / options.pages:.1f}" for name in names)
            print(f"| {case} | {seeds} | {shares} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
