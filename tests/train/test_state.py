"""What an unfinished training leaves, and whether a later one may go on from it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from backend.train import state
from backend.train.compute import Compute


def parts(order: str) -> tuple[nn.Module, AdamW, LambdaLR, Compute]:
    model = nn.ModuleDict({name: nn.Linear(3, 3) for name in order})
    optimizer = AdamW(model.parameters())
    schedule = LambdaLR(optimizer, lambda _: 1.0)
    return model, optimizer, schedule, Compute(torch.device("cpu"), "no")


def test_an_optimizer_whose_parameters_are_in_another_order_is_not_taken_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its state goes by place: momenta of one weight would silently be another's."""
    model, optimizer, schedule, compute = parts("ab")
    sum(at * one(torch.ones(3)).sum() for at, one in enumerate(model.children(), 1)).backward()
    optimizer.step()
    done = state.TrainingState(1, 1, 0.5, [{"epoch": 1}], {})
    state.save(tmp_path, "digest", done, model, optimizer, schedule, compute)
    same, other = parts("ab"), parts("ba")
    assert state.load(tmp_path, "digest", *same).epoch == 1
    assert len(same[1].state) == 4
    assert state.load(tmp_path, "digest", *other).epoch == 0
    assert not other[1].state and "other parameters: starting afresh" in caplog.text


def test_a_state_that_names_no_parameters_is_of_an_older_version(tmp_path: Path) -> None:
    model, *others = parts("ab")
    state.save(tmp_path, "digest", state.TrainingState.fresh(), model, *others)  # type: ignore[arg-type]
    path = tmp_path / "state.pt"
    content = torch.load(path, weights_only=True)
    del content["parameters"]
    content["progress"]["epoch"] = 1
    torch.save(content, path)
    assert state.load(tmp_path, "digest", *parts("ab")).epoch == 0
