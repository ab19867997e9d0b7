"""Hand-made runs, scores and measures of a study, small and with known values."""

from __future__ import annotations

import math

import pandas as pd

from backend.study import SCORE_COLUMNS, StudyRun
from backend.types import StreamSpec

LAYERS = {
    "none": (),
    "early": (1, 2),
    "earliest": (1,),
    "middle": (3,),
    "late": (4,),
    "full": (1, 2, 3, 4),
}


def run(placement: str, seed: int, *, dataset: str = "macros", samples: str = "a") -> StudyRun:
    layers = LAYERS[placement]
    return StudyRun(
        run_id=f"{dataset}-{placement}-{seed}",
        dataset=dataset,
        setting="",
        placement=placement,
        seed=seed,
        samples=samples,
        streams=(
            StreamSpec.of("vision", "vision", 4, 8, layers, reads="text"),
            StreamSpec.of("text", "text", 4, 8, layers, reads="vision"),
        ),
    )


def runs(*placements: str, seeds: tuple[int, ...] = (0, 1, 2)) -> tuple[StudyRun, ...]:
    return tuple(run(placement, seed) for placement in placements for seed in seeds)


def scores(
    values: dict[str, list[float]],
    *,
    task: str = "irony",
    metric: str = "auroc",
    dataset: str = "macros",
) -> pd.DataFrame:
    """One score a placement and seed (the place in the list); NaN is a seed that was not run."""
    rows = [
        (
            *(dataset, "", name, False, f"{dataset}-{name}-{seed}", seed),
            *(task, metric, "test", True, value),
        )
        for name, per_seed in values.items()
        for seed, value in enumerate(per_seed)
        if not math.isnan(value)
    ]
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


def measure(
    run_id: str,
    name: str,
    a: tuple[str, int],
    b: tuple[str, int],
    value: float,
    *,
    estimator: str = "",
    site: str = "block",
    pooling: str = "cls",
    n: int = 100_000,
) -> dict[str, object]:
    return {
        "run_id": run_id,
        "measure": name,
        "stream_a": a[0],
        "layer_a": a[1],
        "site_a": site,
        "stream_b": b[0],
        "layer_b": b[1],
        "site_b": "block",
        "pooling": pooling,
        "estimator": estimator,
        "value": value,
        "n": n,
    }


def curve(one: StudyRun, stream: str, values: list[float], **more: str) -> list[dict[str, object]]:
    """CKA of consecutive layers; the later layer is stored first now and then."""
    rows = []
    for k, value in enumerate(values, start=1):
        pair = [(stream, k - 1), (stream, k)]
        a, b = pair if k % 2 else pair[::-1]
        rows.append(measure(one.run_id, "cka", a, b, value, estimator="debiased", **more))
    return rows


def dimensions(one: StudyRun, stream: str, values: list[float]) -> list[dict[str, object]]:
    return [
        measure(one.run_id, "effective_dimension", (stream, k), ("", -1), value)
        for k, value in enumerate(values)
    ]


def last(one: StudyRun, name: str, value: float, estimator: str = "") -> dict[str, object]:
    """A measure between the last layers, text first."""
    return measure(one.run_id, name, ("text", 4), ("vision", 4), value, estimator=estimator)
