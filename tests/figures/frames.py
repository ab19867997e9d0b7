"""Hand-made tidy frames in the store's format, small and with known values."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from backend.figures import Series
from backend.types import StreamSpec

VISION = StreamSpec.of("vision", "vision", 6, 32, (3, 4), reads="text")
TEXT = StreamSpec.of("text", "text", 4, 16, (2, 4), reads="vision")
LATE = Series("late", "late", (VISION, TEXT), "#0F9D76", "small")
NONE = Series(
    "none",
    "none",
    (StreamSpec.of("vision", "vision", 6, 32), StreamSpec.of("text", "text", 4, 16)),
    "#858585",
    "small",
)


def row(
    series: str, seed: int, a: tuple, b: tuple, value: float, reason: str = "", **more: object
) -> dict:
    """One row of a measure between sites (stream, layer, name); ``more`` replaces columns."""
    return {
        "series": series,
        "seed": seed,
        "run_id": f"{series}-{seed}",
        "measure": "cka",
        "stream_a": a[0],
        "layer_a": a[1],
        "site_a": a[2],
        "stream_b": b[0],
        "layer_b": b[1],
        "site_b": b[2],
        "pooling": "cls",
        "estimator": "debiased",
        "value": value,
        "ci_low": np.nan,
        "ci_high": np.nan,
        "null_mean": 0.05,
        "null_sd": 0.01,
        "p_value": 0.001,
        "p_corrected": 0.01 if value > 0.3 else 0.5,
        "n": 64,
        "params": "{}",
        "reason": reason,
        "warnings": "",
    } | more


def cka_frame(*series: Series, seeds: tuple[int, ...] = (0, 1, 2)) -> pd.DataFrame:
    """CKA = 1 - 0.1 |i - j| within a stream, 0.5 - 0.05 |i - j| across, + 0.01 * seed off-diagonal.

    Vision layer 0 is constant: undefined with a reason. Each unordered pair is stored once, some of
    them with the later layer first.
    """
    rows = []
    for one in series or (LATE,):
        for seed in seeds:
            for spec in one.streams:
                for i in range(spec.depth + 1):
                    for j in range(i, spec.depth + 1):
                        dead = spec.name == "vision" and i == 0
                        value = np.nan if dead else 1 - 0.1 * (j - i) + 0.01 * seed * (i != j)
                        pair = ((spec.name, i, "block"), (spec.name, j, "block"))
                        a, b = pair if i % 2 else pair[::-1]
                        reason = "layer 0 of vision is constant" if dead else ""
                        rows.append(row(one.key, seed, a, b, value, reason))
                for k in spec.fusion_layers:
                    at = (spec.name, k, "fusion")
                    rows.append(row(one.key, seed, (spec.name, k - 1, "block"), at, 0.6))
                    rows.append(row(one.key, seed, at, (spec.name, k, "block"), 0.7))
            vision, text, *_ = one.streams
            for i in range(vision.depth + 1):
                for j in range(text.depth + 1):
                    value = np.nan if i == 0 else 0.5 - 0.05 * abs(i - j) + 0.01 * seed
                    a, b = ("vision", i, "block"), ("text", j, "block")
                    rows.append(
                        row(
                            one.key, seed, a, b, value, "" if i else "layer 0 of vision is constant"
                        )
                    )
    return pd.DataFrame(rows)


def dimension_frame(*series: Series, seeds: tuple[int, ...] = (0, 1, 2)) -> pd.DataFrame:
    """effective_dimension = 2 * layer + seed, participation_ratio half of that."""
    rows = []
    for one in series or (LATE,):
        for seed in seeds:
            for spec in one.streams:
                for k in range(spec.depth + 1):
                    for measure, factor in (
                        ("effective_dimension", 1.0),
                        ("participation_ratio", 0.5),
                    ):
                        one_row = row(
                            one.key,
                            seed,
                            (spec.name, k, "block"),
                            ("", -1, ""),
                            factor * (2 * k + seed),
                        )
                        one_row |= {
                            "measure": measure,
                            "estimator": "",
                            "null_mean": np.nan,
                            "p_corrected": np.nan,
                        }
                        rows.append(one_row)
    return pd.DataFrame(rows)


def spans(shapes):
    """Left and right ends of the boxes that shapes draw."""
    ends = [end for s in shapes for end in re.findall(r"M([-\d.]+),[-\d.]+H([-\d.]+)", s.path)]
    return [(float(left), float(right)) for left, right in ends]


def joins(figure):
    """The layers of the upper and of the lower stream that lines join."""
    lines = [s.path for s in figure.layout.shapes if not s.fillcolor]
    ends = [end for path in lines for end in re.findall(r"M(\d+),[-\d.]+L(\d+),", path)]
    return [(int(a), int(b)) for a, b in ends]
