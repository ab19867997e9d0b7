"""Curves of a contrastive model's own space: which stream's layers they stand over."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from backend.figures.shared_space import Stop, shared_space_curves
from backend.figures.theme import Series
from backend.types import StreamSpec

PAIR = "modality_gap"
NOTHING = ("ci_low", "ci_high", "null_mean", "null_sd", "p_value", "p_corrected")


def model(key: str, vision: int, text: int) -> Series:
    specs = (("vision", vision), ("text", text))
    return Series(key, key, tuple(StreamSpec.of(name, name, depth, 8) for name, depth in specs))


IMAGES, WORDS = model("images", 6, 4), model("words", 4, 8)


def rows_of(*models: Series) -> pd.DataFrame:
    """Of a pair of layers (a, b) the gap is a + b / 100, the uniformity of a layer k is -k / 10."""
    out = []
    for one in models:
        vision, text = one.streams
        for a in range(vision.depth + 1):
            out += [
                (one.key, PAIR, "vision", a, "text", b, a + b / 100) for b in range(text.depth + 1)
            ]
        for spec in one.streams:
            out += [
                (one.key, "uniformity", spec.name, k, "", -1, -k / 10)
                for k in range(spec.depth + 1)
            ]
    names = ["series", "measure", "stream_a", "layer_a", "stream_b", "layer_b", "value"]
    frame = pd.DataFrame(out, columns=names).assign(
        site_a="block", site_b="block", space="own", estimator="sample", n=20, reason="",
        warnings="", seed=pd.NA, **dict.fromkeys(NOTHING, np.nan),
    )  # fmt: skip
    return frame.astype({"seed": "Int64"})


def curves(
    models: Sequence[Series], stop: Stop, measure: str = PAIR
) -> dict[str, dict[int, float]]:
    """{series: {x: y}}, and the words below the axis under ""."""
    figure = shared_space_curves(rows_of(*models), models, measure, stop)
    lines = [trace for trace in figure.data if trace.mode == "lines+markers"]
    assert len(lines) == len(models)
    shown = {
        one.key: dict(zip(map(int, line.x), map(float, line.y), strict=True))
        for one, line in zip(models, lines, strict=True)
    }
    return shown | {"": figure.layout.xaxis.title.text}


def close(expected: dict[int, float]) -> object:
    return pytest.approx(expected)


def test_one_stream_stops_over_its_own_layers_and_the_other_is_at_its_last() -> None:
    shown = curves([IMAGES, WORDS], "vision")
    assert shown["images"] == close({k: k + 0.04 for k in range(7)})
    assert shown["words"] == close({k: k + 0.08 for k in range(5)})
    shown = curves([IMAGES, WORDS], "text")
    assert shown["images"] == close({k: 6 + k / 100 for k in range(5)})
    assert shown["words"] == close({k: 4 + k / 100 for k in range(9)})


def test_where_both_stop_the_axis_is_one_stream_of_all_models() -> None:
    shown = curves([IMAGES, WORDS], "both")
    assert shown[""].startswith("vision layer")
    text_of = {0: 0, 1: 1, 2: 1, 3: 2, 4: 3, 5: 3, 6: 4}  # 4 / 6 of the layer, halves up
    assert shown["images"] == close({k: k + text_of[k] / 100 for k in range(7)})
    assert shown["words"] == close({k: k + 2 * k / 100 for k in range(5)})
    shown = curves([WORDS, IMAGES], "both")
    assert shown[""].startswith("text layer")
    vision_of = {0: 0, 1: 1, 2: 1, 3: 2, 4: 2, 5: 3, 6: 3, 7: 4, 8: 4}
    assert shown["words"] == close({k: vision_of[k] + k / 100 for k in range(9)})
    half_up = {0: 0, 1: 2, 2: 3, 3: 5, 4: 6}
    assert shown["images"] == close({k: half_up[k] + k / 100 for k in range(5)})


@pytest.mark.parametrize("models", [(IMAGES, WORDS), (WORDS, IMAGES)])
def test_a_measure_of_one_layer_is_of_the_stream_that_the_axis_names(
    models: tuple[Series, Series],
) -> None:
    for stop in ("vision", "text", "both"):
        shown = curves(models, stop, "uniformity")
        stream = str(shown[""]).split()[0]
        for one in models:
            spec = one.stream(stream)
            assert spec is not None
            assert shown[one.key] == close({k: -k / 10 for k in range(spec.depth + 1)})
