"""CKA as a loss: the measure's own values, a gradient that aligns, and layers that exist."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.errors import InputError
from backend.measures import cka
from backend.models.placement import Placement
from backend.train.alignment import cka_layers, linear_cka, mean_cka
from backend.train.loop import train_seed
from backend.train.options import CacheOptions
from tests.train.test_frozen import assert_same
from tests.train.test_training import PLAN, source

NONE = Placement("none", (), ())


def vectors(n: int = 20, widths: tuple[int, int] = (5, 7)) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    x, y = (torch.randn(n, d, generator=generator) for d in widths)
    return x, y


def test_it_is_the_biased_cka_of_the_measures() -> None:
    x, y = vectors()
    y[:, :5] += x
    expected = float(cka(x.numpy(), y.numpy(), estimator="biased"))
    assert float(linear_cka(x, y)) == pytest.approx(expected, abs=1e-6)
    assert float(linear_cka(3 * x + 1, x)) == pytest.approx(1.0, abs=1e-6)


def test_its_gradient_is_right_and_raises_alignment() -> None:
    x, y = (z.double().requires_grad_() for z in vectors(8, (3, 4)))
    assert torch.autograd.gradcheck(linear_cka, (x, y))
    moving = x.detach().clone().requires_grad_()
    before = float(linear_cka(moving, y).detach())
    optimizer = torch.optim.SGD([moving], lr=1.0)
    for _ in range(20):
        optimizer.zero_grad()
        (1 - linear_cka(moving, y.detach())).backward()
        optimizer.step()
    assert float(linear_cka(moving, y).detach()) > before + 0.05


def test_half_precision_is_computed_in_single() -> None:
    x, y = vectors()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert float(linear_cka(x, y)) == pytest.approx(float(linear_cka(x, y)), abs=1e-6)
        assert linear_cka(x.bfloat16(), y.bfloat16()).dtype == torch.float32


def test_a_batch_of_two_has_no_term() -> None:
    x, y = vectors(2)
    assert mean_cka([(x, y)]) is None


@pytest.mark.parametrize(
    ("text", "pairs"),
    [("", ((3, 4), (4, 6))), ("text=2,4;vision=1,6", ((2, 1), (4, 6))), ("late", ((4, 6),))],
)
def test_the_fusion_layers_or_those_given(text: str, pairs: tuple[tuple[int, int], ...]) -> None:
    placement = Placement("", (3, 4), (4, 6))
    assert cka_layers(text, placement, (4, 6)) == pairs


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cka_loss: a model without fusion has no fusion layers"),
        ("text=5;vision=6", "cka_layers: 'text=5;vision=6': fusion layer 5 is outside"),
    ],
)
def test_layers_that_are_not_there_are_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        cka_layers(text, NONE, (4, 6))


def history(folder: Path) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = json.loads((folder / "training.json").read_text())["history"]
    return rows


def test_training_with_it_ends_more_aligned_and_logs_it(tmp_path: Path) -> None:
    plan = replace(PLAN, dropout=0.0, epochs=4, learning_rate=3e-3)
    lightly = train_seed(replace(plan, cka_loss=1e-9), source(), 0, tmp_path / "a")
    strongly = train_seed(replace(plan, cka_loss=5.0), source(), 0, tmp_path / "b")
    assert history(strongly)[-1]["cka"] > history(lightly)[-1]["cka"] + 0.1
    assert (
        "cka" not in history(train_seed(replace(plan, epochs=1), source(), 0, tmp_path / "c"))[-1]
    )


def test_it_reads_layers_below_the_fusion_and_works_from_the_cache(tmp_path: Path) -> None:
    plan = replace(
        PLAN,
        dropout=0.0,
        epochs=2,
        cka_loss=0.2,
        cka_layers="text=2,3;vision=1,4",
        freeze="text=3;vision=2",
    )
    off = train_seed(plan, source(), 0, tmp_path / "a", cache=CacheOptions("off"))
    on = train_seed(plan, source(), 0, tmp_path / "b")
    assert_same(off, on)
    assert [r["cka"] for r in history(off)] == pytest.approx([r["cka"] for r in history(on)])
    assert np.isfinite([r["cka"] for r in history(off)]).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cka_loss": -0.1}, "cka_loss: -0.1 is less than 0"),
        ({"cka_layers": "late"}, "cka_layers: has no effect without `cka_loss`"),
        ({"cka_loss": 0.2, "placement": "none"}, "Name layers with `cka_layers`"),
    ],
)
def test_an_impossible_loss_is_refused(
    changes: dict[str, object], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        train_seed(replace(PLAN, **changes), source(), 0, tmp_path)  # type: ignore[arg-type]
