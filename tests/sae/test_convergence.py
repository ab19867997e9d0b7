"""The layer of convergence: the first from which on image tokens are rebuilt as text is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from backend.sae.convergence import MARGIN, Curve, converged
from backend.sae.table import layers_between
from backend.study.language import vision_becomes_language
from backend.study.report import as_text

LAYERS = (2, 5, 8, 11)
N = 200


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ((10.0, 14.0), " (95 % interval 10 to 14)"),
        ((12.0, np.inf), " (95 % interval 12 to not reached)"),
        ((np.inf, np.inf), ""),
        ((np.nan, np.nan), ""),
    ],
)
def test_an_interval_of_layers_is_worded_only_where_one_is_reached(
    ends: tuple[float, float], words: str
) -> None:
    assert layers_between(*ends) == words


def curve(levels: list[float], spread: float, seed: int) -> Curve:
    """Errors whose share of the variance is ``levels``, by layer."""
    rng = np.random.default_rng(seed)
    totals = rng.uniform(5, 15, (len(levels), N))
    noise = rng.normal(1, spread, (len(levels), N))
    return totals * np.array(levels)[:, None] * noise, totals


TEXT = curve([0.2, 0.2, 0.2, 0.2], 0.01, 0)


@pytest.mark.parametrize(
    ("levels", "layer"),
    [
        ([0.9, 0.6, 0.22, 0.21], 8),
        ([0.9, 0.22, 0.6, 0.21], 11),  # it leaves again, so that it has not come yet
        ([0.1, 0.1, 0.1, 0.1], 2),
        ([0.9, 0.6, 0.22, 0.3], None),
        ([0.9, 0.6, 0.2 + MARGIN + 0.02, 0.2 + MARGIN - 0.02], 11),
    ],
)
def test_it_is_the_first_layer_from_which_on_both_stay_together(
    levels: list[float], layer: int | None
) -> None:
    made = converged(LAYERS, curve(levels, 0.01, 1), TEXT, None)
    if layer is None:
        assert np.isnan(made.value) and made.low == made.high == np.inf
    else:
        assert (made.value, made.low, made.high) == (layer, layer, layer)


def at_the_margin(image: Curve, layer: int) -> Curve:
    """The same with errors at one layer that lie just at the margin above text's."""
    errors, totals = image[0].copy(), image[1]
    level = TEXT[0][layer].sum() / TEXT[1][layer].sum() + MARGIN
    errors[layer] *= level * totals[layer].sum() / errors[layer].sum()
    return errors, totals


def test_a_doubtful_layer_has_an_interval_that_says_so() -> None:
    image = at_the_margin(curve([0.9, 0.25, 0.2, 0.2], 0.3, 2), 1)
    made = converged(LAYERS, image, TEXT, None)
    assert (made.low, made.high) == (5, 8)
    last = at_the_margin(curve([0.9, 0.9, 0.9, 0.25], 0.3, 3), 3)
    never = converged(LAYERS, last, TEXT, None)
    assert (never.low, never.high) == (11, np.inf)
    grouped = converged(LAYERS, image, TEXT, np.repeat(np.arange(N // 50), 50))
    assert grouped.groups == 4


def test_the_finding_says_it_in_words_and_beside_a_random_adapter() -> None:
    row = {
        "run_id": "tiny", "key": "k", "dataset": "food", "measure": "convergence_layer",
        "coordinates": "all", "control": "", "value": 18.0, "ci_low": 15.0, "ci_high": np.inf,
        "n": 128,
    }  # fmt: skip
    random = row | {"control": "random adapter", "value": np.nan, "ci_low": np.inf}
    result = vision_becomes_language(pd.DataFrame([row, random]))
    (finding,) = result.findings
    assert result.summary == "described, not judged"
    assert as_text([result]).startswith(f"{result.claim.title}: described, not judged\n")
    assert finding.verdict == "described" and (finding.value, finding.n) == (18.0, 128)
    assert finding.sentence == (
        "tiny: image tokens are rebuilt as well as text from layer 18 on (95 % interval 15 to not "
        "reached) (128 samples). With a random adapter: at no layer that was read."
    )
    (other,) = vision_becomes_language(pd.DataFrame([row | {"value": np.nan}])).findings
    assert other.verdict == "described" and (
        "at no layer that was read (95 % interval 15 to not reached) (128" in other.sentence
    )
