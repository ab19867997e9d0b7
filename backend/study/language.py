"""Whether vision becomes language inside a model: where image tokens are rebuilt as text is."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from backend.sae.table import ALL, CONVERGENCE, layers_between
from backend.study.effects import found
from backend.study.findings import Claim, ClaimResult, Finding
from backend.study.statistics import Estimate

LANGUAGE = Claim(
    "language",
    "Vision becomes language inside the model",
    "From some layer on, sparse autoencoders that know text alone rebuild image tokens as well as "
    "text.",
    "The first layer read from which on, at all layers read, the fraction of variance unexplained "
    "of image tokens is at most 0.05 above that of text alone. The interval is over samples, by a "
    "bootstrap of whole groups. A layer describes and judges nothing; beside it stands the same "
    "with a random adapter.",
    "difference",
    (0.0, 0.0),
    published="Venhoff et al. (2025) see it in middle to late layers of Gemma 2 (26 layers).",
)

_Row = Mapping[Hashable, Any]


def vision_becomes_language(rows: pd.DataFrame) -> ClaimResult:
    """The layer of convergence of every run; ``rows`` are of the kind ``sae``, with ``run_id``.

    Of several readings of a run each is a finding, told apart by its key.
    """
    mine = rows[rows["measure"].eq(CONVERGENCE) & rows["coordinates"].eq(ALL)]
    readings = mine.groupby("run_id", sort=False)["key"].nunique().to_dict()
    findings = []
    for (run_id, key), own in mine.groupby(["run_id", "key"], sort=False):
        by_control = {str(row["control"]): row for row in own.to_dict("records")}
        name = f"{run_id} ({key})" if readings[run_id] > 1 else str(run_id)
        if "" in by_control:
            findings.append(_finding(name, by_control[""], by_control.get("random adapter")))
    return ClaimResult(LANGUAGE, tuple(findings))


def _finding(name: str, row: _Row, random: _Row | None) -> Finding:
    value, low, high = _numbers(row)
    n = int(row["n"])
    estimate = Estimate(value, low, high, n, math.nan)
    made = found(
        LANGUAGE,
        (str(row["dataset"]), ""),
        estimate,
        subject=name,
        quantity="first layer",
        unit="samples",
        expected=1,
        measure=CONVERGENCE,
        judged=False,
    )
    beside = "" if random is None else f" With a random adapter: {_told(random)}."
    sentence = f"{name}: image tokens are rebuilt as well as text {_told(row)} ({n:,} samples)."
    return replace(made, verdict="described", sentence=sentence + beside)


def _numbers(row: _Row) -> tuple[float, float, float]:
    return float(row["value"]), float(row["ci_low"]), float(row["ci_high"])


def _told(row: _Row) -> str:
    value, low, high = _numbers(row)
    layer = "at no layer that was read" if math.isnan(value) else f"from layer {value:.0f} on"
    return layer + layers_between(low, high)
