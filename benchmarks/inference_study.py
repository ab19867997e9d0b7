"""How often the study's claims get a clear verdict: where nothing is so, and where it is.

    uv run python benchmarks/inference_study.py
    uv run python benchmarks/inference_study.py --pages 1000

Each page is one data set with five placements and two streams of 12 layers, 3, 5 or 10 seeds.
``flat`` and ``sloped`` have no effect of fusion: every run has the same depth profile (sloped: CKA
falls by 0.3 and dimension by two thirds from the first layer to the last) and its own noise;
``none`` lies 5 sd off in alignment and is as much worse. All scores that are compared are equal in
the population but for that; so ``late - none`` is left out of the false ones. ``effect`` is sloped
with CKA 0.1 lower at fusions, vision's dimension halved, and late 0.05 better.
Printed: the share of pages with a clear verdict (supported or contradicted) on each claim, and on
any: the last is what 5 % is promised for. Text's equivalence is true where there is no effect, so
it is printed apart as power.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd

from backend.study import SCORE_COLUMNS, ClaimResult, Finding, StudyRun, examine
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

Row = tuple[str, str, str, int, str, str, int, str, float]


def page(rng: np.random.Generator, seeds: int, case: str) -> tuple[ClaimResult, ...]:
    """Every claim asked of one simulated data set."""
    slope, effect = float(case != "flat"), float(case == "effect")
    runs, rows, scores = [], list[Row](), []
    base = {name: 5.0 * (name == "none") for name in LAYERS}
    aligned = {name: rng.normal(size=len(MEASURES)) for name in LAYERS}
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
            score = 0.7 - 0.002 * base[placement] + 0.05 * effect * (placement == "late")
            score += rng.normal(0, 0.01)
            known = ("data", "", placement, False, run, seed, "task", "auroc", "test", True, score)
            scores.append(known)
    measures = pd.DataFrame(rows, columns=[*COLUMNS, "value"])
    measures = measures.assign(pooling="cls", estimator="debiased")
    return examine(runs, pd.DataFrame(scores, columns=list(SCORE_COLUMNS)), measures)


def clear(findings: list[Finding]) -> bool:
    """Whether any of them has a verdict on its claim."""
    return any(one.verdict in CLEAR for one in findings)


def main() -> int:
    """Print the rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pages", type=int, default=300, help="simulated pages a line")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    names = ("transitions", "dimension", "scores", "alignment", "any", "text same")
    print(f"{'case':<8}{'seeds':>6}" + "".join(f"{name:>13}" for name in names))
    for case in ("flat", "sloped", "effect"):
        for seeds in (3, 5, 10):
            rng = np.random.default_rng(options.seed)
            counts = dict.fromkeys(names, 0)
            for _ in range(options.pages):
                found = [one for result in page(rng, seeds, case) for one in result.findings]
                same = [one for one in found if one.expected == 0]
                rest = [one for one in found if one.expected and one.subject != "late – none"]
                for name in names[:4]:
                    counts[name] += clear([one for one in rest if one.claim == name])
                counts["any"] += clear(rest)
                counts["text same"] += any(one.verdict == "supported" for one in same)
            shares = "".join(f"{counts[name] / options.pages:>13.1%}" for name in names)
            print(f"{case:<8}{seeds:>6}{shares}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
